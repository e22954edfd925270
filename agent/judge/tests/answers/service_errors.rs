//! Questions about Services that have no answer.

use podgate_judge::explain::{Asked, ExplainError, Lack, Participant};
use podgate_policy::model::Protocol;
use podgate_policy::services::{Service, ServiceForm, ServicePort, TrafficPolicy};

use crate::explain::number;
use crate::service_world::{by_hand, endpoint, ips, leads, service, slice, unready};
use crate::services::{ask, shop};
use crate::world::{World, block, ingress, key, one, peers, ports};

use Protocol::{Tcp, Udp};

#[track_caller]
fn error(world: &World, from: &str, to: &str, asked: Asked) -> ExplainError {
    match ask(world, from, to, asked) {
        Ok(answer) => panic!("an answer: {answer}"),
        Err(error) => error,
    }
}

fn lack(error: ExplainError) -> Lack {
    match error {
        ExplainError::NoBackends { why, .. } => why,
        other => panic!("something else: {other}"),
    }
}

#[test]
fn name_of_nothing_is_an_error() {
    assert_eq!(error(&shop(), "shop/front", "shop/x", number(80)), ExplainError::NoSuchDestination(key("shop/x")));
}

#[test]
fn service_that_is_only_a_dns_name_is_an_error() {
    let world = shop().service(Service { form: ServiceForm::ExternalName, ..service("shop/db", "", "", vec![]) });
    assert_eq!(error(&world, "shop/front", "shop/db", number(80)), ExplainError::ExternalName(key("shop/db")));
}

#[test]
fn port_that_a_service_does_not_have_is_an_error_that_names_those_it_has() {
    let world = shop().service(service(
        "shop/dns",
        "",
        "10.96.0.10",
        vec![leads("dns", Udp, 53, 53), ServicePort { name: None, ..leads("", Tcp, 53, 53) }],
    ));
    for to in ["shop/dns", "10.96.0.10"] {
        let said = |asked| error(&world, "shop/front", to, asked).to_string();
        assert_eq!(said(number(80)), "Service shop/dns has no port TCP/80; its ports: UDP/53 (dns), TCP/53");
        assert_eq!(
            said(Asked::Name(Tcp, "dns".into())),
            "Service shop/dns has no TCP port named dns; its ports: UDP/53 (dns), TCP/53"
        );
        assert_eq!(
            said(Asked::Other),
            "Service shop/dns is reached by its ports alone, which ICMP has none of; its ports: UDP/53 (dns), TCP/53"
        );
    }
    let bare = shop().service(service("shop/bare", "", "", vec![]));
    let said = error(&bare, "shop/front", "shop/bare", number(80)).to_string();
    assert_eq!(said, "Service shop/bare has no port TCP/80; its ports: none");
}

#[test]
fn service_without_backends_is_an_error_that_tells_what_it_lacks() {
    let port = || vec![leads("http", Tcp, 80, 8080)];
    let http = [("http", Tcp, 8080)];
    let world = shop()
        .service(service("shop/unready", "app=api", "10.96.0.2", port()))
        .slice(slice("shop/unready", 0, &http, vec![unready("10.0.0.2")]))
        .service(by_hand("shop/by-hand", "10.96.0.3", port()))
        .service(service("shop/nobody", "app=nobody", "10.96.0.4", port()))
        .service(Service { internal: TrafficPolicy::Local, ..service("shop/local", "", "10.96.0.5", port()) })
        .slice(slice("shop/local", 0, &http, vec![endpoint("10.0.0.2")]))
        .service(service("shop/six", "app=api", "fd96::6", port()));
    let cases = [
        ("shop/unready", Lack::Ready, "its EndpointSlices have no ready endpoint for it"),
        ("shop/by-hand", Lack::Slices, "it has no selector, and there is no EndpointSlice of it"),
        (
            "shop/nobody",
            Lack::Selected,
            "there is no EndpointSlice of it, and no pod with its labels has an address (status.podIPs) and the target port",
        ),
        (
            "shop/local",
            Lack::OnNode("node-1".into()),
            "with internalTrafficPolicy: Local only backends on node-1 count, and there is none",
        ),
        (
            "shop/six",
            Lack::Selected,
            "there is no EndpointSlice of it, and no pod with its labels has an address (status.podIPs) and the target port",
        ),
    ];
    for (to, why, words) in cases {
        let error = error(&world, "shop/front", to, number(80));
        let said = error.to_string();
        assert!(said.starts_with(&format!("Service {to} TCP/80 (http)")) && said.ends_with(words), "{said}");
        assert_eq!(lack(error), why, "{to}");
    }
}

#[test]
fn source_without_an_address_of_the_backends_family_is_an_error() {
    let world = shop().pod("shop/six", "", "fd00::9");
    let error = error(&world, "shop/six", "shop/api", number(80));
    assert_eq!(
        error.to_string(),
        "Service shop/api TCP/80 (http) at 10.96.0.1 leads nowhere, and connections to it fail whatever policies say: \
         shop/six has no address of the family of any backend"
    );
    assert_eq!(lack(error), Lack::Family(Participant::Pod(key("shop/six"))));
}

/// The front is on no known node.
fn nowhere() -> World {
    shop().pod_with("shop/front", "app=front", "10.0.0.1", |pod| pod.node = None)
}

#[test]
fn node_port_is_undecidable_where_the_sources_node_is_unknown() {
    assert_eq!(
        error(&nowhere(), "shop/front", "192.168.0.1", number(30080)).to_string(),
        "undecidable: the node of shop/front is not known (spec.nodeName), and only on the node that has the address are \
         policies asked about what the port leads to, Service shop/api TCP/80 (http) at its node port 30080 of node-1 \
         (192.168.0.1)"
    );
}

#[test]
fn backends_of_the_own_node_are_undecidable_where_that_is_unknown() {
    let world = nowhere().service(Service {
        internal: TrafficPolicy::Local,
        ..service("shop/local", "app=api", "10.96.0.5", vec![leads("http", Tcp, 80, 8080)])
    });
    assert_eq!(
        error(&world, "shop/front", "10.96.0.5", number(80)).to_string(),
        "undecidable: the node of shop/front is not known (spec.nodeName), and with internalTrafficPolicy: Local only \
         backends of that node count"
    );
}

#[test]
fn address_that_backends_see_is_asked_for_only_where_their_policies_look_at_it() {
    let isolated = |rules| nowhere().policy(ingress("shop/api", "app=api", rules));
    let from_block = || peers(vec![block("10.0.0.0/8", &[])]);
    let mut other_port = from_block();
    other_port.ports = ports(vec![one(Tcp, 1)]).ports;
    let ask = |world: &World| ask(world, "shop/front", "192.0.2.9", number(80)).map(|answer| answer.is_allowed());
    assert_eq!(ask(&nowhere()), Ok(true), "not isolated");
    assert_eq!(ask(&isolated(vec![ports(vec![one(Tcp, 8080), one(Tcp, 8082)])])), Ok(true), "every peer is allowed");
    assert_eq!(ask(&isolated(vec![])), Ok(false), "none is");
    assert_eq!(ask(&isolated(vec![other_port])), Ok(false), "none on this port");
    let looks = isolated(vec![from_block()]);
    assert_eq!(
        ask(&looks).map_err(|error| error.to_string()),
        Err("undecidable: with externalTrafficPolicy: Cluster shop/api-1 sees the packet come from the node that forwards \
             it, and no address of that node is known (spec.nodeName of the source, status.addresses of the Node)"
            .to_owned())
    );
    let unlisted = looks.pod("shop/front", "app=front", "10.0.0.1").node("node-1", "fd01::1");
    assert!(ask(&unlisted).is_err(), "the node has no address of the family");
}

#[test]
fn service_of_both_families_lacks_what_the_clients_family_lacks() {
    let world = shop().service(Service {
        cluster_ips: ips("10.96.0.1,fd96::1"),
        ..service("shop/api", "app=api", "", vec![leads("http", Tcp, 80, 8080)])
    });
    assert!(ask(&world, "shop/front", "10.96.0.1", number(80)).is_ok());
    assert_eq!(lack(error(&world, "fd00::9", "fd96::1", number(80))), Lack::Selected);
}
