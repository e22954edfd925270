//! What one update looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_policy::model::{Phase, Pod};

use super::evidence::Remembered;
use super::{NodeFacts, PodId};
use crate::netlink::{HostView, Veth};

/// The host, this node's pods and the node at the time of one update, arranged for looking things up.
pub(super) struct Scene<'a> {
    pub(super) view: &'a HostView,
    /// The pods that can have a veth: active and not on the host's network.
    pub(super) pods: BTreeMap<PodId, &'a Pod>,
    /// The pods that have ended: nothing runs there that would be protected.
    pub(super) finished: BTreeSet<PodId>,
    /// The veths into each namespace, in order of ifindex. Namespaces that go away are left out.
    pub(super) namespaces: BTreeMap<i32, Vec<&'a Veth>>,
    /// The namespaces that were given an address; see [`given`](Self::given).
    pub(super) given_to: BTreeMap<IpAddr, BTreeSet<i32>>,
    /// The namespaces that show an address now.
    pub(super) shown_in: BTreeMap<IpAddr, BTreeSet<i32>>,
    node: &'a NodeFacts,
    pod_addresses: BTreeSet<IpAddr>,
    excluded: BTreeSet<u32>,
    remembered: &'a BTreeMap<u32, Remembered>,
}

impl<'a> Scene<'a> {
    /// Arranges what is there. `remembered` are the addresses that interfaces were enforced with before the start.
    pub(super) fn new(
        view: &'a HostView,
        pods: &[&'a Pod],
        node: &'a NodeFacts,
        remembered: &'a BTreeMap<u32, Remembered>,
    ) -> Self {
        let networked = || pods.iter().copied().filter(|pod| pod.is_networked());
        let mut scene = Self {
            view,
            pods: networked().map(|pod| (PodId::of(pod), pod)).collect(),
            finished: pods.iter().filter(|pod| pod.phase == Phase::Finished).map(|pod| PodId::of(pod)).collect(),
            namespaces: BTreeMap::new(),
            given_to: BTreeMap::new(),
            shown_in: BTreeMap::new(),
            node,
            pod_addresses: networked().flat_map(|pod| &pod.addresses).copied().collect(),
            excluded: excluded(view, pods, node),
            remembered,
        };
        for veth in view.veths.values().filter(|veth| veth.netns_id >= 0) {
            scene.arrange(veth);
        }
        scene
    }

    fn arrange(&mut self, veth: &'a Veth) {
        self.namespaces.entry(veth.netns_id).or_default().push(veth);
        for address in self.given(veth) {
            self.given_to.entry(*address).or_default().insert(veth.netns_id);
        }
        for address in &veth.peer_addresses {
            self.shown_in.entry(*address).or_default().insert(veth.netns_id);
        }
    }

    /// The addresses that what is behind a veth was given: those it was enforced with before the start or, for lack of
    /// that, those that its namespace showed first.
    pub(super) fn given(&self, veth: &'a Veth) -> &'a BTreeSet<IpAddr> {
        let remembered = self.remembered.get(&veth.ifindex).map(|remembered| &remembered.addresses);
        remembered.filter(|addresses| !addresses.is_empty()).unwrap_or(&veth.first_addresses)
    }

    /// The pod that an interface was enforced for before the start, if that is known, and whether that was certain.
    pub(super) fn remembered_pod(&self, ifindex: u32) -> Option<(&'a PodId, bool)> {
        let remembered = self.remembered.get(&ifindex)?;
        remembered.pod.as_ref().map(|pod| (pod, remembered.firm))
    }

    /// Whether what a namespace was given may be a pod's address: then what it shows beside that is nobody's evidence.
    pub(super) fn was_given_a_pods(&self, namespace: i32) -> bool {
        let given = self.namespaces.get(&namespace).into_iter().flatten().flat_map(|veth| self.given(veth));
        given.into_iter().any(|address| self.is_pod_like(address))
    }

    /// Whether an interface was enforced before the start.
    pub(super) fn is_remembered(&self, ifindex: u32) -> bool {
        self.remembered.contains_key(&ifindex)
    }

    /// Whether a veth must be left alone.
    pub(super) fn is_excluded(&self, ifindex: u32) -> bool {
        self.excluded.contains(&ifindex)
    }

    /// Whether a veth is there and may be bound.
    pub(super) fn is_bindable(&self, ifindex: u32) -> bool {
        self.netns_of(ifindex).is_some() && !self.is_excluded(ifindex)
    }

    /// The namespace that a veth leads to, unless that goes away.
    pub(super) fn netns_of(&self, ifindex: u32) -> Option<i32> {
        self.view.veths.get(&ifindex).map(|veth| veth.netns_id).filter(|id| *id >= 0)
    }

    /// The addresses behind a veth that make it look like a pod's.
    pub(super) fn pod_like_addresses(&self, veth: &'a Veth) -> BTreeSet<IpAddr> {
        let all = self.given(veth) | &veth.peer_addresses;
        all.into_iter().filter(|address| self.is_pod_like(address)).collect()
    }

    fn is_pod_like(&self, address: &IpAddr) -> bool {
        self.pod_addresses.contains(address) || self.node.pod_cidrs.iter().any(|block| block.contains(address))
    }
}

/// The devices that must be left alone lest the node be cut off: those that carry the default route, an address of the
/// node (host-network pods have those too), or the way to the API server. The uplink of a node that is itself a
/// container, as in kind, is a veth.
fn excluded(view: &HostView, pods: &[&Pod], node: &NodeFacts) -> BTreeSet<u32> {
    let on_host = pods.iter().filter(|pod| pod.host_network && pod.phase == Phase::Active);
    let node_addresses = on_host.flat_map(|pod| &pod.addresses).chain(&node.addresses);
    let carriers = node_addresses.filter_map(|address| view.local_addresses.get(address)).flatten();
    carriers.chain(&view.default_route_devices).chain(&view.api_server_devices).copied().collect()
}
