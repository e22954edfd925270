//! From the cluster's state to what the tables shall say, kept up to date change by change.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::ObjectKey;

/// A pod of this node, bound to a slot of the datapath.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The slot, never 0.
    pub slot: u32,
    /// The pod.
    pub pod: ObjectKey,
}

/// What may have changed since the last update: keys of objects that were applied or deleted. Naming an object that
/// did not change costs a comparison and nothing else; leaving out one that did makes its change go unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pods.
    pub pods: BTreeSet<ObjectKey>,
    /// Namespaces.
    pub namespaces: BTreeSet<Arc<str>>,
    /// Policies.
    pub policies: BTreeSet<ObjectKey>,
    /// Slots given back: the datapath has released them already. Taken before `bound`, so that a slot can pass from
    /// one pod to another in one update.
    pub released: BTreeSet<u32>,
    /// Slots that were given to a pod.
    pub bound: Vec<Endpoint>,
}
