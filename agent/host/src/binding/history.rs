//! What bindings remember of pods and veths.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_policy::model::Pod;

use super::PodId;
use super::evidence::Evidence;
use crate::netlink::{HostView, Veth};

/// What happened to the pods and veths that are still there.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    updates: u64,
    pods: BTreeMap<PodId, PodHistory>,
    veths: BTreeMap<u32, VethHistory>,
}

#[derive(Clone, Debug)]
struct PodHistory {
    /// The update that showed it first.
    seen: u64,
    /// The update since which its status has each of its addresses.
    told: BTreeMap<IpAddr, u64>,
    /// Whether it was bound to a veth.
    bound: bool,
}

#[derive(Clone, Debug, Default)]
struct VethHistory {
    /// The update that showed each address first.
    shown: BTreeMap<IpAddr, u64>,
    /// The pods that were bound to it.
    pods: BTreeSet<PodId>,
}

impl History {
    /// Begins an update in which these pods are there; forgets what is not there any more.
    pub(super) fn begin<'a>(&mut self, view: &HostView, pods: impl Iterator<Item = (&'a PodId, &'a &'a Pod)>) {
        self.updates += 1;
        let mut before = std::mem::take(&mut self.pods);
        let now = self.updates;
        for (id, pod) in pods {
            let mut history =
                before.remove(id).unwrap_or(PodHistory { seen: now, told: BTreeMap::new(), bound: false });
            let former = std::mem::take(&mut history.told);
            let since = |address: &IpAddr| (*address, former.get(address).copied().unwrap_or(now));
            history.told = pod.addresses.iter().map(since).collect();
            self.pods.insert(id.clone(), history);
        }
        self.veths.retain(|ifindex, _| view.veths.contains_key(ifindex));
        for veth in view.veths.values() {
            let history = self.veths.entry(veth.ifindex).or_default();
            for address in veth.first_addresses.union(&veth.peer_addresses) {
                history.shown.entry(*address).or_insert(now);
            }
        }
    }

    /// Notes that a pod was bound to a veth.
    pub(super) fn bound(&mut self, pod: &PodId, ifindex: u32) {
        if let Some(history) = self.pods.get_mut(pod) {
            history.bound = true;
        }
        self.veths.entry(ifindex).or_default().pods.insert(pod.clone());
    }

    /// Goes on with a pod under another name.
    pub(super) fn rename(&mut self, pod: &PodId, renamed: PodId) {
        for veth in self.veths.values_mut() {
            if veth.pods.remove(pod) {
                veth.pods.insert(renamed.clone());
            }
        }
        if let Some(history) = self.pods.remove(pod) {
            self.pods.insert(renamed, history);
        }
    }

    /// Whether a pod was bound before, and the update that showed it first.
    pub(super) fn of(&self, pod: &PodId) -> (bool, u64) {
        self.pods.get(pod).map_or((false, 0), |history| (history.bound, history.seen))
    }

    /// Whether a veth was bound to another pod than this.
    pub(super) fn was_bound_to_another(&self, ifindex: u32, pod: &PodId) -> bool {
        self.veths.get(&ifindex).is_some_and(|history| history.pods.iter().any(|other| other != pod))
    }

    /// What the order tells in which a pod's status and one of these veths, of one namespace, came to have an address.
    pub(super) fn order(&self, pod: &PodId, veths: &[&Veth], address: &IpAddr) -> Evidence {
        let told = self.pods.get(pod).and_then(|history| history.told.get(address));
        match (told, self.shown(veths, address)) {
            (Some(&told), Some(shown)) if told > shown => Evidence::Told,
            (Some(&told), Some(shown)) if told < shown => Evidence::Earlier,
            _ => Evidence::Unordered,
        }
    }

    /// The update that first showed an address behind one of these veths.
    pub(super) fn shown(&self, veths: &[&Veth], address: &IpAddr) -> Option<u64> {
        veths.iter().filter_map(|veth| self.veths.get(&veth.ifindex)?.shown.get(address)).min().copied()
    }
}
