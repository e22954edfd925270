//! What is said of connections that ClusterNetworkPolicies judge.

use podgate_judge::diff::{NotCompared, diff, leaves_out_nodes, not_compared};
use podgate_judge::explain::{Asked, ExplainError, Unknown};
use podgate_judge::groups::Parties;
use podgate_judge::matrix::{PortChoice, matrix, services};
use podgate_policy::cluster_policy::{Action, ClusterPolicy, ClusterRule, Matches, Tier};
use podgate_policy::evaluate::PolicyRef;
use podgate_policy::model::Protocol;

use crate::explain::{ask, number};
use crate::guards::{admin_egress, admin_ingress, at, guard, labelled, networks, of_namespaces, rule, tcp_port};
use crate::service_world::{leads, service};
use crate::world::{World, ingress, matching, peers, pods, serving};

use Action::{Accept, Deny, Pass};

fn shop() -> World {
    World::default()
        .namespace("shop", "team=shop")
        .namespace("guest", "team=guest")
        .pod_with("shop/api", "app=api", "10.0.0.1", serving(&[("http", Protocol::Tcp, 80)]))
        .pod("shop/web", "app=web", "10.0.0.2")
        .pod("guest/one", "app=one", "10.0.1.1")
}

fn named(name: &str, rule: ClusterRule) -> ClusterRule {
    ClusterRule { name: Some(name.into()), ..rule }
}

#[track_caller]
fn text(world: &World, from: &str, to: &str) -> String {
    match ask(world, from, to, number(80)) {
        Ok(explanation) => explanation.to_string(),
        Err(error) => panic!("no answer: {error}"),
    }
}

#[test]
fn a_deny_of_the_admin_tier_is_named_with_what_was_asked_before_it() {
    let rules = vec![
        at(rule(Accept, of_namespaces("team=shop")), vec![tcp_port(443)]),
        named("deny-guest", rule(Deny, of_namespaces("team=guest"))),
    ];
    let world = shop().guard(admin_ingress("guard", "app=api", rules)).policy(ingress("shop/np", "", vec![]));
    let expected = "\
denied: guest/one to shop/api, TCP/80 (10.0.1.1 to 10.0.0.1)
  egress of guest/one: allowed, no policy isolates it
  ingress of shop/api: denied by ClusterNetworkPolicy guard ingress[1] \"deny-guest\" (from[0], every protocol)
    Admin tier: ClusterNetworkPolicy guard ingress[0], Accept, does not match: from[0] namespaces {team=shop}: its \
                    namespace has team=guest; only TCP/443
    NetworkPolicies and the Baseline tier are not asked: the Admin tier decides
";
    assert_eq!(text(&world, "guest/one", "shop/api"), expected);
}

#[test]
fn after_a_pass_the_network_policy_that_decides_is_named_and_baseline_is_not_asked() {
    let base = ClusterPolicy { ingress: vec![rule(Deny, labelled(""))], ..guard("base", Tier::Baseline, 1) };
    let world = shop()
        .guard(admin_ingress("guard", "app=api", vec![rule(Pass, labelled("app=web"))]))
        .guard(base)
        .policy(ingress("shop/np", "app=api", vec![peers(vec![pods(matching("app=web"))])]));
    let expected = "\
allowed: shop/web to shop/api, TCP/80 (10.0.0.2 to 10.0.0.1)
  egress of shop/web: allowed, no policy isolates it
  ingress of shop/api: allowed by shop/np ingress[0] (from[0], every port)
    isolated by shop/np
    Admin tier: ClusterNetworkPolicy guard ingress[0] passes on (from[0], every protocol)
    the Baseline tier is not asked: a NetworkPolicy isolates the pod
";
    assert_eq!(text(&world, "shop/web", "shop/api"), expected);
}

#[test]
fn where_nobody_decides_every_rule_says_what_it_misses() {
    let world = shop()
        .guard(admin_egress("out", "", vec![rule(Deny, networks(&["192.0.2.0/24"]))]))
        .guard(ClusterPolicy { egress: vec![rule(Deny, labelled("app=db"))], ..guard("base", Tier::Baseline, 1) });
    let expected = "\
allowed: shop/web to shop/api, TCP/80 (10.0.0.2 to 10.0.0.1)
  egress of shop/web: allowed, no rule of a ClusterNetworkPolicy decides and no NetworkPolicy isolates it
    Admin tier: ClusterNetworkPolicy out egress[0], Deny, does not match: to[0] networks 192.0.2.0/24: 10.0.0.1 is outside
    Baseline tier: ClusterNetworkPolicy base egress[0], Deny, does not match: to[0] pods {app=db} of namespaces {}: \
                    shop/api has app=api
  ingress of shop/api: allowed, no policy isolates it
";
    assert_eq!(text(&world, "shop/web", "shop/api"), expected);
}

#[test]
fn a_rule_that_fails_closed_and_one_in_audit_mode_say_so() {
    let broken = |action, matches| ClusterRule { name: None, action, matches };
    let rules = vec![broken(Accept, Matches::Nothing), broken(Deny, Matches::Everything)];
    let trial = ClusterPolicy { audit: true, ..admin_ingress("a-trial", "app=api", vec![rule(Deny, labelled(""))]) };
    let world = shop().guard(trial.clone()).guard(admin_ingress("broken", "app=api", rules));
    let expected = "\
denied: shop/web to shop/api, TCP/80 (10.0.0.2 to 10.0.0.1)
  egress of shop/web: allowed, no policy isolates it
  ingress of shop/api: denied by ClusterNetworkPolicy broken ingress[1] (it fails closed, since a part of it isn't \
                    understood)
    Admin tier: ClusterNetworkPolicy a-trial ingress[0] is in audit mode, its Deny has no effect (from[0], every protocol)
    Admin tier: ClusterNetworkPolicy broken ingress[0], Accept, does not match: it counts as nothing, since a part of it \
                    isn't understood
    NetworkPolicies and the Baseline tier are not asked: the Admin tier decides
";
    assert_eq!(text(&world, "shop/web", "shop/api"), expected);
    let passes = text(&shop().guard(trial), "shop/web", "shop/api");
    let head = "  ingress of shop/api: WOULD BE DENIED by ClusterNetworkPolicy a-trial ingress[0] (from[0], every protocol), \
                and passes in audit mode\n";
    assert!(passes.contains(head), "{passes}");
}

#[test]
fn a_pod_without_an_address_may_be_in_a_network_that_is_denied() {
    let world = shop_with_new();
    let to = |world: &World| ask(world, "shop/web", "shop/new", number(80));
    assert!(to(&world).is_ok());
    let world = world.guard(admin_egress("out", "", vec![rule(Deny, networks(&["10.0.0.0/8"]))]));
    let expected = ExplainError::Undecidable(Unknown::Address(crate::world::key("shop/new")));
    assert_eq!(to(&world), Err(expected));
    let reaches = |world: &World| {
        let rows = matrix(&world.cluster, &PortChoice::Listed([(Protocol::Tcp, 80)].into()));
        let row = rows.into_iter().find(|row| (&*row.from.name.name, &*row.to.name.name) == ("web", "new"));
        row.map(|row| row.allowed)
    };
    assert_eq!((reaches(&shop_with_new()), reaches(&world)), (Some(true), Some(false)));
    let accepted = shop_with_new().guard(admin_egress("in", "", vec![rule(Accept, networks(&["10.0.0.0/8"]))]));
    let shut = accepted.policy(crate::world::egress("shop/shut", "app=web", vec![]));
    assert_eq!(reaches(&shut), Some(false), "an Accept does not match what is not known");
}

fn shop_with_new() -> World {
    shop().pod_with("shop/new", "app=new", "10.0.0.9", |pod| pod.addresses.clear())
}

#[test]
fn a_pod_that_reaches_itself_by_a_service_is_judged_and_at_its_own_address_it_is_not() {
    let world = shop().guard(admin_ingress("shut", "app=api", vec![rule(Deny, labelled("app=api"))]));
    assert!(ask(&world, "shop/api", "shop/api", number(80)).is_ok_and(|explanation| explanation.is_allowed()));
    let world = world.service(service("shop/api", "app=api", "10.96.0.1", vec![leads("http", Protocol::Tcp, 80, 80)]));
    let rows = services(&world.cluster, &PortChoice::ContainerPorts, Parties::Pods);
    let allowed: Vec<_> = rows.iter().map(|row| (row.from.to_string(), row.is_allowed())).collect();
    let named = |name: &str, allowed| (name.to_owned(), allowed);
    assert_eq!(allowed, [named("guest/one", true), named("shop/api", false), named("shop/web", true)]);
}

#[test]
fn pods_that_only_cluster_network_policies_tell_apart_are_no_group() {
    let replica = |world: World, name: &str, labels: &str, address: &str| {
        world.pod_with(name, labels, address, |pod| {
            pod.workload = Some(podgate_policy::model::Workload { kind: "Deployment".into(), name: "web".into() });
        })
    };
    let world = replica(shop(), "guest/web-1", "app=w,canary=yes", "10.0.1.5");
    let world = replica(world, "guest/web-2", "app=w", "10.0.1.6");
    let world = world.guard(admin_ingress("guard", "app=api", vec![rule(Deny, labelled("canary=yes"))]));
    let rows = matrix(&world.cluster, &PortChoice::ContainerPorts);
    let allowed: Vec<_> = rows.iter().map(|row| (row.from.to_string(), row.allowed)).collect();
    let named = |name: &str, allowed| (name.to_owned(), allowed);
    let expected = [
        named("guest/one", true),
        named("guest/web-1", false),
        named("guest/web-2", true),
        named("shop/api", true),
        named("shop/web", true),
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn the_matrix_asks_about_every_pod_that_has_an_address() {
    let world = shop().pod("shop/twin", "app=twin", "10.0.0.2").guard(admin_ingress(
        "guard",
        "app=api",
        vec![rule(Deny, labelled("app=twin"))],
    ));
    let rows = matrix(&world.cluster, &PortChoice::ContainerPorts);
    let denied: Vec<_> = rows.iter().filter(|row| !row.allowed).map(|row| row.from.to_string()).collect();
    assert_eq!(denied, ["shop/twin", "shop/web"]);
}

#[test]
fn a_change_of_a_cluster_network_policy_closes_pods_and_the_outside() {
    let rules = vec![rule(Accept, labelled("app=web")), rule(Deny, labelled(""))];
    let outward = vec![at(rule(Deny, networks(&["203.0.113.0/24"])), vec![tcp_port(25)])];
    let new = shop().guard(ClusterPolicy { egress: outward, ..admin_ingress("guard", "app=api", rules) });
    let changes = diff(&shop().cluster, &new.cluster, &PortChoice::ContainerPorts).changes;
    let lines: Vec<_> =
        changes.iter().map(|it| format!("{:?} {} to {} {}", it.what, it.from, it.to, it.port)).collect();
    assert_eq!(lines, ["Closes guest/one to shop/api 80", "Closes shop/api to 203.0.113.0/24 25"]);
}

#[test]
fn a_changed_policy_that_selects_no_pod_is_named_where_nothing_was_compared() {
    let new = shop().guard(admin_ingress("nobody", "app=none", vec![rule(Deny, labelled(""))]));
    let choice = PortChoice::ContainerPorts;
    let found = diff(&shop().cluster, &new.cluster, &choice);
    assert_eq!(
        not_compared(&shop().cluster, &new.cluster, &choice, &found),
        Some(NotCompared::NothingSelected([PolicyRef::Cluster("nobody".into())].into()))
    );
}

#[test]
fn icmp_is_matched_by_rules_without_protocols_alone() {
    let world = |rule| shop().guard(admin_ingress("guard", "app=api", vec![rule]));
    let passes = |world: &World| ask(world, "shop/web", "shop/api", Asked::Other).is_ok_and(|it| it.is_allowed());
    assert!(!passes(&world(rule(Deny, labelled("")))));
    assert!(passes(&world(at(rule(Deny, labelled("")), vec![tcp_port(80)]))));
}

#[test]
fn a_difference_about_nodes_is_said_to_be_left_out() {
    let world = || shop().node("node-1", "192.168.0.1");
    let denying = |peer| world().guard(admin_egress("out", "", vec![rule(Deny, peer)])).cluster;
    let said = |peer| leaves_out_nodes(&world().cluster, &denying(peer));
    assert!(said(networks(&["192.168.0.0/24"])));
    assert!(!said(networks(&["203.0.113.0/24"])));
    assert!(!leaves_out_nodes(&denying(networks(&["::/0", "0.0.0.0/0"])), &denying(networks(&["::/0", "0.0.0.0/0"]))));
}
