//! Which veth a pod gets that has none for certain.
//!
//! A pod and a namespace fit if the namespace was given one of the pod's addresses. Nearly always each fits one other
//! and that is all. Where not, the pair that leaves the least doubt goes first:
//!
//! 1. The surest [`Evidence`], and a pod that is not terminating before one that is.
//! 2. The pair that is bound already.
//! 3. The namespace that fits the fewest pods. So of two namespaces with a pod's address, the pod gets the one that can
//!    only be its own, and the one that also has another pod's address goes to that pod.
//! 4. A namespace that was not another pod's before: its owner has ended and it is about to go.
//! 5. A pod that has not had a veth yet, before one that lost its veth: of two pods with one address the former is the
//!    new one.
//! 6. The pod that was seen last, for the same reason.
//! 7. The smaller pod name and ifindex, so that the outcome depends on nothing else.
//!
//! A terminating pod gets no new sandbox: one that has lost its veth, or whose status is older than the interface, is no
//! candidate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_policy::model::Pod;

use super::evidence::Evidence;
use super::history::History;
use super::scene::Scene;
use super::{Binding, PodId};
use crate::netlink::Veth;

/// A pod on the veth to enforce it on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit<'a> {
    pub(super) veth: &'a Veth,
    pub(super) evidence: Evidence,
}

/// The pairs of a namespace and a pod that fit.
type Fits<'a, 'p> = BTreeMap<(i32, &'p PodId), Fit<'a>>;

/// What is not to be asked any more, and what may be asked again.
pub(super) struct Standing<'s> {
    /// Namespaces that are somebody's for certain.
    pub(super) namespaces: BTreeSet<i32>,
    /// Pods that have a veth for certain.
    pub(super) pods: BTreeSet<&'s PodId>,
    /// The other bindings, by ifindex, with their evidence. They stand as long as nothing surer is found.
    pub(super) tentative: BTreeMap<u32, (&'s Binding, Evidence)>,
}

impl Standing<'_> {
    /// Whether a pod is bound to an interface, though not for certain.
    pub(super) fn is_bound(&self, pod: &PodId, ifindex: u32) -> bool {
        self.tentative.get(&ifindex).is_some_and(|(binding, _)| binding.pod == *pod)
    }

    fn has_veth(&self, pod: &PodId) -> bool {
        self.tentative.values().any(|(binding, _)| binding.pod == *pod)
    }
}

/// Pairs pods with veths.
pub(super) fn assign<'a>(scene: &Scene<'a>, history: &History, standing: &Standing<'_>) -> Vec<(PodId, Fit<'a>)> {
    let search = Search { scene, history, standing };
    let mut fits = search.fits();
    let mut assigned = Vec::new();
    while let Some((namespace, id)) = search.least_doubtful(&fits) {
        assigned.extend(fits.get(&(namespace, id)).map(|fit| (id.clone(), *fit)));
        fits.retain(|(other, pod), _| *other != namespace && *pod != id);
    }
    assigned
}

struct Search<'s, 'a> {
    scene: &'s Scene<'a>,
    history: &'s History,
    standing: &'s Standing<'s>,
}

impl<'s, 'a> Search<'s, 'a> {
    fn fits(&self) -> Fits<'a, 's> {
        let mut fits = Fits::new();
        for (id, pod) in self.scene.pods.iter().filter(|(id, _)| !self.standing.pods.contains(id)) {
            fits.extend(self.fits_of(id, pod).into_iter().map(|(namespace, fit)| ((namespace, id), fit)));
        }
        for (binding, evidence) in self.standing.tentative.values() {
            let Some((id, _)) = self.scene.pods.get_key_value(&binding.pod) else { continue };
            let Some(veth) = self.scene.view.veths.get(&binding.ifindex) else { continue };
            if self.standing.namespaces.contains(&veth.netns_id) {
                continue;
            }
            let fit = fits.entry((veth.netns_id, id)).or_insert(Fit { veth, evidence: *evidence });
            fit.evidence = fit.evidence.min(*evidence);
        }
        fits
    }

    /// The namespaces that may be a pod's.
    fn fits_of(&self, id: &PodId, pod: &Pod) -> BTreeMap<i32, Fit<'a>> {
        let lost_its_veth = self.history.of(id).0 && !self.standing.has_veth(id);
        if pod.terminating && lost_its_veth {
            return BTreeMap::new();
        }
        let mut fits: BTreeMap<i32, Fit<'a>> = BTreeMap::new();
        let mut add = |namespace: i32, evidence: Evidence| {
            let too_late = pod.terminating && evidence >= Evidence::Earlier;
            let possible = !too_late && !self.standing.namespaces.contains(&namespace);
            let Some(veth) = self.veth_for(namespace, id, pod).filter(|_| possible) else { return };
            let fit = fits.entry(namespace).or_insert(Fit { veth, evidence });
            fit.evidence = fit.evidence.min(evidence);
        };
        for (namespace, veths) in &self.scene.namespaces {
            if let Some(evidence) = veths.iter().filter_map(|veth| self.remembered(veth, id, pod)).min() {
                add(*namespace, evidence);
            }
        }
        for address in &pod.addresses {
            for namespace in self.scene.given_to.get(address).into_iter().flatten() {
                add(*namespace, self.order(*namespace, id, pod, address));
            }
        }
        if fits.is_empty() {
            for (namespace, veth) in self.shown(pod) {
                fits.insert(namespace, Fit { veth, evidence: Evidence::Shown });
            }
        }
        fits
    }

    /// What the order tells in which a pod's status and a namespace came to have an address. What was told later tells
    /// nothing of a namespace where another was given the address later still, nor does it take one from a pod that has
    /// an address there besides: a pod may have added another's.
    fn order(&self, namespace: i32, id: &PodId, pod: &Pod, address: &IpAddr) -> Evidence {
        let veths = &self.scene.namespaces[&namespace];
        let shown = |namespace: &i32| self.history.shown(&self.scene.namespaces[namespace], address);
        let others = self.scene.given_to.get(address).into_iter().flatten().filter(|other| **other != namespace);
        let given_again = others.into_iter().any(|other| shown(other) > shown(&namespace));
        let evidence = self.history.order(id, veths, address);
        if evidence == Evidence::Told && (given_again || self.has_more(namespace, id, pod)) {
            Evidence::Unordered
        } else {
            evidence
        }
    }

    /// Whether another pod that is bound to a namespace was given an address there that this one does not have.
    fn has_more(&self, namespace: i32, id: &PodId, pod: &Pod) -> bool {
        let veths = || self.scene.namespaces[&namespace].iter();
        let bound =
            veths().filter_map(|veth| self.standing.tentative.get(&veth.ifindex)).map(|(binding, _)| &binding.pod);
        let others = bound.filter(|other| *other != id).filter_map(|other| self.scene.pods.get(other));
        let mut addresses = others.flat_map(|other| &other.addresses);
        let is_given = |address: &IpAddr| veths().any(|veth| self.scene.given(veth).contains(address));
        addresses.any(|address| is_given(address) && !pod.addresses.contains(address))
    }

    /// What it says of a pod and a veth that the one was enforced on the other before the start; nothing if its status says
    /// otherwise.
    fn remembered(&self, veth: &Veth, id: &PodId, pod: &Pod) -> Option<Evidence> {
        let given = self.scene.given(veth);
        let agrees = pod.addresses.is_empty() || pod.addresses.iter().any(|address| given.contains(address));
        let (remembered, firm) = self.scene.remembered_pod(veth.ifindex)?;
        (agrees && remembered == id).then_some(if firm { Evidence::Remembered } else { Evidence::Unordered })
    }

    /// The namespaces that show an address of a pod, though they were given others first: on a second network, or a
    /// link-local one. What was given an address that may be a pod's is that pod's, whatever it shows.
    fn shown(&self, pod: &Pod) -> Vec<(i32, &'a Veth)> {
        if pod.terminating {
            return Vec::new();
        }
        let free = |namespace: &&i32| {
            !self.standing.namespaces.contains(namespace) && !self.scene.was_given_a_pods(**namespace)
        };
        let has_address = |veth: &&'a Veth| pod.addresses.iter().any(|it| veth.interface_addresses.contains(it));
        let veth = |namespace| self.bindable(namespace).find(has_address).or_else(|| self.bindable(namespace).next());
        let namespaces = pod.addresses.iter().filter_map(|address| self.scene.shown_in.get(address)).flatten();
        namespaces.filter(free).filter_map(|&namespace| Some((namespace, veth(namespace)?))).collect()
    }

    fn bindable(&self, namespace: i32) -> impl Iterator<Item = &'a Veth> {
        let veths = self.scene.namespaces.get(&namespace).into_iter().flatten().copied();
        veths.filter(|veth| !self.scene.is_excluded(veth.ifindex))
    }

    /// The veth to enforce a pod on, of those into the namespace that may be bound: the one it is or was enforced on, else
    /// the one whose peer carries its address, else one that came when the namespace had its address, else the first that
    /// was made.
    fn veth_for(&self, namespace: i32, id: &PodId, pod: &Pod) -> Option<&'a Veth> {
        let has_address =
            |addresses: &BTreeSet<IpAddr>| pod.addresses.iter().any(|address| addresses.contains(address));
        self.bindable(namespace).min_by_key(|veth| {
            let was_given = has_address(self.scene.given(veth));
            let was_enforced = was_given && self.scene.is_remembered(veth.ifindex);
            let is_bound = self.standing.is_bound(id, veth.ifindex);
            (!is_bound, !was_enforced, !has_address(&veth.interface_addresses), !was_given, veth.ifindex)
        })
    }

    fn least_doubtful(&self, fits: &Fits<'a, 's>) -> Option<(i32, &'s PodId)> {
        let mut pods_at: BTreeMap<i32, usize> = BTreeMap::new();
        for (namespace, _) in fits.keys() {
            *pods_at.entry(*namespace).or_default() += 1;
        }
        let least = fits.iter().min_by_key(|((namespace, pod), fit)| {
            let ifindex = fit.veth.ifindex;
            let veths = self.scene.namespaces.get(namespace).into_iter().flatten();
            let was_anothers = veths.into_iter().any(|veth| self.history.was_bound_to_another(veth.ifindex, pod));
            let (lost_its_veth, seen) = self.history.of(pod);
            let doubt = (fit.evidence, self.scene.pods[*pod].terminating, !self.standing.is_bound(pod, ifindex));
            (doubt, pods_at[namespace], was_anothers, lost_its_veth, Reverse(seen), *pod, ifindex)
        });
        least.map(|(place, _)| *place)
    }
}
