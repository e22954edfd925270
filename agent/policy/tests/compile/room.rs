//! Tables that are too small.

use podgate_policy::compile::Changes;
use podgate_policy::model::{Direction, Isolation, Peers, Policy, PortMatch, PortSpec, Ports, Protocol, Rule};
use podgate_policy::op::Saying;
use podgate_policy::plan::{Plan, Planner, Subject, Unfit};
use podgate_policy::tables::{Judgement, Limits, Mirror, Table};
use proptest::prelude::*;

use crate::cases::cases;
use crate::support::build::{key, pod, selector};
use crate::support::generate::{history, remotes};
use crate::support::judge::{expected, meanwhile, probes};
use crate::support::world::{Edit, World};
use crate::support::{ROOMY, allowed};

/// Limits of which some are far too small for what the generator makes.
fn tight() -> impl Strategy<Value = Limits> {
    let or = |few: std::ops::Range<u32>, many: u32| prop_oneof![2 => few, 3 => Just(many)];
    let peers = (or(1..6, 1000), or(1..6, 1000), or(2..8, 1000), or(1..5, 1000), or(1..5, 1000));
    let rows = (or(1..8, 1000), or(2..6, 1000), or(1..12, 1000), or(2..6, 1000));
    (peers, rows).prop_map(
        |((addresses4, addresses6, groups, blocks4, blocks6), (class_rows, rows, row_ports, port_classes))| Limits {
            addresses4,
            addresses6,
            groups,
            blocks4,
            blocks6,
            class_rows,
            rows,
            row_ports,
            port_classes,
        },
    )
}

/// Half the room.
fn half(limits: &Limits) -> Limits {
    Limits {
        addresses4: limits.addresses4 / 2,
        addresses6: limits.addresses6 / 2,
        groups: limits.groups / 2,
        blocks4: limits.blocks4 / 2,
        blocks6: limits.blocks6 / 2,
        class_rows: limits.class_rows / 2,
        rows: limits.rows / 2,
        row_ports: limits.row_ports / 2,
        port_classes: limits.port_classes / 2,
    }
}

/// No operation may need room that is not there, and none may allow what neither the old nor the new state allows.
fn check_steps(
    before: &World,
    after: &World,
    plan: &Plan,
    limits: &Limits,
    mirror: &mut Mirror,
) -> Result<(), TestCaseError> {
    let stays = |slot: &u32| before.endpoints.get(slot) == after.endpoints.get(slot);
    let probes: Vec<_> = probes(after.endpoints.keys().copied().filter(stays), &remotes())
        .into_iter()
        .filter(|&probe| !meanwhile(before, after, probe).iter().any(|answer| answer.permits(true)))
        .collect();
    for (step, op) in plan.ops.iter().enumerate() {
        mirror.apply(op);
        for table in Table::ALL {
            prop_assert!(mirror.used(table) <= limits.of(table) as usize, "{table} at {step} of {:?}", plan.ops);
        }
        for &probe in &probes {
            prop_assert!(!allowed(mirror, probe), "step {step} {op:?} of {:?} allows {probe:?}", plan.ops);
        }
    }
    Ok(())
}

/// What is said to fit is judged as it should be, what is not is denied.
fn check_end(world: &World, plan: &Plan, mirror: &Mirror) -> Result<(), TestCaseError> {
    let subjects: Vec<_> = plan.unfit.iter().map(|unfit| unfit.subject).collect();
    let addresses_fit = !subjects.iter().any(|subject| matches!(subject, Subject::Addresses(_)));
    for probe in probes(world.endpoints.keys().copied(), &remotes()) {
        let (answer, allowed) = (expected(world, probe), allowed(mirror, probe));
        if subjects.contains(&Subject::Endpoint { slot: probe.slot, direction: probe.direction }) {
            let judgement = mirror.judge(probe.slot, probe.direction, probe.remote, probe.traffic);
            let denied = matches!(judgement, Judgement::By(Saying::Denied(None) | Saying::WouldDeny(None)));
            prop_assert!(denied, "{probe:?} is allowed though its policy has no room");
        } else if addresses_fit || allowed {
            prop_assert!(answer.permits(allowed), "{probe:?}: {allowed}, unfit: {subjects:?}");
        }
    }
    Ok(())
}

/// Plans until no plan asks for another.
fn settle(world: &World, planner: &mut Planner, mut plan: Plan, mirror: &mut Mirror) -> Plan {
    for _ in 0..64 {
        plan.ops.iter().for_each(|op| mirror.apply(op));
        if !plan.again {
            return plan;
        }
        plan = planner.update(&world.cluster, &Changes::default());
    }
    panic!("64 plans did not settle: {plan:?}");
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn what_does_not_fit_is_denied_and_listed(limits in tight(), steps in history(6)) {
        let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(limits), Mirror::default());
        for edits in steps {
            let before = world.clone();
            let changes = world.apply(&edits);
            let plan = planner.update(&world.cluster, &changes);
            changes.released.iter().for_each(|&slot| mirror.release(slot));
            check_steps(&before, &world, &plan, &limits, &mut mirror)?;
            check_end(&world, &plan, &mirror)?;
            prop_assert_eq!(planner.mirror().tidied(), mirror.tidied());
        }
    }

    // The new is written beside the old before an endpoint is switched: what would fit twice must be enforced.
    #[test]
    fn what_has_room_again_is_enforced_again(limits in tight(), steps in history(12)) {
        let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(limits), Mirror::default());
        let mut last = Plan::default();
        for edits in steps {
            let changes = world.apply(&edits);
            changes.released.iter().for_each(|&slot| mirror.release(slot));
            let plan = planner.update(&world.cluster, &changes);
            last = settle(&world, &mut planner, plan, &mut mirror);
            check_end(&world, &last, &mirror)?;
        }
        let afresh = Planner::new(half(&limits)).update(&world.cluster, &world.everything());
        prop_assert!(last.unfit.is_empty() || !afresh.unfit.is_empty(), "{:?} though everything fits twice", last.unfit);
    }
}

/// A name in the namespace `a`, unless it says another.
fn full(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("a/{name}") }
}

/// Pods of these names in slots 1 and so on, each with a policy of its own.
fn pods_with_policies(names: &[&str]) -> Vec<Edit> {
    let slots = 1..;
    let pods = slots.zip(names).flat_map(|(slot, name)| {
        let address = format!("10.9.0.{slot}");
        [pod(&full(name), &[("app", name)], &address), Edit::Bind(slot, key(&full(name)))]
    });
    pods.collect()
}

/// The policy of a pod: everybody may reach these ports, doubled. No two are neighbours, so each is a row's entry of its own.
fn serve(name: &str, ports: std::ops::Range<u16>) -> Edit {
    let range = |number| PortSpec::Range { first: number, last: number };
    let port = |half: u16| PortMatch { protocol: Protocol::Tcp, port: range(2 * half) };
    let ports = Ports::Listed(ports.map(port).collect());
    Edit::Policy(Policy {
        key: key(&full(name)),
        pod_selector: selector(&[("app", name)]),
        ingress: Isolation::Restricted(vec![Rule { peers: Peers::Any, ports }]),
        egress: Isolation::Unaffected,
        audit: false,
    })
}

/// The slots whose ingress has no room after each of these changes, each settled.
fn without_room(row_ports: u32, changes: &[Vec<Edit>]) -> Vec<Vec<u32>> {
    let limits = Limits { row_ports, ..ROOMY };
    let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(limits), Mirror::default());
    let settled = changes.iter().map(|edits| {
        let changes = world.apply(edits);
        let plan = planner.update(&world.cluster, &changes);
        let plan = settle(&world, &mut planner, plan, &mut mirror);
        let slot = |unfit: &Unfit| match unfit.subject {
            Subject::Endpoint { slot, direction: Direction::Ingress } => slot,
            other => panic!("{other:?} has no room"),
        };
        plan.unfit.iter().map(slot).collect()
    });
    settled.collect()
}

#[test]
fn a_policy_in_force_keeps_its_room_though_another_that_comes_needs_less() {
    let before = [pods_with_policies(&["first", "second"]), vec![serve("first", 1..7)]].concat();
    assert_eq!(without_room(8, &[before, vec![serve("second", 11..15)]]), [vec![], vec![2]]);
}

#[test]
fn of_policies_that_come_at_once_the_one_that_needs_most_finds_no_room() {
    let all = [serve("first", 1..4), serve("second", 11..17), serve("third", 21..24)];
    let all = [pods_with_policies(&["first", "second", "third"]), all.to_vec()].concat();
    assert_eq!(without_room(8, &[all]), [vec![2]]);
}

#[test]
fn the_namespace_that_takes_most_of_a_table_pays_for_it_and_no_other() {
    let pods = ["first", "second", "b/third"];
    let before = [pods_with_policies(&pods), vec![serve("first", 1..4), serve("second", 11..15)]].concat();
    let other = vec![serve("b/third", 21..23)];
    assert_eq!(without_room(8, &[before.clone(), other.clone()]), [vec![], vec![2]], "though it was there before");
    let gone = vec![Edit::NoPolicy(key("a/first"))];
    assert_eq!(without_room(8, &[before, other, gone]), [vec![], vec![2], vec![]]);
}

#[test]
fn what_another_policy_leaves_behind_makes_room_within_a_few_plans() {
    let before = [pods_with_policies(&["first", "second"]), vec![serve("first", 1..8)]].concat();
    let other = vec![Edit::NoPolicy(key("a/first")), serve("second", 11..18)];
    assert_eq!(without_room(8, &[before, other]), [vec![], Vec::<u32>::new()]);
}

#[test]
fn what_never_fits_is_tried_again_a_few_times_only() {
    let (mut world, limits) = (World::default(), Limits { row_ports: 8, ..ROOMY });
    let mut planner = Planner::new(limits);
    let before = [pods_with_policies(&["first", "second"]), vec![serve("first", 1..8)]].concat();
    planner.update(&world.cluster.clone(), &Changes::default());
    let changes = world.apply(&before);
    planner.update(&world.cluster, &changes);
    let changes = world.apply(&[Edit::NoPolicy(key("a/first")), serve("second", 11..30)]);
    let mut plans = vec![planner.update(&world.cluster, &changes)];
    while plans.last().is_some_and(|plan| plan.again) {
        plans.push(planner.update(&world.cluster, &Changes::default()));
        assert!(plans.len() < 8, "{plans:?}");
    }
    assert!(!plans[plans.len() - 1].unfit.is_empty());
}
