//! What the page shows, in the form in which it is written into it.

use std::collections::{BTreeMap, BTreeSet};

use podgate_judge::check::{Unjudged, unjudged};
use podgate_judge::groups::Members;
use podgate_judge::matrix::{Matrix, Target};
use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{guarding, isolating};
use podgate_policy::model::Direction;
use podgate_source::manifests::Loaded;
use serde::Serialize;

use super::observed::Observed;
use crate::cli::check::{Entry, entries};

/// Everything on the page.
#[derive(Serialize)]
pub(super) struct Data {
    version: &'static str,
    pods: Vec<PodView>,
    policies: usize,
    cluster_policies: usize,
    /// Ports as `TCP/80`, in the order of protocol and number.
    ports: Vec<String>,
    targets: Vec<TargetView>,
    findings: Vec<Entry>,
    not_judged: Vec<String>,
    /// What agents have dropped, where that was given.
    observed: Option<Observed>,
}

/// A pod of the pod network, or several with the same connections.
#[derive(Serialize)]
struct PodView {
    namespace: String,
    /// Its own, or one for all.
    name: String,
    /// The names of all, where they are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pods: Vec<String>,
    /// The policies that isolate it in each direction.
    ingress: Vec<String>,
    egress: Vec<String>,
    /// The ClusterNetworkPolicies that judge it in each direction, in the order in which they are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ingress_guards: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    egress_guards: Vec<String>,
}

/// A port of a pod, and who reaches it.
#[derive(Serialize)]
struct TargetView {
    /// The pod, by its index.
    pod: usize,
    /// The port, by its index.
    port: usize,
    /// A bit for each element of `pods`, four in each hexadecimal digit, the lowest first. That of pods which are the
    /// target themselves says whether they reach each other.
    from: String,
}

impl Data {
    /// The data of a state that is judged.
    pub(super) fn new(loaded: &Loaded, matrix: &Matrix<'_>, observed: Option<Observed>) -> Self {
        let cluster = &loaded.cluster;
        let (ports, targets) = reachability(matrix);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pods: matrix.parties().filter_map(|members| view(cluster, members)).collect(),
            policies: cluster.policies.len(),
            cluster_policies: cluster.cluster_policies.len(),
            ports,
            targets,
            findings: entries(loaded).0,
            not_judged: unjudged(cluster, &loaded.written).iter().map(Unjudged::to_string).collect(),
            observed,
        }
    }
}

/// Pods that are alike are isolated by the same policies.
fn view(cluster: &Cluster, members: &Members<'_>) -> Option<PodView> {
    let first = cluster.pods.get(members.pods.first().copied()?)?;
    let isolated_by = |direction| -> Vec<String> {
        isolating(cluster, first, direction).into_iter().map(|policy| policy.key.to_string()).collect()
    };
    let guarded_by = |direction| -> Vec<String> {
        let guards = guarding(cluster, first, direction).into_iter();
        guards.map(|policy| format!("{} ({})", policy.name, policy.tier)).collect()
    };
    let all = members.pods.iter().filter(|_| !members.group.is_pod());
    Some(PodView {
        namespace: members.group.name.namespace.to_string(),
        name: members.group.name.name.to_string(),
        pods: all.map(|pod| pod.name.to_string()).collect(),
        ingress: isolated_by(Direction::Ingress),
        egress: isolated_by(Direction::Egress),
        ingress_guards: guarded_by(Direction::Ingress),
        egress_guards: guarded_by(Direction::Egress),
    })
}

fn reachability(matrix: &Matrix<'_>) -> (Vec<String>, Vec<TargetView>) {
    let ports: BTreeSet<_> = matrix.targets().map(|target| (target.protocol, target.port)).collect();
    let indexes: BTreeMap<_, usize> = ports.iter().copied().zip(0..).collect();
    let names = ports.iter().map(|(protocol, port)| format!("{protocol}/{port}")).collect();
    let view = |target: Target| {
        let port = *indexes.get(&(target.protocol, target.port))?;
        Some(TargetView { pod: target.party, port, from: digits(&target.from) })
    };
    (names, matrix.targets().filter_map(view).collect())
}

fn digits(bits: &[bool]) -> String {
    let digit = |bits: &[bool]| bits.iter().rev().fold(0_u8, |digit, &bit| digit << 1 | u8::from(bit));
    bits.chunks(4).map(|bits| format!("{:x}", digit(bits))).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use podgate_judge::matrix::PortChoice;
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
        let loaded = parse(Path::new("a.yaml"), &(pods + policy));
        let matrix = Matrix::new(&loaded.cluster, &PortChoice::ContainerPorts, &mut |_, _| {});
        let data = Data::new(&loaded, &matrix, None);
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

    #[test]
    fn the_cluster_network_policies_that_judge_a_pod_are_named_with_their_tier() {
        let policy = "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: guard}\nspec: \
                      {tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}\n";
        let loaded = parse(Path::new("a.yaml"), &(pod("a") + policy));
        let matrix = Matrix::new(&loaded.cluster, &PortChoice::ContainerPorts, &mut |_, _| {});
        let data = Data::new(&loaded, &matrix, None);
        assert_eq!(
            serde_json::to_value(&data.pods).unwrap(),
            json!([{"namespace": "shop", "name": "a", "ingress": [], "egress": [], "ingress_guards": ["guard (Admin)"]}])
        );
        assert_eq!((data.policies, data.cluster_policies), (0, 1));
    }

    #[test]
    fn pods_that_are_alike_are_one_with_the_names_of_all() {
        let replica = |name: &str| pod(name).replace(&format!("app: {name}"), "app: web");
        let pods = ["web-1", "web-2"].map(replica).concat() + &pod("api");
        let policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: \
                      {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}\n";
        let loaded = parse(Path::new("a.yaml"), &(pods + policy));
        let matrix = Matrix::new(&loaded.cluster, &PortChoice::ContainerPorts, &mut |_, _| {});
        let data = Data::new(&loaded, &matrix, None);
        assert_eq!(
            serde_json::to_value(&data.pods).unwrap(),
            json!([
                {"namespace": "shop", "name": "api", "ingress": [], "egress": []},
                {"namespace": "shop", "name": "web-1", "pods": ["web-1", "web-2"], "ingress": ["shop/p"], "egress": []},
            ])
        );
        let target = |pod: usize, from: &str| json!({"pod": pod, "port": 0, "from": from});
        assert_eq!(serde_json::to_value(&data.targets).unwrap(), json!([target(0, "3"), target(1, "1")]));
        assert_eq!(Data::new(&loaded, &matrix.by_pod(), None).pods.len(), 3);
    }
}
