//! Policies that go into audit mode and out of it.

use podgate_policy::model::{Namespace, Policy};
use podgate_policy::op::{EndpointPolicy, Op};
use podgate_policy::plan::Planner;

use crate::support::ROOMY;
use crate::support::build::{ingress, key, namespace, pod, pods};
use crate::support::world::{Edit, World};

const X: [(&str, &str); 1] = [("app", "x")];

fn in_mode(edit: Edit, audit: bool) -> Edit {
    match edit {
        Edit::Policy(policy) => Edit::Policy(Policy { audit, ..policy }),
        Edit::Namespace(namespace) => Edit::Namespace(Namespace { audit, ..namespace }),
        other => other,
    }
}

/// What endpoint 1 is switched to by these changes, in both directions.
fn switched(world: &mut World, planner: &mut Planner, edits: &[Edit]) -> Vec<(&'static str, &'static str)> {
    let mode = |policy| match policy {
        EndpointPolicy::Open => "open",
        EndpointPolicy::Isolated { .. } => "isolated",
        EndpointPolicy::Audited { .. } => "audited",
    };
    let changes = world.apply(edits);
    let plan = planner.update(&world.cluster, &changes);
    let switches = plan.ops.iter().filter_map(|op| match op {
        Op::Switch { slot: 1, policies } => Some((mode(policies.ingress), mode(policies.egress))),
        _ => None,
    });
    switches.collect()
}

#[test]
fn a_pod_is_switched_when_the_last_policy_in_force_goes_into_audit_mode() {
    let (mut world, mut planner) = (World::default(), Planner::new(ROOMY));
    let policy = |name: &str, audit| in_mode(ingress(name, vec![pods(&[], &X)]), audit);
    let begin = [pod("a/p", &[], "10.0.0.1"), policy("a/n", false), policy("a/m", false), Edit::Bind(1, key("a/p"))];
    assert_eq!(switched(&mut world, &mut planner, &begin), [("isolated", "isolated")]);
    assert_eq!(switched(&mut world, &mut planner, &[policy("a/n", true)]), [("isolated", "isolated")]);
    assert_eq!(switched(&mut world, &mut planner, &[policy("a/m", true)]), [("audited", "audited")]);
    assert_eq!(switched(&mut world, &mut planner, &[policy("a/m", true)]), []);
    assert_eq!(switched(&mut world, &mut planner, &[Edit::NoPolicy(key("a/m"))]), [("audited", "audited")]);
    assert_eq!(switched(&mut world, &mut planner, &[policy("a/n", false)]), [("isolated", "isolated")]);
}

#[test]
fn a_namespace_takes_its_pods_into_audit_mode_and_back() {
    let (mut world, mut planner) = (World::default(), Planner::new(ROOMY));
    let begin = [pod("a/p", &[], "10.0.0.1"), ingress("a/n", vec![pods(&[], &X)]), Edit::Bind(1, key("a/p"))];
    assert_eq!(switched(&mut world, &mut planner, &begin), [("isolated", "isolated")]);
    let space = |audit| [in_mode(namespace("a", &[]), audit)];
    assert_eq!(switched(&mut world, &mut planner, &space(true)), [("audited", "audited")]);
    assert_eq!(switched(&mut world, &mut planner, &space(true)), []);
    assert_eq!(switched(&mut world, &mut planner, &space(false)), [("isolated", "isolated")]);
}
