//! A directory of Kubernetes manifests, as the agent watches it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{During, Result};
use crate::lab::Lab;
use crate::pod::{Pod, PodName};

/// A directory of manifests that belongs to a lab.
#[derive(Clone, Debug)]
pub struct Manifests {
    directory: PathBuf,
}

impl Manifests {
    /// Makes an empty one.
    ///
    /// # Errors
    /// When the lab has one of this name, or its directory can't be written to.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let directory = lab.directory().join(name);
        fs::create_dir(&directory).during(|| format!("create {}", directory.display()))?;
        Ok(Self { directory })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Writes a file, whole at once: a reader sees the old contents or the new ones.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, file: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let (path, draft) = (self.directory.join(file), self.directory.join(format!(".{file}.draft")));
        fs::write(&draft, contents).during(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).during(|| format!("rename to {}", path.display()))
    }

    /// Writes pods to a file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_pods(&self, file: &str, pods: &[PodManifest]) -> Result<()> {
        let documents: Vec<String> = pods.iter().map(|pod| pod.json().to_string()).collect();
        self.write(file, documents.join("\n---\n"))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&self, file: &str) -> Result<()> {
        let path = self.directory.join(file);
        fs::remove_file(&path).during(|| format!("remove {}", path.display()))
    }
}

/// A pod of a lab as a Kubernetes object.
#[derive(Clone, Debug)]
pub struct PodManifest {
    namespace: String,
    name: String,
    uid: String,
    node: String,
    addresses: Vec<String>,
    labels: BTreeMap<String, String>,
    ports: Vec<Value>,
    phase: String,
}

impl Pod {
    /// The pod as a running Kubernetes object with the addresses it has in the lab, without labels.
    #[must_use]
    pub fn manifest(&self) -> PodManifest {
        let name = self.name();
        PodManifest {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            uid: format!("{}-{}", self.node_name(), self.host_interface().index),
            node: self.node_name().to_owned(),
            addresses: self.addresses().both().iter().map(ToString::to_string).collect(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
            phase: "Running".to_owned(),
        }
    }
}

impl PodManifest {
    /// A pod, `name` or `namespace/name`, that is about to start on a node: it has no addresses yet.
    #[must_use]
    pub fn starting(name: &str, node: &str, uid: &str) -> Self {
        let PodName { namespace, name } = PodName::parse(name);
        Self {
            namespace,
            name,
            uid: uid.to_owned(),
            node: node.to_owned(),
            addresses: Vec::new(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
            phase: "Pending".to_owned(),
        }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a container port with a name.
    #[must_use]
    pub fn port(mut self, name: &str, protocol: &str, number: u16) -> Self {
        self.ports.push(json!({ "name": name, "protocol": protocol, "containerPort": number }));
        self
    }

    /// Sets `status.phase`.
    #[must_use]
    pub fn phase(mut self, phase: &str) -> Self {
        self.phase = phase.to_owned();
        self
    }

    /// Sets `metadata.uid`, which otherwise differs between any two pods of a lab, also those of the same name.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        self.uid = uid.to_owned();
        self
    }

    /// The object. JSON is YAML too.
    #[must_use]
    pub fn json(&self) -> Value {
        let addresses: Vec<Value> = self.addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": self.namespace, "name": self.name, "uid": self.uid, "labels": self.labels },
            "spec": { "nodeName": self.node, "containers": [{ "name": "main", "image": "none", "ports": self.ports }] },
            "status": { "phase": self.phase, "podIP": self.addresses.first(), "podIPs": addresses },
        })
    }
}
