//! Which veth an unbound pod gets.
//!
//! A pod and a namespace fit if the namespace was given one of the pod's addresses. Nearly always each fits one other
//! and that is all. Where not, the pair that leaves the least doubt goes first:
//!
//! 1. The namespace that fits the fewest pods. So of two namespaces with a pod's address, the pod gets the one that can
//!    only be its own, and the one that also has another pod's address goes to that pod.
//! 2. A namespace that was not another pod's before: its owner has ended and it is about to go.
//! 3. A pod that has not had a veth yet, before one that lost its veth: of two pods with one address the former is the
//!    new one.
//! 4. The pod that was seen last, for the same reason.
//! 5. The smaller pod name and ifindex, so that the outcome depends on nothing else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_policy::model::Pod;

use super::PodId;
use super::history::History;
use super::scene::Scene;
use crate::netlink::Veth;

/// The pairs of a namespace and a pod that fit, with the veth to enforce the pod on.
type Fits<'a, 'p> = BTreeMap<(i32, &'p PodId), &'a Veth>;

/// Pairs unbound pods with veths. `namespaces` and `pods` are those that are bound.
pub(super) fn assign<'a>(
    scene: &Scene<'a>,
    history: &History,
    namespaces: &BTreeSet<i32>,
    pods: &BTreeSet<&PodId>,
) -> Vec<(PodId, &'a Veth)> {
    let unbound = scene.pods.iter().filter(|(id, _)| !pods.contains(id));
    let mut fits: Fits<'_, '_> = BTreeMap::new();
    for (id, pod) in unbound {
        for namespace in fitting(scene, pod).filter(|namespace| !namespaces.contains(namespace)) {
            fits.extend(veth_for(scene, namespace, pod).map(|veth| ((namespace, id), veth)));
        }
    }
    let mut assigned = Vec::new();
    while let Some((namespace, id)) = least_doubtful(&fits, scene, history) {
        assigned.extend(fits.get(&(namespace, id)).map(|veth| (id.clone(), *veth)));
        fits.retain(|(other, pod), _| *other != namespace && *pod != id);
    }
    assigned
}

/// The namespaces that were given one of a pod's addresses.
fn fitting(scene: &Scene<'_>, pod: &Pod) -> impl Iterator<Item = i32> {
    pod.addresses.iter().filter_map(|address| scene.given_to.get(address)).flatten().copied()
}

/// The veth to enforce a pod on, of those into the namespace that may be bound: the one it was enforced on before the
/// start, else the one whose peer carries its address, else one that came when the namespace had its address, else the
/// first that was made.
fn veth_for<'a>(scene: &Scene<'a>, namespace: i32, pod: &Pod) -> Option<&'a Veth> {
    let has_address = |addresses: &BTreeSet<IpAddr>| pod.addresses.iter().any(|address| addresses.contains(address));
    let bindable = scene.namespaces[&namespace].iter().copied().filter(|veth| !scene.is_excluded(veth.ifindex));
    bindable.min_by_key(|veth| {
        let was_given = has_address(scene.given(veth));
        let was_enforced = was_given && scene.is_remembered(veth.ifindex);
        (!was_enforced, !has_address(&veth.interface_addresses), !was_given, veth.ifindex)
    })
}

fn least_doubtful<'a>(fits: &Fits<'_, 'a>, scene: &Scene<'_>, history: &History) -> Option<(i32, &'a PodId)> {
    let mut pods_at: BTreeMap<i32, usize> = BTreeMap::new();
    for (namespace, _) in fits.keys() {
        *pods_at.entry(*namespace).or_default() += 1;
    }
    fits.keys().copied().min_by_key(|(namespace, pod)| {
        let veths = &scene.namespaces[namespace];
        let was_anothers = veths.iter().any(|veth| history.was_bound_to_another(veth.ifindex, pod));
        let (lost_its_veth, seen) = history.of(pod);
        (pods_at[namespace], was_anothers, lost_its_veth, Reverse(seen), *pod, veths[0].ifindex)
    })
}
