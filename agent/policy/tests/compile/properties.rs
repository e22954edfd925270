//! What must hold of the tables for every cluster and every history of changes.

use podgate_policy::id::RuleId;
use podgate_policy::op::Saying;
use podgate_policy::plan::{Plan, Planner};
use podgate_policy::tables::{Judgement, Mirror};
use proptest::prelude::*;

use crate::cases::cases;
use crate::support::build::{ingress, key, pod, pods};
use crate::support::generate::{beginning, history, remotes};
use crate::support::judge::{Probe, Said, expected, meanwhile, probes, said};
use crate::support::world::{Edit, World};
use crate::support::{ROOMY, allowed};

fn all_probes(world: &World) -> Vec<Probe> {
    probes(world.endpoints.keys().copied(), &remotes())
}

/// Whether the tables say of every probe what the evaluator says, and name a rule that really decides it.
fn check(world: &World, planner: &Planner, mirror: &Mirror) -> Result<(), TestCaseError> {
    for probe in all_probes(world) {
        let judgement = mirror.judge(probe.slot, probe.direction, probe.remote, probe.traffic);
        prop_assert!(expected(world, probe).permits(judgement.is_allowed()), "{probe:?}: {judgement:?}");
        let rule = |id: Option<RuleId>| id.map(|id| planner.rule(id).cloned().expect("a rule that is in force"));
        let right = match (judgement, said(world, probe)) {
            (_, None) => true,
            // What no policy can deny takes no tables, so no rule is named.
            (Judgement::Open, Some(said)) => matches!(said, Said::Allowed(_)),
            (Judgement::By(Saying::Allowed(id)), Some(Said::Allowed(rules))) => {
                rule(id).map_or(rules.is_empty(), |rule| rules.contains(&rule))
            }
            (Judgement::By(Saying::Denied(id)), Some(Said::Denied(by)))
            | (Judgement::By(Saying::WouldDeny(id)), Some(Said::WouldDeny(by))) => rule(id) == by,
            (_, Some(_)) => false,
        };
        prop_assert!(right, "{probe:?}: {judgement:?} of {:?}", said(world, probe));
    }
    Ok(())
}

fn apply_all(mirror: &mut Mirror, plan: &Plan) {
    plan.ops.iter().for_each(|op| mirror.apply(op));
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn tables_say_what_the_evaluator_says(edits in beginning()) {
        let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(ROOMY), Mirror::default());
        let changes = world.apply(&edits);
        let plan = planner.update(&world.cluster, &changes);
        apply_all(&mut mirror, &plan);
        prop_assert_eq!(&plan.unfit, &vec![]);
        check(&world, &planner, &mirror)?;
    }
}

/// Applies a plan one operation at a time, and asks everything after each.
fn check_every_step(before: &World, after: &World, plan: &Plan, mirror: &mut Mirror) -> Result<(), TestCaseError> {
    let stays = |slot: &u32| before.endpoints.get(slot) == after.endpoints.get(slot);
    let slots = after.endpoints.keys().copied().filter(stays);
    let probes: Vec<_> = probes(slots, &remotes()).into_iter().map(|it| (it, meanwhile(before, after, it))).collect();
    for (step, op) in plan.ops.iter().enumerate() {
        mirror.apply(op);
        for (probe, answers) in &probes {
            let allowed = allowed(mirror, *probe);
            let right = answers.iter().any(|answer| answer.permits(allowed));
            prop_assert!(right, "step {step} {op:?} of {:?}: {probe:?}, allowed: {allowed}", plan.ops);
        }
    }
    Ok(())
}

/// Whether the tables as the planner knows them are those that its operations made. What a group that is free again
/// says stays in the kernel, and a port in no class need not be written.
fn check_mirror(planner: &Planner, mirror: &Mirror) -> Result<(), TestCaseError> {
    prop_assert_eq!(planner.mirror().tidied(), mirror.tidied());
    Ok(())
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn no_step_of_a_plan_mixes_old_and_new(steps in history(6)) {
        let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(ROOMY), Mirror::default());
        for edits in steps {
            let before = world.clone();
            let changes = world.apply(&edits);
            let plan = planner.update(&world.cluster, &changes);
            changes.released.iter().for_each(|&slot| mirror.release(slot));
            check_every_step(&before, &world, &plan, &mut mirror)?;
            check(&world, &planner, &mirror)?;
            check_mirror(&planner, &mirror)?;
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn changes_lead_where_starting_over_leads(steps in history(40)) {
        let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(ROOMY), Mirror::default());
        for edits in steps {
            let changes = world.apply(&edits);
            changes.released.iter().for_each(|&slot| mirror.release(slot));
            apply_all(&mut mirror, &planner.update(&world.cluster, &changes));
        }
        check(&world, &planner, &mirror)?;
        check_mirror(&planner, &mirror)?;
        let (mut afresh, mut clean) = (Planner::new(ROOMY), Mirror::default());
        apply_all(&mut clean, &afresh.update(&world.cluster, &world.everything()));
        for probe in all_probes(&world) {
            prop_assert_eq!(allowed(&mirror, probe), allowed(&clean, probe), "{:?}", probe);
        }
        prop_assert_eq!(planner.update(&world.cluster, &world.objects()).ops, vec![]);
    }
}

/// Plays steps, and compares tables and evaluator after each.
fn play(steps: &[Vec<Edit>]) {
    let (mut world, mut planner, mut mirror) = (World::default(), Planner::new(ROOMY), Mirror::default());
    for edits in steps {
        let changes = world.apply(edits);
        changes.released.iter().for_each(|&slot| mirror.release(slot));
        apply_all(&mut mirror, &planner.update(&world.cluster, &changes));
        check(&world, &planner, &mirror).expect("tables and evaluator agree");
    }
}

#[test]
fn a_class_that_comes_back_knows_the_policies_of_today() {
    let peer = || vec![pods(&[], &[("app", "x")])];
    play(&[
        vec![pod("a/p", &[], "10.0.0.1"), pod("b/p", &[("app", "x")], "10.0.0.2"), Edit::Bind(1, key("a/p"))],
        vec![ingress("a/n", peer())],
        vec![Edit::NoPod(key("b/p"))],
        vec![ingress("a/m", peer()), pod("b/p", &[("app", "x")], "10.0.0.2")],
    ]);
}

#[test]
fn a_new_policy_reaches_old_endpoints_when_it_comes_with_a_new_one() {
    play(&[
        vec![pod("a/p", &[], "10.0.0.1"), pod("a/q", &[], "10.0.0.4"), Edit::Bind(1, key("a/p"))],
        vec![ingress("a/n", vec![]), Edit::Bind(2, key("a/q"))],
    ]);
}
