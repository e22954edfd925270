//! What the page shows, in the form in which it is written into it.

use std::collections::{BTreeMap, BTreeSet};

use podgate_judge::check::{Unjudged, unjudged};
use podgate_judge::matrix::{PortChoice, Row, matrix_telling};
use podgate_policy::evaluate::isolating;
use podgate_policy::model::{Direction, ObjectKey, Pod};
use podgate_source::manifests::Loaded;
use serde::Serialize;

use super::observed::Observed;
use crate::cli::check::{Entry, entries};
use crate::cli::progress::Progress;

/// Everything on the page.
#[derive(Serialize)]
pub(super) struct Data {
    version: &'static str,
    pods: Vec<PodView>,
    policies: usize,
    /// Ports as `TCP/80`, in the order of protocol and number.
    ports: Vec<String>,
    targets: Vec<Target>,
    findings: Vec<Entry>,
    not_judged: Vec<String>,
    /// What agents have dropped, where that was given.
    observed: Option<Observed>,
}

/// A pod of the pod network.
#[derive(Serialize)]
struct PodView {
    namespace: String,
    name: String,
    /// The policies that isolate it in each direction.
    ingress: Vec<String>,
    egress: Vec<String>,
}

/// A port of a pod, and who reaches it.
#[derive(Serialize)]
struct Target {
    /// The pod, by its index.
    pod: usize,
    /// The port, by its index.
    port: usize,
    /// A bit for each pod in the order of `pods`, four in each hexadecimal digit, the lowest first.
    from: String,
}

impl Data {
    /// The data of this state on these ports.
    pub(super) fn new(loaded: &Loaded, choice: &PortChoice, observed: Option<Observed>, progress: &Progress) -> Self {
        let cluster = &loaded.cluster;
        let pods: Vec<&Pod> = cluster.pods.values().map(|pod| &**pod).filter(|pod| pod.is_networked()).collect();
        let isolated_by = |pod: &Pod, direction| -> Vec<String> {
            isolating(cluster, pod, direction).into_iter().map(|policy| policy.key.to_string()).collect()
        };
        let view = |pod: &&Pod| PodView {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            ingress: isolated_by(pod, Direction::Ingress),
            egress: isolated_by(pod, Direction::Egress),
        };
        let rows = matrix_telling(cluster, choice, &mut progress.judging_pairs());
        progress.doing("putting the page together");
        let (ports, targets) = reachability(rows, &pods);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pods: pods.iter().map(view).collect(),
            policies: cluster.policies.len(),
            ports,
            targets,
            findings: entries(loaded),
            not_judged: unjudged(cluster, &loaded.written).iter().map(Unjudged::to_string).collect(),
            observed,
        }
    }
}

fn reachability(rows: Vec<Row>, pods: &[&Pod]) -> (Vec<String>, Vec<Target>) {
    let indexes: BTreeMap<&ObjectKey, usize> = pods.iter().enumerate().map(|(index, pod)| (&pod.key, index)).collect();
    let ports: BTreeSet<_> = rows.iter().map(|row| (row.protocol, row.port)).collect();
    let ports: Vec<_> = ports.into_iter().collect();
    let mut sources: BTreeMap<(usize, usize), Vec<u8>> = BTreeMap::new();
    for row in &rows {
        let (Ok(port), Some(&from), Some(&to)) =
            (ports.binary_search(&(row.protocol, row.port)), indexes.get(&row.from), indexes.get(&row.to))
        else {
            continue;
        };
        let digits = sources.entry((to, port)).or_insert_with(|| vec![0; pods.len().div_ceil(4)]);
        digits[from / 4] |= u8::from(row.allowed) << (from % 4);
    }
    let target = |((pod, port), digits): ((usize, usize), Vec<u8>)| {
        let from = digits.iter().map(|digit| format!("{digit:x}")).collect();
        Target { pod, port, from }
    };
    let names = ports.iter().map(|(protocol, port)| format!("{protocol}/{port}")).collect();
    (names, sources.into_iter().map(target).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use podgate_source::manifests::parse;
    use serde_json::json;

    use super::*;

    fn pod(name: &str) -> String {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}, spec: \
             {{containers: [{{name: a, image: a, ports: [{{containerPort: 80}}]}}]}}}}\n"
        )
    }

    #[test]
    fn sources_are_bits_by_the_order_of_pods() {
        let pods: String = ["a", "b", "c", "d", "e"].map(pod).concat();
        let policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: \
                      {podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: e}}}]}]}\n";
        let data = Data::new(
            &parse(Path::new("a.yaml"), &(pods + policy)),
            &PortChoice::ContainerPorts,
            None,
            &Progress::new(),
        );
        let target = |pod: usize, from: &str| json!({"pod": pod, "port": 0, "from": from});
        assert_eq!(
            serde_json::to_value(&data.targets).unwrap(),
            json!([target(0, "f1"), target(1, "21"), target(2, "f1"), target(3, "f1"), target(4, "f1")])
        );
        assert_eq!(
            serde_json::to_value(&data.pods[1]).unwrap(),
            json!({"namespace": "shop", "name": "b", "ingress": ["shop/p"], "egress": []})
        );
        assert_eq!(data.ports, ["TCP/80"]);
    }
}
