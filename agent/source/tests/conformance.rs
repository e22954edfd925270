//! The verdicts of the conformance cases, from manifests to evaluator and matrix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use podgate_judge::check::{Rule, Severity, check};
use podgate_judge::matrix::{PortChoice, matrix};
use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, Traffic, verdict};
use podgate_policy::model::{Pod, Protocol};
use podgate_source::manifests::{self, Loaded};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    case: u32,
    description: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    namespaces: BTreeMap<String, Value>,
    pods: Vec<CasePod>,
    policies: Vec<Value>,
    allowed: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct CasePod {
    namespace: String,
    name: String,
    ip: String,
    labels: Value,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases.json");
    let text = std::fs::read_to_string(path).expect("cases.json");
    serde_json::from_str(&text).expect("cases")
}

const PORTS: [u16; 2] = [80, 81];

fn pod(pod: &CasePod) -> Value {
    let ports: Vec<_> = PORTS
        .iter()
        .flat_map(|port| Protocol::ALL.map(|protocol| (port, protocol.as_str())))
        .map(|(port, protocol)| {
            let name = format!("serve-{port}-{}", protocol.to_lowercase());
            json!({"name": name, "containerPort": port, "protocol": protocol})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": pod.namespace, "name": pod.name, "labels": pod.labels},
        "spec": {"containers": [{"name": "serve", "ports": ports}]},
        "status": {"phase": "Running", "podIP": pod.ip},
    })
}

fn cluster(step: &Step) -> Cluster {
    loaded(step).cluster
}

fn loaded(step: &Step) -> Loaded {
    let namespaces = step.namespaces.iter().map(
        |(name, labels)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
    );
    let items: Vec<_> = namespaces.chain(step.pods.iter().map(pod)).chain(step.policies.iter().cloned()).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let loaded = manifests::parse(Path::new("step.json"), &list.to_string());
    assert_eq!(loaded.problems, []);
    loaded
}

/// The pairs that pass, without those of a pod with itself.
type Allowed = BTreeMap<String, BTreeSet<String>>;

fn expected(step: &Step) -> Allowed {
    let apart = |pair: &&String| pair.split_once("->").is_some_and(|(from, to)| from != to);
    let keep = |pairs: &BTreeSet<String>| pairs.iter().filter(apart).cloned().collect();
    step.allowed.iter().map(|(port, pairs)| (port.clone(), keep(pairs))).collect()
}

fn asked() -> BTreeSet<(Protocol, u16)> {
    Protocol::ALL.into_iter().flat_map(|protocol| PORTS.map(|port| (protocol, port))).collect()
}

fn nothing_allowed() -> Allowed {
    asked().into_iter().map(|(protocol, port)| (format!("{protocol}/{port}"), BTreeSet::new())).collect()
}

fn evaluated(cluster: &Cluster) -> Allowed {
    let mut allowed = nothing_allowed();
    let party = |pod| Party::pod_at(pod, Pod::clone(pod).addresses.first().copied());
    for (protocol, number) in asked() {
        for from in cluster.pods.values() {
            for to in cluster.pods.values().filter(|to| to.key != from.key) {
                let traffic = Traffic::Port { protocol, number };
                if verdict(cluster, &party(from), &party(to), traffic).is_allowed() {
                    let pair = format!("{}->{}", from.key, to.key);
                    allowed.entry(format!("{protocol}/{number}")).or_default().insert(pair);
                }
            }
        }
    }
    allowed
}

fn in_matrix(cluster: &Cluster) -> Allowed {
    let mut allowed = nothing_allowed();
    for row in matrix(cluster, &PortChoice::Listed(asked())).into_iter().filter(|row| row.allowed && row.from != row.to)
    {
        let pair = format!("{}->{}", row.from, row.to);
        allowed.entry(format!("{}/{}", row.protocol, row.port)).or_default().insert(pair);
    }
    allowed
}

fn for_each_step(check: impl Fn(&Cluster) -> Allowed) {
    let (mut steps, mut pairs) = (0, 0);
    for case in cases() {
        for (number, step) in case.steps.iter().enumerate() {
            let expected = expected(step);
            let name = format!("case {} ({}), step {number}", case.case, case.description);
            assert_eq!(check(&cluster(step)), expected, "{name}");
            steps += 1;
            pairs += expected.values().map(BTreeSet::len).sum::<usize>();
        }
    }
    // The file can't lose cases unnoticed.
    assert_eq!(steps, 122);
    assert!(pairs > 10_000, "{pairs}");
}

#[test]
fn evaluator_gives_the_stated_verdict_of_every_pair() {
    for_each_step(evaluated);
}

#[test]
fn what_is_found_in_the_policies_is_what_is_odd_about_them() {
    let mut found: BTreeMap<_, usize> = BTreeMap::new();
    for step in cases().iter().flat_map(|case| &case.steps) {
        let loaded = loaded(step);
        for finding in check(&loaded.cluster, &loaded.written) {
            *found.entry((finding.rule, finding.severity)).or_default() += 1;
        }
    }
    let expected = BTreeMap::from([
        // Labels that the case never gives, or gives in a later step.
        ((Rule::PeerMatchesNothing, Severity::Warning), 8),
        // Everything denied.
        ((Rule::EgressWithoutDns, Severity::Note), 1),
        // Names of another protocol, or of nobody.
        ((Rule::PortNotServed, Severity::Warning), 4),
        // A whole namespace by its addresses.
        ((Rule::BlockOfPods, Severity::Warning), 2),
        // A policy beside one that allows everything.
        ((Rule::RuleShadowed, Severity::Warning), 2),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn matrix_gives_the_stated_verdict_of_every_pair() {
    for_each_step(in_matrix);
}
