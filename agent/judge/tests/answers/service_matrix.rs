//! Who reaches which Service, tabulated.

use podgate_judge::groups::{Group, Parties};
use podgate_judge::matrix::{PortChoice, ServiceRow, render_services, services};
use podgate_policy::model::Protocol;
use podgate_policy::services::{Service, TrafficPolicy};

use crate::service_world::{by_hand, endpoint, headless, leads, service, slice};
use crate::services::{front_reaches, on_node, shop};
use crate::world::{World, host_on, key};

use Protocol::{Tcp, Udp};

fn row(from: &str, service: &str, port: u16, allowed: usize, backends: usize) -> ServiceRow {
    ServiceRow { from: key(from).into(), service: key(service), protocol: Tcp, port, allowed, backends }
}

/// The front reaches one of the two pods behind the Service.
fn world() -> World {
    front_reaches(shop(), "version=1", &[8080])
}

fn all(world: &World) -> Vec<ServiceRow> {
    services(&world.cluster, &PortChoice::ContainerPorts, Parties::Pods)
}

#[test]
fn every_pod_has_a_row_for_every_port_of_every_service_with_addresses() {
    let world = world()
        .service(headless("shop/all", "app=api"))
        .service(service("shop/dns", "app=front", "10.96.0.9", vec![leads("a", Tcp, 1, 1), leads("b", Udp, 2, 2)]))
        .pod_with("shop/agent", "", "192.168.0.1", host_on("node-1"));
    let dns = |from| [row(from, "shop/dns", 1, 1, 1), ServiceRow { protocol: Udp, ..row(from, "shop/dns", 2, 1, 1) }];
    let expected: Vec<_> = [("shop/api-1", 2), ("shop/api-2", 2), ("shop/front", 1)]
        .into_iter()
        .flat_map(|(from, allowed)| [row(from, "shop/api", 80, allowed, 2)].into_iter().chain(dns(from)))
        .collect();
    assert_eq!(all(&world), expected);
}

#[test]
fn listed_ports_are_those_of_the_service() {
    let rows = |number| services(&world().cluster, &PortChoice::Listed([(Tcp, number)].into()), Parties::Pods).len();
    assert_eq!((rows(80), rows(8080)), (3, 0));
}

#[test]
fn only_all_backends_make_an_allow_and_none_makes_no_allow() {
    let allowed = |allowed, backends| row("a/a", "a/b", 80, allowed, backends).is_allowed();
    assert_eq!((allowed(2, 2), allowed(1, 2), allowed(0, 2), allowed(0, 0)), (true, false, false, false));
}

#[test]
fn backends_of_each_clients_own_node_count_where_the_service_says_so() {
    let local = Service {
        internal: TrafficPolicy::Local,
        ..service("shop/api", "app=api", "10.96.0.1", vec![leads("http", Tcp, 80, 8080)])
    };
    let world = on_node(on_node(world().service(local), "shop/api-2", Some("node-2")), "shop/front", Some("node-3"));
    let expected = ["shop/api-1", "shop/api-2", "shop/front"].map(|from| {
        let here = usize::from(from != "shop/front");
        row(from, "shop/api", 80, here, here)
    });
    assert_eq!(all(&world), expected);
}

#[test]
fn backend_at_an_address_of_several_pods_is_allowed_to_nobody() {
    let world = shop()
        .pod("shop/copy", "", "10.0.0.2")
        .service(by_hand("shop/hand", "10.96.0.3", vec![leads("http", Tcp, 80, 8080)]))
        .slice(slice("shop/hand", 0, &[("http", Tcp, 8080)], vec![endpoint("10.0.0.2"), endpoint("203.0.113.1")]));
    let rows = all(&world);
    assert!(rows.contains(&row("shop/front", "shop/hand", 80, 1, 2)), "{rows:?}");
}

#[test]
fn clients_are_listed_by_how_many_backends_they_reach() {
    let world = world().pod("web/other", "", "10.0.5.1").pod("web/six", "", "fd00::5").policy(crate::world::egress(
        "web/closed",
        "",
        vec![],
    ));
    assert_eq!(
        render_services(&all(&world)),
        "\
Service shop/api TCP/80
  allowed at all 2: shop/api-1, shop/api-2
  allowed at 1 of 2: shop/front
  denied at all 2: web/other
  no backends: web/six
"
    );
}

/// Replicas, the third on a node of its own, and a client, without a Service.
fn replicas() -> World {
    let api = |world: World, number: u8| {
        let world = world.pod(&format!("shop/api-{number}"), "app=api,tier=back", &format!("10.0.1.{number}"));
        on_node(world, &format!("shop/api-{number}"), Some(if number == 3 { "node-2" } else { "node-1" }))
    };
    let client = World::default().pod("shop/web", "app=web", "10.0.2.1");
    (1..5).fold(client, api).policy(crate::world::ingress("shop/closed", "app=api", vec![]))
}

fn group(name: &str, pods: usize) -> Group {
    Group { name: key(name), pods }
}

#[test]
fn clients_that_are_alike_are_one_and_a_backend_is_not_like_a_pod_that_is_none() {
    let ready: Vec<_> = (1..4).map(|number| endpoint(&format!("10.0.1.{number}"))).collect();
    let world = replicas().service(by_hand("shop/hand", "10.96.0.3", vec![leads("http", Tcp, 80, 8080)])).slice(slice(
        "shop/hand",
        0,
        &[("http", Tcp, 8080)],
        ready,
    ));
    let of = |from: Group, allowed| ServiceRow { from, ..row("a/a", "shop/hand", 80, allowed, 3) };
    let expected = [of(group("shop/api-1", 3), 1), of(group("shop/api-4", 1), 0), of(group("shop/web", 1), 0)];
    assert_eq!(services(&world.cluster, &PortChoice::ContainerPorts, Parties::Groups), expected);
    let expected = [("shop/api-1", 1), ("shop/api-2", 1), ("shop/api-3", 1), ("shop/api-4", 0), ("shop/web", 0)];
    assert_eq!(all(&world), expected.map(|(from, allowed)| of(group(from, 1), allowed)));
}

#[test]
fn clients_of_different_nodes_are_alike_unless_only_backends_of_their_node_count() {
    let of = |from: Group, allowed, backends| ServiceRow { from, ..row("a/a", "shop/api", 80, allowed, backends) };
    let rows = |internal| {
        let api = service("shop/api", "app=api", "10.96.0.3", vec![leads("http", Tcp, 80, 8080)]);
        let world = replicas().service(Service { internal, ..api });
        services(&world.cluster, &PortChoice::ContainerPorts, Parties::Groups)
    };
    assert_eq!(rows(TrafficPolicy::Cluster), [of(group("shop/api-1", 4), 1, 4), of(group("shop/web", 1), 0, 4)]);
    let expected = [of(group("shop/api-1", 3), 1, 3), of(group("shop/api-3", 1), 1, 1), of(group("shop/web", 1), 0, 3)];
    assert_eq!(rows(TrafficPolicy::Local), expected);
}

#[test]
fn clients_of_the_node_that_a_backend_is_are_not_like_others() {
    let world = replicas()
        .policy(crate::world::egress("shop/mute", "app=api", vec![]))
        .pod_with("shop/agent", "", "192.168.0.1", host_on("node-2"))
        .service(by_hand("shop/hand", "10.96.0.3", vec![leads("http", Tcp, 80, 8080)]))
        .slice(slice("shop/hand", 0, &[("http", Tcp, 8080)], vec![endpoint("192.168.0.1")]));
    let of = |from: Group, allowed| ServiceRow { from, ..row("a/a", "shop/hand", 80, allowed, 1) };
    let rows = services(&world.cluster, &PortChoice::ContainerPorts, Parties::Groups);
    assert_eq!(rows, [of(group("shop/api-1", 3), 0), of(group("shop/api-3", 1), 1), of(group("shop/web", 1), 1)]);
}
