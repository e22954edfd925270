//! What bindings remember of pods and veths.

use std::collections::{BTreeMap, BTreeSet};

use super::PodId;
use crate::netlink::HostView;

/// What happened to the pods and veths that are still there.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    updates: u64,
    pods: BTreeMap<PodId, PodHistory>,
    /// The pods that were bound to a veth, by ifindex.
    veths: BTreeMap<u32, BTreeSet<PodId>>,
}

#[derive(Clone, Debug)]
struct PodHistory {
    /// The update that showed it first.
    seen: u64,
    /// Whether it was bound to a veth.
    bound: bool,
}

impl History {
    /// Begins an update in which these pods are there; forgets what is not there any more.
    pub(super) fn begin<'a>(&mut self, view: &HostView, pods: impl Iterator<Item = &'a PodId>) {
        self.updates += 1;
        let mut before = std::mem::take(&mut self.pods);
        let seen = self.updates;
        let now =
            pods.map(|id| before.remove_entry(id).unwrap_or_else(|| (id.clone(), PodHistory { seen, bound: false })));
        self.pods = now.collect();
        self.veths.retain(|ifindex, _| view.veths.contains_key(ifindex));
    }

    /// Notes that a pod was bound to a veth.
    pub(super) fn bound(&mut self, pod: &PodId, ifindex: u32) {
        if let Some(history) = self.pods.get_mut(pod) {
            history.bound = true;
        }
        self.veths.entry(ifindex).or_default().insert(pod.clone());
    }

    /// Whether a pod was bound before, and the update that showed it first.
    pub(super) fn of(&self, pod: &PodId) -> (bool, u64) {
        self.pods.get(pod).map_or((false, 0), |history| (history.bound, history.seen))
    }

    /// Whether a veth was bound to another pod than this.
    pub(super) fn was_bound_to_another(&self, ifindex: u32, pod: &PodId) -> bool {
        self.veths.get(&ifindex).is_some_and(|pods| pods.iter().any(|other| other != pod))
    }
}
