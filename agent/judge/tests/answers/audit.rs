//! What is said of connections that pass only because a policy is in audit mode.

use podgate_judge::matrix::{PortChoice, matrix};
use podgate_policy::model::{Policy, Protocol, Rule};

use crate::explain::{ask, number};
use crate::world::{World, ingress, matching, one, peers, pods, ports};

fn shop() -> World {
    World::default().namespace("shop", "").pod("shop/api", "app=api", "10.0.0.1").pod("shop/db", "app=db", "10.0.0.3")
}

/// What the API takes, if it were in force.
fn audited(rules: Vec<Rule>) -> Policy {
    Policy { audit: true, ..ingress("shop/new", "app=api", rules) }
}

#[test]
fn an_explanation_says_that_it_would_be_denied_and_by_what() {
    let web = peers(vec![pods(matching("app=web"))]);
    let world = shop().policy(audited(vec![Rule { ports: ports(vec![one(Protocol::Tcp, 80)]).ports, ..web }]));
    let text = ask(&world, "shop/db", "shop/api", number(80)).map(|explanation| explanation.to_string());
    let expected = "\
allowed: shop/db to shop/api, TCP/80 (10.0.0.3 to 10.0.0.1)
  egress of shop/db: allowed, no policy isolates it
  ingress of shop/api: WOULD BE DENIED, and passes in audit mode, isolated by shop/new; no rule matches
    shop/new ingress[0]: ports match, but from does not
      from[0] podSelector {app=web}: shop/db has app=db
";
    assert_eq!(text.ok().as_deref(), Some(expected));
}

#[test]
fn the_matrix_has_what_would_be_denied_as_what_passes() {
    let world = shop().policy(audited(vec![]));
    let rows = matrix(&world.cluster, &PortChoice::Listed([(Protocol::Tcp, 80)].into()));
    assert!(rows.iter().all(|row| row.allowed), "{rows:?}");
}
