//! Which veth is which pod's. Pure: views of the host and pods go in, decisions come out.
//!
//! A pod with NET_ADMIN can add any address to its own interface, so the addresses that a namespace shows prove
//! nothing about whose it is. Three rules keep an address from leading to the wrong pod:
//!
//! - **Only addresses that a namespace was given count**: those it showed first, per family. A CNI plugin configures
//!   them before anything runs in the pod. After a restart of the agent that beginning is over, so the addresses that
//!   the interface was enforced with before ([`Bindings::resume`]) count instead.
//! - **The surest evidence counts**, see `evidence`: what CNI said, then a status that told the address after the interface had
//!   it. What is less sure stands until something surer is found; what is sure stands until the veth is gone or the pod's
//!   own status says that it is elsewhere. A bound namespace is never anybody else's meanwhile.
//! - **The least doubtful pair goes first** where several pods and namespaces fit each other; see `assign`.
//!
//! A status from before the interface came may be that of another sandbox: where other pods of the node have no veth yet, a veth
//! that only such a status speaks for is isolated for a while, or until a status tells whose it is.
//!
//! An interface that was enforced is not let go of as long as it is there: it is its pod's, or another's, or isolated. Only
//! that of a pod whose status says that it has ended is.
//!
//! What remains: an agent that starts on a node for the first time and finds a pod that has taken over another's address
//! and given up its own, so that both namespaces look alike. The older interface wins then, which may be the wrong one;
//! both veths are listed, the second one as a veth without a pod, and the pod without a veth too. The same holds for a
//! pod that is given no address of a family and adds another pod's address of that family, as long as the agent does
//! not yet know its own address and the other pod has no veth.
//!
//! An interface that CNI hands over ([`Bindings::hand_over`]) is the pod's that CNI names: nothing is surer, since nothing
//! runs in the pod yet. Such an interface is isolated until that pod is known, and so is, if
//! [`Bindings::isolate_unknown`] was asked for, every other veth that looks like a pod's.
//!
//! A veth is the uplink, not a pod's, if it carries the default route, an address of the node or the way to the API
//! server: never bound, whatever addresses are behind it.

mod anomalies;
mod assign;
mod decision;
mod evidence;
mod handover;
mod history;
mod scene;
#[cfg(test)]
mod tests;
mod unclaimed;

pub use decision::{Anomaly, Binding, Decision, NoVeth, NodeFacts, PodId};
pub use evidence::Remembered;
pub use handover::Handover;
pub use unclaimed::Unclaimed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use podgate_policy::model::{ObjectKey, Pod};

use crate::netlink::HostView;
use anomalies::Inspection;
use assign::{Fit, Standing, assign};
use evidence::Evidence;
use handover::Handovers;
use history::History;
use scene::Scene;

/// So long an interface is isolated that may be another pod's than the one whose status has its address: the kubelet of
/// the node is slow to tell new addresses while many pods start.
const CONFIRMATION: Duration = Duration::from_secs(30);

/// The bindings of this node's pods to veths.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    bound: BTreeMap<u32, Binding>,
    /// Why they are bound.
    evidence: BTreeMap<u32, Evidence>,
    handovers: Handovers,
    /// The interfaces that are isolated because their pod is not known.
    isolated: BTreeMap<u32, Unclaimed>,
    /// The interfaces that were enforced and are there: they stay so, whatever becomes of their pods.
    enforced: BTreeSet<u32>,
    /// The interfaces that may be another pod's than the one that they seem to be, and since when.
    doubtful: BTreeMap<u32, Instant>,
    isolate_unknown: bool,
    /// What interfaces were enforced for before the start, by ifindex.
    remembered: BTreeMap<u32, Remembered>,
    history: History,
    anomalies: Vec<Anomaly>,
    /// Addresses in foreign namespaces at the last update: pod, address, and the veth they are behind.
    foreign: BTreeSet<(PodId, IpAddr, u32)>,
    foreign_addresses_seen: u64,
}

impl Bindings {
    /// Goes on where an agent before this one stopped: `enforced` is what each interface was enforced for, by ifindex. As
    /// long as such an interface is there, what its namespace shows does not matter, and it is not let go of.
    #[must_use]
    pub fn resume(enforced: BTreeMap<u32, Remembered>) -> Self {
        let interfaces = enforced.keys().copied().collect();
        Self { remembered: enforced, enforced: interfaces, ..Self::default() }
    }

    /// Isolates every veth that looks like a pod's until the pod behind it is known.
    pub fn isolate_unknown(&mut self) {
        self.isolate_unknown = true;
    }

    /// Takes in what CNI says of an interface. It counts until the interface is gone.
    pub fn hand_over(&mut self, handover: Handover) {
        self.handovers.add(handover, true);
    }

    /// Takes in what CNI said of an interface to an agent before this one.
    pub fn recall(&mut self, handover: Handover) {
        self.handovers.add(handover, false);
    }

    /// What CNI said of the interfaces that are there, in order of ifindex.
    pub fn handovers(&self) -> impl Iterator<Item = &Handover> {
        self.handovers.iter()
    }

    /// Takes in what is there now and tells what to do. `pods` are the pods of this node, of every phase, host-network
    /// ones included.
    pub fn update<'a>(
        &mut self,
        view: &HostView,
        pods: impl IntoIterator<Item = &'a Pod>,
        node: &NodeFacts,
        now: Instant,
    ) -> Vec<Decision> {
        self.remembered.retain(|ifindex, _| view.veths.contains_key(ifindex));
        self.enforced.retain(|ifindex| view.veths.contains_key(ifindex));
        let remembered = std::mem::take(&mut self.remembered);
        let pods: Vec<&Pod> = pods.into_iter().collect();
        let scene = Scene::new(view, &pods, node, &remembered);
        self.history.begin(view, scene.pods.iter());
        self.handovers.look(view);
        let before = (std::mem::take(&mut self.bound), std::mem::take(&mut self.isolated));
        let finished = before.0.values().filter(|binding| scene.finished.contains(&binding.pod));
        for binding in finished {
            self.enforced.remove(&binding.ifindex);
        }
        self.bind(&scene, &before.0, now);
        self.isolated = self.unclaimed(&scene);
        self.anomalies = Inspection::new(&scene, &self.bound).anomalies();
        self.count_foreign();
        let decisions = self.decisions(&before.0, &before.1);
        self.remembered = remembered;
        decisions
    }

    /// When to update though nothing has changed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.doubtful.values().min().map(|since| *since + CONFIRMATION)
    }

    /// Whether it is certain that the pod bound to an interface is the one behind it.
    #[must_use]
    pub fn is_firm(&self, ifindex: u32) -> bool {
        self.evidence.get(&ifindex).is_some_and(|evidence| evidence.is_firm())
    }

    /// The interfaces that are isolated although they were enforced for nobody.
    pub fn isolated_unknown(&self) -> impl Iterator<Item = u32> {
        self.isolated.keys().copied().filter(|ifindex| !self.enforced.contains(ifindex))
    }

    /// Gives a pod another name: its object is gone, and the name is another pod's by now.
    pub fn rename(&mut self, pod: &PodId, key: &ObjectKey) {
        let renamed = PodId { key: key.clone(), uid: pod.uid.clone() };
        let bound = self.bound.values_mut().map(|binding| &mut binding.pod);
        let remembered = self.remembered.values_mut().filter_map(|remembered| remembered.pod.as_mut());
        let names = bound.chain(remembered).filter(|name| *name == pod);
        names.for_each(|name| name.clone_from(&renamed));
        self.handovers.rename(pod, &renamed);
        self.history.rename(pod, renamed);
    }

    /// Whether a pod had an interface that is gone, and has none now.
    #[must_use]
    pub fn has_lost(&self, pod: &PodId) -> bool {
        self.history.of(pod).0 && !self.bound.values().any(|binding| binding.pod == *pod)
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

    /// Finds anew which pod is behind which interface. What was bound stays so unless something surer is found.
    fn bind(&mut self, scene: &Scene<'_>, before: &BTreeMap<u32, Binding>, now: Instant) {
        let chosen = self.handovers.chosen(scene);
        let stays = |binding: &&Binding| {
            scene.view.veths.contains_key(&binding.ifindex)
                && scene.pods.contains_key(&binding.pod)
                && !self.handovers.contradict(binding, &chosen)
                && !self.is_elsewhere(scene, binding)
        };
        let kept: Vec<&Binding> = before.values().filter(stays).collect();
        let (firm, tentative): (Vec<&Binding>, Vec<&Binding>) =
            kept.into_iter().partition(|binding| self.is_settled(scene, binding));
        let firm_at: BTreeSet<u32> = firm.iter().map(|binding| binding.ifindex).collect();
        let handed = chosen.into_iter().filter(|(_, handover)| !firm_at.contains(&handover.ifindex));
        let handed: BTreeMap<PodId, u32> = handed.map(|(pod, handover)| (pod, handover.ifindex)).collect();
        // What CNI has handed over is nobody else's, whether or not its pod is known.
        let spoken_for = self.handovers.iter().filter_map(|handover| scene.netns_of(handover.ifindex));
        let is_handed = |binding: &&Binding| handed.values().any(|ifindex| *ifindex == binding.ifindex);
        let standing = Standing {
            namespaces: firm.iter().filter_map(|binding| scene.netns_of(binding.ifindex)).chain(spoken_for).collect(),
            pods: firm.iter().map(|binding| &binding.pod).chain(handed.keys()).collect(),
            tentative: tentative
                .into_iter()
                .filter(|binding| !is_handed(binding) && !handed.contains_key(&binding.pod))
                .filter_map(|binding| Some((binding.ifindex, (binding, *self.evidence.get(&binding.ifindex)?))))
                .collect(),
        };
        let assigned = assign(scene, &self.history, &standing);
        let assigned = self.confirmed(scene, assigned, &standing, now);
        let firm = firm.into_iter().filter_map(|binding| {
            let evidence = self.evidence.get(&binding.ifindex).copied().unwrap_or(Evidence::Unordered);
            Some((binding.pod.clone(), scene.view.veths.get(&binding.ifindex)?, evidence))
        });
        let handed =
            handed.into_iter().filter_map(|(pod, at)| Some((pod, scene.view.veths.get(&at)?, Evidence::HandedOver)));
        let all: Vec<_> =
            firm.chain(handed).chain(assigned.into_iter().map(|(pod, fit)| (pod, fit.veth, fit.evidence))).collect();
        self.evidence.clear();
        for (pod, veth, evidence) in all {
            self.history.bound(&pod, veth.ifindex);
            self.enforced.insert(veth.ifindex);
            self.evidence.insert(veth.ifindex, evidence);
            let former = before.get(&veth.ifindex).filter(|former| former.pod == pod);
            let mut addresses = addresses(self.handovers.get(veth.ifindex), scene.pods[&pod]);
            if addresses.is_empty() {
                // A pod whose status has lost its addresses keeps those it had.
                let remembered = scene.given(veth);
                addresses = former.map_or_else(|| remembered.clone(), |former| former.addresses.clone());
            }
            let binding = Binding { ifindex: veth.ifindex, pod, netns_id: veth.netns_id, addresses };
            self.bound.insert(veth.ifindex, binding);
        }
    }

    /// Whether a binding is not asked about again: nothing is surer, or its namespace is going away.
    fn is_settled(&self, scene: &Scene<'_>, binding: &Binding) -> bool {
        self.is_firm(binding.ifindex) || scene.netns_of(binding.ifindex).is_none()
    }

    /// Whether a pod's status says that it is somewhere else than where it is bound. What CNI said is surer.
    fn is_elsewhere(&self, scene: &Scene<'_>, binding: &Binding) -> bool {
        let (Some(pod), Some(veth)) = (scene.pods.get(&binding.pod), scene.view.veths.get(&binding.ifindex)) else {
            return true;
        };
        let here = |address: &IpAddr| {
            binding.addresses.contains(address)
                || scene.given(veth).contains(address)
                || veth.peer_addresses.contains(address)
        };
        let handed_over = self.evidence.get(&binding.ifindex) == Some(&Evidence::HandedOver);
        !handed_over && !pod.addresses.is_empty() && !pod.addresses.iter().any(here)
    }

    /// Leaves out the pairs that are in doubt: a pod whose status is older than the interface, while there are other pods
    /// whose interface it may be.
    fn confirmed<'a>(
        &mut self,
        scene: &Scene<'_>,
        assigned: Vec<(PodId, Fit<'a>)>,
        standing: &Standing<'_>,
        now: Instant,
    ) -> Vec<(PodId, Fit<'a>)> {
        let has_veth = |id: &PodId| standing.pods.contains(id) || assigned.iter().any(|(other, _)| other == id);
        let others = scene.pods.iter().any(|(id, pod)| !pod.terminating && !has_veth(id));
        let former = std::mem::take(&mut self.doubtful);
        let mut confirmed = Vec::new();
        for (pod, fit) in assigned.iter().cloned() {
            let since = former.get(&fit.veth.ifindex).copied().unwrap_or(now);
            let is_new = !standing.is_bound(&pod, fit.veth.ifindex);
            if is_new && fit.evidence == Evidence::Earlier && others && now < since + CONFIRMATION {
                self.doubtful.insert(fit.veth.ifindex, since);
            } else {
                confirmed.push((pod, fit));
            }
        }
        confirmed
    }

    /// What leads from what was to what is. An interface that goes from one pod to another, or to none that is known, is
    /// enforced all the time.
    fn decisions(&self, bound: &BTreeMap<u32, Binding>, isolated: &BTreeMap<u32, Unclaimed>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for (ifindex, binding) in bound {
            if !self.bound.contains_key(ifindex) && !self.isolated.contains_key(ifindex) {
                decisions.push(Decision::Unbind { ifindex: *ifindex, pod: binding.pod.clone() });
            }
        }
        let is_update = |binding: &Binding| bound.get(&binding.ifindex).is_some_and(|former| former.pod == binding.pod);
        let changed = self.bound.values().filter(|binding| bound.get(&binding.ifindex) != Some(binding));
        let (updated, made): (Vec<&Binding>, Vec<&Binding>) = changed.partition(|binding| is_update(binding));
        decisions.extend(updated.into_iter().cloned().map(Decision::Update));
        decisions.extend(made.into_iter().cloned().map(Decision::Bind));
        let left = isolated.keys().filter(|it| !self.isolated.contains_key(it) && !self.bound.contains_key(it));
        decisions.extend(left.map(|&ifindex| Decision::Abandon { ifindex }));
        let new = self.isolated.iter().filter(|(ifindex, unclaimed)| isolated.get(ifindex) != Some(unclaimed));
        decisions.extend(new.map(|(_, unclaimed)| Decision::Isolate(unclaimed.clone())));
        decisions
    }

    fn count_foreign(&mut self) {
        let now: BTreeSet<_> = self
            .anomalies
            .iter()
            .filter_map(|anomaly| match anomaly {
                Anomaly::AddressElsewhere { pod, address, ifindex, .. } => Some((pod.clone(), *address, *ifindex)),
                _ => None,
            })
            .collect();
        self.foreign_addresses_seen += now.difference(&self.foreign).count() as u64;
        self.foreign = now;
    }
}

/// The addresses of a pod on an interface: those that CNI gave it, which its status may not have yet, or still not have
/// after its sandbox was made anew; of a family that CNI did not give, those of its status.
fn addresses(handover: Option<&Handover>, pod: &Pod) -> BTreeSet<IpAddr> {
    let mut addresses = handover.map(|handover| handover.addresses.clone()).unwrap_or_default();
    let given = [true, false].map(|ipv4| addresses.iter().any(|address| address.is_ipv4() == ipv4));
    let more = pod.addresses.iter().filter(|address| !given[usize::from(address.is_ipv6())]);
    addresses.extend(more);
    addresses
}
