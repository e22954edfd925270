//! ClusterNetworkPolicies where the cases of the source crate say nothing: audit mode, addresses of several pods, and
//! addresses that are nobody's.

use podgate_policy::cluster_policy::{Action, ClusterPolicy, Tier};
use podgate_policy::evaluate::{Decision, DirectionVerdict, TierVerdict, guarding};
use podgate_policy::model::{Direction, Mode, Policy};

use crate::guards::{admin_egress, admin_ingress, guard, labelled, networks, nodes, rule};
use crate::world::{World, egress, ingress, key, matching, peers, pods, tcp};

use Action::{Accept, Deny, Pass};

fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .pod("shop/web", "app=web", "10.0.0.1")
        .pod("shop/api", "app=api", "10.0.0.2")
        .pod("shop/db", "app=db", "10.0.0.3,fd00::3")
}

fn audited(policy: ClusterPolicy) -> ClusterPolicy {
    ClusterPolicy { audit: true, ..policy }
}

/// What is said of ingress of the database.
fn tiers(world: &World, from: &str) -> TierVerdict {
    match world.verdict(from, "shop/db", tcp(80)).ingress {
        DirectionVerdict::ByTiers(tiers) => *tiers,
        other => panic!("{other:?}"),
    }
}

/// Who decides, and the rule that would deny.
fn decided(world: &World, from: &str) -> (Decision, Option<String>) {
    let tiers = tiers(world, from);
    assert_eq!(tiers.would_deny(), tiers.would_be_denied_by().is_some());
    (tiers.decision, tiers.would_be_denied_by().map(|(tier, asked)| format!("{tier} {}", asked.rule)))
}

#[test]
fn a_deny_in_audit_mode_passes_the_packet_on_and_is_told() {
    let world = shop().guard(audited(admin_ingress("new", "app=db", vec![rule(Deny, labelled("app=web"))])));
    assert_eq!(decided(&world, "shop/web"), (Decision::Nobody, Some("Admin new ingress[0]".to_owned())));
    assert_eq!(decided(&world, "shop/api"), (Decision::Nobody, None));
    assert!(world.passes("shop/web", "shop/db", tcp(80)));
}

#[test]
fn an_accept_or_pass_in_audit_mode_has_no_effect() {
    for action in [Accept, Pass] {
        let world = shop()
            .guard(audited(admin_ingress("new", "app=db", vec![rule(action, labelled("app=web"))])))
            .guard(admin_ingress("old", "app=db", vec![rule(Deny, labelled("app=web"))]));
        assert_eq!(decided(&world, "shop/web"), (Decision::Denied(Tier::Admin), None), "{action}");
    }
}

#[test]
fn what_a_policy_in_audit_mode_accepts_before_its_deny_it_would_not_deny() {
    let rules = vec![rule(Accept, labelled("app=web")), rule(Deny, labelled(""))];
    let world = shop().guard(audited(admin_ingress("new", "app=db", rules)));
    assert_eq!(decided(&world, "shop/web"), (Decision::Nobody, None));
    assert_eq!(decided(&world, "shop/api"), (Decision::Nobody, Some("Admin new ingress[1]".to_owned())));
}

#[test]
fn audit_mode_never_opens_what_another_policy_denies() {
    let world = shop().guard(audited(admin_ingress("new", "app=db", vec![rule(Deny, labelled(""))]))).policy(ingress(
        "shop/closed",
        "app=db",
        vec![],
    ));
    assert_eq!(decided(&world, "shop/web"), (Decision::NetworkPolicy, None));
    assert!(!world.passes("shop/web", "shop/db", tcp(80)));
}

#[test]
fn where_everything_is_in_audit_mode_no_tier_denies() {
    let mut world = shop()
        .guard(admin_ingress("new", "app=db", vec![rule(Deny, labelled("app=web"))]))
        .policy(ingress("shop/closed", "app=db", vec![]));
    world.cluster.audit = true;
    assert!(world.passes("shop/web", "shop/db", tcp(80)));
    assert!(tiers(&world, "shop/web").would_deny());
}

#[test]
fn network_policies_in_audit_mode_leave_the_answer_to_baseline() {
    let base = |action| {
        let rules = vec![rule(action, labelled("app=web"))];
        ClusterPolicy { ingress: rules, ..guard("base", Tier::Baseline, 1) }
    };
    let web = peers(vec![pods(matching("app=web"))]);
    let trial = |rules| Policy { audit: true, ..ingress("shop/trial", "app=db", rules) };
    let denied = shop().guard(base(Deny)).policy(trial(vec![web]));
    assert_eq!(tiers(&denied, "shop/web").decision, Decision::Denied(Tier::Baseline));
    let accepted = tiers(&shop().guard(base(Accept)).policy(trial(vec![])), "shop/web");
    assert_eq!((accepted.decision, accepted.would_deny()), (Decision::Accepted(Tier::Baseline), true));
}

#[test]
fn an_address_of_several_pods_is_denied_if_one_of_them_is() {
    let world = shop().pod("shop/twin", "app=twin", "10.0.0.1").guard(admin_ingress(
        "new",
        "app=db",
        vec![rule(Deny, labelled("app=twin"))],
    ));
    for from in ["shop/web@10.0.0.1", "shop/twin@10.0.0.1"] {
        assert_eq!(tiers(&world, from).decision, Decision::Denied(Tier::Admin), "{from}");
    }
    let rules = vec![rule(Accept, labelled("app=twin")), rule(Deny, labelled(""))];
    let world = shop().pod("shop/twin", "app=twin", "10.0.0.1").guard(admin_ingress("new", "app=db", rules));
    assert_eq!(tiers(&world, "shop/twin@10.0.0.1").decision, Decision::Denied(Tier::Admin));
}

#[test]
fn a_deny_of_all_networks_has_no_holes_and_an_accept_of_all_opens_no_address_of_a_link() {
    let all = || networks(&["0.0.0.0/0", "::/0"]);
    let passes = |world: &World, to: &str| world.passes("shop/db", to, tcp(80));
    let denying = shop().guard(admin_egress("shut", "app=db", vec![rule(Deny, all())]));
    let opening = shop().guard(admin_egress("open", "app=db", vec![rule(Accept, all())])).policy(egress(
        "shop/closed",
        "app=db",
        vec![],
    ));
    for link in ["fe80::7", "224.0.0.1", "255.255.255.255", "ff02::1"] {
        assert_eq!((passes(&denying, link), passes(&opening, link)), (false, false), "{link}");
    }
    assert_eq!((passes(&denying, "192.0.2.1"), passes(&opening, "192.0.2.1")), (false, true));
}

#[test]
fn an_address_that_several_nodes_list_is_that_of_each() {
    let world = shop()
        .labelled_node("a", "zone=a", "192.0.2.1")
        .labelled_node("b", "zone=b", "192.0.2.1")
        .guard(admin_egress("nodes", "app=db", vec![rule(Deny, nodes("zone=b"))]));
    assert!(!world.passes("shop/db", "192.0.2.1", tcp(80)));
    assert!(world.passes("shop/db", "192.0.2.2", tcp(80)));
}

#[test]
fn a_policy_guards_only_the_direction_in_which_it_has_rules() {
    let world = shop().guard(admin_ingress("new", "app=db", vec![rule(Deny, labelled("app=web"))]));
    let names = |pod: &str, direction| {
        let pod = &world.cluster.pods[&key(pod)];
        guarding(&world.cluster, pod, direction).iter().map(|policy| policy.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("shop/db", Direction::Ingress), ["new"]);
    assert_eq!(names("shop/db", Direction::Egress), Vec::<String>::new());
    assert_eq!(names("shop/web", Direction::Ingress), Vec::<String>::new());
}

#[test]
fn the_walk_names_every_rule_that_was_asked() {
    let world = shop()
        .guard(admin_ingress("a", "app=db", vec![rule(Pass, labelled("app=web")), rule(Deny, labelled(""))]))
        .guard(ClusterPolicy { ingress: vec![rule(Deny, labelled("app=api"))], ..guard("z", Tier::Baseline, 1) });
    let asked = |from: &str| {
        let tiers = tiers(&world, from);
        let names = |tier| -> Vec<_> {
            let asked = tiers.asked(tier).iter();
            asked.map(|it| (it.rule.to_string(), it.mode == Mode::Enforced && it.answer.is_match())).collect()
        };
        (names(Tier::Admin), names(Tier::Baseline), tiers.decision)
    };
    let named = |name: &str, is_match| (name.to_owned(), is_match);
    let expected = (vec![named("a ingress[0]", true)], vec![named("z ingress[0]", false)], Decision::Nobody);
    assert_eq!(asked("shop/web"), expected);
    let expected =
        (vec![named("a ingress[0]", false), named("a ingress[1]", true)], vec![], Decision::Denied(Tier::Admin));
    assert_eq!(asked("shop/api"), expected);
}
