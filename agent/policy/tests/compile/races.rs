//! Programs run while a plan is being applied, and flows outlive it: what either may see.

use podgate_policy::id::{ClassId, PortClassId, RowId};
use podgate_policy::model::Protocol;
use podgate_policy::op::{EndpointPolicy, Op};
use podgate_policy::plan::{Plan, Planner};
use podgate_policy::tables::{Mirror, Place};
use proptest::prelude::*;

use crate::cases::cases;
use crate::support::build::{ingress, key, namespace, pod, pods};
use crate::support::generate::{history, remotes};
use crate::support::judge::{Expected, Probe, meanwhile, probes};
use crate::support::world::{Edit, World};
use crate::support::{ROOMY, allowed};

/// A protocol, and the class of one of its ports.
type PortClass = (Protocol, PortClassId);

/// What a program has found: no row of an endpoint that is open; else the row, and whether its policies are in audit mode.
type Row = Option<(RowId, bool)>;

/// Programs that judge a new flow and have got to different looks, for one question.
struct Runs {
    probe: Probe,
    answers: [Expected; 3],
    policies: Vec<EndpointPolicy>,
    places: Vec<(EndpointPolicy, Place)>,
    classes: Vec<(EndpointPolicy, ClassId)>,
    rows: Vec<Row>,
    ports: Vec<(Row, Option<PortClass>)>,
}

fn note<T: PartialEq>(seen: &mut Vec<T>, value: T) {
    if !seen.contains(&value) {
        seen.push(value);
    }
}

impl Runs {
    fn new(probe: Probe, answers: [Expected; 3]) -> Self {
        let (policies, places, classes, rows, ports) = Default::default();
        Self { probe, answers, policies, places, classes, rows, ports }
    }

    /// Lets every program take any number of looks at the tables as they are now. Returns a wrong verdict, if any.
    fn look(&mut self, mirror: &Mirror) -> Option<bool> {
        let Probe { slot, direction, remote, traffic } = self.probe;
        note(&mut self.policies, mirror.policy(slot, direction));
        self.policies.iter().for_each(|&policy| note(&mut self.places, (policy, mirror.place(remote))));
        self.places.iter().for_each(|&(policy, place)| note(&mut self.classes, (policy, mirror.class(place))));
        self.classes.iter().for_each(|&(policy, class)| note(&mut self.rows, row(mirror, policy, class)));
        self.rows.iter().for_each(|&row| note(&mut self.ports, (row, mirror.port(traffic))));
        let passes = |(row, audited), port| audited || mirror.says(row, port).is_allowed();
        let verdicts = self.ports.iter().map(|&(row, port)| row.is_none_or(|row| passes(row, port)));
        verdicts.into_iter().find(|&allowed| !self.answers.iter().any(|answer| answer.permits(allowed)))
    }

    /// Every program that ran has ended.
    fn end(&mut self) {
        *self = Self::new(self.probe, self.answers);
    }
}

fn row(mirror: &Mirror, policy: EndpointPolicy, class: ClassId) -> Row {
    Some((mirror.row(policy, class)?, matches!(policy, EndpointPolicy::Audited { .. })))
}

/// Programs may read one table before an operation and the next table after it, or after ten.
fn check_programs(before: &World, after: &World, plan: &Plan, mirror: &mut Mirror) -> Result<(), TestCaseError> {
    let questions = staying(before, after).into_iter().map(|probe| Runs::new(probe, meanwhile(before, after, probe)));
    let mut runs: Vec<_> = questions.collect();
    for run in &mut runs {
        prop_assert_eq!(run.look(mirror), None, "before the plan: {:?}", run.probe);
    }
    for (step, op) in plan.ops.iter().enumerate() {
        mirror.apply(op);
        for run in &mut runs {
            if matches!(op, Op::Grace) {
                run.end();
            }
            let wrong = run.look(mirror);
            prop_assert!(wrong.is_none(), "step {step} {op:?} of {:?}: {:?}, allowed: {wrong:?}", plan.ops, run.probe);
        }
    }
    Ok(())
}

/// A flow that may begin at any time, is judged again only when an operation says so, and must be denied in the end if
/// the tables deny it.
fn check_flows(before: &World, after: &World, plan: &Plan, mirror: &mut Mirror) -> Result<(), TestCaseError> {
    let mut flows: Vec<_> = staying(before, after).into_iter().map(|probe| (probe, allowed(mirror, probe))).collect();
    for op in &plan.ops {
        mirror.apply(op);
        for (probe, alive) in &mut flows {
            let again = match *op {
                Op::Switch { slot, .. } => slot == probe.slot,
                Op::Invalidate { address } => address == probe.remote,
                Op::InvalidateAll => true,
                _ => false,
            };
            let allowed = allowed(mirror, *probe);
            *alive = allowed || (*alive && !again);
        }
    }
    for (probe, alive) in flows {
        prop_assert!(!alive || allowed(mirror, probe), "{probe:?} lives on after {:?}", plan.ops);
    }
    Ok(())
}

/// Questions about the endpoints that are there before and after.
fn staying(before: &World, after: &World) -> Vec<Probe> {
    let stays = |slot: &u32| before.endpoints.get(slot) == after.endpoints.get(slot);
    probes(after.endpoints.keys().copied().filter(stays), &remotes())
}

type Check = fn(&World, &World, &Plan, &mut Mirror) -> Result<(), TestCaseError>;

fn play(steps: Vec<Vec<Edit>>, check: Check) -> Result<(), TestCaseError> {
    let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(ROOMY), Mirror::default());
    for edits in steps {
        let before = world.clone();
        let changes = world.apply(&edits);
        let plan = planner.update(&world.cluster, &changes);
        changes.released.iter().for_each(|&slot| mirror.release(slot));
        check(&before, &world, &plan, &mut mirror)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn a_program_that_runs_across_operations_mixes_nothing(steps in history(8)) {
        play(steps, check_programs)?;
    }

    #[test]
    fn no_flow_outlives_the_allow_that_it_began_with(steps in history(8)) {
        play(steps, check_flows)?;
    }
}

const IN_1: [(&str, &str); 1] = [("tier", "1")];
const IN_2: [(&str, &str); 1] = [("tier", "2")];
const X: [(&str, &str); 1] = [("app", "x")];
const Y: [(&str, &str); 1] = [("app", "y")];

/// An endpoint that x in tier 1 and y in tier 2 may reach, and two pods of one group.
fn two_of_a_group() -> Vec<Edit> {
    vec![
        namespace("b", &IN_1),
        pod("a/p", &[], "10.0.0.1"),
        pod("b/p", &X, "10.0.0.2"),
        pod("b/q", &X, "10.0.0.5"),
        ingress("a/n", vec![pods(&IN_1, &X), pods(&IN_2, &Y)]),
        Edit::Bind(1, key("a/p")),
    ]
}

/// Plays a step in every way that can go wrong.
fn play_every_way(step: Vec<Edit>) {
    for check in [check_programs, check_flows] {
        play(vec![two_of_a_group(), step.clone()], check).expect("no mixture");
    }
}

#[test]
fn one_leaves_a_group_while_its_namespace_changes() {
    play_every_way(vec![namespace("b", &IN_2), pod("b/q", &Y, "10.0.0.5")]);
}

#[test]
fn two_groups_exchange_members_while_their_namespace_changes() {
    let both = vec![namespace("b", &IN_2), pod("b/q", &Y, "10.0.0.5"), pod("b/r", &X, "10.0.0.8")];
    let mut first = two_of_a_group();
    first.extend([pod("b/r", &Y, "10.0.0.8")]);
    for check in [check_programs, check_flows] {
        play(vec![first.clone(), both.clone()], check).expect("no mixture");
    }
}

#[test]
fn flows_end_when_a_namespace_loses_its_label() {
    play_every_way(vec![namespace("b", &[])]);
}

#[test]
fn flows_end_when_a_pod_loses_its_label() {
    play_every_way(vec![pod("b/q", &[], "10.0.0.5")]);
}

#[test]
fn flows_end_when_a_pod_is_gone_or_another_has_its_address() {
    play_every_way(vec![Edit::NoPod(key("b/q"))]);
    play_every_way(vec![Edit::NoPod(key("b/q")), pod("b/r", &Y, "10.0.0.5")]);
}
