//! Which veth is which pod's.

mod decision;

pub use decision::{Anomaly, Binding, Decision, NoVeth, NodeFacts, PodId};

use std::collections::BTreeMap;

use podgate_policy::model::Pod;

use crate::netlink::HostView;

/// The bindings of this node's pods to veths.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    bound: BTreeMap<u32, Binding>,
    anomalies: Vec<Anomaly>,
    foreign_addresses_seen: u64,
}

impl Bindings {
    /// Takes in what is there now and tells what to do. `pods` are the pods of this node, of every phase.
    pub fn update<'a>(
        &mut self,
        _view: &HostView,
        _pods: impl IntoIterator<Item = &'a Pod>,
        _node: &NodeFacts,
    ) -> Vec<Decision> {
        Vec::new()
    }

    /// The bindings as of the last update, by ifindex.
    #[must_use]
    pub fn bound(&self) -> &BTreeMap<u32, Binding> {
        &self.bound
    }

    /// What was odd at the last update, sorted.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        &self.anomalies
    }

    /// How often an address of a pod has turned up in a namespace that is not that pod's, since the start.
    #[must_use]
    pub fn foreign_addresses_seen(&self) -> u64 {
        self.foreign_addresses_seen
    }
}
