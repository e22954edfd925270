//! The state of a cluster that verdicts depend on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Namespace, ObjectKey, Pod, Policy};

/// Every object that policy depends on. A pod whose namespace is unknown is in a namespace without labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Namespaces by name.
    pub namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    /// Pods of all nodes.
    pub pods: BTreeMap<ObjectKey, Arc<Pod>>,
    /// NetworkPolicies.
    pub policies: BTreeMap<ObjectKey, Arc<Policy>>,
}
