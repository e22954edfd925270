//! Which backends a port of a Service has.

use podgate_policy::model::{Phase, Protocol};
use podgate_policy::services::{AddressFamily, Backend, Endpoint, EndpointSlice, Service, Through, Within, backends};

use crate::service_world::{
    by_hand, endpoint, endpoint_of, headless, ip, leads, leads_to_name, service, slice, terminating, unready,
};
use crate::world::{OTHER, World, host_on, key, serving, tcp};

use Protocol::{Tcp, Udp};

/// The backends of the Service `shop/api` through its first port, as `address port`.
fn found(world: &World, within: Within<'_>) -> Vec<String> {
    let service = &world.cluster.services[&key("shop/api")];
    let backends = backends(&world.cluster, service, Through::Port(&service.ports[0]), within);
    backends.iter().map(|backend| format!("{} {}", backend.address, backend.traffic)).collect()
}

fn all(world: &World) -> Vec<String> {
    found(world, Within::Cluster)
}

fn api() -> Service {
    service("shop/api", "app=api", "10.96.0.1", vec![leads("http", Tcp, 80, 8080)])
}

/// The Service with these endpoints.
fn listed(endpoints: Vec<Endpoint>) -> World {
    World::default().service(api()).slice(slice("shop/api", 0, &[("http", Tcp, 8080)], endpoints))
}

#[test]
fn backends_are_the_ready_endpoints() {
    let world = listed(vec![endpoint("10.0.0.2"), unready("10.0.0.3"), terminating("10.0.0.4"), endpoint("10.0.0.1")]);
    assert_eq!(all(&world), ["10.0.0.1 TCP/8080", "10.0.0.2 TCP/8080"]);
}

#[test]
fn endpoints_that_terminate_but_answer_stand_in_where_none_is_ready() {
    let silent = Endpoint { serving: false, ..terminating("10.0.0.5") };
    let world = listed(vec![unready("10.0.0.3"), terminating("10.0.0.4"), silent]);
    assert_eq!(all(&world), ["10.0.0.4 TCP/8080"]);
}

#[test]
fn endpoint_that_serves_and_neither_is_ready_nor_terminates_is_none() {
    let odd = Endpoint { ready: false, ..endpoint("10.0.0.1") };
    assert_eq!(all(&listed(vec![odd])), [""; 0]);
}

#[test]
fn families_choose_for_themselves() {
    let six = slice("shop/api", 1, &[("http", Tcp, 8080)], vec![terminating("fd00::1"), unready("fd00::2")]);
    let world = listed(vec![endpoint("10.0.0.1"), terminating("10.0.0.2")]).slice(six);
    assert_eq!(all(&world), ["10.0.0.1 TCP/8080", "fd00::1 TCP/8080"]);
}

#[test]
fn endpoint_in_several_slices_counts_once_and_as_its_best_listing() {
    let ports = [("http", Tcp, 8080)];
    let world = listed(vec![unready("10.0.0.1"), endpoint("10.0.0.2")]).slice(slice(
        "shop/api",
        1,
        &ports,
        vec![endpoint("10.0.0.1"), terminating("10.0.0.2")],
    ));
    assert_eq!(all(&world), ["10.0.0.1 TCP/8080", "10.0.0.2 TCP/8080"]);
}

#[test]
fn port_of_a_slice_is_found_by_name_and_protocol() {
    let ports = [("metrics", Tcp, 9100), ("http", Udp, 53), ("http", Tcp, 8081)];
    let world = World::default().service(api()).slice(slice("shop/api", 0, &ports, vec![endpoint("10.0.0.1")]));
    assert_eq!(all(&world), ["10.0.0.1 TCP/8081"]);
}

#[test]
fn slice_without_the_port_or_without_its_number_adds_no_backends() {
    let mut unnumbered = slice("shop/api", 1, &[("http", Tcp, 1)], vec![endpoint("10.0.0.2")]);
    unnumbered.ports[0].port = None;
    let other = slice("shop/api", 0, &[("other", Tcp, 8080)], vec![endpoint("10.0.0.1")]);
    assert_eq!(all(&World::default().service(api()).slice(other).slice(unnumbered)), [""; 0]);
}

#[test]
fn slices_of_other_services_namespaces_and_dns_names_add_no_backends() {
    let ports = [("http", Tcp, 8080)];
    let names = EndpointSlice {
        family: AddressFamily::Fqdn,
        ..slice("shop/api", 1, &ports, vec![Endpoint { addresses: vec![], ..endpoint("") }])
    };
    let world = listed(vec![endpoint("10.0.0.1")])
        .slice(names)
        .slice(slice("shop/apis", 0, &ports, vec![endpoint("10.0.0.2")]))
        .slice(slice("web/api", 0, &ports, vec![endpoint("10.0.0.3")]));
    assert_eq!(all(&world), ["10.0.0.1 TCP/8080"]);
}

#[test]
fn slices_that_kube_proxy_leaves_out_add_no_backends() {
    let left_out =
        EndpointSlice { left_out: true, ..slice("shop/api", 1, &[("http", Tcp, 8080)], vec![endpoint("10.0.0.2")]) };
    assert_eq!(all(&listed(vec![endpoint("10.0.0.1")]).slice(left_out.clone())), ["10.0.0.1 TCP/8080"]);
    assert_eq!(all(&World::default().service(api()).slice(left_out)), [""; 0]);
}

#[test]
fn backends_of_a_node_are_chosen_among_its_endpoints_alone() {
    let on = |node: &str, endpoint: Endpoint| Endpoint { node: Some(node.into()), ..endpoint };
    let world = listed(vec![
        on("node-1", endpoint("10.0.1.1")),
        on("node-2", terminating("10.0.2.1")),
        on("node-2", unready("10.0.2.2")),
        endpoint("10.0.9.9"),
    ]);
    assert_eq!(found(&world, Within::Node("node-1")), ["10.0.1.1 TCP/8080"]);
    assert_eq!(found(&world, Within::Node("node-2")), ["10.0.2.1 TCP/8080"]);
    assert_eq!(found(&world, Within::Node("node-3")), [""; 0]);
}

#[test]
fn without_slices_backends_are_the_selected_pods_with_an_address() {
    let world = World::default()
        .service(service("shop/api", "app=api,tier=back", "10.96.0.1", vec![leads("http", Tcp, 80, 8080)]))
        .pod("shop/api-1", "app=api,tier=back,extra=x", "10.0.0.1,fd00::1")
        .pod_with("shop/api-2", "app=api,tier=back", "192.168.0.1", host_on("node-1"))
        .pod("shop/half", "app=api", "10.0.0.3")
        .pod("web/api-3", "app=api,tier=back", "10.0.0.4")
        .pod_with("shop/done", "app=api,tier=back", "10.0.0.5", |pod| pod.phase = Phase::Finished)
        .pod_with("shop/pending", "app=api,tier=back", "10.0.0.6", |pod| pod.addresses.clear());
    assert_eq!(all(&world), ["10.0.0.1 TCP/8080", "192.168.0.1 TCP/8080", "fd00::1 TCP/8080"]);
    assert_eq!(found(&world, Within::Node("node-1")), all(&world));
    assert_eq!(found(&world, Within::Node("node-2")), [""; 0]);
}

#[test]
fn slice_without_endpoints_says_that_there_is_no_backend() {
    let world = listed(vec![]).pod("shop/api-1", "app=api", "10.0.0.1");
    assert_eq!(all(&world), [""; 0]);
}

#[test]
fn service_without_selector_or_slices_has_no_backends() {
    let world = World::default()
        .service(by_hand("shop/api", "10.96.0.1", vec![leads("http", Tcp, 80, 8080)]))
        .pod("shop/any", "", "10.0.0.1");
    assert_eq!(all(&world), [""; 0]);
}

#[test]
fn named_target_port_is_the_first_of_that_name_and_protocol_in_each_pod() {
    let world = World::default()
        .service(service("shop/api", "app=api", "10.96.0.1", vec![leads_to_name("http", Tcp, 80, "web")]))
        .pod_with("shop/api-1", "app=api", "10.0.0.1", serving(&[("web", Udp, 1), ("web", Tcp, 8081), ("web", Tcp, 2)]))
        .pod_with("shop/api-2", "app=api", "10.0.0.2", serving(&[("other", Tcp, 3), ("web", Tcp, 8082)]))
        .pod_with("shop/api-3", "app=api", "10.0.0.3", serving(&[("http", Tcp, 80)]));
    assert_eq!(all(&world), ["10.0.0.1 TCP/8081", "10.0.0.2 TCP/8082"]);
}

#[test]
fn endpoints_are_reached_by_address_whatever_ports_they_have() {
    let world = World::default().service(headless("shop/db", "app=db")).slice(slice(
        "shop/db",
        0,
        &[],
        vec![endpoint_of("shop/db-0", "10.0.0.1"), unready("10.0.0.2")],
    ));
    let service = &world.cluster.services[&key("shop/db")];
    for traffic in [tcp(5432), OTHER] {
        assert_eq!(
            backends(&world.cluster, service, Through::Addresses(traffic), Within::Cluster),
            [Backend { address: ip("10.0.0.1"), traffic, pod: Some(key("shop/db-0")) }]
        );
    }
}
