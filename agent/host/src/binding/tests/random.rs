//! Properties of bindings over random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use podgate_policy::model::{Phase, Pod};
use proptest::prelude::*;

use super::world::{World, pod, veth};
use crate::binding::{Binding, Decision, PodId};
use crate::netlink::Veth;

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, last).into()
}

fn some_addresses() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    prop::collection::btree_set((0..5_u8).prop_map(address), 0..3)
}

fn some_veth() -> impl Strategy<Value = Veth> {
    (1..8_u32, -1..5_i32, some_addresses(), some_addresses()).prop_map(|(ifindex, netns_id, first, now)| Veth {
        first_addresses: first,
        interface_addresses: now.clone(),
        link_local_addresses: BTreeSet::new(),
        peer_addresses: now,
        ..veth(ifindex, netns_id, &[])
    })
}

fn some_pod() -> impl Strategy<Value = Pod> {
    (0..6_u8, 0..2_u8, some_addresses(), 0..8_u8).prop_map(|(name, uid, addresses, state)| Pod {
        uid: uid.to_string().into(),
        addresses: addresses.into_iter().collect(),
        phase: if state == 0 { Phase::Finished } else { Phase::Active },
        host_network: state == 1,
        ..pod(&format!("p{name}"), &[])
    })
}

/// A moment: veths, pods (one per name), excluded devices.
type Moment = (Vec<Veth>, BTreeMap<String, Pod>, BTreeSet<u32>);

fn some_moment() -> impl Strategy<Value = Moment> {
    let pods = prop::collection::vec(some_pod(), 0..6)
        .prop_map(|pods| pods.into_iter().map(|pod| (pod.key.to_string(), pod)).collect());
    (prop::collection::vec(some_veth(), 0..7), pods, prop::collection::btree_set(1..8_u32, 0..2))
}

fn show(world: &mut World, (veths, pods, excluded): &Moment) {
    world.view.veths.clear();
    world.veths(veths.iter().cloned());
    world.pods = pods.values().cloned().collect();
    world.view.default_route_devices = excluded.clone();
}

/// What is enforced on an interface, and for whom; nobody: it is isolated.
type Enforced = BTreeMap<u32, Option<Binding>>;

/// Does what a decision says, as an engine would, and checks that it can be done.
fn carry_out(enforced: &mut Enforced, decision: &Decision) {
    match decision {
        Decision::Bind(binding) => drop(enforced.insert(binding.ifindex, Some(binding.clone()))),
        Decision::Update(binding) => {
            let before = enforced.insert(binding.ifindex, Some(binding.clone())).flatten();
            let before = before.expect("only what is bound is updated");
            assert_eq!(before.pod, binding.pod);
            assert_ne!(&before, binding);
        }
        Decision::Isolate(unclaimed) => drop(enforced.insert(unclaimed.ifindex, None)),
        Decision::Abandon { ifindex } => assert_eq!(enforced.remove(ifindex), Some(None)),
        Decision::Unbind { ifindex, pod } => {
            assert_eq!(enforced.remove(ifindex).flatten().map(|binding| binding.pod).as_ref(), Some(pod));
        }
    }
}

fn networked(world: &World) -> BTreeMap<PodId, &Pod> {
    world.pods.iter().filter(|pod| pod.is_networked()).map(|pod| (PodId::of(pod), pod)).collect()
}

/// What must hold of every binding that an update makes.
fn check_made(world: &World, binding: &Binding) {
    let veth = &world.view.veths[&binding.ifindex];
    let pod = networked(world)[&binding.pod];
    let namespace = world.view.veths.values().filter(|other| other.netns_id == veth.netns_id);
    let known: BTreeSet<&IpAddr> =
        namespace.flat_map(|other| other.first_addresses.iter().chain(&other.peer_addresses)).collect();
    assert!(pod.addresses.iter().any(|address| known.contains(address)), "{binding:?} for no reason");
    assert!(!world.view.default_route_devices.contains(&binding.ifindex), "{binding:?} on the uplink");
    assert!(veth.netns_id >= 0, "{binding:?} into a namespace that goes away");
}

/// No pod is left without a veth that could have one.
fn check_nothing_left(world: &World) {
    let bound = world.bindings.bound();
    let taken: BTreeSet<i32> = bound.values().map(|binding| binding.netns_id).collect();
    for (id, pod) in networked(world) {
        if bound.values().any(|binding| binding.pod == id) {
            continue;
        }
        for veth in world.view.veths.values() {
            let fits = pod.addresses.iter().any(|address| veth.first_addresses.contains(address));
            let free = veth.netns_id >= 0
                && !taken.contains(&veth.netns_id)
                && !world.view.default_route_devices.contains(&veth.ifindex);
            assert!(!(fits && free), "{id} could have {veth:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bindings_are_exclusive_founded_and_complete_and_nothing_enforced_is_let_go_of(
        moments in prop::collection::vec(some_moment(), 1..8)
    ) {
        let mut world = World::new();
        let mut enforced = Enforced::new();
        for moment in &moments {
            show(&mut world, moment);
            let before = enforced.clone();
            let mut decisions = world.update();
            // Whatever is in doubt is settled by time.
            world.age += Duration::from_secs(60);
            decisions.extend(world.update());
            for decision in &decisions {
                carry_out(&mut enforced, decision);
                if let Decision::Bind(binding) = decision {
                    check_made(&world, binding);
                }
            }
            let bound = enforced.iter().filter_map(|(&ifindex, it)| Some((ifindex, it.clone()?)));
            let bound: BTreeMap<u32, Binding> = bound.collect();
            prop_assert_eq!(&bound, world.bindings.bound(), "the decisions tell all");
            let pods: BTreeSet<_> = bound.values().map(|binding| &binding.pod).collect();
            prop_assert_eq!(pods.len(), bound.len(), "no pod has two veths");
            for ifindex in before.keys() {
                let of_another_veth = |binding: &Binding| {
                    let veth = world.view.veths.get(ifindex);
                    binding.ifindex != *ifindex && veth.is_some_and(|veth| veth.netns_id == binding.netns_id)
                };
                let may_go = world.view.default_route_devices.contains(ifindex) || bound.values().any(of_another_veth);
                let ended = before[ifindex].as_ref().is_some_and(|binding| {
                    let is_it = |pod: &&Pod| PodId::of(pod) == binding.pod;
                    world.pods.iter().find(is_it).is_some_and(|pod| pod.phase == Phase::Finished)
                });
                let stays = world.view.veths.contains_key(ifindex) && !may_go && !ended;
                prop_assert!(!stays || enforced.contains_key(ifindex), "{} is let go of", ifindex);
            }
            check_nothing_left(&world);
            prop_assert_eq!(world.update(), vec![], "the same again changes nothing");
        }
    }

    #[test]
    fn the_order_of_the_pods_does_not_matter(moment in some_moment(), seed in any::<prop::sample::Index>()) {
        let mut world = World::new();
        show(&mut world, &moment);
        let mut other = World::new();
        show(&mut other, &moment);
        if !other.pods.is_empty() {
            let middle = seed.index(other.pods.len());
            other.pods.rotate_left(middle);
        }
        prop_assert_eq!(world.update(), other.update());
    }

    #[test]
    fn whatever_pods_add_to_themselves_each_is_bound_to_its_own_veth(
        shown in prop::collection::vec(some_addresses(), 5),
        pods_first in any::<bool>(),
        turn in 0..5_usize,
    ) {
        let mut veths: Vec<Veth> = shown.into_iter().zip(0_u8..).map(|(now, last)| Veth {
            first_addresses: [address(last)].into(),
            interface_addresses: now.clone(),
            link_local_addresses: BTreeSet::new(),
            peer_addresses: now,
            ..veth(u32::from(last) + 1, i32::from(last), &[])
        }).collect();
        veths.rotate_left(turn);
        let pods: Vec<Pod> = (0..5_u8).map(|last| Pod { addresses: vec![address(last)], ..pod(&format!("p{last}"), &[]) }).collect();
        let mut world = World::new();
        // They become known one by one.
        for (veth, pod) in veths.into_iter().zip(pods) {
            if pods_first { world.pods.push(pod) } else { world.veths([veth.clone()]); world.pods.push(pod) }
            world.update();
            world.veths([veth]);
            world.update();
        }
        let owners: Vec<String> = world.bindings.bound().values().map(|binding| binding.pod.to_string()).collect();
        prop_assert_eq!(owners, (0..5).map(|last| format!("default/p{last}")).collect::<Vec<_>>());
    }
}
