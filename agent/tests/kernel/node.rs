//! A node whose endpoints are judged by the real programs, after tables that the planner filled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use podgate_common::Direction as Hook;
use podgate_common::map::capacity;
use podgate_datapath::{Datapath, Identity, Options, TestContext, test_run};
use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::ClusterPolicy;
use podgate_policy::compile::{Changes, Endpoint};
use podgate_policy::model::{Direction, Pod};
use podgate_policy::plan::Planner;
use podgate_policy::tables::Limits;

use crate::world::World;

/// The interface of slot 0, if it had one; that of slot 1 is the next.
const INTERFACES: u32 = 100;
/// The interface by which packets come that this node has not made.
const UPLINK: u32 = 77;

/// TC_ACT_UNSPEC: the next program, or none, decides.
const PASS: i32 = -1;
/// TC_ACT_SHOT
const DROP: i32 = 2;

/// A world in the kernel.
pub(crate) struct Node {
    datapath: Datapath,
    planner: Planner,
    world: World,
    addresses: BTreeMap<u32, Addresses>,
}

/// The addresses of an endpoint, known when it is bound.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Node {
    /// A node with interfaces for slots 1 to `slots`, in a network namespace that ends with this thread.
    pub(crate) fn new(slots: u32) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("root, to make a network namespace");
        (1..=slots).for_each(add_interface);
        let options = Options { bpffs: None, ..Options::default() };
        Self {
            datapath: Datapath::load(&options).expect("the programs load"),
            planner: Planner::new(limits()),
            world: World::default(),
            addresses: BTreeMap::new(),
        }
    }

    /// Goes from the present world to another in one update, as the engine does: release, identify, plan, apply, attach.
    pub(crate) fn enter(&mut self, world: &World) {
        let changes = difference(&self.world, world);
        for &slot in &changes.released {
            self.datapath.release(slot).expect("a slot that can be released");
        }
        for Endpoint { slot, pod } in &changes.bound {
            let addresses = Addresses::of(world.cluster.pods.get(pod).map(|pod| &**pod), *slot);
            self.datapath.identify(*slot, &addresses.identity(*slot)).expect("a free slot");
            self.addresses.insert(*slot, addresses);
        }
        let plan = self.planner.update(&world.cluster, &changes);
        assert_eq!(plan.unfit, [], "there is room");
        self.datapath.apply(&plan.ops).expect("operations on tables with room");
        for Endpoint { slot, .. } in &changes.bound {
            self.datapath.attach(*slot).expect("a device that takes programs");
        }
        self.world = world.clone();
    }

    /// The present world.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The address of an endpoint from which or to which packets go whose other end is `remote`.
    pub(crate) fn local(&self, slot: u32, remote: IpAddr) -> IpAddr {
        let addresses = self.addresses[&slot];
        if remote.is_ipv4() { addresses.v4.into() } else { addresses.v6.into() }
    }

    /// Whether a frame passes the program at an endpoint's interface. What enters the pod comes from elsewhere.
    pub(crate) fn passes(&self, slot: u32, direction: Direction, frame: &[u8]) -> bool {
        let (hook, ingress_ifindex) = match direction {
            Direction::Ingress => (Hook::Ingress, UPLINK),
            Direction::Egress => (Hook::Egress, INTERFACES + slot),
        };
        let context = TestContext { ifindex: INTERFACES + slot, ingress_ifindex, ..TestContext::default() };
        let run = test_run(self.datapath.program(hook), frame, &context, 1).expect("a test run");
        match run.verdict {
            PASS => true,
            DROP => false,
            other => panic!("the program at slot {slot} returned {other}"),
        }
    }
}

impl Addresses {
    /// Those of the pod. What it lacks it gets for the test: policy asks only for the other end's address.
    fn of(pod: Option<&Pod>, slot: u32) -> Self {
        let slot = u16::try_from(slot).expect("there are few slots");
        let [_, last] = slot.to_be_bytes();
        let mut addresses =
            Self { v4: Ipv4Addr::new(10, 9, 0, last), v6: Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, slot) };
        for address in pod.iter().flat_map(|pod| &pod.addresses) {
            match address {
                IpAddr::V4(v4) => addresses.v4 = *v4,
                IpAddr::V6(v6) => addresses.v6 = *v6,
            }
        }
        addresses
    }

    /// No namespace whose sockets could be asked.
    fn identity(self, slot: u32) -> Identity {
        Identity {
            ifindex: INTERFACES + slot,
            netns_id: None,
            address4: Some(self.v4),
            address6: Some(self.v6),
            routes: false,
            keep: false,
        }
    }
}

fn add_interface(slot: u32) {
    let command = format!("link add pod{slot} index {} type veth peer name eth{slot}", INTERFACES + slot);
    let output = Command::new("ip").args(command.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What makes one world of another. A slot that goes to another pod is released and bound.
fn difference(before: &World, after: &World) -> Changes {
    let slots = changed(&before.endpoints, &after.endpoints);
    let bound = slots.iter().filter_map(|&slot| Some(Endpoint { slot, pod: after.endpoints.get(&slot)?.clone() }));
    Changes {
        pods: changed(&before.cluster.pods, &after.cluster.pods),
        namespaces: changed(&before.cluster.namespaces, &after.cluster.namespaces),
        policies: changed(&before.cluster.policies, &after.cluster.policies),
        cluster_policies: changed(&by_name(&before.cluster), &by_name(&after.cluster)),
        bound: bound.collect(),
        released: slots.iter().copied().filter(|slot| before.endpoints.contains_key(slot)).collect(),
    }
}

fn by_name(cluster: &Cluster) -> BTreeMap<Arc<str>, Arc<ClusterPolicy>> {
    cluster.cluster_policies.iter().map(|policy| (policy.name.clone(), policy.clone())).collect()
}

fn changed<K: Ord + Clone, V: PartialEq>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> BTreeSet<K> {
    before.keys().chain(after.keys()).filter(|key| before.get(key) != after.get(key)).cloned().collect()
}

/// The room that the tables are made with.
fn limits() -> Limits {
    Limits {
        addresses4: capacity::ADDRESSES4,
        addresses6: capacity::ADDRESSES6,
        groups: capacity::GROUPS,
        blocks4: capacity::BLOCKS4,
        blocks6: capacity::BLOCKS6,
        class_rows: capacity::CLASS_ROWS,
        rows: capacity::ROWS,
        row_ports: capacity::ROW_PORTS,
        port_classes: 65_536,
    }
}
