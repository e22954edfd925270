//! Services by other ways than their ClusterIPs, and ports of nodes.

use podgate_judge::explain::{Answer, Asked, Entry, Note, Outcome};
use podgate_policy::model::Protocol;
use podgate_policy::services::{Service, ServiceForm, TrafficPolicy};

use crate::explain::number;
use crate::service_world::{ip, ips, leads, service};
use crate::services::{api, ask, forwarded, front_reaches, on_node, shop, verdicts};
use crate::world::{World, block, egress, host_on, ingress, key, matching, one, peers, pods, ports, serving};

use Protocol::{Tcp, Udp};

#[test]
fn node_port_of_another_node_is_that_nodes_address() {
    let world = shop().policy(egress("shop/front", "app=front", vec![peers(vec![block("192.168.0.2/32", &[])])]));
    let Ok(Answer::Direct(other)) = ask(&world, "shop/front", "192.168.0.2", number(30080)) else { panic!() };
    assert!(other.is_allowed());
    let [Note::OtherNodesPort { address, node, .. }] = other.notes.as_slice() else { panic!("{:?}", other.notes) };
    assert_eq!((*address, &**node), (ip("192.168.0.2"), "node-2"));
    let denied = ask(&on_node(world, "shop/front", Some("node-2")), "shop/front", "192.168.0.2", number(30080));
    assert_eq!(denied.map(|answer| answer.is_allowed()), Ok(false), "its own node's leads to the backends");
}

#[test]
fn a_pod_reaches_its_own_node_at_any_address_and_no_other_node() {
    let world = on_node(shop(), "shop/front", Some("node-2")).policy(egress("shop/none", "app=front", vec![]));
    let allowed = |to: &str, asked| ask(&world, "shop/front", to, asked).map(|answer| answer.is_allowed());
    for asked in [number(22), Asked::Number(Udp, 53), Asked::Other] {
        assert_eq!(allowed("192.168.0.2", asked.clone()), Ok(true));
        assert_eq!(allowed("192.168.0.1", asked), Ok(false));
    }
}

#[test]
fn other_ports_of_a_node_are_its_address() {
    for asked in [number(22), Asked::Number(Udp, 30080), Asked::Other] {
        let answer = ask(&shop(), "shop/front", "192.168.0.1", asked.clone());
        assert!(matches!(&answer, Ok(Answer::Direct(it)) if it.notes.is_empty()), "{asked:?}: {answer:?}");
    }
}

#[test]
fn other_ports_of_an_external_address_are_just_the_address() {
    for address in ["192.0.2.9", "198.51.100.7"] {
        let answer = ask(&shop(), "shop/front", address, number(81));
        assert!(matches!(&answer, Ok(Answer::Direct(_))), "{address}: {answer:?}");
    }
}

/// The world with a pod of `node-1` that has asked for port 5353 of its node.
fn with_host_port(world: World) -> World {
    world.pod_with("shop/cache", "app=cache", "10.0.0.7", |pod| {
        serving(&[("dns", Udp, 53)])(pod);
        pod.ports[0].host_port = Some(5353);
    })
}

#[test]
fn host_port_of_the_own_node_is_the_pod_at_its_container_port() {
    let world = with_host_port(front_reaches(shop(), "app=cache", &[53]));
    let asked = Asked::Number(Udp, 5353);
    assert_eq!(verdicts(&world, "shop/front", "192.168.0.1", asked.clone()), ["- shop/cache 10.0.0.7 UDP/53"]);
    let world = world.policy(egress("shop/front", "app=front", vec![ports(vec![one(Udp, 53)])]));
    assert_eq!(verdicts(&world, "shop/front", "192.168.0.1", asked.clone()), ["+ shop/cache 10.0.0.7 UDP/53"]);
    let elsewhere = ask(&world, "shop/front", "192.168.0.2", asked.clone());
    assert!(matches!(elsewhere, Ok(Answer::Direct(_))), "the pod is on another node: {elsewhere:?}");
    let other_family = ask(&world, "fd00::1", "fd01::1", asked);
    assert!(matches!(other_family, Ok(Answer::Direct(_))), "the pod has no such address: {other_family:?}");
}

/// The source of what comes from outside the ClusterIPs is the node's, and the backends take only the front.
fn only_from_front(world: World) -> World {
    world.policy(ingress("shop/api", "app=api", vec![peers(vec![pods(matching("app=front"))])]))
}

#[test]
fn backends_see_the_node_behind_its_node_port_and_external_addresses() {
    let world = only_from_front(shop());
    for (to, port) in [("192.0.2.9", 80), ("198.51.100.7", 80), ("192.168.0.1", 30080)] {
        let forwarded = forwarded(&world, "shop/front", to, number(port));
        assert_eq!(forwarded.outcome(), Outcome::Denied, "{to}");
        assert_eq!(forwarded.backends[0].paths[0].seen_as, Some(ip("192.168.0.1")), "{to}");
        assert!(forwarded.notes.contains(&Note::SourceRewritten("node-1".into())), "{to}");
    }
    let node = ingress("shop/node", "app=api", vec![peers(vec![block("192.168.0.1/32", &[])])]);
    assert_eq!(forwarded(&world.policy(node), "shop/front", "192.0.2.9", number(80)).outcome(), Outcome::Allowed);
}

#[test]
fn backends_see_the_client_where_the_external_traffic_policy_is_local() {
    let world = only_from_front(shop()).service(Service { external: TrafficPolicy::Local, ..api() });
    for (to, port) in [("192.0.2.9", 80), ("192.168.0.1", 30080)] {
        let forwarded = forwarded(&world, "shop/front", to, number(port));
        assert_eq!((forwarded.outcome(), forwarded.backends[0].paths[0].seen_as), (Outcome::Allowed, None), "{to}");
    }
}

#[test]
fn process_of_the_node_is_seen_as_itself_and_that_of_another_as_the_node_that_forwards() {
    let world = only_from_front(shop()).pod_with("shop/agent-1", "", "192.168.0.1", host_on("node-1")).pod_with(
        "shop/agent-2",
        "",
        "192.168.0.2",
        host_on("node-2"),
    );
    let outcome = |from: &str| forwarded(&world, from, "192.168.0.1", number(30080)).outcome();
    assert_eq!((outcome("shop/agent-1"), outcome("shop/agent-2")), (Outcome::Allowed, Outcome::Denied));
}

#[test]
fn address_of_two_services_is_the_one_with_the_port() {
    let other = Service {
        external_ips: ips("192.0.2.9"),
        ..service("shop/other", "app=front", "10.96.0.2", vec![leads("https", Tcp, 443, 8443)])
    };
    let world = shop().service(other);
    assert_eq!(verdicts(&world, "shop/api-1", "192.0.2.9", number(443)), ["+ shop/front 10.0.0.1 TCP/8443"]);
    assert_eq!(verdicts(&world, "shop/api-1", "192.0.2.9", number(80)).len(), 2);
}

#[test]
fn what_kube_proxy_leaves_to_others_is_the_address_it_is() {
    let left = Service { form: ServiceForm::OtherProxy, external_ips: ips("192.0.2.9"), ..api() };
    let world = shop().service(left);
    for (to, port) in [("192.0.2.9", 80), ("10.96.0.1", 80), ("192.168.0.1", 30080)] {
        let answer = ask(&world, "shop/front", to, number(port));
        assert!(matches!(answer, Ok(Answer::Direct(_))), "{to}: {answer:?}");
    }
    let named = ask(&world, "shop/front", "shop/api", number(80)).unwrap_err().to_string();
    assert!(named.contains("is left to another program than kube-proxy"), "{named}");
}

#[test]
fn of_several_services_at_an_address_its_own_is_asked_about_and_the_others_are_named() {
    let claims = Service {
        external_ips: ips("10.96.0.1"),
        ..service("a/claims", "app=none", "10.96.0.9", vec![leads("http", Tcp, 80, 80)])
    };
    let forwarded = forwarded(&shop().service(claims), "shop/front", "10.96.0.1", number(80));
    let Entry::Service(entry) = &forwarded.entry else { panic!("{:?}", forwarded.entry) };
    assert_eq!(entry.service, key("shop/api"));
    assert!(forwarded.notes.contains(&Note::Contested(vec![key("a/claims")])), "{:?}", forwarded.notes);
}

#[test]
fn an_external_address_of_a_family_without_a_cluster_ip_is_the_address_it_is() {
    let only_v4 = Service { cluster_ips: ips("10.96.0.1"), external_ips: ips("192.0.2.9,2001:db8::9"), ..api() };
    let world = shop().service(only_v4);
    assert!(matches!(ask(&world, "fd00::1", "2001:db8::9", number(80)), Ok(Answer::Direct(_))));
    assert!(matches!(ask(&world, "shop/front", "192.0.2.9", number(80)), Ok(Answer::Forwarded(_))));
}
