//! What is found in ClusterNetworkPolicies.

use std::sync::Arc;

use podgate_judge::check::{Rule, Unjudged, check, unjudged};
use podgate_policy::cluster::Written;
use podgate_policy::cluster_policy::{Action, ClusterPolicy, Tier};
use podgate_policy::model::{Direction, Protocol};

use crate::guards::{admin_egress, admin_ingress, at, guard, labelled, networks, nodes, rule, tcp_port};
use crate::service_world::{by_hand, endpoint, leads, service, slice};
use crate::world::{World, serving};

use Action::{Accept, Deny, Pass};

fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .namespace("kube-system", "kubernetes.io/metadata.name=kube-system")
        .pod("shop/web", "app=web", "10.0.0.1")
        .pod("shop/api", "app=api", "10.0.0.2")
}

fn written() -> Written {
    Written { namespaces: true, ..Written::default() }
}

/// The findings of a sort, a line for each.
fn found(world: &World, wanted: Rule) -> Vec<String> {
    let findings = check(&world.cluster, &written()).into_iter().filter(|finding| finding.rule == wanted);
    findings.map(|it| format!("{} {} {}: {}", it.severity, it.object, it.field, it.why)).collect()
}

fn priority(priority: u16, policy: ClusterPolicy) -> ClusterPolicy {
    ClusterPolicy { priority, ..policy }
}

#[test]
fn policies_of_one_priority_that_contradict_each_other_are_a_tie() {
    let first = || admin_ingress("a", "app=api", vec![rule(Accept, labelled("app=web"))]);
    let second = |action, peer| admin_ingress("b", "", vec![rule(action, labelled(peer))]);
    let expected = "warning b spec.priority: a has the same tier and priority (Admin, 10), and its ingress[0] and ingress[0] here do \
                    different things with the same packets: the API leaves open which of them decides";
    let ties = |second| found(&shop().guard(first()).guard(second), Rule::PriorityTie);
    assert_eq!(ties(second(Deny, "app=web")), [expected]);
    assert_eq!(ties(second(Accept, "app=web")), Vec::<String>::new(), "both do the same");
    assert_eq!(ties(second(Deny, "app=db")), Vec::<String>::new(), "no pod is matched by both");
    assert_eq!(ties(priority(11, second(Deny, "app=web"))), Vec::<String>::new(), "another priority");
    let elsewhere = ClusterPolicy { tier: Tier::Baseline, ..second(Deny, "app=web") };
    assert_eq!(ties(elsewhere), Vec::<String>::new(), "another tier");
    let other_port = admin_ingress("b", "", vec![at(rule(Deny, labelled("app=web")), vec![tcp_port(1)])]);
    let at_443 = admin_ingress("a", "app=api", vec![at(rule(Accept, labelled("app=web")), vec![tcp_port(443)])]);
    assert_eq!(found(&shop().guard(at_443).guard(other_port), Rule::PriorityTie), Vec::<String>::new());
}

#[test]
fn a_rule_behind_one_that_matches_everything_it_does_has_no_effect() {
    let unreachable = |rules| found(&shop().guard(admin_ingress("a", "", rules)), Rule::RuleUnreachable);
    let web = || rule(Deny, labelled("app=web"));
    let expected = "warning a spec.ingress[1]: the rule has no effect: ingress[0] (Accept) is asked before and matches everything \
                    that it does";
    assert_eq!(unreachable(vec![rule(Accept, labelled("")), web()]), [expected]);
    assert_eq!(unreachable(vec![web(), rule(Accept, labelled(""))]), Vec::<String>::new());
    let narrow = at(rule(Accept, labelled("")), vec![tcp_port(80)]);
    assert_eq!(unreachable(vec![narrow, web()]), Vec::<String>::new());
}

#[test]
fn what_an_accept_of_all_addresses_leaves_out_a_later_rule_may_deny() {
    let unreachable = |rules| found(&shop().guard(admin_egress("a", "", rules)), Rule::RuleUnreachable).len();
    let all = |action| rule(action, networks(&["0.0.0.0/0", "::/0"]));
    assert_eq!(unreachable(vec![all(Accept), rule(Deny, networks(&["224.0.0.0/4"]))]), 0);
    assert_eq!(unreachable(vec![all(Accept), all(Deny)]), 0);
    assert_eq!(unreachable(vec![all(Deny), rule(Deny, networks(&["224.0.0.0/4"]))]), 1);
    assert_eq!(unreachable(vec![all(Accept), rule(Deny, networks(&["10.0.0.0/8"])), all(Pass)]), 2);
}

#[test]
fn a_rule_of_a_later_policy_is_unreachable_only_for_pods_that_the_earlier_one_selects_too() {
    let later = || priority(20, admin_ingress("z", "app=api", vec![rule(Deny, labelled("app=web"))]));
    let unreachable = |earlier| found(&shop().guard(earlier).guard(later()), Rule::RuleUnreachable);
    let expected = "warning z spec.ingress[0]: the rule has no effect: a ingress[0] (Pass) is asked before and matches everything \
                    that it does";
    assert_eq!(unreachable(admin_ingress("a", "", vec![rule(Pass, labelled(""))])), [expected]);
    assert_eq!(unreachable(admin_ingress("a", "app=web", vec![rule(Pass, labelled(""))])), Vec::<String>::new());
    let audited = ClusterPolicy { audit: true, ..admin_ingress("a", "", vec![rule(Pass, labelled(""))]) };
    assert_eq!(unreachable(audited), Vec::<String>::new());
}

fn with_dns() -> World {
    let port = |protocol| leads("dns", protocol, 53, 53);
    shop()
        .pod_with("kube-system/dns", "k8s-app=kube-dns", "10.0.9.9", serving(&[("dns", Protocol::Udp, 53)]))
        .service(service("kube-system/kube-dns", "k8s-app=kube-dns", "10.96.0.10", vec![port(Protocol::Udp)]))
}

#[test]
fn pods_that_a_rule_keeps_from_dns_are_named() {
    let all = || rule(Deny, networks(&["0.0.0.0/0", "::/0"]));
    let denied = |rules| found(&with_dns().guard(admin_egress("out", "app=web", rules)), Rule::DeniesDns);
    let expected =
        "warning out spec.egress[0]: the rule denies pod shop/web the cluster's DNS, so that names can't be resolved";
    assert_eq!(denied(vec![all()]), [expected]);
    assert_eq!(denied(vec![rule(Pass, labelled("")), all()]), Vec::<String>::new());
}

#[test]
fn pods_that_a_rule_keeps_from_the_api_server_are_named_and_those_of_the_cluster_are_worse() {
    let world = with_dns()
        .service(by_hand("default/kubernetes", "10.96.0.1", vec![leads("https", Protocol::Tcp, 443, 6443)]))
        .slice(slice("default/kubernetes", 0, &[("https", Protocol::Tcp, 6443)], vec![endpoint("192.0.2.10")]));
    let denied = |selects: &str| {
        let out = admin_egress("out", selects, vec![rule(Deny, networks(&["192.0.2.0/24"]))]);
        found(&world.clone().guard(out), Rule::DeniesApiServer)
    };
    assert_eq!(denied("app=web"), ["note out spec.egress[0]: the rule denies pod shop/web the API server"]);
    let expected =
        "warning out spec.egress[0]: the rule denies pod kube-system/dns, pod shop/api, pod shop/web the API server";
    assert_eq!(denied(""), [expected]);
}

#[test]
fn a_deny_of_one_family_leaves_the_other_open() {
    let families = |world: World, listed: &[&str]| {
        found(&world.guard(admin_egress("out", "", vec![rule(Deny, networks(listed))])), Rule::OneFamilyOnly)
    };
    let why = "out spec.egress[0].to[0].networks: 0.0.0.0/0 denies one family alone, and IPv6 passes";
    assert_eq!(families(shop(), &["0.0.0.0/0"]), [format!("note {why}")], "no pod has an address of IPv6");
    let dual = shop().pod("shop/dual", "app=dual", "10.0.0.7,fd00::7");
    assert_eq!(families(dual.clone(), &["0.0.0.0/0"]), [format!("warning {why}")]);
    assert_eq!(families(dual.clone(), &["0.0.0.0/0", "::/0"]), Vec::<String>::new());
    assert_eq!(families(dual, &["10.0.0.0/8"]), Vec::<String>::new());
}

#[test]
fn networks_that_hold_pods_deny_these_too() {
    let deny = || rule(Deny, networks(&["10.0.0.0/8"]));
    let covered = |rules| found(&shop().guard(admin_egress("out", "app=web", rules)), Rule::NetworksCoverPods);
    let index = |index| {
        format!(
            "warning out spec.egress[{index}].to[0].networks: the networks hold addresses of pods, which the rule denies too: pod \
             shop/api"
        )
    };
    assert_eq!(covered(vec![deny()]), [index(0)]);
    assert_eq!(covered(vec![rule(Pass, labelled("")), deny()]), Vec::<String>::new());
    assert_eq!(covered(vec![rule(Pass, labelled("app=db")), deny()]), [index(1)]);
    let alone = World::default().guard(admin_egress("out", "", vec![rule(Deny, networks(&["0.0.0.0/0", "::/0"]))]));
    let expected =
        "note out spec.egress[0].to[0].networks: 0.0.0.0/0 holds the addresses of all pods, which the rule denies too";
    assert_eq!(found(&alone, Rule::NetworksCoverPods), [expected]);
}

#[test]
fn an_accept_of_pods_without_a_namespace_is_found_where_it_is_written_so() {
    let world = shop().guard(admin_ingress("in", "", vec![rule(Accept, labelled("app=web"))]));
    let written = Written { unscoped: [(Arc::from("in"), Direction::Ingress, 0, 0)].into(), ..written() };
    let found: Vec<_> = check(&world.cluster, &written).into_iter().map(|it| (it.rule, it.field.to_string())).collect();
    assert_eq!(found, [(Rule::AcceptOpensEveryNamespace, "spec.ingress[0].from[0].pods".to_owned())]);
}

#[test]
fn nothing_is_found_in_policies_that_are_not_what_was_written_nor_in_the_idiom_of_the_api() {
    let unsound = shop().guard(admin_ingress("a", "", vec![rule(Accept, labelled("")), rule(Deny, labelled(""))]));
    let written = Written { unsound_cluster: [Arc::from("a")].into(), ..written() };
    assert_eq!(check(&unsound.cluster, &written), []);
    let rules = vec![rule(Pass, labelled("")), rule(Deny, networks(&["0.0.0.0/0", "::/0"]))];
    let idiom = with_dns().guard(ClusterPolicy { egress: rules, ..guard("idiom", Tier::Admin, 1) });
    assert_eq!(check(&idiom.cluster, &self::written()), []);
}

#[test]
fn that_nodes_match_nothing_where_none_are_given_is_said() {
    let world = shop().guard(admin_egress("out", "", vec![rule(Deny, nodes("zone=a"))]));
    assert_eq!(unjudged(&world.cluster, &written()), [Unjudged::Nodes]);
    assert_eq!(unjudged(&world.labelled_node("n", "zone=a", "192.0.2.1").cluster, &written()), []);
    assert_eq!(unjudged(&shop().cluster, &written()), []);
}

#[test]
fn pods_that_a_guard_may_deny_are_not_said_to_be_open() {
    let open = |world: &World| {
        let all = podgate_judge::check::check_all(&world.cluster, &written()).findings;
        all.into_iter()
            .filter(|finding| finding.rule == Rule::NotIsolated)
            .map(|finding| finding.why)
            .collect::<Vec<_>>()
    };
    let world = shop().policy(crate::world::ingress("kube-system/deny", "", vec![]));
    assert_eq!(open(&world).len(), 1);
    let guarded = world.guard(admin_ingress("a", "", vec![rule(Deny, labelled("app=web"))]));
    assert_eq!(open(&guarded), Vec::<String>::new());
}
