//! Where the ports of Services lead.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use podgate_policy::model::Protocol;
use podgate_policy::services::{Endpoint, Ends, Frontend, Leads, Service, ServiceForm, TrafficPolicy, ends};

use crate::service_world::{endpoint, ips, leads, leads_to_name, service, slice};
use crate::world::{World, key, serving};

use Protocol::{Tcp, Udp};

const NODE: &str = "node-a";

/// Every frontend with its backends, in words.
fn said(ends: &Ends) -> Vec<String> {
    let words = |(frontend, backends): (&Frontend, &BTreeSet<SocketAddr>)| {
        let backends: Vec<_> = backends.iter().map(ToString::to_string).collect();
        let at = SocketAddr::new(frontend.address, frontend.port);
        format!("{} {at} to {}", frontend.protocol, backends.join(", "))
    };
    ends.iter().map(words).collect()
}

fn of(world: &World, name: &str) -> Vec<String> {
    said(&ends(&world.cluster, &world.cluster.services[&key(name)], NODE))
}

fn api() -> Service {
    let ports = vec![leads("http", Tcp, 80, 8080), leads("dns", Udp, 53, 5353)];
    Service { external_ips: ips("192.0.2.9"), ..service("shop/api", "app=api", "10.96.0.1,fd96::1", ports) }
}

fn listed(service: Service, endpoints: Vec<Endpoint>) -> World {
    let ports = [("http", Tcp, 8080), ("dns", Udp, 5353)];
    World::default().service(service).slice(slice("shop/api", 0, &ports, endpoints))
}

#[test]
fn every_address_and_port_leads_to_the_backends_of_its_family() {
    let world = listed(api(), vec![endpoint("10.0.0.2"), endpoint("10.0.0.1")]);
    let expected = [
        "TCP 10.96.0.1:80 to 10.0.0.1:8080, 10.0.0.2:8080",
        "UDP 10.96.0.1:53 to 10.0.0.1:5353, 10.0.0.2:5353",
        "TCP 192.0.2.9:80 to 10.0.0.1:8080, 10.0.0.2:8080",
        "UDP 192.0.2.9:53 to 10.0.0.1:5353, 10.0.0.2:5353",
    ];
    assert_eq!(of(&world, "shop/api"), expected);
    let ports = [("http", Tcp, 8080)];
    let world = world.slice(slice("shop/api", 1, &ports, vec![endpoint("fd00::1")]));
    assert_eq!(of(&world, "shop/api").last().map(String::as_str), Some("TCP [fd96::1]:80 to [fd00::1]:8080"));
}

#[test]
fn a_named_target_port_is_each_backends_own() {
    let service = service("shop/api", "app=api", "10.96.0.1", vec![leads_to_name("http", Tcp, 80, "web")]);
    let world = World::default()
        .pod_with("shop/a", "app=api", "10.0.0.1", serving(&[("web", Tcp, 8080)]))
        .pod_with("shop/b", "app=api", "10.0.0.2", serving(&[("web", Tcp, 9090)]))
        .service(service);
    assert_eq!(of(&world, "shop/api"), ["TCP 10.96.0.1:80 to 10.0.0.1:8080, 10.0.0.2:9090"]);
}

#[test]
fn cluster_ips_lead_to_this_nodes_backends_where_the_service_says_so_and_other_addresses_to_all() {
    let on = |node: &str, address| Endpoint { node: Some(node.into()), ..endpoint(address) };
    let service = Service { internal: TrafficPolicy::Local, external: TrafficPolicy::Local, ..api() };
    let world = listed(service, vec![on(NODE, "10.0.0.1"), on("node-b", "10.0.0.2")]);
    let expected = [
        "TCP 10.96.0.1:80 to 10.0.0.1:8080",
        "UDP 10.96.0.1:53 to 10.0.0.1:5353",
        "TCP 192.0.2.9:80 to 10.0.0.1:8080, 10.0.0.2:8080",
        "UDP 192.0.2.9:53 to 10.0.0.1:5353, 10.0.0.2:5353",
    ];
    assert_eq!(of(&world, "shop/api"), expected);
}

#[test]
fn what_has_no_backends_or_no_address_of_its_own_leads_nowhere() {
    assert_eq!(of(&listed(api(), vec![]), "shop/api"), [""; 0]);
    let headless = Service { form: ServiceForm::Headless, ..api() };
    assert_eq!(of(&listed(headless, vec![endpoint("10.0.0.1")]), "shop/api"), [""; 0]);
}

#[test]
fn services_that_share_a_frontend_have_the_backends_of_all() {
    let ends = |backend| ends_of(&listed(api(), vec![endpoint(backend)]));
    let frontend = Frontend { address: ips("192.0.2.9")[0], protocol: Tcp, port: 80 };
    let backends = |leads: &Leads| leads.backends(frontend).iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut leads = Leads::default();
    assert!(leads.update(&key("shop/a"), ends("10.0.0.1")));
    assert!(!leads.update(&key("shop/a"), ends("10.0.0.1")), "nothing differs");
    assert!(leads.update(&key("shop/b"), ends("10.0.0.2")));
    assert_eq!(backends(&leads), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let named = leads.iter().find(|(it, _)| *it == frontend).map(|(_, services)| services.len());
    assert_eq!(named, Some(2));
    assert!(leads.update(&key("shop/a"), Ends::new()));
    assert_eq!(backends(&leads), ["10.0.0.2:8080"]);
    assert!(leads.update(&key("shop/b"), Ends::new()));
    assert_eq!(leads, Leads::default());
}

fn ends_of(world: &World) -> Ends {
    ends(&world.cluster, &world.cluster.services[&key("shop/api")], NODE)
}
