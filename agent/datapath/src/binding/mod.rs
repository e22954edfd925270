//! Which veth is which pod's. Pure: views of the host and pods go in, decisions come out.
//!
//! A pod with NET_ADMIN can add any address to its own interface, so the addresses that a namespace shows prove
//! nothing about whose it is. Three rules keep an address from leading to the wrong pod:
//!
//! - **Only addresses that a namespace was given count**: those it showed first, per family. A CNI plugin configures
//!   them before anything runs in the pod. After a restart of the agent that beginning is over, so the addresses that
//!   the interface was enforced with before ([`Bindings::resume`]) count instead.
//! - **A binding is sticky**: made once, it stays until the veth or the pod, by its UID, is gone. Its namespace is never
//!   anybody else's meanwhile, and what shows up in it binds nothing.
//! - **The least doubtful pair goes first** where several pods and namespaces fit each other; see `assign`.
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
mod handover;
mod history;
mod scene;
#[cfg(test)]
mod tests;
mod unclaimed;

pub use decision::{Anomaly, Binding, Decision, NoVeth, NodeFacts, PodId};
pub use handover::Handover;
pub use unclaimed::Unclaimed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_policy::model::Pod;

use crate::netlink::HostView;
use anomalies::Inspection;
use assign::assign;
use handover::Handovers;
use history::History;
use scene::Scene;

/// The bindings of this node's pods to veths.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    bound: BTreeMap<u32, Binding>,
    handovers: Handovers,
    /// The interfaces that are isolated because their pod is not known.
    isolated: BTreeMap<u32, Unclaimed>,
    isolate_unknown: bool,
    /// What interfaces were enforced with before the start, by ifindex.
    remembered: BTreeMap<u32, BTreeSet<IpAddr>>,
    history: History,
    anomalies: Vec<Anomaly>,
    /// Addresses in foreign namespaces at the last update: pod, address, and the veth they are behind.
    foreign: BTreeSet<(PodId, IpAddr, u32)>,
    foreign_addresses_seen: u64,
}

impl Bindings {
    /// Goes on where an agent before this one stopped: `enforced` are the addresses that each interface was enforced
    /// with, by ifindex. As long as such an interface is there, what its namespace shows does not matter.
    #[must_use]
    pub fn resume(enforced: BTreeMap<u32, BTreeSet<IpAddr>>) -> Self {
        Self { remembered: enforced, ..Self::default() }
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
    ) -> Vec<Decision> {
        self.remembered.retain(|ifindex, addresses| view.veths.contains_key(ifindex) && !addresses.is_empty());
        let remembered = std::mem::take(&mut self.remembered);
        let pods: Vec<&Pod> = pods.into_iter().collect();
        let scene = Scene::new(view, &pods, node, &remembered);
        self.history.begin(view, scene.pods.keys());
        self.handovers.look(view);
        let mut decisions = self.unbind(&scene);
        decisions.extend(self.refresh(&scene));
        decisions.extend(self.bind(&scene));
        decisions.extend(self.isolate(self.unclaimed(&scene)));
        self.anomalies = Inspection::new(&scene, &self.bound).anomalies();
        self.count_foreign();
        self.remembered = remembered;
        decisions
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

    fn unbind(&mut self, scene: &Scene<'_>) -> Vec<Decision> {
        let handed = self.handovers.chosen(scene);
        let ended = |binding: &Binding| {
            !scene.view.veths.contains_key(&binding.ifindex)
                || !scene.pods.contains_key(&binding.pod)
                || self.handovers.contradict(binding, &handed)
        };
        let gone = self.bound.extract_if(.., |_, binding| ended(binding));
        gone.map(|(ifindex, binding)| Decision::Unbind { ifindex, pod: binding.pod }).collect()
    }

    /// Brings what is bound up to date. A pod whose status has lost its addresses keeps those it had.
    fn refresh(&mut self, scene: &Scene<'_>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for binding in self.bound.values_mut() {
            let mut now = binding.clone();
            now.netns_id = scene.view.veths[&binding.ifindex].netns_id;
            let addresses = addresses(self.handovers.get(binding.ifindex), scene.pods[&binding.pod]);
            if !addresses.is_empty() {
                now.addresses = addresses;
            }
            if now != *binding {
                *binding = now;
                decisions.push(Decision::Update(binding.clone()));
            }
        }
        decisions
    }

    fn bind(&mut self, scene: &Scene<'_>) -> Vec<Decision> {
        let handed = self.handovers.chosen(scene).into_iter();
        let handed = handed.filter(|(_, handover)| !self.bound.contains_key(&handover.ifindex));
        let handed: BTreeMap<PodId, u32> = handed.map(|(pod, handover)| (pod, handover.ifindex)).collect();
        // What CNI has handed over is nobody else's, whether or not its pod is known.
        let spoken_for = self.handovers.iter().filter_map(|handover| scene.netns_of(handover.ifindex));
        let namespaces = self.bound.values().map(|binding| binding.netns_id).chain(spoken_for).collect();
        let pods = self.bound.values().map(|binding| &binding.pod).chain(handed.keys()).collect();
        let mut assigned = assign(scene, &self.history, &namespaces, &pods);
        assigned.extend(handed.iter().map(|(pod, ifindex)| (pod.clone(), &scene.view.veths[ifindex])));
        let mut made = BTreeMap::new();
        for (pod, veth) in assigned {
            self.history.bound(&pod, veth.ifindex);
            let addresses = addresses(self.handovers.get(veth.ifindex), scene.pods[&pod]);
            made.insert(veth.ifindex, Binding { ifindex: veth.ifindex, pod, netns_id: veth.netns_id, addresses });
        }
        let decisions = made.values().cloned().map(Decision::Bind).collect();
        self.bound.append(&mut made);
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
