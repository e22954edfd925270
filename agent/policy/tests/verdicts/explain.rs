//! How verdicts are explained.

use podgate_policy::evaluate::{DirectionVerdict, Open, SharedAddress, Traffic};
use podgate_policy::explain::{End, ExplainError, Explanation, Note, Participant, Query, Service, Unknown, explain};
use podgate_policy::model::{Phase, Protocol};

use crate::world::{
    World, anything, block, egress, host_on, ingress, key, matching, named, one, peers, pods, pods_in, ports, serving,
    tcp,
};

use Protocol::{Tcp, Udp};

/// Three tiers: the front may reach only DNS, the database only takes SQL from the back end.
fn shop() -> World {
    let mut sql = peers(vec![pods(matching("app=api")), block("10.9.0.0/16", &["10.9.1.0/24"])]);
    sql.ports = ports(vec![named(Tcp, "sql")]).ports;
    World::default()
        .namespace("shop", "team=shop")
        .namespace("kube-system", "kubernetes.io/metadata.name=kube-system")
        .pod("shop/front", "app=front", "10.0.0.1")
        .pod("shop/api", "app=api", "10.0.0.2")
        .pod_with("shop/db", "app=db", "10.0.0.3", serving(&[("sql", Tcp, 5432)]))
        .pod("kube-system/dns", "k8s-app=dns", "10.0.1.1")
        .policy(ingress("shop/default-deny", "", vec![]))
        .policy(egress("shop/front-dns", "app=front", vec![ports(vec![one(Udp, 53), one(Tcp, 53)])]))
        .policy(ingress("shop/db-sql", "app=db", vec![sql]))
}

fn end(end: &str) -> End {
    end.parse().map_or_else(|_| End::Pod(key(end)), End::Address)
}

fn number(number: u16) -> Service {
    Service::Number(Tcp, number)
}

fn name(name: &str) -> Service {
    Service::Name(Tcp, name.into())
}

fn ask(world: &World, from: &str, to: &str, service: Service) -> Result<Explanation, ExplainError> {
    explain(&world.cluster, &Query { from: end(from), to: end(to), service })
}

#[track_caller]
fn text(world: &World, from: &str, to: &str, service: Service) -> String {
    match ask(world, from, to, service) {
        Ok(explanation) => explanation.to_string(),
        Err(error) => panic!("no answer: {error}"),
    }
}

#[track_caller]
fn error(world: &World, from: &str, to: &str, service: Service) -> ExplainError {
    match ask(world, from, to, service) {
        Ok(explanation) => panic!("an answer: {explanation}"),
        Err(error) => error,
    }
}

#[test]
fn allowed_packet_names_the_rule_and_the_elements_that_match() {
    assert_eq!(
        text(&shop(), "shop/api", "shop/db", number(5432)),
        "\
allowed: shop/api to shop/db, TCP/5432 (10.0.0.2 to 10.0.0.3)
  egress of shop/api: allowed, no policy isolates it
  ingress of shop/db: allowed by shop/db-sql ingress[0] (from[0], ports[0])
    isolated by shop/db-sql, shop/default-deny
"
    );
}

#[test]
fn denied_packet_names_what_would_have_had_to_match() {
    assert_eq!(
        text(&shop(), "shop/front", "shop/db", number(5432)),
        "\
denied: shop/front to shop/db, TCP/5432 (10.0.0.1 to 10.0.0.3)
  egress of shop/front: denied, isolated by shop/front-dns; no rule matches
    shop/front-dns egress[0]: to matches, but ports allow only UDP/53, TCP/53
  ingress of shop/db: denied, isolated by shop/db-sql, shop/default-deny; no rule matches
    shop/db-sql ingress[0]: ports match, but from does not
      from[0] podSelector {app=api}: shop/front has app=front
      from[1] ipBlock 10.9.0.0/16 except 10.9.1.0/24: 10.0.0.1 is outside
    no ingress rules: shop/default-deny
"
    );
}

#[test]
fn rule_that_lacks_both_takes_one_line() {
    assert_eq!(
        text(&shop(), "10.9.1.7", "shop/db", number(80)),
        "\
denied: 10.9.1.7 to shop/db, TCP/80 (10.9.1.7 to 10.0.0.3)
  egress of 10.9.1.7: allowed, policies don't apply to an address that is no pod's
  ingress of shop/db: denied, isolated by shop/db-sql, shop/default-deny; no rule matches
    shop/db-sql ingress[0]: neither matches: from allows only podSelector {app=api}, ipBlock 10.9.0.0/16 except \
         10.9.1.0/24; ports only TCP/sql (5432 on shop/db)
    no ingress rules: shop/default-deny
"
    );
}

#[test]
fn rules_that_lack_one_thing_come_first_and_the_rest_is_limited() {
    let miss = || {
        let mut rule = peers(vec![block("192.0.2.0/24", &[])]);
        rule.ports = ports(vec![one(Udp, 1)]).ports;
        rule
    };
    let rules = (0..8).map(|_| miss()).chain([ports(vec![one(Tcp, 443)])]).collect();
    let world = shop().policy(ingress("shop/api", "app=api", rules));
    let text = text(&world, "shop/front", "shop/api", number(80));
    let ingress: Vec<_> = text.lines().skip_while(|line| !line.contains("ingress of")).skip(1).collect();
    assert_eq!(ingress[0], "    shop/api ingress[8]: from matches, but ports allow only TCP/443");
    assert_eq!(ingress[7], "    and 2 more rules whose peers and ports both don't match");
    assert_eq!(ingress.len(), 9, "{text}");
}

#[test]
fn outside_address_is_told_that_selectors_match_only_pods() {
    let text = text(&shop(), "10.9.1.7", "shop/db", name("sql"));
    assert!(
        text.contains("from[0] podSelector {app=api}: 10.9.1.7 is no pod's address, and selectors match only pods\n"),
        "{text}"
    );
    assert!(text.contains("10.9.1.7 is in except 10.9.1.0/24\n"), "{text}");
}

#[test]
fn pod_of_another_namespace_is_told_which_selector_fails() {
    let world = shop().policy(egress(
        "shop/api-out",
        "app=api",
        vec![peers(vec![pods(matching("k8s-app=dns")), pods_in(matching("team=shop"), matching("k8s-app=dns"))])],
    ));
    let text = text(&world, "shop/api", "kube-system/dns", Service::Number(Udp, 53));
    let wanted = "      \
      to[0] podSelector {k8s-app=dns}: kube-system/dns is in namespace kube-system, and without namespaceSelector only \
                  the policy's own counts
      to[1] namespaceSelector {team=shop} podSelector {k8s-app=dns}: its namespace has no label team
";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn address_of_a_pod_is_that_pod() {
    let world = shop();
    assert_eq!(ask(&world, "10.0.0.2", "10.0.0.3", number(5432)), ask(&world, "shop/api", "shop/db", number(5432)));
}

#[test]
fn unknown_pod_is_an_error() {
    assert_eq!(error(&shop(), "shop/nobody", "shop/db", number(80)), ExplainError::NoSuchPod(key("shop/nobody")));
}

#[test]
fn finished_pod_is_an_error() {
    let world = shop().pod_with("shop/job", "", "10.0.0.9", |pod| pod.phase = Phase::Finished);
    assert_eq!(error(&world, "shop/job", "shop/db", number(80)), ExplainError::Finished(key("shop/job")));
}

#[test]
fn address_of_two_pods_is_an_error() {
    let world = shop().pod("shop/copy", "", "10.0.0.2");
    let address = "10.0.0.2".parse().unwrap();
    let shared = SharedAddress { address, pods: vec![key("shop/api"), key("shop/copy")] };
    assert_eq!(error(&world, "10.0.0.2", "shop/db", number(80)), ExplainError::SharedAddress(shared));
}

#[test]
fn port_name_is_resolved_at_the_destination() {
    let explanation = ask(&shop(), "shop/api", "shop/db", name("sql"));
    let traffic: Vec<_> = explanation.iter().flat_map(|it| &it.paths).map(|path| path.traffic).collect();
    assert_eq!(traffic, [tcp(5432)]);
}

#[test]
fn port_name_with_several_numbers_is_allowed_if_all_are() {
    let world = shop()
        .pod_with("shop/db", "app=db", "10.0.0.3", serving(&[("sql", Tcp, 1), ("sql", Tcp, 2)]))
        .policy(ingress("shop/db-sql", "app=db", vec![ports(vec![one(Tcp, 1)])]));
    let explanation = ask(&world, "shop/api", "shop/db", name("sql")).unwrap();
    assert_eq!((explanation.is_allowed(), explanation.deciding().traffic), (false, tcp(2)));
}

#[test]
fn port_name_that_the_destination_does_not_serve_is_an_error() {
    assert_eq!(
        error(&shop(), "shop/api", "shop/db", Service::Name(Udp, "sql".into())),
        ExplainError::NameNotServed { pod: key("shop/db"), protocol: Udp, name: "sql".into() }
    );
}

#[test]
fn port_name_at_an_outside_address_is_an_error() {
    let to = Participant::Address("192.0.2.1".parse().unwrap());
    assert_eq!(
        error(&shop(), "shop/api", "192.0.2.1", name("sql")),
        ExplainError::NameOutsidePods { to, name: "sql".into() }
    );
}

#[test]
fn ends_of_different_families_are_an_error() {
    assert_eq!(
        error(&shop(), "shop/api", "2001:db8::1", number(80)),
        ExplainError::NoCommonFamily {
            from: Participant::Pod(key("shop/api")),
            to: Participant::Address("2001:db8::1".parse().unwrap())
        }
    );
}

#[test]
fn icmp_is_explained_by_rules_without_ports() {
    let text = text(&shop(), "shop/front", "192.0.2.1", Service::Other);
    assert!(text.contains("front-dns egress[0]: to matches, but ports allow only UDP/53, TCP/53\n"), "{text}");
}

fn dual() -> World {
    shop().pod("shop/api", "app=api", "10.0.0.2,fd00::2").pod("shop/db", "app=db", "10.0.0.3,fd00::3").policy(ingress(
        "shop/db-sql",
        "app=db",
        vec![peers(vec![block("10.0.0.0/8", &[])])],
    ))
}

#[test]
fn dual_stack_pods_are_allowed_only_if_both_families_are() {
    let explanation = ask(&dual(), "shop/api", "shop/db", number(80)).unwrap();
    let paths: Vec<_> = explanation.paths.iter().map(|path| (path.from, path.verdict.is_allowed())).collect();
    assert_eq!(paths, [(Some("10.0.0.2".parse().unwrap()), true), (Some("fd00::2".parse().unwrap()), false)],);
    assert_eq!((explanation.is_allowed(), explanation.deciding()), (false, &explanation.paths[1]));
}

#[test]
fn families_with_different_verdicts_are_told_apart() {
    assert_eq!(
        text(&dual(), "shop/api", "shop/db", number(80)),
        "\
denied: shop/api to shop/db, depending on addresses and port
allowed for TCP/80 (10.0.0.2 to 10.0.0.3)
  egress of shop/api: allowed, no policy isolates it
  ingress of shop/db: allowed by shop/db-sql ingress[0] (from[0], every port)
    isolated by shop/db-sql, shop/default-deny
denied for TCP/80 (fd00::2 to fd00::3)
  egress of shop/api: allowed, no policy isolates it
  ingress of shop/db: denied, isolated by shop/db-sql, shop/default-deny; no rule matches
    shop/db-sql ingress[0]: ports match, but from does not
      from[0] ipBlock 10.0.0.0/8: fd00::2 is outside
    no ingress rules: shop/default-deny
"
    );
}

#[test]
fn families_with_one_verdict_are_told_together() {
    let world = dual().policy(ingress("shop/db-sql", "app=db", vec![anything()]));
    assert_eq!(
        text(&world, "shop/api", "shop/db", number(80)).lines().next(),
        Some("allowed: shop/api to shop/db, TCP/80 (10.0.0.2 to 10.0.0.3, fd00::2 to fd00::3)")
    );
}

#[test]
fn address_of_a_dual_stack_pod_is_judged_alone() {
    assert!(ask(&dual(), "10.0.0.2", "shop/db", number(80)).is_ok_and(|explanation| explanation.is_allowed()));
    assert!(ask(&dual(), "fd00::2", "shop/db", number(80)).is_ok_and(|explanation| !explanation.is_allowed()));
}

#[test]
fn host_network_pod_of_the_same_node_passes_as_the_node() {
    let world = shop().pod_with("shop/agent", "", "192.168.0.1", host_on("node-1"));
    let explanation = ask(&world, "shop/agent", "shop/api", number(80)).unwrap();
    assert_eq!(explanation.from, Participant::Host(key("shop/agent")));
    assert_eq!(explanation.paths[0].verdict.ingress, DirectionVerdict::Open(Open::OwnNode));
}

#[test]
fn host_network_pod_of_another_node_is_its_address() {
    let world = shop().pod_with("shop/agent", "app=api", "192.168.0.2", host_on("node-2")).policy(ingress(
        "shop/api",
        "app=api",
        vec![peers(vec![block("192.168.0.2/32", &[])])],
    ));
    assert!(ask(&world, "shop/agent", "shop/api", number(80)).is_ok_and(|explanation| explanation.is_allowed()));
    let text = text(&world, "shop/agent", "shop/db", number(5432));
    assert!(text.contains("shop/agent is a host-network pod, which no selector matches\n"), "{text}");
}

#[test]
fn verdict_that_depends_on_an_unknown_node_is_undecidable() {
    let nowhere = |name: &'static str| {
        move |pod: &mut podgate_policy::model::Pod| {
            pod.host_network = name == "host";
            pod.node = None;
        }
    };
    let world = shop()
        .pod_with("shop/agent", "", "192.168.0.1", nowhere("host"))
        .pod_with("shop/known", "", "192.168.0.1", host_on("node-1"))
        .pod_with("shop/api", "app=api", "10.0.0.2", nowhere("pod"));
    let undecidable = |name| ExplainError::Undecidable(Unknown::Node(key(name)));
    assert_eq!(error(&world, "shop/agent", "shop/db", number(80)), undecidable("shop/agent"));
    assert_eq!(error(&world, "shop/known", "shop/api", number(80)), undecidable("shop/api"));
}

#[test]
fn unknown_node_does_not_matter_where_policies_allow() {
    let nowhere = |pod: &mut podgate_policy::model::Pod| {
        pod.host_network = true;
        pod.node = None;
    };
    let world = shop().pod_with("shop/agent", "", "192.168.0.1", nowhere);
    assert!(ask(&world, "shop/agent", "kube-system/dns", number(53)).is_ok_and(|it| it.is_allowed()));
}

fn pending(pod: &mut podgate_policy::model::Pod) {
    pod.addresses.clear();
}

#[test]
fn pod_without_address_is_judged_by_its_labels() {
    let world = shop().pod_with("shop/api", "app=api", "10.0.0.2", pending);
    assert_eq!(
        text(&world, "shop/api", "shop/db", number(5432)).lines().next(),
        Some("allowed: shop/api to shop/db, TCP/5432 (shop/api, which has no address yet, to 10.0.0.3)")
    );
}

#[test]
fn verdict_that_depends_on_an_unknown_address_is_undecidable() {
    let world = shop().pod_with("shop/front", "app=other", "10.0.0.1", pending);
    assert_eq!(
        error(&world, "shop/front", "shop/db", number(5432)),
        ExplainError::Undecidable(Unknown::Address(key("shop/front")))
    );
}

#[test]
fn unknown_address_does_not_matter_where_something_else_denies() {
    let world = shop().pod_with("shop/front", "app=front", "10.0.0.1", pending);
    let cases = [
        ("the block would match, but the source's own egress denies", "shop/db", number(5432)),
        ("the ports of the rule with the block don't match either", "shop/db", number(53)),
    ];
    for (sentence, to, service) in cases {
        assert!(ask(&world, "shop/front", to, service).is_ok_and(|it| !it.is_allowed()), "{sentence}");
    }
}

#[test]
fn denied_address_of_the_pods_own_node_is_noted() {
    let world = shop().pod_with("kube-system/proxy", "", "192.168.0.1", host_on("node-1"));
    let note = Note::OwnNodeAddress { address: "192.168.0.1".parse().unwrap(), node: "node-1".into() };
    let notes = |from: &str, to: &str| ask(&world, from, to, number(80)).map(|explanation| explanation.notes);
    assert_eq!(notes("192.168.0.1", "shop/api"), Ok(vec![note.clone()]));
    assert_eq!(notes("shop/front", "192.168.0.1"), Ok(vec![note]));
    assert_eq!(notes("192.168.0.9", "shop/api"), Ok(vec![]), "another address");
    assert_eq!(notes("192.168.0.1", "kube-system/dns"), Ok(vec![]), "allowed anyway");
}

#[test]
fn traffic_of_an_explanation_is_that_of_the_query() {
    let other = ask(&shop(), "shop/front", "shop/api", Service::Other).unwrap();
    assert_eq!(other.paths[0].traffic, Traffic::Other);
}
