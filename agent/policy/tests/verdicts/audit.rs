//! Audit mode: what the verdicts tell of policies that are not in force, and what they never change.

use std::sync::Arc;

use podgate_policy::evaluate::{DirectionVerdict, Open};
use podgate_policy::model::{Direction, Namespace, Policy, Protocol, Rule};

use crate::world::{NO, World, YES, anything, egress, ingress, matching, one, peers, pods, ports, tcp};

fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .pod("shop/api", "app=api", "10.0.0.1")
        .pod("shop/web", "app=web", "10.0.0.2")
        .pod("shop/db", "app=db", "10.0.0.3")
}

fn audited(policy: Policy) -> Policy {
    Policy { audit: true, ..policy }
}

/// Lets the web reach port 80 of the API.
fn serve_web(name: &str) -> Policy {
    let web = peers(vec![pods(matching("app=web"))]);
    ingress(name, "app=api", vec![Rule { ports: ports(vec![one(Protocol::Tcp, 80)]).ports, ..web }])
}

/// What is said of ingress of the API.
fn said(world: &World, from: &str) -> String {
    match world.verdict(from, "shop/api", tcp(80)).direction(Direction::Ingress) {
        DirectionVerdict::Open(Open::NoPolicy) => "open".to_owned(),
        DirectionVerdict::Open(other) => format!("{other:?}"),
        DirectionVerdict::Allowed { by, .. } => format!("allowed by {}", by[0].rule),
        DirectionVerdict::Denied { by } => format!("denied by {}", by[0].policy),
        DirectionVerdict::ByTiers(tiers) => format!("{:?}", tiers.decision),
        DirectionVerdict::WouldDeny { by } => format!("would be denied by {}", by[0].policy),
    }
}

#[test]
fn what_an_audited_policy_denies_passes_and_is_told() {
    let world = shop().policy(audited(serve_web("shop/new")));
    assert_eq!(said(&world, "shop/web"), "allowed by shop/new ingress[0]");
    assert_eq!(said(&world, "shop/db"), "would be denied by shop/new");
    world.expect(&[("it passes", "shop/db", "shop/api", tcp(80), YES)]);
}

#[test]
fn an_audited_policy_opens_nothing_that_another_denies() {
    let world = shop().policy(ingress("shop/deny", "app=api", vec![])).policy(audited(ingress(
        "shop/open",
        "app=api",
        vec![anything()],
    )));
    assert_eq!(said(&world, "shop/web"), "denied by shop/deny");
}

#[test]
fn an_audited_policy_takes_nothing_away_that_another_allows() {
    let world = shop().policy(serve_web("shop/old")).policy(audited(ingress("shop/deny", "app=api", vec![])));
    assert_eq!(said(&world, "shop/web"), "allowed by shop/old ingress[0]");
    assert_eq!(said(&world, "shop/db"), "denied by shop/old");
}

#[test]
fn directions_are_audited_each_on_its_own() {
    let world =
        shop().policy(audited(ingress("shop/in", "app=api", vec![]))).policy(egress("shop/out", "app=api", vec![]));
    world.expect(&[
        ("in would be denied", "shop/web", "shop/api", tcp(80), YES),
        ("out is denied", "shop/api", "shop/web", tcp(80), NO),
    ]);
}

#[test]
fn a_namespace_or_a_setting_audits_all_policies() {
    let mut world = shop().policy(serve_web("shop/new"));
    assert_eq!(said(&world, "shop/db"), "denied by shop/new");
    let plain = world.cluster.namespaces["shop"].clone();
    let namespace = Namespace { audit: true, ..Namespace::clone(&plain) };
    world.cluster.namespaces.insert("shop".into(), Arc::new(namespace));
    assert_eq!(said(&world, "shop/db"), "would be denied by shop/new");
    world.cluster.namespaces.insert("shop".into(), plain);
    world.cluster.audit = true;
    assert_eq!(said(&world, "shop/db"), "would be denied by shop/new");
}
