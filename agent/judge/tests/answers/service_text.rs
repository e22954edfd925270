//! Answers about Services as text.

use podgate_judge::explain::Asked;
use podgate_policy::model::Protocol;

use crate::explain::number;
use crate::service_world::{endpoint, headless, leads, service, slice};
use crate::services::{ask, shop};
use crate::world::{World, block, egress, ingress, matching, one, peers, pods, ports, serving};

use Protocol::{Tcp, Udp};

#[track_caller]
fn text(world: &World, from: &str, to: &str, asked: Asked) -> String {
    match ask(world, from, to, asked) {
        Ok(answer) => answer.to_string(),
        Err(error) => panic!("no answer: {error}"),
    }
}

#[test]
fn denied_backends_come_first_and_each_verdict_is_explained_once() {
    let mut rule = peers(vec![pods(matching("app=api"))]);
    rule.ports = ports(vec![one(Tcp, 8080)]).ports;
    let world = shop().pod_with("shop/api-3", "app=api", "10.0.0.4", serving(&[("web", Tcp, 8080)])).policy(egress(
        "shop/front",
        "app=front",
        vec![rule],
    ));
    assert_eq!(
        text(&world, "shop/front", "10.96.0.1", number(80)),
        "\
some backends: shop/front to Service shop/api TCP/80 (http) at 10.96.0.1, allowed at 2 of 3 backends; connections that end \
         at another fail
denied at shop/api-2 (10.0.0.3 TCP/8082)
  egress of shop/front: denied, isolated by shop/front; no rule matches
    shop/front egress[0]: to matches, but ports allow only TCP/8080
  ingress of shop/api-2: allowed, no policy isolates it
allowed at shop/api-1 (10.0.0.2 TCP/8080), shop/api-3 (10.0.0.4 TCP/8080)
  egress of shop/front: allowed by shop/front egress[0] (to[0], ports[0])
    isolated by shop/front
  ingress of shop/api-1: allowed, no policy isolates it
note: there is no EndpointSlice of Service shop/api: taken for its backends are the pods with its labels, ready or not
note: policies judge the backends' own ports, never the Service's TCP/80 (http)
"
    );
}

#[test]
fn rewritten_source_is_told() {
    let world = shop().policy(ingress("shop/api", "version=1", vec![peers(vec![pods(matching("app=front"))])]));
    let listed = world.slice(slice("shop/api", 0, &[("http", Tcp, 8080)], vec![endpoint("10.0.0.2")]));
    assert_eq!(
        text(&listed, "shop/front", "192.0.2.9", number(80)),
        "\
denied: shop/front to Service shop/api TCP/80 (http) at its external IP 192.0.2.9
denied at shop/api-1 (10.0.0.2 TCP/8080, sees the source as 192.168.0.1)
  egress of shop/front: allowed, no policy isolates it
  ingress of shop/api-1: denied, isolated by shop/api; no rule matches
    shop/api ingress[0]: ports match, but from does not
      from[0] podSelector {app=front}: 192.168.0.1 is no pod's address, and selectors match only pods
note: policies judge the backends' own ports, never the Service's TCP/80 (http)
note: kube-proxy forwards this with an address of node-1 as the source (externalTrafficPolicy: Cluster), so the backends' \
         policies see no pod; on a bridge of node-1 it is the bridge's address
"
    );
}

#[test]
fn entries_are_named_as_they_were_asked_for() {
    let world = shop()
        .service(headless("shop/all", "app=api"))
        .service(service("shop/files", "app=api", "", vec![leads("nfs", Tcp, 2049, 2049)]))
        .service(service("shop/both", "app=api", "10.96.0.2,fd96::2", vec![leads("x", Udp, 1, 1)]))
        .pod_with("shop/cache", "app=cache", "10.0.0.7", |pod| {
            serving(&[("dns", Udp, 53)])(pod);
            pod.ports[0].host_port = Some(5353);
        });
    let cases = [
        ("shop/api", number(80), "Service shop/api TCP/80 (http) at 10.96.0.1, at all 2 backends"),
        ("shop/all", number(80), "Service shop/all (headless: its pods' own addresses), at all 2 backends"),
        ("shop/files", number(2049), "Service shop/files TCP/2049 (nfs), at all 2 backends"),
        ("shop/both", Asked::Number(Udp, 1), "Service shop/both UDP/1 (x) at 10.96.0.2, fd96::2, at all 2 backends"),
        ("192.0.2.9", number(80), "Service shop/api TCP/80 (http) at its external IP 192.0.2.9, at all 2 backends"),
        (
            "198.51.100.7",
            number(80),
            "Service shop/api TCP/80 (http) at its load balancer's IP 198.51.100.7, at all 2 backends",
        ),
        (
            "192.168.0.1",
            number(30080),
            "Service shop/api TCP/80 (http) at its node port 30080 of node-1 (192.168.0.1), at all 2 backends",
        ),
        ("192.168.0.1", Asked::Number(Udp, 5353), "hostPort UDP/5353 at 192.168.0.1"),
    ];
    for (to, asked, entry) in cases {
        let text = text(&world, "shop/front", to, asked);
        assert_eq!(text.lines().next(), Some(format!("allowed: shop/front to {entry}").as_str()));
    }
}

#[test]
fn port_of_another_node_is_told_where_it_would_lead() {
    let world = shop().policy(egress("shop/front", "app=front", vec![peers(vec![block("10.0.0.0/8", &[])])]));
    assert_eq!(
        text(&world, "shop/front", "192.168.0.2", number(30080)).lines().last(),
        Some(
            "note: this is Service shop/api TCP/80 (http) at its node port 30080 of node-2 (192.168.0.2), but the packet gets \
             there as it is, since that is another node than the source's: policies judge 192.168.0.2, and node-2 forwards \
             what they allow"
        )
    );
}
