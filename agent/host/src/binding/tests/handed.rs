//! What CNI hands over, and what is isolated until its pod is known.

use super::world::{World, addresses, bound, id, incarnation, pod, unbind, veth};
use crate::binding::{Decision, Handover, PodId, Unclaimed};

fn handover(ifindex: u32, pod: PodId, all: &[&str]) -> Handover {
    Handover { ifindex, pod, addresses: addresses(all), mac: None }
}

fn unclaimed(ifindex: u32, netns_id: i32, all: &[&str], announced: Option<PodId>) -> Decision {
    Decision::Isolate(Unclaimed { ifindex, netns_id, addresses: addresses(all), announced })
}

#[test]
fn a_pod_without_addresses_in_its_status_is_bound_where_cni_says_with_the_addresses_that_cni_gave() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"])], [pod("a", &[])]);
    world.bindings.hand_over(handover(10, id("a"), &["10.1.0.5"]));
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "a", &["10.1.0.5"]))]);
    world.pods = vec![pod("a", &["10.1.0.5", "fd01::5"])];
    assert_eq!(world.update(), [Decision::Update(bound(10, 1, "a", &["10.1.0.5", "fd01::5"]))]);
}

#[test]
fn an_interface_that_cni_handed_over_is_isolated_until_its_pod_is_known() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"])], []);
    world.bindings.hand_over(handover(10, id("a"), &["10.1.0.5"]));
    assert_eq!(world.update(), [unclaimed(10, 1, &["10.1.0.5"], Some(id("a")))]);
    assert_eq!(world.update(), []);
    world.pods = vec![pod("a", &[])];
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "a", &["10.1.0.5"]))]);
    assert_eq!(world.update(), []);
}

#[test]
fn what_cni_says_may_come_before_the_interface_is_seen_and_counts_until_that_is_gone() {
    let mut world = World::with([], [pod("a", &[])]);
    world.bindings.hand_over(handover(10, id("a"), &["10.1.0.5"]));
    assert_eq!(world.update(), []);
    world.veths([veth(10, 1, &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "a", &["10.1.0.5"]))]);
    world.view.veths.clear();
    assert_eq!(world.update(), [unbind(10, "a")]);
    assert_eq!(world.bindings.handovers().count(), 0);
}

#[test]
fn the_address_of_a_pod_that_is_going_away_does_not_bind_what_cni_gave_to_another() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"])], [pod("going", &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "going", &["10.1.0.5"]))]);
    world.bindings.hand_over(handover(10, id("new"), &["10.1.0.5"]));
    let isolated = unclaimed(10, 1, &["10.1.0.5"], Some(id("new")));
    assert_eq!(world.update(), [isolated], "it is enforced all the time");
    world.pods.push(pod("new", &[]));
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "new", &["10.1.0.5"]))]);
}

#[test]
fn another_incarnation_of_the_pod_is_not_meant_but_any_where_no_uid_is_told() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"])], [pod("a", &[])]);
    let other = incarnation("a", "other");
    world.bindings.hand_over(handover(10, other.clone(), &["10.1.0.5"]));
    assert_eq!(world.update(), [unclaimed(10, 1, &["10.1.0.5"], Some(other))]);
    world.bindings.hand_over(handover(10, incarnation("a", ""), &["10.1.0.5"]));
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "a", &["10.1.0.5"]))]);
}

#[test]
fn a_pod_whose_sandbox_is_made_anew_moves_there_with_its_new_address() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.bindings.hand_over(handover(10, id("a"), &["10.1.0.5"]));
    world.update();
    world.veths([veth(11, 2, &["10.1.0.6"])]);
    world.bindings.hand_over(handover(11, id("a"), &["10.1.0.6"]));
    let moved = Decision::Bind(bound(11, 2, "a", &["10.1.0.6"]));
    let left = unclaimed(10, 1, &["10.1.0.5"], Some(id("a")));
    assert_eq!(world.update(), [moved, left]);
}

#[test]
fn of_several_interfaces_in_one_namespace_the_first_is_the_pods() {
    let veths = [veth(10, 1, &["10.1.0.5"]), veth(11, 1, &["10.9.0.5"])];
    let mut world = World::with(veths, [pod("a", &["10.1.0.5"])]);
    world.bindings.hand_over(handover(10, id("a"), &["10.1.0.5"]));
    world.bindings.hand_over(handover(11, id("a"), &["10.9.0.5"]));
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "a", &["10.1.0.5"]))]);
}

#[test]
fn the_uplink_is_left_alone_even_if_it_is_handed_over() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"])], [pod("a", &[])]);
    world.view.default_route_devices = [10].into();
    world.bindings.isolate_unknown();
    world.bindings.hand_over(handover(10, id("a"), &["10.1.0.5"]));
    assert_eq!(world.update(), []);
    assert_eq!(world.bindings.update_handed_over(&world.view), []);
}

#[test]
fn before_pods_are_known_only_what_is_handed_over_now_is_isolated() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"]), veth(11, 2, &["10.1.0.6"])], []);
    world.bindings.recall(handover(10, id("a"), &["10.1.0.5"]));
    world.bindings.hand_over(handover(11, id("b"), &["10.1.0.6"]));
    let isolated = unclaimed(11, 2, &["10.1.0.6"], Some(id("b")));
    assert_eq!(world.bindings.update_handed_over(&world.view), [isolated]);
    assert_eq!(world.bindings.update_handed_over(&world.view), []);
    world.pods = vec![pod("a", &[]), pod("b", &[])];
    let both = [bound(10, 1, "a", &["10.1.0.5"]), bound(11, 2, "b", &["10.1.0.6"])];
    assert_eq!(world.update(), both.map(Decision::Bind));
}

#[test]
fn what_was_handed_over_to_a_former_agent_is_forgotten_if_its_interface_went_meanwhile() {
    let mut world = World::with([veth(10, 1, &["10.1.0.5"])], []);
    world.bindings.recall(handover(10, id("a"), &["10.1.0.5"]));
    world.bindings.recall(handover(11, id("b"), &["10.1.0.6"]));
    world.update();
    assert_eq!(world.bindings.handovers().map(|handover| handover.ifindex).collect::<Vec<_>>(), [10]);
}

#[test]
fn veths_that_look_like_pods_are_isolated_if_that_is_wanted_and_no_others() {
    let veths = || [veth(10, 1, &["10.1.0.5"]), veth(11, 2, &["192.0.2.1"]), veth(12, 3, &[])];
    let mut world = World::with(veths(), []);
    assert_eq!(world.update(), []);
    let mut world = World::with(veths(), []);
    world.bindings.isolate_unknown();
    assert_eq!(world.update(), [unclaimed(10, 1, &["10.1.0.5"], None)]);
    world.pods = vec![pod("a", &["10.1.0.5"])];
    assert_eq!(world.update(), [Decision::Bind(bound(10, 1, "a", &["10.1.0.5"]))]);
    world.pods.clear();
    assert_eq!(world.update(), [unclaimed(10, 1, &["10.1.0.5"], None)]);
    world.view.veths.remove(&10);
    assert_eq!(world.update(), [Decision::Abandon { ifindex: 10 }]);
}
