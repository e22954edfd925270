//! What CNI says of interfaces: the strongest evidence of whose one is, given before anything runs in the pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::scene::Scene;
use super::{Binding, PodId};
use crate::netlink::{HostView, Mac};

/// An interface that CNI has given to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The host's end of the pod's veth.
    pub ifindex: u32,
    /// The pod; an empty UID stands for any.
    pub pod: PodId,
    /// The addresses that it was given.
    pub addresses: BTreeSet<IpAddr>,
    /// The Ethernet address that its interface had then; `None`: that is not known.
    pub mac: Option<Mac>,
}

impl Handover {
    /// Whether a pod is the one that is meant.
    fn means(&self, pod: &PodId) -> bool {
        self.pod.key == pod.key && (self.pod.uid.is_empty() || pod.uid.is_empty() || self.pod.uid == pod.uid)
    }
}

/// The interfaces that were handed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Handovers(BTreeMap<u32, Received>);

#[derive(Clone, Debug)]
struct Received {
    handover: Handover,
    /// Whether it was handed over to this start of the agent, not to one before.
    fresh: bool,
    /// Whether the interface has been seen. What CNI says now may come before what the kernel says.
    seen: bool,
}

impl Handovers {
    /// Notes one, in place of an earlier one of the interface.
    pub(super) fn add(&mut self, handover: Handover, fresh: bool) {
        self.0.insert(handover.ifindex, Received { handover, fresh, seen: false });
    }

    /// Forgets those whose interface is gone.
    pub(super) fn look(&mut self, view: &HostView) {
        self.0.retain(|ifindex, held| {
            let is_there = view.veths.contains_key(ifindex);
            let gone = (held.seen || !held.fresh) && !is_there;
            held.seen |= is_there;
            !gone
        });
    }

    /// Goes on with a pod under another name.
    pub(super) fn rename(&mut self, pod: &PodId, renamed: &PodId) {
        for held in self.0.values_mut().filter(|held| held.handover.means(pod)) {
            held.handover.pod.clone_from(renamed);
        }
    }

    /// What was handed over on an interface.
    pub(super) fn get(&self, ifindex: u32) -> Option<&Handover> {
        self.0.get(&ifindex).map(|held| &held.handover)
    }

    /// All of them, in order of ifindex.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Handover> {
        self.0.values().map(|held| &held.handover)
    }

    /// Those that came to this start of the agent.
    pub(super) fn fresh(&self) -> impl Iterator<Item = &Handover> {
        self.0.values().filter(|held| held.fresh).map(|held| &held.handover)
    }

    /// The pods that are meant, each with its interface: that of its newest namespace, and the first one there. A pod
    /// whose sandbox is made anew has an interface in the old and in the new one for a while.
    pub(super) fn chosen<'a>(&'a self, scene: &Scene<'a>) -> BTreeMap<PodId, &'a Handover> {
        let mut chosen: BTreeMap<PodId, &Handover> = BTreeMap::new();
        for handover in self.iter().filter(|handover| scene.is_bindable(handover.ifindex)) {
            let Some(id) = pod_of(handover, scene) else { continue };
            let known = chosen.get(&id).and_then(|known| scene.netns_of(known.ifindex));
            if known.is_none() || known != scene.netns_of(handover.ifindex) {
                chosen.insert(id, handover);
            }
        }
        chosen
    }
}

impl Handovers {
    /// Whether a binding is not what CNI says: its interface is another pod's, or its pod has another interface.
    pub(super) fn contradict(&self, binding: &Binding, chosen: &BTreeMap<PodId, &Handover>) -> bool {
        let another_pod = self.get(binding.ifindex).is_some_and(|handover| !handover.means(&binding.pod));
        another_pod || chosen.get(&binding.pod).is_some_and(|handover| handover.ifindex != binding.ifindex)
    }
}

/// The pod that is meant, if it is known.
fn pod_of(handover: &Handover, scene: &Scene<'_>) -> Option<PodId> {
    scene.pods.keys().find(|id| handover.means(id)).cloned()
}
