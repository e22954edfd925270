//! Pods and veths that come and go.

use podgate_policy::model::Phase;

use super::world::{
    World, addresses, bound, id, in_kernel, incarnation, isolate, pod, remembered, showing, unbind, veth,
};
use crate::binding::{Anomaly, Bindings, Decision, NoVeth};

#[test]
fn a_pod_is_bound_to_the_veth_whose_namespace_was_given_its_address() {
    let mut world = World::with(
        [veth(5, 0, &["10.1.0.5", "fd01::5"]), veth(6, 1, &["10.1.0.6"])],
        [pod("a", &["10.1.0.6"]), pod("b", &["10.1.0.5", "fd01::5"])],
    );
    let expected = [bound(5, 0, "b", &["10.1.0.5", "fd01::5"]), bound(6, 1, "a", &["10.1.0.6"])];
    assert_eq!(world.update(), expected.clone().map(Decision::Bind));
    assert_eq!(world.bindings.bound().values().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(world.update(), [], "nothing has changed");
    assert_eq!(world.bindings.anomalies(), []);
}

#[test]
fn a_pod_is_bound_whether_its_veth_or_its_address_becomes_known_first() {
    let binds = [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))];
    let mut world = World::with([], [pod("a", &["10.1.0.5"])]);
    assert_eq!(world.update(), []);
    world.veths([veth(5, 0, &["10.1.0.5"])]);
    assert_eq!(world.update(), binds);

    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &[])]);
    assert_eq!(world.update(), []);
    world.pods = vec![pod("a", &["10.1.0.5"])];
    assert_eq!(world.update(), binds);
}

#[test]
fn one_common_address_is_enough() {
    // The second family may be told later, on either side.
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5", "fd01::5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5", "fd01::5"]))]);
}

#[test]
fn an_address_anywhere_in_the_namespace_counts() {
    // Some CNI plugins put the pod's address on its loopback device.
    let mut elsewhere = veth(5, 0, &["10.1.0.5"]);
    elsewhere.interface_addresses.clear();
    let mut world = World::with([elsewhere], [pod("a", &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn pods_that_cannot_have_a_veth_are_not_bound() {
    let mut on_host = pod("host", &["10.1.0.5"]);
    on_host.host_network = true;
    let mut finished = pod("finished", &["10.1.0.6"]);
    finished.phase = Phase::Finished;
    let mut world = World::with([veth(5, 0, &["10.1.0.5"]), veth(6, 1, &["10.1.0.6"])], [on_host, finished]);
    assert_eq!(world.update(), []);
}

#[test]
fn a_veth_stays_enforced_until_it_is_gone_or_its_pod_has_ended() {
    let veths = || [veth(5, 0, &["10.1.0.5"])];
    let mut world = World::with(veths(), [pod("a", &["10.1.0.5"])]);
    world.update();
    world.pods.clear();
    assert_eq!(world.update(), [isolate(5, 0, &["10.1.0.5"])], "the pod was deleted");
    assert_eq!(world.update(), []);
    world.view.veths.clear();
    assert_eq!(world.update(), [Decision::Abandon { ifindex: 5 }]);

    let mut world = World::with(veths(), [pod("a", &["10.1.0.5"])]);
    world.update();
    world.view.veths.clear();
    assert_eq!(world.update(), [unbind(5, "a")], "the veth was deleted");

    let mut world = World::with(veths(), [pod("a", &["10.1.0.5"])]);
    world.update();
    world.pods[0].phase = Phase::Finished;
    assert_eq!(world.update(), [unbind(5, "a")], "the pod has succeeded or failed: nothing runs there");
}

#[test]
fn a_pod_made_anew_under_its_old_name_is_another_pod() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.update();
    world.pods[0].uid = "second".into();
    world.pods[0].addresses = addresses(&["10.1.0.6"]).into_iter().collect();
    world.veths([veth(6, 1, &["10.1.0.6"])]);
    let mut second = bound(6, 1, "a", &["10.1.0.6"]);
    second.pod = incarnation("a", "second");
    assert_eq!(world.update(), [Decision::Bind(second), isolate(5, 0, &["10.1.0.5"])]);
}

#[test]
fn a_pod_whose_sandbox_is_made_anew_moves_to_its_new_veth() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.update();
    world.view.veths.clear();
    world.veths([veth(6, 1, &["10.1.0.9"])]);
    world.pods = vec![pod("a", &["10.1.0.9"])];
    assert_eq!(world.update(), [unbind(5, "a"), Decision::Bind(bound(6, 1, "a", &["10.1.0.9"]))]);
}

#[test]
fn what_changes_about_a_bound_pod_is_told() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.update();
    world.pods = vec![pod("a", &["10.1.0.5", "fd01::5"])];
    assert_eq!(world.update(), [Decision::Update(bound(5, 0, "a", &["10.1.0.5", "fd01::5"]))]);
    world.veths([veth(5, -1, &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Update(bound(5, -1, "a", &["10.1.0.5", "fd01::5"]))]);
}

#[test]
fn a_pod_whose_status_loses_its_addresses_keeps_those_it_had() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.update();
    world.pods = vec![pod("a", &[])];
    assert_eq!(world.update(), []);
    assert_eq!(world.bindings.bound()[&5], bound(5, 0, "a", &["10.1.0.5"]));
}

#[test]
fn a_binding_outlives_the_addresses_it_was_made_by() {
    // gVisor takes the addresses off the interface; a pod can do so too, hoping to get rid of its policies.
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.update();
    world.veths([showing(veth(5, 0, &["10.1.0.5"]), &[])]);
    assert_eq!(world.update(), []);
}

#[test]
fn a_pod_is_found_by_an_address_that_is_not_there_any_more() {
    let mut world = World::with([showing(veth(5, 0, &["10.1.0.5"]), &[])], [pod("a", &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn of_several_interfaces_the_one_with_the_pods_address_is_enforced() {
    let mut second = veth(4, 0, &["192.168.7.7", "10.1.0.5"]);
    second.interface_addresses = addresses(&["192.168.7.7"]);
    let mut first = veth(5, 0, &["192.168.7.7", "10.1.0.5"]);
    first.interface_addresses = addresses(&["10.1.0.5"]);
    let mut world = World::with([second, first], [pod("a", &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
    assert_eq!(world.anomalies(), [Anomaly::ExtraVeth { pod: id("a"), ifindex: 4, name: "v4".to_owned() }]);
}

#[test]
fn of_several_interfaces_without_addresses_the_one_that_had_them_is_enforced() {
    let later = veth(4, 0, &[]);
    let mut world = World::with([later, showing(veth(5, 0, &["10.1.0.5"]), &[])], [pod("a", &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn an_interface_keeps_the_pod_it_was_enforced_for_when_the_agent_restarts() {
    // Both namespaces show both addresses now; one has even given up its own.
    let mut world = World::with(
        [veth(5, 0, &["10.1.0.5", "10.1.0.6"]), veth(6, 1, &["10.1.0.5"])],
        [pod("a", &["10.1.0.5"]), pod("b", &["10.1.0.6"])],
    );
    world.bindings = Bindings::resume([(5, in_kernel(&["10.1.0.5"])), (6, in_kernel(&["10.1.0.6"]))].into());
    let expected = [bound(5, 0, "a", &["10.1.0.5"]), bound(6, 1, "b", &["10.1.0.6"])];
    assert_eq!(world.update(), expected.map(Decision::Bind));
}

#[test]
fn a_pod_stays_on_the_interface_it_was_enforced_on_though_it_has_moved_its_address_to_another() {
    let mut first = veth(5, 0, &["10.1.0.5"]);
    first.interface_addresses.clear();
    let mut world = World::with([veth(4, 0, &["10.1.0.5"]), first], [pod("a", &["10.1.0.5"])]);
    world.bindings = Bindings::resume([(5, in_kernel(&["10.1.0.5"]))].into());
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn what_was_enforced_before_a_restart_is_forgotten_with_the_interface() {
    let mut world = World::with([], [pod("a", &["10.1.0.5"])]);
    world.bindings = Bindings::resume([(5, in_kernel(&["10.1.0.9"]))].into());
    world.update();
    world.veths([veth(5, 0, &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn an_interface_enforced_without_addresses_before_a_restart_is_as_any_other() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.bindings = Bindings::resume([(5, in_kernel(&[]))].into());
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn the_nodes_uplink_is_never_bound_whatever_is_behind_it() {
    let excluded = |exclude: &dyn Fn(&mut World)| {
        let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
        exclude(&mut world);
        let no_veth = Anomaly::PodWithoutVeth { pod: id("a"), cause: NoVeth::Excluded { ifindex: 5 } };
        assert_eq!((world.update(), world.bindings.anomalies()), (Vec::new(), [no_veth].as_slice()));
    };
    let node_address = || "172.18.0.2".parse().expect("an address");
    let carry = |world: &mut World| world.view.local_addresses = [(node_address(), [5].into())].into();
    excluded(&|world| world.view.default_route_devices = [5].into());
    excluded(&|world| world.view.api_server_devices = [5].into());
    excluded(&|world| {
        carry(world);
        world.node.addresses.insert(node_address());
    });
    excluded(&|world| {
        carry(world);
        let mut on_host = pod("proxy", &["172.18.0.2"]);
        on_host.host_network = true;
        world.pods.push(on_host);
    });
}

#[test]
fn a_veth_with_an_address_of_the_host_that_is_not_the_nodes_is_a_pods() {
    // The ptp plugin gives every veth the gateway's address.
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.node.addresses = addresses(&["172.18.0.2"]);
    world.view.local_addresses.insert("10.1.0.1".parse().expect("an address"), [5].into());
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn a_bound_veth_stays_bound_when_a_route_is_laid_over_it() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &["10.1.0.5"])]);
    world.update();
    world.view.default_route_devices.insert(5);
    assert_eq!(world.update(), []);
}

#[test]
fn a_veth_that_was_enforced_before_a_restart_stays_so_though_its_pod_is_not_known() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"]), veth(6, 1, &["10.1.0.6"]), veth(7, 2, &["10.1.0.7"])], []);
    world.bindings = Bindings::resume([(5, remembered("a", &["10.1.0.5"])), (6, in_kernel(&["10.1.0.6"]))].into());
    assert_eq!(world.update(), [isolate(5, 0, &["10.1.0.5"]), isolate(6, 1, &["10.1.0.6"])]);
    world.pods = vec![pod("a", &["10.1.0.5"]), pod("b", &["10.1.0.6"])];
    let both = [bound(5, 0, "a", &["10.1.0.5"]), bound(6, 1, "b", &["10.1.0.6"])];
    assert_eq!(world.update(), both.map(Decision::Bind));
}

#[test]
fn a_pod_that_shows_no_address_is_found_by_what_the_kernel_remembers() {
    let mut world = World::with([veth(5, 0, &[])], [pod("a", &["10.1.0.5"])]);
    world.bindings = Bindings::resume([(5, in_kernel(&["10.1.0.5"]))].into());
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn a_pod_without_addresses_in_its_status_is_where_it_was_before_a_restart() {
    let mut world = World::with([veth(5, 0, &["10.1.0.5"])], [pod("a", &[])]);
    for firm in [true, false] {
        let was = crate::binding::Remembered { firm, ..remembered("a", &["10.1.0.5"]) };
        world.bindings = Bindings::resume([(5, was)].into());
        assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
    }
}

#[test]
fn a_pod_is_found_by_its_own_address_though_the_interface_was_given_another_first() {
    for first in ["192.168.7.7", "169.254.3.4"] {
        let mut world = World::with([veth(5, 0, &[first])], [pod("a", &["10.1.0.5"])]);
        assert_eq!(world.update(), []);
        world.veths([showing(veth(5, 0, &[first]), &[first, "10.1.0.5"])]);
        assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
    }
    // On a second interface of its own.
    let mut second = showing(veth(6, 0, &["192.168.7.7"]), &["192.168.7.7", "10.1.0.5"]);
    second.interface_addresses = addresses(&["10.1.0.5"]);
    let mut first = second.clone();
    (first.ifindex, first.interface_addresses) = (5, addresses(&["192.168.7.7"]));
    let mut world = World::with([first, second], [pod("a", &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(6, 0, "a", &["10.1.0.5"]))]);
}

#[test]
fn an_address_that_shows_later_yields_to_the_interface_that_was_given_it() {
    let shows = showing(veth(5, 0, &["192.168.7.7"]), &["192.168.7.7", "10.1.0.5"]);
    let mut world = World::with([shows], [pod("a", &["10.1.0.5"])]);
    assert_eq!(world.update(), [Decision::Bind(bound(5, 0, "a", &["10.1.0.5"]))]);
    world.veths([veth(6, 1, &["10.1.0.5"])]);
    let moved = Decision::Bind(bound(6, 1, "a", &["10.1.0.5"]));
    assert_eq!(world.update(), [moved, isolate(5, 0, &["192.168.7.7"])]);
}
