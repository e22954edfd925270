//! ClusterNetworkPolicies: the verdicts of the cases of `conformance/cluster-cases.json`, and what is wrong with its
//! objects, from manifests to evaluator and matrix.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use podgate_judge::matrix::{PortChoice, matrix};
use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{
    Decision, DirectionVerdict, Identity, Open, Party, PolicyRef, Reach, Traffic, in_force, verdict_by,
};
use podgate_policy::model::{Direction, Labels, Mode, ObjectKey, Phase, Pod, Protocol};
use podgate_source::manifests;
use serde_json::{Value, json};

#[path = "conformance/cluster.rs"]
mod cluster_cases;

use cluster_cases::{End, cases, cluster, suite, traffic};

/// A process of a node.
fn process(node: &str, address: IpAddr) -> Pod {
    Pod {
        key: ObjectKey::new("", node),
        uid: "".into(),
        labels: Labels::new(),
        workload: None,
        node: Some(node.into()),
        host_network: true,
        phase: Phase::Active,
        terminating: false,
        addresses: vec![address],
        ports: vec![],
    }
}

/// Whoever an end is, at its address of this version.
fn party<'c>(cluster: &'c Cluster, processes: &'c BTreeMap<String, Pod>, end: &End, version: u8) -> Party<'c> {
    let name = match end {
        End::Node { node } => return Party::pod_at(&processes[node], processes[node].addresses.first().copied()),
        End::Named(name) => name,
    };
    if let Ok(address) = name.parse() {
        return Party::at(cluster, address).expect("one pod's address");
    }
    let (namespace, name) = name.split_once('/').expect("a namespace and a name");
    let pod = &cluster.pods[&ObjectKey::new(namespace, name)];
    let address = pod.addresses.iter().find(|address| address.is_ipv4() == (version == 4));
    Party::pod_at(pod, address.copied())
}

/// Who decides, as the cases have it.
fn decided(cluster: &Cluster, verdict: &DirectionVerdict, end: &Party<'_>, direction: Direction) -> Value {
    let network_policy = json!(["NetworkPolicy", null, null]);
    let Identity::Pod(pod) = end.identity else { return json!("no subject") };
    let is_isolated =
        || matches!(in_force(cluster, pod, direction), (Mode::Enforced, policies) if !policies.is_empty());
    match verdict {
        DirectionVerdict::ByTiers(tiers) => match (tiers.decision, tiers.deciding()) {
            (_, Some((tier, asked))) => {
                let PolicyRef::Cluster(name) = &asked.rule.policy else { panic!("{asked:?}") };
                json!([tier.as_str(), name, asked.rule.index])
            }
            (Decision::NetworkPolicy, _) => network_policy,
            _ => json!("default"),
        },
        // What a pod sends to its own node, or to itself through a Service, where no ClusterNetworkPolicy has a say.
        DirectionVerdict::Open(Open::OwnNode) if direction == Direction::Egress && is_isolated() => network_policy,
        DirectionVerdict::Open(Open::OwnNode) if direction == Direction::Egress => json!("default"),
        DirectionVerdict::Open(Open::OwnNode) => json!("own node"),
        DirectionVerdict::Open(Open::SamePod) => json!("itself"),
        DirectionVerdict::Open(_) => json!("default"),
        DirectionVerdict::Allowed { .. } | DirectionVerdict::Denied { .. } | DirectionVerdict::WouldDeny { .. } => {
            network_policy
        }
    }
}

#[test]
fn verdicts_and_who_decides_are_those_stated_by_hand() {
    let suite = suite();
    let processes = suite.world.nodes.iter().map(|node| (node.name.clone(), process(&node.name, node.addresses[0])));
    let processes: BTreeMap<_, _> = processes.collect();
    let mut count = 0;
    for case in cases(&suite) {
        let cluster = cluster(&suite.world, case);
        for check in &case.checks {
            let version = check.version.unwrap_or(4);
            let (from, to) =
                (party(&cluster, &processes, &check.from, version), party(&cluster, &processes, &check.to, version));
            let reach = if check.via.is_some() { Reach::ThroughService } else { Reach::Directly };
            let verdict = verdict_by(&cluster, &from, &to, traffic(&check.protocol, check.port), reach);
            let mut egress = decided(&cluster, &verdict.egress, &from, Direction::Egress);
            let mut ingress = decided(&cluster, &verdict.ingress, &to, Direction::Ingress);
            if reach == Reach::ThroughService {
                // There it is one of the pod's own connections like any other, as far as the cases go.
                for decided in [&mut egress, &mut ingress].into_iter().filter(|it| **it == json!("itself")) {
                    *decided = json!("default");
                }
            }
            assert_eq!(
                (verdict.is_allowed(), egress, ingress),
                (check.allowed, check.egress.clone(), check.ingress.clone()),
                "{}: {check:?}",
                case.id
            );
            count += 1;
        }
    }
    // The file can't lose cases unnoticed.
    assert_eq!((suite.cases.len(), count), (190, 533));
}

/// The pairs that the cases list as denied: pods of the pod network with each other, to two addresses outside and to nodes,
/// and from one outside.
fn denied(cluster: &Cluster, traffic: Traffic) -> BTreeSet<String> {
    let pods: Vec<_> = cluster.pods.values().filter(|pod| pod.is_networked()).collect();
    let pod = |pod: &'_ Pod| pod.addresses.first().copied();
    let mut pairs = vec![];
    for from in &pods {
        let source = Party::pod_at(from, pod(from));
        let others = pods.iter().filter(|to| to.key != from.key);
        pairs.extend(others.map(|to| (source, Party::pod_at(to, pod(to)), format!("{}->{}", from.key, to.key))));
        for to in ["198.51.100.7", "203.0.113.9", "192.0.2.10", "192.0.2.11", "192.0.2.12"] {
            let address = to.parse().expect("an address");
            pairs.push((source, Party::outside(address), format!("{}->{to}", from.key)));
        }
    }
    let outside = Party::outside("198.51.100.7".parse().expect("an address"));
    pairs.extend(pods.iter().map(|to| (outside, Party::pod_at(to, pod(to)), format!("198.51.100.7->{}", to.key))));
    let is_denied =
        |from: &Party<'_>, to: &Party<'_>| !verdict_by(cluster, from, to, traffic, Reach::Directly).is_allowed();
    pairs.into_iter().filter(|(from, to, _)| is_denied(from, to)).map(|(.., pair)| pair).collect()
}

#[test]
fn every_pair_that_is_not_listed_as_denied_passes() {
    let suite = suite();
    let mut count = 0;
    for case in cases(&suite) {
        let cluster = cluster(&suite.world, case);
        for asked in ["TCP/8080", "TCP/8081", "TCP/9100", "UDP/5300", "SCTP/7000", "ICMP"] {
            let (protocol, port) = asked.split_once('/').unwrap_or((asked, ""));
            let denied = denied(&cluster, traffic(protocol, port.parse().ok()));
            let expected = case.denied.get(asked).cloned().unwrap_or_default();
            assert_eq!(denied, expected, "{}: {asked}", case.id);
            count += denied.len();
        }
    }
    assert!(count > 10_000, "{count}");
}

#[test]
fn matrix_says_of_pods_what_the_evaluator_says() {
    let suite = suite();
    let asked = [(Protocol::Tcp, 8080), (Protocol::Tcp, 9100), (Protocol::Udp, 5300), (Protocol::Sctp, 7000)];
    for case in cases(&suite) {
        let cluster = cluster(&suite.world, case);
        for row in matrix(&cluster, &PortChoice::Listed(asked.into())).into_iter().filter(|row| row.from != row.to) {
            let (from, to) = (&cluster.pods[&row.from.name], &cluster.pods[&row.to.name]);
            let traffic = Traffic::Port { protocol: row.protocol, number: row.port };
            let routes = from.addresses.iter().flat_map(|from| to.addresses.iter().map(move |to| (*from, *to)));
            let mut routes = routes.filter(|(from, to)| from.is_ipv4() == to.is_ipv4()).peekable();
            let pass = |(source, target)| {
                let (from, to) = (Party::pod_at(from, Some(source)), Party::pod_at(to, Some(target)));
                verdict_by(&cluster, &from, &to, traffic, Reach::Directly).is_allowed()
            };
            assert_eq!(row.allowed, routes.peek().is_some() && routes.all(pass), "{}: {row:?}", case.id);
        }
    }
}

/// The fields that podgate complains of and the experimental channel's API server doesn't, by object, and why.
const STRICTER: [(&str, &[&str]); 6] = [
    // What the API server accepts and no reader can understand.
    ("named-port-empty", &["spec.ingress[0].protocols[0].destinationNamedPort"]),
    ("selector-operator", &["spec.ingress[0].from[0].namespaces.matchExpressions[0].operator"]),
    ("selector-values", &["spec.ingress[0].from[0].namespaces.matchExpressions[0].values"]),
    // Not supported.
    ("names-in-the-standard-channel", &["spec.egress[0].to[0].domainNames"]),
    ("deny-with-names", &["spec.egress[0].to[0].domainNames"]),
    // Said once, of the field that is unknown.
    ("networks-in-ingress", &["spec.ingress[0].from[0].networks"]),
];

#[test]
fn objects_are_refused_by_the_fields_that_the_api_server_names() {
    let suite = suite();
    for object in &suite.objects {
        let loaded = manifests::parse(Path::new("object.json"), &object.policy.to_string());
        let found: BTreeSet<_> = loaded.problems.iter().map(|it| it.field.clone().unwrap_or_default()).collect();
        let field = |error: &String| error.split(": ").next().unwrap_or_default().to_owned();
        let stated = || object.errors["experimental"].iter().map(field).collect();
        let stricter = STRICTER.iter().find(|(id, _)| *id == object.id);
        let expected: BTreeSet<_> = match (stricter, object.id.as_str()) {
            (Some((_, fields)), _) => fields.iter().map(|&field| field.to_owned()).collect(),
            (None, "v1alpha1") => ["apiVersion".to_owned()].into(),
            // The standard channel's API server accepts it, and it means the pods of the block.
            (None, "named-port-with-networks") => BTreeSet::new(),
            (None, _) => stated(),
        };
        assert_eq!(found, expected, "{}: {:#?}", object.id, loaded.problems);
    }
    assert_eq!(suite.objects.len(), 44);
}
