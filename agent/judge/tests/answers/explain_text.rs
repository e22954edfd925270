//! Explanations as text.

use podgate_judge::explain::Asked;
use podgate_policy::model::{Operator, Protocol};

use crate::explain::{ask, dual, name, number, pending, shop};
use crate::world::{
    World, all_of, anything, block, egress, expression, host_on, ingress, matching, one, peers, pods, pods_in, ports,
    range, serving, values,
};

use Protocol::{Tcp, Udp};

#[track_caller]
fn text(world: &World, from: &str, to: &str, asked: Asked) -> String {
    match ask(world, from, to, asked) {
        Ok(explanation) => explanation.to_string(),
        Err(error) => panic!("no answer: {error}"),
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
    let text = text(&world, "shop/api", "kube-system/dns", Asked::Number(Udp, 53));
    let wanted = "      \
      to[0] podSelector {k8s-app=dns}: kube-system/dns is in namespace kube-system, and without namespaceSelector only \
                  the policy's own counts
      to[1] namespaceSelector {team=shop} podSelector {k8s-app=dns}: its namespace has no label team
";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn icmp_is_explained_by_rules_without_ports() {
    let text = text(&shop(), "shop/front", "192.0.2.1", Asked::Other);
    assert!(text.contains("front-dns egress[0]: to matches, but ports allow only UDP/53, TCP/53\n"), "{text}");
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
fn pod_without_address_is_judged_by_its_labels() {
    let world = shop().pod_with("shop/api", "app=api", "10.0.0.2", pending);
    assert_eq!(
        text(&world, "shop/api", "shop/db", number(5432)).lines().next(),
        Some("allowed: shop/api to shop/db, TCP/5432 (shop/api without an address yet to 10.0.0.3)")
    );
}

#[test]
fn long_lists_are_cut_and_counted() {
    let many = peers((0..9).map(|last| block(&format!("192.0.2.{last}/32"), &[])).collect());
    let wide = ports((1..=9).map(|number| one(Udp, number)).collect());
    let world = (0..8).fold(shop(), |world, index| world.policy(ingress(&format!("shop/deny-{index}"), "", vec![])));
    let world = world.policy(ingress("shop/api", "app=api", vec![many, wide]));
    let text = text(&world, "shop/front", "shop/api", number(80));
    let ingress: Vec<_> = text.lines().skip_while(|line| !line.contains("ingress of")).collect();
    let wanted = [
        "  ingress of shop/api: denied, isolated by shop/api, shop/default-deny, shop/deny-0, shop/deny-1, shop/deny-2, \
         shop/deny-3 and 4 more; no rule matches",
        "    shop/api ingress[0]: ports match, but from does not",
        "      from[0] ipBlock 192.0.2.0/32: 10.0.0.1 is outside",
        "      from[1] ipBlock 192.0.2.1/32: 10.0.0.1 is outside",
        "      from[2] ipBlock 192.0.2.2/32: 10.0.0.1 is outside",
        "      from[3] ipBlock 192.0.2.3/32: 10.0.0.1 is outside",
        "      from[4] ipBlock 192.0.2.4/32: 10.0.0.1 is outside",
        "      from[5] ipBlock 192.0.2.5/32: 10.0.0.1 is outside",
        "      and 3 more",
        "    shop/api ingress[1]: from matches, but ports allow only UDP/1, UDP/2, UDP/3, UDP/4, UDP/5, UDP/6 and 3 more",
        "    no ingress rules: shop/default-deny, shop/deny-0, shop/deny-1, shop/deny-2, shop/deny-3, shop/deny-4 and 3 \
         more",
    ];
    assert_eq!(ingress, wanted);
}

#[test]
fn every_rule_that_allows_is_named() {
    let world = shop().policy(ingress("shop/api", "app=api", vec![anything(), ports(vec![one(Tcp, 80)])]));
    let text = text(&world, "kube-system/dns", "shop/api", number(80));
    assert!(
        text.contains("allowed by shop/api ingress[0] (every peer, every port), also by shop/api ingress[1]\n"),
        "{text}"
    );
}

#[test]
fn address_pair_of_several_ports_is_told_once() {
    let world = shop().pod_with("shop/api", "app=api", "10.0.0.2", serving(&[("web", Tcp, 1), ("web", Tcp, 2)]));
    let text = text(&world, "shop/front", "shop/api", name("web"));
    assert_eq!(text.lines().next(), Some("denied: shop/front to shop/api, TCP/1 and TCP/2 (10.0.0.1 to 10.0.0.2)"));
}

#[test]
fn selectors_and_ports_are_written_as_kubectl_does() {
    let tiers = expression("tier", Operator::In(values(&["a", "b"])));
    let listed = vec![
        pods_in(expression("team", Operator::NotIn(values(&["shop"]))), matching("")),
        pods_in(expression("team", Operator::NotIn(values(&["x", "shop"]))), tiers),
        pods(expression("gpu", Operator::Exists)),
        pods(expression("app", Operator::DoesNotExist)),
    ];
    let mut rule = peers(listed);
    rule.ports = ports(vec![all_of(Udp), range(Tcp, 8000, 8010)]).ports;
    let world = shop().policy(ingress("shop/api", "app=api", vec![rule]));
    let text = text(&world, "shop/front", "shop/api", number(80));
    let wanted = "from allows only namespaceSelector {team!=shop}, namespaceSelector {team notin (shop,x)} podSelector \
                  {tier in (a,b)}, podSelector {gpu}, podSelector {!app}; ports only every UDP port, TCP/8000-8010\n";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn notes_stand_at_the_end() {
    let world = shop().pod("shop/copy", "", "10.0.0.2");
    assert_eq!(
        text(&world, "shop/front", "shop/api", number(80)).lines().last(),
        Some(
            "note: several pods have the address 10.0.0.2 (shop/api, shop/copy): a rule allows only what it allows all of \
             them"
        )
    );
    let world = shop().pod_with("kube-system/proxy", "", "192.168.0.1", host_on("node-1"));
    assert_eq!(
        text(&world, "192.168.0.1", "shop/api", number(80)).lines().last(),
        Some(
            "note: 192.168.0.1 is an address of node-1, the pod's own node: this is the verdict for what the node \
             forwards; its own processes (kubelet, host-network pods) always reach the pod"
        )
    );
}
