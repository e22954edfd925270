//! The cases of `cluster-cases.json`: a cluster, ClusterNetworkPolicies, and what they say of packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::Traffic;
use podgate_policy::model::Protocol;
use podgate_source::manifests;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(crate) struct Suite {
    pub(crate) world: World,
    pub(crate) cases: Vec<Case>,
    pub(crate) objects: Vec<Object>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct World {
    pub(crate) namespaces: BTreeMap<String, Value>,
    pub(crate) nodes: Vec<WorldNode>,
    pub(crate) pods: Vec<WorldPod>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct WorldNode {
    pub(crate) name: String,
    pub(crate) labels: Value,
    pub(crate) addresses: Vec<IpAddr>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct WorldPod {
    pub(crate) ns: String,
    pub(crate) name: String,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) node: String,
    pub(crate) labels: Value,
    pub(crate) ports: Value,
    #[serde(default, rename = "hostNetwork")]
    pub(crate) host_network: bool,
    pub(crate) phase: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) policies: Vec<Value>,
    pub(crate) cluster_policies: Vec<Value>,
    #[serde(default)]
    pub(crate) namespaces: BTreeMap<String, Value>,
    pub(crate) checks: Vec<Check>,
    pub(crate) denied: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) protocol: String,
    pub(crate) port: Option<u16>,
    pub(crate) allowed: bool,
    pub(crate) version: Option<u8>,
    pub(crate) via: Option<String>,
    pub(crate) egress: Value,
    pub(crate) ingress: Value,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum End {
    Named(String),
    Node { node: String },
}

#[derive(Deserialize)]
pub(crate) struct Object {
    pub(crate) id: String,
    pub(crate) policy: Value,
    pub(crate) errors: BTreeMap<String, Vec<String>>,
}

/// Cases whose verdicts are those of a reader with other features, and which.
pub(crate) const OTHER_FEATURES: [(&str, &str); 3] = [
    ("nodes-unsupported", "podgate's offline commands support `nodes`"),
    ("names-exact", "podgate does not support `domainNames`"),
    ("names-wildcard", "podgate does not support `domainNames`"),
];

/// All of them.
pub(crate) fn suite() -> Suite {
    serde_json::from_str(include_str!("cluster-cases.json")).expect("cases")
}

/// The cases that podgate's features are meant by.
pub(crate) fn cases(suite: &Suite) -> impl Iterator<Item = &Case> {
    suite.cases.iter().filter(|case| !OTHER_FEATURES.iter().any(|(id, _)| *id == case.id))
}

/// The state of a case, as it is read from a file.
pub(crate) fn cluster(world: &World, case: &Case) -> Cluster {
    let namespaces = world.namespaces.iter().map(|(name, labels)| {
        let labels = case.namespaces.get(name).unwrap_or(labels);
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    });
    let nodes = world.nodes.iter().map(|node| {
        let addresses: Vec<_> = node.addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        let metadata = json!({"name": node.name, "labels": node.labels});
        json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"addresses": addresses}})
    });
    let pods = world.pods.iter().map(|pod| {
        let ips: Vec<_> = pod.ips.iter().map(|ip| json!({"ip": ip})).collect();
        let phase = pod.phase.as_deref().unwrap_or("Running");
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": pod.ns, "name": pod.name, "labels": pod.labels},
            "spec": {
                "nodeName": pod.node,
                "hostNetwork": pod.host_network,
                "containers": [{"name": "serve", "ports": pod.ports}],
            },
            "status": {"phase": phase, "podIPs": ips},
        })
    });
    let policies = case.policies.iter().chain(&case.cluster_policies).cloned();
    let items: Vec<_> = namespaces.chain(nodes).chain(pods).chain(policies).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    manifests::parse(Path::new("case.json"), &list.to_string()).cluster
}

/// What is asked about.
pub(crate) fn traffic(protocol: &str, port: Option<u16>) -> Traffic {
    let protocol = Protocol::ALL.into_iter().find(|known| known.as_str() == protocol);
    protocol.zip(port).map_or(Traffic::Other, |(protocol, number)| Traffic::Port { protocol, number })
}
