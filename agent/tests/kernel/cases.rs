//! The policy cases and their verdicts, read from their file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::Traffic;
use podgate_policy::model::Protocol;
use podgate_source::manifests;
use serde::Deserialize;
use serde_json::{Value, json};

/// A case: states of a cluster that follow one another.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) case: u32,
    pub(crate) description: String,
    pub(crate) steps: Vec<Step>,
}

/// One state, whole, with the verdicts.
#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pods: Vec<Pod>,
    policies: Vec<Value>,
    /// By protocol and port, the pairs of pods that may talk.
    pub(crate) allowed: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Deserialize)]
struct Pod {
    namespace: String,
    name: String,
    ip: String,
    labels: BTreeMap<String, String>,
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("source/tests/conformance/cases.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Step {
    /// The state, as the agent reads it from a file.
    pub(crate) fn cluster(&self) -> Cluster {
        let namespaces = self.namespaces.iter().map(
            |(name, labels)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        );
        let items: Vec<Value> =
            namespaces.chain(self.pods.iter().map(Pod::object)).chain(self.policies.iter().cloned()).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let loaded = manifests::parse(Path::new("step.json"), &list.to_string());
        assert_eq!(loaded.problems, [], "the cases are valid");
        loaded.cluster
    }
}

impl Pod {
    /// As the API returns it. Every pod serves the same named ports.
    fn object(&self) -> Value {
        let port = |(protocol, number): (Protocol, u16)| {
            let name = format!("serve-{number}-{}", protocol.as_str().to_lowercase());
            json!({"name": name, "protocol": protocol.as_str(), "containerPort": number})
        };
        let ports: Vec<Value> =
            Protocol::ALL.into_iter().flat_map(|protocol| [(protocol, 80), (protocol, 81)]).map(port).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": self.labels},
            "spec": {"containers": [{"name": "serve", "ports": ports}]},
            "status": {"phase": "Running", "podIPs": [{"ip": self.ip}]},
        })
    }
}

/// What a key of [`Step::allowed`] is about.
pub(crate) fn traffic(text: &str) -> Traffic {
    let parsed = text.split_once('/').and_then(|(protocol, number)| {
        let protocol = Protocol::ALL.into_iter().find(|known| known.as_str() == protocol)?;
        Some(Traffic::Port { protocol, number: number.parse().ok()? })
    });
    parsed.unwrap_or_else(|| panic!("{text} is no protocol and port"))
}
