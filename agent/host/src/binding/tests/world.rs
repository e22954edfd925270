//! A host and its pods in few words.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use podgate_policy::model::{Labels, ObjectKey, Phase, Pod};

use crate::binding::{Anomaly, Binding, Bindings, Decision, NodeFacts, PodId, Remembered, Unclaimed};
use crate::netlink::{HostView, Veth};

pub(super) fn addresses(all: &[&str]) -> BTreeSet<IpAddr> {
    all.iter().map(|address| address.parse().expect("an address")).collect()
}

/// The identity of the pod with this name, whose UID is its name too unless told otherwise.
pub(super) fn id(name: &str) -> PodId {
    incarnation(name, name)
}

pub(super) fn incarnation(name: &str, uid: &str) -> PodId {
    PodId { key: ObjectKey::new("default", name), uid: uid.into() }
}

pub(super) fn pod(name: &str, all: &[&str]) -> Pod {
    Pod {
        key: ObjectKey::new("default", name),
        uid: name.into(),
        labels: Labels::new(),
        workload: None,
        node: Some("node".into()),
        host_network: false,
        phase: Phase::Active,
        terminating: false,
        addresses: addresses(all).into_iter().collect(),
        ports: Vec::new(),
    }
}

/// A veth into the namespace with this id that was given these addresses and shows them.
pub(super) fn veth(ifindex: u32, netns_id: i32, given: &[&str]) -> Veth {
    Veth {
        ifindex,
        name: format!("v{ifindex}"),
        netns_id,
        peer_index: 2,
        peer_addresses: addresses(given),
        interface_addresses: addresses(given),
        link_local_addresses: BTreeSet::new(),
        first_addresses: addresses(given),
        duplicate_addresses: BTreeSet::new(),
        up: true,
        master: None,
        xdp: false,
        peer_mac: None,
    }
}

/// The veth after its pod has changed its own addresses to these.
pub(super) fn showing(mut veth: Veth, now: &[&str]) -> Veth {
    veth.peer_addresses = addresses(now);
    veth.interface_addresses = addresses(now);
    veth
}

pub(super) fn bound(ifindex: u32, netns_id: i32, name: &str, all: &[&str]) -> Binding {
    Binding { ifindex, pod: id(name), netns_id, addresses: addresses(all) }
}

/// What an agent before this one enforced for certain: for this pod, with these addresses.
pub(super) fn remembered(name: &str, all: &[&str]) -> Remembered {
    Remembered { pod: Some(id(name)), addresses: addresses(all), firm: true }
}

/// What the kernel's tables remember: these addresses.
pub(super) fn in_kernel(all: &[&str]) -> Remembered {
    Remembered { pod: None, addresses: addresses(all), firm: false }
}

/// The interface is isolated; CNI has told nothing of it.
pub(super) fn isolate(ifindex: u32, netns_id: i32, all: &[&str]) -> Decision {
    Decision::Isolate(Unclaimed { ifindex, netns_id, addresses: addresses(all), announced: None })
}

pub(super) fn unbind(ifindex: u32, name: &str) -> Decision {
    Decision::Unbind { ifindex, pod: id(name) }
}

/// Bindings with what they look at.
#[derive(Default)]
pub(super) struct World {
    pub(super) bindings: Bindings,
    pub(super) view: HostView,
    pub(super) pods: Vec<Pod>,
    pub(super) node: NodeFacts,
    /// How long ago the world began.
    pub(super) age: Duration,
}

impl World {
    /// A node with 10.1.0.0/24 and fd01::/64 for its pods.
    pub(super) fn new() -> Self {
        let pod_cidrs = ["10.1.0.0/24", "fd01::/64"].map(|block| block.parse().expect("a block")).into();
        Self { node: NodeFacts { pod_cidrs, ..NodeFacts::default() }, ..Self::default() }
    }

    pub(super) fn with(veths: impl IntoIterator<Item = Veth>, pods: impl IntoIterator<Item = Pod>) -> Self {
        let mut world = Self::new();
        world.veths(veths);
        world.pods = pods.into_iter().collect();
        world
    }

    /// Adds veths, or replaces them.
    pub(super) fn veths(&mut self, veths: impl IntoIterator<Item = Veth>) {
        self.view.veths.extend(veths.into_iter().map(|veth| (veth.ifindex, veth)));
    }

    pub(super) fn update(&mut self) -> Vec<Decision> {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        let now = *BEGINNING.get_or_init(Instant::now) + self.age;
        self.bindings.update(&self.view, &self.pods, &self.node, now)
    }

    /// The anomalies after an update.
    pub(super) fn anomalies(&mut self) -> Vec<Anomaly> {
        self.update();
        self.bindings.anomalies().to_vec()
    }
}
