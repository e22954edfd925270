//! Addresses that show where they don't belong, and pods with equal addresses.

use super::world::{World, addresses, bound, id, isolate, pod, remembered, showing, unbind, veth};
use std::time::Duration;

use crate::binding::{Anomaly, Bindings, Decision, NoVeth, NodeFacts, Remembered};

fn terminating(name: &str, all: &[&str]) -> podgate_policy::model::Pod {
    podgate_policy::model::Pod { terminating: true, ..pod(name, all) }
}

const MINE: &str = "10.1.0.5";
const VICTIMS: &str = "10.1.0.6";

#[test]
fn a_pod_that_adds_anothers_address_to_itself_changes_nobodys_binding() {
    let mut world =
        World::with([veth(5, 0, &[MINE]), veth(6, 1, &[VICTIMS])], [pod("thief", &[MINE]), pod("victim", &[VICTIMS])]);
    world.update();
    world.veths([showing(veth(5, 0, &[MINE]), &[VICTIMS])]);
    assert_eq!(world.update(), []);
    let elsewhere = Anomaly::AddressElsewhere {
        pod: id("victim"),
        address: VICTIMS.parse().expect("an address"),
        ifindex: 5,
        holder: Some(id("thief")),
    };
    assert_eq!(world.bindings.anomalies(), [elsewhere]);
}

#[test]
fn a_veth_bound_to_one_pod_is_never_a_second_ones() {
    let mut world = World::with([veth(5, 0, &[MINE, VICTIMS])], [pod("thief", &[MINE])]);
    world.update();
    world.pods.push(pod("victim", &[VICTIMS]));
    assert_eq!(world.update(), []);
    let taken = NoVeth::Taken { ifindex: 5, by: id("thief") };
    assert_eq!(world.bindings.anomalies(), [Anomaly::PodWithoutVeth { pod: id("victim"), cause: taken }]);
    world.veths([veth(6, 1, &[VICTIMS])]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 1, "victim", &[VICTIMS]))]);
}

#[test]
fn an_address_added_before_the_victim_is_bound_does_not_lead_to_the_thief() {
    // The thief's own address is not in its status yet.
    let stolen = showing(veth(5, 0, &[MINE]), &[MINE, VICTIMS]);
    let mut world = World::with([stolen], [pod("thief", &[]), pod("victim", &[VICTIMS])]);
    assert_eq!(world.update(), []);
    world.veths([veth(6, 1, &[VICTIMS])]);
    assert_eq!(world.update(), [isolate(6, 1, &[VICTIMS])], "the victim's status is older than the veth");
    world.pods = vec![pod("thief", &[MINE]), pod("victim", &[VICTIMS])];
    let both = [bound(5, 0, "thief", &[MINE]), bound(6, 1, "victim", &[VICTIMS])];
    assert_eq!(world.update(), both.map(Decision::Bind));
}

#[test]
fn of_two_namespaces_found_with_an_address_the_pod_gets_the_one_that_can_only_be_its_own() {
    // An agent that starts for the first time can't tell what was given and what was taken.
    for (thiefs, victims) in [(5, 6), (6, 5)] {
        for (thief, victim) in [("a", "b"), ("b", "a")] {
            let mut world = World::with(
                [veth(thiefs, 0, &[MINE, VICTIMS]), veth(victims, 1, &[VICTIMS])],
                [pod(thief, &[MINE]), pod(victim, &[VICTIMS])],
            );
            world.update();
            let expected =
                [(thiefs, bound(thiefs, 0, thief, &[MINE])), (victims, bound(victims, 1, victim, &[VICTIMS]))];
            assert_eq!(world.bindings.bound(), &expected.into());
        }
    }
}

#[test]
fn of_two_namespaces_that_look_alike_the_older_one_is_bound_and_the_other_listed() {
    let mut world = World::with(
        [veth(5, 0, &[VICTIMS]), veth(6, 1, &[VICTIMS])],
        [pod("thief", &[MINE]), pod("victim", &[VICTIMS])],
    );
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "victim", &[VICTIMS]))]);
    let expected = [
        Anomaly::PodWithoutVeth { pod: id("thief"), cause: NoVeth::NotFound },
        Anomaly::VethWithoutPod { ifindex: 6, name: "v6".to_owned(), addresses: addresses(&[VICTIMS]) },
        Anomaly::AddressElsewhere {
            pod: id("victim"),
            address: VICTIMS.parse().expect("an address"),
            ifindex: 6,
            holder: None,
        },
    ];
    assert_eq!(world.bindings.anomalies(), expected);
}

#[test]
fn a_terminating_pod_keeps_its_veth_though_its_successor_has_its_address() {
    let mut world = World::with([veth(5, 0, &[MINE])], [terminating("old", &[MINE]), pod("new", &[])]);
    world.update();
    world.veths([veth(6, 1, &[MINE])]);
    assert_eq!(world.update(), [], "the status of the new pod tells no address yet");
    world.pods[1] = pod("new", &[MINE]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 1, "new", &[MINE]))]);
    world.pods.remove(0);
    assert_eq!(world.update(), [isolate(5, 0, &[MINE])]);
}

#[test]
fn a_pod_that_lost_its_veth_does_not_take_the_veth_of_its_successor() {
    let mut world = World::with([veth(5, 0, &[MINE])], [pod("b-old", &[MINE])]);
    world.update();
    world.view.veths.clear();
    assert_eq!(world.update(), [unbind(5, "b-old")]);
    world.veths([veth(6, 1, &[MINE])]);
    for name in ["a-new", "c-new"] {
        let mut world = World { bindings: world.bindings.clone(), ..World::with([veth(6, 1, &[MINE])], []) };
        world.pods = vec![pod("b-old", &[MINE]), pod(name, &[MINE])];
        assert_eq!(world.update(), [Decision::Bind(bound(6, 1, name, &[MINE]))]);
    }
}

#[test]
fn a_pod_that_waited_for_its_veth_comes_before_one_that_lost_it() {
    let mut world = World::with([veth(5, 0, &[MINE])], [pod("waiting", &[])]);
    world.update();
    world.pods.push(pod("old", &[MINE]));
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "old", &[MINE]))]);
    world.view.veths.clear();
    world.veths([veth(6, 1, &[MINE])]);
    world.pods[0] = pod("waiting", &[MINE]);
    assert_eq!(world.update(), [unbind(5, "old"), Decision::Bind(bound(6, 1, "waiting", &[MINE]))]);
}

#[test]
fn of_two_unbound_pods_with_one_address_the_one_seen_last_is_bound() {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let mut world = World::with([], [pod(first, &[MINE])]);
        world.update();
        world.pods.push(pod(second, &[MINE]));
        world.veths([veth(5, 0, &[MINE])]);
        assert_eq!(world.update(), [Decision::Bind(bound(5, 0, second, &[MINE]))]);
    }
}

#[test]
fn the_veth_of_an_ended_pod_is_not_preferred_to_its_successors_own() {
    let mut world = World::with([veth(5, 0, &[MINE])], [pod("old", &[MINE])]);
    world.update();
    world.pods = vec![pod("new", &[MINE])];
    world.veths([veth(6, 1, &[MINE])]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 1, "new", &[MINE])), isolate(5, 0, &[MINE])]);
}

#[test]
fn a_pod_that_is_told_of_again_gets_its_veth_back() {
    let mut world = World::with([veth(5, 0, &[MINE])], [pod("a", &[MINE])]);
    world.update();
    let pods = std::mem::take(&mut world.pods);
    assert_eq!(world.update(), [isolate(5, 0, &[MINE])]);
    world.pods = pods;
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &[MINE]))]);
}

#[test]
fn a_namespace_that_goes_away_is_nobodys_any_more() {
    let mut world = World::with([veth(5, -1, &[MINE])], [pod("new", &[MINE])]);
    assert_eq!(world.update(), []);
    world.veths([veth(6, 3, &[MINE])]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 3, "new", &[MINE]))]);
}

#[test]
fn nothing_depends_on_the_nodes_pod_blocks() {
    // Many CNI plugins assign addresses from pools of their own.
    let mut world = World::with([veth(5, 0, &["192.168.9.9"])], [pod("a", &["192.168.9.9"])]);
    world.node = NodeFacts::default();
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["192.168.9.9"]))]);
}

#[test]
fn a_new_pod_on_the_address_of_a_terminating_pod_whose_veth_is_gone_is_not_taken_for_it() {
    let mut world = World::with([veth(5, 0, &[MINE])], [terminating("old", &[MINE]), pod("new", &[])]);
    world.update();
    world.view.veths.clear();
    assert_eq!(world.update(), [unbind(5, "old")]);
    world.veths([veth(6, 1, &[MINE])]);
    assert_eq!(world.update(), []);
    world.pods[1] = pod("new", &[MINE]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 1, "new", &[MINE]))]);
    assert_eq!(world.bindings.anomalies(), []);

    // Nor does an agent that has started in between take it for it.
    let mut world = World::with([], [terminating("old", &[MINE]), pod("new", &[])]);
    world.update();
    world.veths([veth(6, 1, &[MINE])]);
    assert_eq!(world.update(), []);

    // Nor one that finds both.
    let mut world = World::with([veth(6, 1, &[MINE])], [terminating("a", &[MINE]), pod("z", &[MINE])]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 1, "z", &[MINE]))]);
}

/// Two pods have exchanged their addresses, since the node was restarted: their statuses are those from before.
fn exchanged() -> World {
    World::with([veth(5, 0, &[VICTIMS])], [pod("thief", &[MINE]), pod("victim", &[VICTIMS])])
}

#[test]
fn a_status_that_tells_an_address_after_the_veth_has_it_comes_before_one_from_before() {
    let mut world = exchanged();
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "victim", &[VICTIMS]))]);
    world.pods[0] = pod("thief", &[VICTIMS]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "thief", &[VICTIMS]))], "in its place");
    world.veths([veth(6, 1, &[MINE])]);
    assert_eq!(world.update(), []);
    world.pods[1] = pod("victim", &[MINE]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 1, "victim", &[MINE]))]);
}

#[test]
fn a_status_from_before_binds_a_new_veth_only_when_no_other_pod_has_told_for_a_while() {
    let mut world = exchanged();
    let veths = std::mem::take(&mut world.view.veths);
    world.update();
    world.view.veths = veths;
    assert_eq!(world.update(), [isolate(5, 0, &[VICTIMS])]);
    let doubtful = NoVeth::Doubtful { ifindex: 5 };
    let anomaly = Anomaly::PodWithoutVeth { pod: id("victim"), cause: doubtful };
    assert!(world.bindings.anomalies().contains(&anomaly), "{:?}", world.bindings.anomalies());
    let mut told = World { bindings: world.bindings.clone(), view: world.view.clone(), ..World::new() };
    told.pods = vec![pod("thief", &[VICTIMS]), pod("victim", &[VICTIMS])];
    assert_eq!(told.update(), [Decision::Bind(bound(5, 0, "thief", &[VICTIMS]))]);
    world.age = Duration::from_secs(29);
    assert_eq!(world.update(), []);
    world.age = Duration::from_secs(31);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "victim", &[VICTIMS]))]);
    world.pods[0] = pod("thief", &[VICTIMS]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "thief", &[VICTIMS]))], "still");
}

#[test]
fn a_status_from_before_binds_a_new_veth_at_once_where_it_can_be_no_other_pods() {
    let mut world = World::with([], [pod("mine", &[MINE])]);
    world.update();
    world.veths([veth(5, 0, &[MINE])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "mine", &[MINE]))]);
}

#[test]
fn a_pod_whose_status_has_moved_leaves_its_veth_isolated_until_somebodys_status_tells_its_address() {
    let mut world = World::with([veth(5, 0, &[MINE])], [pod("a", &[]), pod("b", &[])]);
    world.update();
    world.pods[0] = pod("a", &[MINE]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &[MINE]))]);
    world.pods[0] = pod("a", &[VICTIMS]);
    assert_eq!(world.update(), [isolate(5, 0, &[MINE])]);
    world.pods[1] = pod("b", &[MINE]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "b", &[MINE]))]);
}

#[test]
fn what_was_told_is_not_taken_away_by_what_is_told_later() {
    let mut world = World::with([veth(5, 0, &[MINE])], [pod("a", &[])]);
    world.update();
    world.pods[0] = pod("a", &[MINE]);
    world.update();
    world.pods.push(pod("b", &[MINE]));
    assert_eq!(world.update(), []);
    assert!(world.bindings.is_firm(5));

    // Nor after a restart, if it was certain before.
    for (firm, by) in [(true, "a"), (false, "b")] {
        let was = Remembered { firm, ..remembered("a", &[MINE]) };
        let mut world = World::with([veth(5, 0, &[MINE])], [pod("a", &[MINE])]);
        world.bindings = Bindings::resume([(5, was)].into());
        world.update();
        world.pods.push(pod("b", &[MINE]));
        world.update();
        assert_eq!(world.bindings.bound()[&5].pod, id(by));
    }
}
