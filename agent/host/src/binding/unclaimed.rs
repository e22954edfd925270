//! Interfaces that may be pods' while it is not known whose.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::scene::Scene;
use super::{Bindings, Decision, Handover, PodId};
use crate::netlink::{HostView, Veth};

/// An interface that is isolated until the pod behind it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclaimed {
    /// The host's end of the veth.
    pub ifindex: u32,
    /// The id of the namespace behind it, relative to the host's.
    pub netns_id: i32,
    /// The addresses that the namespace was given.
    pub addresses: BTreeSet<IpAddr>,
    /// The pod whose it is, if CNI told.
    pub announced: Option<PodId>,
}

impl Unclaimed {
    fn of(scene: &Scene<'_>, veth: &Veth) -> Self {
        Self { ifindex: veth.ifindex, netns_id: veth.netns_id, addresses: scene.given(veth).clone(), announced: None }
    }

    fn handed_over(handover: &Handover, veth: &Veth) -> Self {
        Self {
            ifindex: veth.ifindex,
            netns_id: veth.netns_id,
            addresses: handover.addresses.clone(),
            announced: Some(handover.pod.clone()),
        }
    }
}

impl Bindings {
    /// What to do before the pods are known: interfaces that CNI hands over to this start of the agent are isolated. Those
    /// that were handed over before are enforced as they were.
    pub fn update_handed_over(&mut self, view: &HostView) -> Vec<Decision> {
        self.handovers.look(view);
        let excluded =
            |ifindex: &u32| view.default_route_devices.contains(ifindex) || view.api_server_devices.contains(ifindex);
        let fresh = self.handovers.fresh().filter(|handover| !excluded(&handover.ifindex));
        let wanted = fresh.filter_map(|handover| {
            let veth = view.veths.get(&handover.ifindex)?;
            Some((veth.ifindex, Unclaimed::handed_over(handover, veth)))
        });
        self.isolate(wanted.collect())
    }

    /// The interfaces to isolate: those handed over whose pod is not known, those that were enforced and are nobody's now,
    /// those that are in doubt, and, if that is wanted, all others that look like a pod's.
    pub(super) fn unclaimed(&self, scene: &Scene<'_>) -> BTreeMap<u32, Unclaimed> {
        let of_pods: BTreeSet<i32> = self.bound.values().map(|binding| binding.netns_id).collect();
        let free = |veth: &&Veth| {
            let of_pod = veth.netns_id >= 0 && of_pods.contains(&veth.netns_id);
            !of_pod && !self.bound.contains_key(&veth.ifindex) && !scene.is_excluded(veth.ifindex)
        };
        let unclaimed = scene.view.veths.values().filter(free).filter_map(|veth| {
            let stays = self.enforced.contains(&veth.ifindex) || self.doubtful.contains_key(&veth.ifindex);
            match self.handovers.get(veth.ifindex).filter(|_| veth.netns_id >= 0) {
                Some(handover) => Some(Unclaimed::handed_over(handover, veth)),
                None if stays => Some(Unclaimed::of(scene, veth)),
                None if self.isolate_unknown && veth.netns_id >= 0 => candidate(scene, veth),
                None => None,
            }
        });
        unclaimed.map(|unclaimed| (unclaimed.ifindex, unclaimed)).collect()
    }

    /// Isolates these and no others.
    pub(super) fn isolate(&mut self, wanted: BTreeMap<u32, Unclaimed>) -> Vec<Decision> {
        let gone = self.isolated.keys().filter(|ifindex| !wanted.contains_key(ifindex));
        // One that is bound by now stays isolated until its pod's policies are in force.
        let abandoned = gone.filter(|ifindex| !self.bound.contains_key(ifindex));
        let abandoned = abandoned.map(|&ifindex| Decision::Abandon { ifindex });
        let new = wanted.iter().filter(|(ifindex, unclaimed)| self.isolated.get(ifindex) != Some(unclaimed));
        let decisions = abandoned.chain(new.map(|(_, unclaimed)| Decision::Isolate(unclaimed.clone()))).collect();
        self.isolated = wanted;
        decisions
    }
}

/// A veth that looks like a pod's.
fn candidate(scene: &Scene<'_>, veth: &Veth) -> Option<Unclaimed> {
    let is_candidate = !scene.pod_like_addresses(veth).is_empty();
    is_candidate.then(|| Unclaimed::of(scene, veth))
}
