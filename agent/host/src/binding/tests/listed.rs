//! What is listed and counted.

use super::world::{World, addresses, id, pod, showing, veth};
use crate::binding::{Anomaly, NoVeth};

#[test]
fn a_pod_with_an_address_but_without_a_veth_is_listed() {
    let mut world = World::with([], [pod("a", &["10.1.0.5"]), pod("starting", &[])]);
    assert_eq!(world.anomalies(), [Anomaly::PodWithoutVeth { pod: id("a"), cause: NoVeth::NotFound }]);
}

#[test]
fn a_veth_that_looks_like_a_pods_but_is_none_is_listed() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"]), veth(6, 1, &["192.168.1.1"]), veth(7, 2, &[])], []);
    let unknown = Anomaly::VethWithoutPod { ifindex: 5, name: "v5".to_owned(), addresses: addresses(&["10.1.0.5"]) };
    assert_eq!(world.anomalies(), [unknown]);
    world.view.default_route_devices.insert(5);
    assert_eq!(world.anomalies(), [], "the uplink is none");
}

#[test]
fn an_address_in_a_second_namespace_is_counted_once_each_time_it_turns_up() {
    let stolen = || showing(veth(6, 1, &["10.1.0.6"]), &["10.1.0.6", "10.1.0.5"]);
    let mut world = World::with([veth(5, 0, &["10.1.0.5"]), veth(6, 1, &["10.1.0.6"])], [pod("a", &["10.1.0.5"])]);
    let mut counts = Vec::new();
    for veth in [veth(6, 1, &["10.1.0.6"]), stolen(), stolen(), veth(6, 1, &["10.1.0.6"]), stolen()] {
        world.veths([veth]);
        world.update();
        counts.push(world.bindings.foreign_addresses_seen());
    }
    assert_eq!(counts, [0, 1, 1, 1, 2]);
}

#[test]
fn an_address_that_a_neighbour_answers_for_is_listed() {
    let mut contested = veth(5, 0, &["10.1.0.5", "fd01::5"]);
    contested.duplicate_addresses = addresses(&["fd01::5", "fd01::77"]);
    let mut world = World::with([contested], [pod("a", &["10.1.0.5", "fd01::5"])]);
    let expected = Anomaly::DuplicateAddress { pod: id("a"), address: "fd01::5".parse().expect("an address") };
    assert_eq!(world.anomalies(), [expected]);
}
