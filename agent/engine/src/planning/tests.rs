//! What happens while a plan is made, and while it is applied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use podgate_policy::id::RowId;
use podgate_policy::model::{IpBlock, Isolation, ObjectKey, Peer, Peers, Pod, Policy, Ports, Rule, Selector};
use podgate_policy::op::{EndpointPolicies, EndpointPolicy, Key, Op};
use podgate_policy::plan::{Plan, Subject};
use podgate_source::{Change, Object};

use crate::command::{Command, Outcome};
use crate::fixtures::{NOW, allow_pods, deny_all, host, never, pod, run, short, state, with_pod, without_pod};
use crate::planning::{FEW, Made, QUICK};
use crate::stale::Stale;
use crate::state::State;

#[test]
fn a_plan_that_another_must_follow_leaves_something_to_do() {
    let mut state = state(8);
    state.take_view(host(&[]));
    state.take_update(vec![]);
    run(&mut state, Instant::now(), never);
    assert!(state.is_up_to_date());
    state.take_update(vec![deny_all()]);
    let Made { desk, plan, took } = state.begin_plan().unwrap().run();
    state.end_plan(Made { desk, plan: Plan { again: true, ..plan }, took });
    assert!(!state.is_up_to_date(), "room that was made may be another's");
    let made = state.begin_plan().unwrap().run();
    state.end_plan(made);
    assert!(state.is_up_to_date());
}

/// Carries out what the state asks for, plans left aside.
fn settle(state: &mut State, now: Instant) -> Vec<String> {
    let mut commands = Vec::new();
    while let Some(command) = state.next(now) {
        commands.push(command.clone());
        state.report(command, Outcome::Done, now);
    }
    short(&commands)
}

/// The policies that operations give a slot.
fn switched(ops: &[Op], wanted: u32) -> Vec<EndpointPolicies> {
    let of = |op: &Op| match op {
        Op::Switch { slot, policies } if *slot == wanted => Some(*policies),
        _ => None,
    };
    ops.iter().filter_map(of).collect()
}

#[test]
fn what_a_plan_has_for_a_pod_that_went_meanwhile_is_not_given_to_the_next_in_its_slot() {
    let now = Instant::now();
    let mut state = state(2);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), allow_pods()]);
    assert_eq!(settle(&mut state, now), ["identify 1 on 10"]);
    let work = state.begin_plan().unwrap();
    assert!(state.begin_plan().is_none(), "one at a time");

    state.take_update(vec![without_pod("api"), with_pod(pod("web", "10.0.0.2")), deny_all()]);
    state.take_view(host(&[(11, "10.0.0.2")]));
    assert_eq!(settle(&mut state, now), ["release 1", "identify 1 on 11"], "this does not wait for the plan");
    let made = work.run();
    state.end_plan(made);
    assert_eq!(switched(&state.planning.ops, 1), []);

    assert_eq!(settle(&mut state, now), ["apply"], "and the next pod's programs wait for its own");
    let made = state.begin_plan().unwrap().run();
    state.end_plan(made);
    let given = switched(&state.planning.ops, 1);
    assert!(given.len() == 1 && given[0].ingress != EndpointPolicy::Open, "{given:?}");
    assert_eq!(settle(&mut state, now), ["apply", "attach 1", "finish takeover"]);
}

#[test]
fn what_changes_while_a_plan_is_made_is_in_the_next() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    settle(&mut state, now);
    let work = state.begin_plan().unwrap();
    state.take_update(vec![with_pod(pod("web", "10.0.0.2")), deny_all()]);
    assert_eq!(settle(&mut state, now), ["identify 2 on 11"]);
    assert!(!state.is_up_to_date());
    let made = work.run();
    state.end_plan(made);
    assert_eq!(switched(&state.planning.ops, 1), [EndpointPolicies::default()], "as it was when the plan began");
    assert_eq!(settle(&mut state, now), ["apply", "attach 1"], "the other pod is not planned yet");
    let commands = short(&run(&mut state, now, never));
    assert_eq!(commands, ["apply", "attach 2", "finish takeover"]);
    assert!(state.is_up_to_date() && state.not_ready(NOW).is_empty(), "{:?}", state.not_ready(NOW));
}

#[test]
fn what_does_not_fit_is_not_told_of_a_pod_that_came_into_the_slot_meanwhile() {
    let now = Instant::now();
    let mut state = state(2);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), more_blocks_than_room()]);
    settle(&mut state, now);
    let made = state.begin_plan().unwrap().run();
    state.end_plan(made);
    assert!(
        state.not_ready(NOW).iter().any(|reason| reason.contains("is isolated altogether")),
        "{:?}",
        state.not_ready(NOW)
    );
    run(&mut state, now, never);
    state.take_update(vec![deny_all()]);
    let made = state.begin_plan().unwrap().run();
    state.take_update(vec![without_pod("api")]);
    state.take_view(host(&[]));
    assert_eq!(settle(&mut state, now)[0], "release 1");
    let of_slots = |state: &State| {
        let unfit = state.planning.unfit.iter();
        unfit.filter(|unfit| matches!(unfit.subject, Subject::Endpoint { .. })).count()
    };
    assert_eq!(of_slots(&state), 0, "it went with the pod");
    state.end_plan(made);
    assert_eq!(of_slots(&state), 0, "and does not come back with a plan that began before");
}

/// The change that lets more blocks into every pod of `shop` than a table of the tests holds.
fn more_blocks_than_room() -> Change {
    let block = |n: u16| {
        let [a, b] = n.to_be_bytes();
        Peer::Block(IpBlock { cidr: IpNet::new([11, a, b, 0].into(), 24).unwrap(), except: vec![] })
    };
    let rule = Rule { peers: Peers::Listed((0..2000).map(block).collect()), ports: Ports::Any };
    Change::Apply(Object::Policy(Arc::new(Policy {
        key: ObjectKey::new("shop", "many"),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(vec![rule]),
        egress: Isolation::Unaffected,
        audit: false,
    })))
}

#[test]
fn a_long_plan_is_applied_in_parts_in_its_order_and_goes_on_where_one_failed() {
    let now = Instant::now();
    let mut state = state(8);
    let ops: Vec<_> = (1..=10_000).map(|row| Op::Delete(Key::Row { row: RowId::from_raw(row) })).collect();
    state.take_view(host(&[]));
    state.take_update(vec![]);
    run(&mut state, now, never);
    state.planning.ops = ops.clone();
    let (mut applied, mut parts, mut failed, mut later) = (Vec::new(), 0, false, now);
    while !state.planning.ops.is_empty() {
        let Some(Command::Apply { ops }) = state.next(later) else {
            later = state.deadline(later).unwrap();
            continue;
        };
        parts += 1;
        if parts == 2 && !failed {
            failed = true;
            applied.extend_from_slice(&ops[..7]);
            state.report(Command::Apply { ops }, Outcome::Failed { applied: 7, error: "full".to_owned() }, later);
            assert_eq!(
                state.not_ready(NOW),
                [format!("{} table changes wait to be applied: full", state.planning.ops.len())]
            );
            continue;
        }
        applied.extend_from_slice(&ops);
        state.report(Command::Apply { ops }, Outcome::Done, later);
    }
    assert!(applied == ops && parts > 3, "{parts} parts");
    assert_eq!(state.not_ready(NOW), Vec::<String>::new());
}

/// A state with an enforced pod and one of another node, in which nothing is left to do.
fn settled(now: Instant) -> State {
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), foreign("web", "web"), deny_all()]);
    run(&mut state, now, never);
    state.take_enforced();
    state.take_reattribute();
    state
}

/// A pod of another node.
fn foreign(name: &str, app: &str) -> Change {
    let labels = [("app".into(), app.into())].into();
    with_pod(Pod { node: Some("node-b".into()), labels, ..pod(name, "10.0.1.1") })
}

#[test]
fn a_pod_of_another_node_makes_nothing_stale_and_does_nothing_but_plan() {
    let now = Instant::now();
    let mut state = settled(now);
    for change in [foreign("web", "shop"), foreign("web", "web")] {
        state.take_update(vec![change]);
        assert_eq!(state.stale, Stale::default());
        assert_eq!(state.next(now), None);
        let made = state.begin_plan().unwrap().run();
        assert_eq!(made.plan, Plan::default());
        state.end_plan(made);
        assert_eq!((state.next(now), state.is_up_to_date()), (None, true));
        assert_eq!((state.take_enforced(), state.take_reattribute()), (None, false));
    }
}

/// Whether the next plan is made at once, where the last one took so long.
fn is_quick(took: Duration, changes: Vec<Change>) -> bool {
    let mut state = settled(Instant::now());
    state.planning.took = took;
    state.take_update(changes);
    let work = state.begin_plan().unwrap();
    state.is_quick(&work)
}

#[test]
fn only_a_plan_about_few_pods_after_one_that_was_quick_is_made_at_once() {
    let pods = |count: usize| (0..count).map(|index| foreign(&format!("web-{index}"), "web")).collect();
    assert!(is_quick(QUICK, pods(FEW)));
    assert!(!is_quick(QUICK, pods(FEW + 1)));
    assert!(!is_quick(QUICK + Duration::from_nanos(1), pods(1)), "the next may take as long");
    assert!(!is_quick(QUICK, vec![foreign("web", "web"), allow_pods()]));
}
