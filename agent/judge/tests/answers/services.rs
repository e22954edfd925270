//! What is said of connections to Services: the verdict of each backend that they can end at.

use podgate_judge::explain::{Answer, Asked, Destination, End, ExplainError, Forwarded, Note, Outcome, Query, explain};
use podgate_policy::evaluate::{DirectionVerdict, Open};
use podgate_policy::model::{Phase, Pod, Protocol};
use podgate_policy::services::{Service, ServicePort, TrafficPolicy};

use crate::explain::{name, number, query};
use crate::service_world::{
    by_hand, endpoint, endpoint_of, headless, ips, leads, leads_to_name, service, slice, terminating,
};
use crate::world::{
    World, anything, block, egress, host_on, ingress, key, matching, named, one, peers, pods, pods_in, ports, serving,
};

use Protocol::{Tcp, Udp};

pub(crate) fn ask(world: &World, from: &str, to: &str, asked: Asked) -> Result<Answer, ExplainError> {
    explain(&world.cluster, &query(from, to, asked))
}

#[track_caller]
pub(crate) fn forwarded(world: &World, from: &str, to: &str, asked: Asked) -> Forwarded {
    match ask(world, from, to, asked) {
        Ok(Answer::Forwarded(forwarded)) => forwarded,
        other => panic!("leads to nothing: {other:?}"),
    }
}

/// What is said of each backend, as `+ backend address port` if it is allowed, else with `-`.
#[track_caller]
pub(crate) fn verdicts(world: &World, from: &str, to: &str, asked: Asked) -> Vec<String> {
    let forwarded = forwarded(world, from, to, asked);
    let paths = forwarded.backends.iter().flat_map(|backend| backend.paths.iter().map(move |path| (backend, path)));
    let sign = |allowed: bool| if allowed { '+' } else { '-' };
    let line = paths.map(|(backend, path)| {
        let address = path.to.map(|address| address.to_string()).unwrap_or_default();
        format!("{} {} {address} {}", sign(path.verdict.is_allowed()), backend.to, path.traffic)
    });
    line.collect()
}

/// Two pods behind a Service with port 80, each with another number for its target port's name; the front may reach one label
/// only.
pub(crate) fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .node("node-1", "192.168.0.1,fd01::1")
        .node("node-2", "192.168.0.2,fd01::2")
        .pod("shop/front", "app=front", "10.0.0.1")
        .pod_with("shop/api-1", "app=api,version=1", "10.0.0.2", serving(&[("web", Tcp, 8080)]))
        .pod_with("shop/api-2", "app=api,version=2", "10.0.0.3", serving(&[("web", Tcp, 8082)]))
        .service(api())
}

pub(crate) fn api() -> Service {
    let port = ServicePort { node_port: Some(30080), ..leads_to_name("http", Tcp, 80, "web") };
    Service {
        external_ips: ips("192.0.2.9"),
        load_balancer_ips: ips("198.51.100.7"),
        ..service("shop/api", "app=api", "10.96.0.1", vec![port])
    }
}

/// The front may open connections to these pods, on these ports.
pub(crate) fn front_reaches(world: World, labels: &str, numbers: &[u16]) -> World {
    let mut rule = peers(vec![pods(matching(labels))]);
    rule.ports = ports(numbers.iter().map(|&number| one(Tcp, number)).collect()).ports;
    world.policy(egress("shop/front", "app=front", vec![rule]))
}

/// The same pod elsewhere.
pub(crate) fn on_node(world: World, pod: &str, node: Option<&str>) -> World {
    let old = Pod::clone(&world.cluster.pods[&key(pod)]);
    let changed = Pod { node: node.map(Into::into), ..old };
    world.pod_with(pod, "", "10.0.0.99", |pod| *pod = changed)
}

#[test]
fn backend_is_judged_by_its_own_address_and_target_port() {
    let world = front_reaches(shop(), "app=api", &[8080, 8082]);
    let all = ["+ shop/api-1 10.0.0.2 TCP/8080", "+ shop/api-2 10.0.0.3 TCP/8082"];
    for to in ["shop/api", "10.96.0.1", "192.0.2.9", "198.51.100.7"] {
        assert_eq!(verdicts(&world, "shop/front", to, number(80)), all, "{to}");
        assert_eq!(verdicts(&world, "shop/front", to, name("http")), all, "{to}");
    }
    assert_eq!(verdicts(&world, "shop/front", "192.168.0.1", number(30080)), all);
}

#[test]
fn policy_speaks_of_the_target_port_and_never_of_the_services() {
    let world = front_reaches(shop(), "app=api", &[80, 30080]);
    let none = ["- shop/api-1 10.0.0.2 TCP/8080", "- shop/api-2 10.0.0.3 TCP/8082"];
    assert_eq!(verdicts(&world, "shop/front", "shop/api", number(80)), none);
    assert_eq!(verdicts(&world, "shop/front", "192.168.0.1", number(30080)), none);
}

#[test]
fn policy_never_matches_the_services_own_address() {
    let world = shop().policy(egress("shop/front", "app=front", vec![peers(vec![block("10.96.0.0/16", &[])])]));
    assert_eq!(forwarded(&world, "shop/front", "10.96.0.1", number(80)).outcome(), Outcome::Denied);
}

#[test]
fn named_target_port_has_each_backends_own_number() {
    let world = front_reaches(shop(), "app=api", &[8080]);
    assert_eq!(
        verdicts(&world, "shop/front", "shop/api", number(80)),
        ["+ shop/api-1 10.0.0.2 TCP/8080", "- shop/api-2 10.0.0.3 TCP/8082"]
    );
    let world = shop().policy(egress("shop/front", "app=front", vec![ports(vec![named(Tcp, "web")])]));
    assert_eq!(forwarded(&world, "shop/front", "shop/api", number(80)).outcome(), Outcome::Allowed);
}

#[test]
fn backends_that_are_not_all_allowed_are_told_apart() {
    let outcome = |labels| {
        let forwarded = forwarded(&front_reaches(shop(), labels, &[8080, 8082]), "shop/front", "shop/api", number(80));
        (forwarded.outcome(), forwarded.allowed())
    };
    assert_eq!(outcome("app=api"), (Outcome::Allowed, 2));
    assert_eq!(outcome("version=2"), (Outcome::Partly, 1));
    assert_eq!(outcome("app=other"), (Outcome::Denied, 0));
}

#[test]
fn only_an_answer_that_is_allowed_at_every_backend_is_an_allow() {
    let allowed = |labels| {
        ask(&front_reaches(shop(), labels, &[8080, 8082]), "shop/front", "shop/api", number(80))
            .map(|it| it.is_allowed())
    };
    assert_eq!((allowed("app=api"), allowed("version=2"), allowed("app=other")), (Ok(true), Ok(false), Ok(false)));
}

#[test]
fn ingress_of_each_backend_is_judged_by_the_client_behind_a_cluster_ip() {
    let world = shop().policy(ingress("shop/api-2", "version=2", vec![peers(vec![pods(matching("app=front"))])]));
    assert_eq!(forwarded(&world, "shop/front", "shop/api", number(80)).outcome(), Outcome::Allowed);
    let other = world.pod("shop/other", "", "10.0.0.9");
    assert_eq!(forwarded(&other, "shop/other", "shop/api", number(80)).outcome(), Outcome::Partly);
}

#[test]
fn headless_service_is_its_pods_at_the_port_that_is_asked_for() {
    let world = shop()
        .service(Service { ports: vec![leads_to_name("http", Tcp, 80, "web")], ..headless("shop/all", "app=api") })
        .policy(egress("shop/front", "app=front", vec![ports(vec![one(Tcp, 80), one(Tcp, 8080)])]));
    assert_eq!(
        verdicts(&world, "shop/front", "shop/all", number(80)),
        ["+ shop/api-1 10.0.0.2 TCP/80", "+ shop/api-2 10.0.0.3 TCP/80"]
    );
    assert_eq!(
        verdicts(&world, "shop/front", "shop/all", name("http")),
        ["+ shop/api-1 10.0.0.2 TCP/8080", "- shop/api-2 10.0.0.3 TCP/8082"],
        "a name is what its DNS records say"
    );
    assert_eq!(forwarded(&world, "shop/front", "shop/all", Asked::Other).outcome(), Outcome::Denied);
}

#[test]
fn backends_outside_the_cluster_are_judged_as_addresses() {
    let world = shop()
        .service(by_hand("shop/legacy", "10.96.0.7", vec![leads("sql", Tcp, 5432, 15432)]))
        .slice(slice("shop/legacy", 0, &[("sql", Tcp, 15432)], vec![endpoint("203.0.113.1"), endpoint("203.0.113.9")]))
        .policy(egress("shop/front", "app=front", vec![peers(vec![block("203.0.113.0/29", &[])])]));
    assert_eq!(
        verdicts(&world, "shop/front", "10.96.0.7", number(5432)),
        ["+ 203.0.113.1 203.0.113.1 TCP/15432", "- 203.0.113.9 203.0.113.9 TCP/15432"]
    );
}

#[test]
fn pod_reaches_itself_through_its_own_service() {
    let world = shop().policy(egress("shop/closed-out", "", vec![])).policy(ingress("shop/closed-in", "", vec![]));
    for (to, port) in [("shop/api", 80), ("192.0.2.9", 80), ("192.168.0.1", 30080)] {
        let forwarded = forwarded(&world, "shop/api-1", to, number(port));
        let own = &forwarded.backends[0].paths[0].verdict;
        assert_eq!((&own.egress, &own.ingress), (&DirectionVerdict::Open(Open::SamePod), &own.egress), "{to}");
        assert_eq!(forwarded.outcome(), Outcome::Partly, "{to}: the other backend is another pod");
    }
}

#[test]
fn dns_rule_that_names_its_pods_works_through_the_services_address() {
    let dns_pods = pods_in(matching("name=kube-system"), matching("k8s-app=kube-dns"));
    let mut rule = peers(vec![dns_pods]);
    rule.ports = ports(vec![one(Udp, 53), one(Tcp, 53)]).ports;
    let dns_ports = vec![leads("dns", Udp, 53, 53), leads("dns-tcp", Tcp, 53, 53), leads("metrics", Tcp, 9153, 9153)];
    let world = shop()
        .namespace("kube-system", "name=kube-system")
        .pod("kube-system/coredns", "k8s-app=kube-dns", "10.0.9.1")
        .service(service("kube-system/kube-dns", "k8s-app=kube-dns", "10.96.0.10", dns_ports))
        .policy(egress("shop/dns-only", "", vec![rule]));
    let outcome = |asked| forwarded(&world, "shop/front", "10.96.0.10", asked).outcome();
    assert_eq!(outcome(Asked::Number(Udp, 53)), Outcome::Allowed);
    assert_eq!(outcome(Asked::Number(Tcp, 53)), Outcome::Allowed);
    assert_eq!(outcome(Asked::Number(Tcp, 9153)), Outcome::Denied);
}

#[test]
fn endpoint_that_terminates_is_no_backend_while_another_is_ready() {
    let listed = |endpoints| {
        let world =
            front_reaches(shop(), "version=1", &[8080]).slice(slice("shop/api", 0, &[("http", Tcp, 8080)], endpoints));
        verdicts(&world, "shop/front", "shop/api", number(80))
    };
    assert_eq!(listed(vec![endpoint("10.0.0.2"), terminating("10.0.0.3")]), ["+ shop/api-1 10.0.0.2 TCP/8080"]);
    assert_eq!(listed(vec![terminating("10.0.0.3")]), ["- shop/api-2 10.0.0.3 TCP/8080"]);
}

#[test]
fn backend_is_the_pod_that_its_endpoint_names_if_it_has_the_address() {
    let world = shop().pod("shop/copy", "app=copy", "10.0.0.2").slice(slice(
        "shop/api",
        0,
        &[("http", Tcp, 8080)],
        vec![
            endpoint_of("shop/copy", "10.0.0.2"),
            endpoint_of("shop/gone", "10.0.0.3"),
            endpoint_of("shop/api-1", "10.0.7.7"),
        ],
    ));
    assert_eq!(
        verdicts(&world, "shop/front", "shop/api", number(80)),
        ["+ shop/api-2 10.0.0.3 TCP/8080", "+ shop/copy 10.0.0.2 TCP/8080", "+ 10.0.7.7 10.0.7.7 TCP/8080"]
    );
}

#[test]
fn backend_of_a_finished_pod_is_an_address() {
    let world = shop().pod_with("shop/api-1", "app=api", "10.0.0.2", |pod| pod.phase = Phase::Finished).slice(slice(
        "shop/api",
        0,
        &[("http", Tcp, 8080)],
        vec![endpoint_of("shop/api-1", "10.0.0.2")],
    ));
    assert_eq!(verdicts(&world, "shop/front", "shop/api", number(80)), ["+ 10.0.0.2 10.0.0.2 TCP/8080"]);
}

#[test]
fn backend_on_the_network_of_the_sources_node_is_always_reached() {
    let world = shop()
        .pod_with("kube-system/dns-1", "k8s-app=dns", "192.168.0.1", host_on("node-1"))
        .pod_with("kube-system/dns-2", "k8s-app=dns", "192.168.0.2", host_on("node-2"))
        .service(service("kube-system/dns", "k8s-app=dns", "10.96.0.10", vec![leads("dns", Udp, 53, 53)]))
        .policy(egress("shop/closed", "", vec![]));
    assert_eq!(
        verdicts(&world, "shop/front", "10.96.0.10", Asked::Number(Udp, 53)),
        ["+ kube-system/dns-1 192.168.0.1 UDP/53", "- kube-system/dns-2 192.168.0.2 UDP/53"]
    );
}

/// Clients and pods of both families, the Service of one or both.
fn dual(cluster_ips: &str) -> World {
    World::default()
        .pod("shop/front", "app=front", "10.0.0.1,fd00::1")
        .pod("shop/api", "app=api", "10.0.0.2,fd00::2")
        .service(service("shop/web", "app=api", cluster_ips, vec![leads("http", Tcp, 80, 8080)]))
        .policy(egress("shop/front", "app=front", vec![peers(vec![block("10.0.0.0/8", &[])])]))
}

#[test]
fn service_is_reached_in_the_families_of_its_addresses() {
    let (four, six) = ("+ shop/api 10.0.0.2 TCP/8080", "- shop/api fd00::2 TCP/8080");
    let by_name = |cluster_ips| verdicts(&dual(cluster_ips), "shop/front", "shop/web", number(80));
    assert_eq!(by_name("10.96.0.1,fd96::1"), [four, six]);
    assert_eq!(by_name("10.96.0.1"), [four]);
    assert_eq!(by_name("fd96::1"), [six]);
    assert_eq!(by_name(""), [four, six], "as in files, where nobody has given it addresses");
    let at = |address| verdicts(&dual("10.96.0.1,fd96::1"), "shop/front", address, number(80));
    assert_eq!((at("10.96.0.1"), at("fd96::1")), (vec![four.to_owned()], vec![six.to_owned()]));
}

#[test]
fn backend_that_is_allowed_in_one_family_makes_some() {
    let forwarded = forwarded(&dual("10.96.0.1,fd96::1"), "shop/front", "shop/web", number(80));
    assert_eq!((forwarded.outcome(), forwarded.allowed(), forwarded.backends.len()), (Outcome::Partly, 0, 1));
}

#[test]
fn backends_of_the_own_node_alone_count_where_the_internal_traffic_policy_is_local() {
    let world =
        front_reaches(shop(), "version=1", &[8080, 8082]).service(Service { internal: TrafficPolicy::Local, ..api() });
    let world = on_node(world, "shop/api-2", Some("node-2"));
    assert_eq!(verdicts(&world, "shop/front", "shop/api", number(80)), ["+ shop/api-1 10.0.0.2 TCP/8080"]);
    assert_eq!(verdicts(&world, "shop/front", "192.0.2.9", number(80)).len(), 2, "the external addresses lead to all");
    assert_eq!(verdicts(&world, "203.0.113.1", "10.96.0.1", number(80)).len(), 2, "it is on no node");
}

#[test]
fn backends_that_nobody_listed_are_noted() {
    let derived = Note::Derived(key("shop/api"));
    assert_eq!(forwarded(&shop(), "shop/front", "shop/api", number(80)).notes, [derived]);
    let listed = shop().slice(slice("shop/api", 0, &[("http", Tcp, 8080)], vec![endpoint("10.0.0.2")]));
    assert_eq!(forwarded(&listed, "shop/front", "shop/api", number(80)).notes, []);
}

#[test]
fn denial_at_another_port_than_the_services_is_noted() {
    let noted = |numbers: &[u16], to, port| {
        let world = front_reaches(shop(), "app=api", numbers);
        let notes = forwarded(&world, "shop/front", to, number(port)).notes;
        notes.iter().any(|note| matches!(note, Note::OwnPorts(port) if port.number == 80))
    };
    assert!(noted(&[80], "shop/api", 80) && noted(&[8080], "192.168.0.1", 30080));
    assert!(!noted(&[8080, 8082], "shop/api", 80), "nothing is denied");
    let same = shop()
        .service(service("shop/same", "version=1", "10.96.0.8", vec![leads("http", Tcp, 8080, 8080)]))
        .policy(egress("shop/front", "app=front", vec![]));
    let notes = forwarded(&same, "shop/front", "shop/same", number(8080)).notes;
    assert!(!notes.iter().any(|note| matches!(note, Note::OwnPorts(_))), "{notes:?}");
}

#[test]
fn name_of_a_pod_and_a_service_asks_which_and_both_forms_answer() {
    let world = shop().pod("shop/api", "", "10.0.0.8");
    assert_eq!(ask(&world, "shop/front", "shop/api", number(80)), Err(ExplainError::Ambiguous(key("shop/api"))));
    let ask = |to| {
        let query = Query { from: End::Pod(key("shop/front")), to, asked: number(80) };
        explain(&world.cluster, &query).map(|answer| matches!(answer, Answer::Forwarded(_)))
    };
    assert_eq!(ask(Destination::Pod(key("shop/api"))), Ok(false));
    assert_eq!(ask(Destination::Service(key("shop/api"))), Ok(true));
}

#[test]
fn pods_and_services_are_open_where_no_policy_isolates() {
    let world = shop().policy(ingress("shop/open", "", vec![anything()]));
    assert_eq!(forwarded(&world, "203.0.113.1", "10.96.0.1", number(80)).outcome(), Outcome::Allowed);
}
