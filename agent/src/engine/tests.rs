use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use podgate_datapath::binding::{Handover, PodId};
use podgate_policy::model::{ObjectKey, Pod};
use podgate_policy::op::{EndpointPolicy, Op};

use super::command::{Command, Outcome};
use super::handed::Standing;
use super::memory::Interface;
use super::report::Reading;
use super::testing::{deny_all, host, limits, never, pod, pod_states, run, short, state, with_pod, without_pod};
use super::upkeep::Check;
use super::*;
use crate::handover::PodRecord;
use crate::status::{AnomalyStatus, PodState, RepairStatus, Status};

fn status(state: &State) -> Status {
    state.status(Reading::default(), SystemTime::UNIX_EPOCH)
}

/// Whether operations isolate a slot for ingress.
fn isolates(command: &Command, wanted: u32) -> bool {
    let Command::Apply { ops } = command else { return false };
    ops.iter().any(|op| match op {
        Op::Switch { slot, policies } => *slot == wanted && policies.ingress != EndpointPolicy::Open,
        _ => false,
    })
}

#[test]
fn nothing_is_done_before_objects_and_host_are_known() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    assert_eq!(run(&mut state, now, never), []);
    assert_eq!(state.not_ready(), ["objects: not read yet"]);

    let mut state = testing::state(8);
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    assert_eq!(run(&mut state, now, never), []);
    assert_eq!(state.not_ready(), ["network interfaces: not read yet"]);
}

#[test]
fn a_pod_is_isolated_before_its_programs_run() {
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    let commands = run(&mut state, Instant::now(), never);
    assert_eq!(short(&commands), ["identify 1 on 10", "apply", "attach 1", "finish takeover"]);
    assert!(isolates(&commands[1], 1), "{commands:?}");
    assert_eq!(state.not_ready(), Vec::<String>::new());
    assert_eq!(pod_states(&status(&state)), [("api", PodState::Enforced)].into());
}

#[test]
fn a_pod_that_comes_later_is_enforced_without_touching_the_others() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    run(&mut state, now, never);
    state.take_update(vec![with_pod(pod("web", "10.0.0.2"))]);
    run(&mut state, now, never);
    assert_eq!(pod_states(&status(&state))["web"], PodState::NoInterface);
    assert_eq!(state.not_ready().len(), 1, "{:?}", state.not_ready());
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["identify 2 on 11", "apply", "attach 2"]);
    assert!(isolates(&commands[1], 2) && !isolates(&commands[1], 1), "{commands:?}");
    assert_eq!(state.not_ready(), Vec::<String>::new());
}

#[test]
fn a_pod_that_goes_is_released_and_its_slot_given_again() {
    let now = Instant::now();
    let mut state = state(2);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    run(&mut state, now, never);
    state.take_update(vec![without_pod("api"), with_pod(pod("web", "10.0.0.2"))]);
    state.take_view(host(&[(11, "10.0.0.2")]));
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["release 1", "identify 1 on 11", "apply", "attach 1"]);
    assert!(isolates(&commands[2], 1), "{commands:?}");
    assert_eq!(pod_states(&status(&state)), [("web", PodState::Enforced)].into());
}

#[test]
fn devices_are_hooked_before_any_address_defers_and_follow_the_host() {
    let now = Instant::now();
    let uplink = |ifindex, address: &str| {
        let mut view = (*host(&[(10, "10.0.0.1")])).clone();
        view.devices.insert(ifindex, testing::device(ifindex));
        view.local_addresses.insert(address.parse().unwrap(), [ifindex].into());
        Arc::new(view)
    };
    let mut state = state(8);
    state.take_view(uplink(2, "192.0.2.1"));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), testing::with_service("web", &["10.96.0.1"])]);
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands)[..3], ["guard 2", "defer 2", "identify 1 on 10"], "the pod's veth is not guarded");
    state.take_update(vec![testing::with_service("web", &["10.96.0.1", "fd96::1"])]);
    assert_eq!(short(&run(&mut state, now, never)), ["defer 1"]);
    state.take_view(uplink(3, "192.0.2.2"));
    assert_eq!(short(&run(&mut state, now, never)), ["unguard 2", "guard 3", "defer 2"]);
    let services = status(&state).services;
    assert_eq!((services.addresses, services.host_addresses, services.devices.len()), (2, 1, 1));
}

#[test]
fn a_device_that_takes_no_programs_is_told_of() {
    let now = Instant::now();
    let mut state = state(8);
    let mut view = (*host(&[])).clone();
    view.devices.insert(2, testing::device(2));
    state.take_view(Arc::new(view));
    state.take_update(vec![]);
    run(&mut state, now, |command| matches!(command, Command::Guard { .. }).then_some(0));
    let status = status(&state);
    let expected = "what pods send to Services is not judged where it leaves by eth2: refused";
    let told: Vec<_> = status.anomalies.iter().map(|it| (it.kind.as_str(), it.message.as_str())).collect();
    assert_eq!(told, [("device_not_hooked", expected)]);
    assert_eq!(status.services.devices.iter().map(|device| device.hooked).collect::<Vec<_>>(), [false]);
}

#[test]
fn a_pods_interface_is_guarded_again_when_the_pod_is_gone() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    run(&mut state, now, never);
    state.take_update(vec![without_pod("api")]);
    assert_eq!(short(&run(&mut state, now, never))[..2], ["release 1", "guard 10"]);
}

#[test]
fn a_change_of_policy_touches_tables_only() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    run(&mut state, now, never);
    state.take_update(vec![deny_all()]);
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["apply"]);
    assert!(isolates(&commands[0], 1), "{commands:?}");
}

#[test]
fn what_could_not_be_applied_is_tried_again_from_there_before_anything_else_is_planned() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    let fails = |command: &Command| matches!(command, Command::Apply { .. }).then_some(1);
    let commands = run(&mut state, now, fails);
    let Some(Command::Apply { ops: planned }) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(pod_states(&status(&state))["api"], PodState::Pending);
    assert_eq!(status(&state).apply.errors, 1);
    assert!(state.not_ready().iter().any(|reason| reason.contains("refused")), "{:?}", state.not_ready());

    state.take_update(vec![with_pod(pod("web", "10.0.0.2"))]);
    assert_eq!(run(&mut state, now, never), [], "the wait is not over");
    let later = state.deadline(now).unwrap();
    assert_eq!(later - now, Duration::from_millis(100));
    let commands = run(&mut state, later, never);
    assert_eq!(commands.first(), Some(&Command::Apply { ops: planned[1..].to_vec() }));
    assert!(short(&commands).contains(&"attach 1".to_owned()), "{commands:?}");
    assert_eq!(pod_states(&status(&state))["api"], PodState::Enforced);
}

#[test]
fn a_pod_that_goes_while_its_policies_wait_is_not_switched_any_more() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2")), deny_all()]);
    run(&mut state, now, |command| matches!(command, Command::Apply { .. }).then_some(0));
    state.take_update(vec![without_pod("api")]);
    let commands = run(&mut state, now + Duration::from_secs(1), never);
    assert_eq!(short(&commands)[0], "release 1");
    assert!(!commands.iter().any(|command| isolates(command, 1)), "{commands:?}");
    assert!(commands.iter().any(|command| isolates(command, 2)), "{commands:?}");
}

#[test]
fn an_interface_that_refuses_programs_holds_up_nobody_else() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2"))]);
    run(&mut state, now, |command| (*command == Command::Attach { slot: 1 }).then_some(0));
    let states = pod_states(&status(&state)).into_values().collect::<Vec<_>>();
    assert_eq!(states, [PodState::Pending, PodState::Enforced]);
    assert_eq!(state.not_ready(), ["pod shop/api is not enforced: refused"]);
    let later = state.deadline(now).unwrap();
    assert_eq!(short(&run(&mut state, later, never))[0], "attach 1");
    assert_eq!(state.not_ready(), Vec::<String>::new());
}

#[test]
fn more_pods_than_slots_are_told_of_and_served_when_a_slot_is_free() {
    let now = Instant::now();
    let mut state = state(2);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2"))]);
    run(&mut state, now, never);
    assert_eq!(state.not_ready(), ["pod shop/web: every slot for pods is taken"]);
    state.take_update(vec![without_pod("api")]);
    run(&mut state, now, never);
    assert_eq!(pod_states(&status(&state)), [("web", PodState::Enforced)].into());
}

#[test]
fn policies_that_do_not_fit_isolate_their_pod_and_are_told_of() {
    let config = Config {
        services: Services::Exit,
        node: testing::NODE.into(),
        keep: false,
        routing: [].into(),
        attribution: AttributionSettings { granularity: Granularity::None, series: 0 },
        audit: false,
        isolate_unknown: false,
    };
    let mut state = State::new(config, Room { limits: limits(2), slots: 8, addresses: 1024 }, Left::default());
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), testing::allow_blocks(8)]);
    let commands = run(&mut state, Instant::now(), never);
    assert!(commands.iter().any(|command| isolates(command, 1)), "{commands:?}");
    assert_eq!(pod_states(&status(&state))["api"], PodState::Unfit);
    assert!(state.not_ready()[0].starts_with("pod shop/api is isolated altogether for ingress: table "));
}

#[test]
fn former_programs_stay_while_a_pod_has_no_interface_but_not_for_ever() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    assert_eq!(short(&run(&mut state, now, never)), ["apply"]);
    assert_eq!(short(&run(&mut state, now + Duration::from_secs(59), never)), ["check pins"]);
    assert_eq!(short(&run(&mut state, now + Duration::from_secs(60), never)), ["finish takeover", "check pins"]);
}

#[test]
fn hooks_are_checked_again_from_time_to_time() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2"))]);
    run(&mut state, now, never);
    for _ in 0..2 {
        let later = state.deadline(now).unwrap();
        assert_eq!(short(&run(&mut state, later, never)), ["check 1", "check 2", "check pins"]);
    }
}

#[test]
fn what_is_put_back_is_counted_and_what_cannot_be_is_a_pod_that_is_not_enforced() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    run(&mut state, now, never);
    state.report(Command::Check(Check::Pod(1)), Outcome::Repaired, now);
    state.report(Command::Check(Check::Pins), Outcome::Repaired, now);
    state.tables_repaired(3);
    assert_eq!(status(&state).repairs, RepairStatus { hooks: 1, pins: 1, tables: 3 });
    assert!(status(&state).ready);
    let failed = Outcome::Failed { applied: 0, error: "no room".to_owned() };
    state.report(Command::Check(Check::Pod(1)), failed, now);
    assert_eq!(state.not_ready(), ["pod shop/api is not enforced: no room"]);
    let later = state.deadline(now).unwrap();
    assert_eq!(short(&run(&mut state, later, never)), ["attach 1"]);
}

#[test]
fn what_is_enforced_is_to_be_remembered_once_for_each_change() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    run(&mut state, now, never);
    let pod = PodRecord { namespace: "shop".to_owned(), name: "api".to_owned(), uid: "api".to_owned() };
    let interface = Interface { pod, addresses: ["10.0.0.1".parse().unwrap()].into() };
    let expected = Enforced { interfaces: [(10, interface)].into(), handed_over: vec![] };
    assert_eq!(state.take_enforced(), Some(expected));
    assert_eq!(state.take_enforced(), None);
    state.take_update(vec![without_pod("api")]);
    run(&mut state, now, never);
    assert_eq!(state.take_enforced(), Some(Enforced::default()));
}

#[test]
fn pods_of_other_nodes_are_not_enforced() {
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    let elsewhere = Pod { node: Some("node-b".into()), ..pod("api", "10.0.0.1") };
    state.take_update(vec![with_pod(elsewhere), deny_all()]);
    assert!(!short(&run(&mut state, Instant::now(), never)).iter().any(|command| command.starts_with("identify")));
    assert_eq!(status(&state).pods, []);
    assert_eq!(status(&state).policies, 1);
}

/// What CNI says of the pod `shop/NAME`, whose UID is its name, on an interface.
fn handover(ifindex: u32, name: &str, address: &str) -> Handover {
    let pod = PodId { key: ObjectKey::new("shop", name), uid: name.into() };
    Handover { ifindex, pod, addresses: [address.parse().unwrap()].into() }
}

/// A pod whose status has no address yet.
fn starting(name: &str) -> Pod {
    Pod { addresses: vec![], ..pod(name, "10.0.0.1") }
}

#[test]
fn a_pod_that_cni_hands_over_is_enforced_before_it_has_an_address() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(starting("api")), deny_all()]);
    run(&mut state, now, never);
    state.hand_over(handover(10, "api", "10.0.0.1"));
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["identify 1 on 10", "apply", "attach 1"]);
    assert!(isolates(&commands[1], 1), "{commands:?}");
    assert_eq!(state.standing(10), Standing::Enforced);
    let kept = state.take_enforced().unwrap();
    assert_eq!(kept.handed_over, [(&handover(10, "api", "10.0.0.1")).into()]);
}

#[test]
fn a_pod_that_cni_hands_over_before_it_is_known_is_isolated_until_it_is() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![deny_all()]);
    run(&mut state, now, never);
    state.hand_over(handover(10, "api", "10.0.0.1"));
    assert_eq!(short(&run(&mut state, now, never)), ["identify 1 on 10", "isolate 1", "attach 1"]);
    assert_eq!(state.standing(10), Standing::Isolated);
    let message = "veth10 is isolated until pod shop/api, which CNI has named, is known".to_owned();
    let isolated = AnomalyStatus { kind: "isolated_interface".to_owned(), message };
    assert!(status(&state).anomalies.contains(&isolated), "{:?}", status(&state).anomalies);
    state.take_update(vec![with_pod(starting("api"))]);
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["identify 1 on 10", "apply", "attach 1"]);
    assert!(isolates(&commands[1], 1), "{commands:?}");
    assert!(!status(&state).anomalies.contains(&isolated));
    assert_eq!(state.standing(10), Standing::Enforced);
}

#[test]
fn what_cni_hands_over_is_isolated_even_while_no_object_is_known_and_nothing_else_is_touched() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    assert_eq!(run(&mut state, now, never), []);
    state.hand_over(handover(11, "web", "10.0.0.2"));
    assert_eq!(short(&run(&mut state, now, never)), ["identify 1 on 11", "isolate 1", "attach 1"]);
    assert_eq!(state.standing(11), Standing::Isolated);
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(starting("web"))]);
    let commands = short(&run(&mut state, now, never));
    let expected = ["identify 1 on 11", "identify 2 on 10", "apply", "attach 1", "attach 2", "finish takeover"];
    assert_eq!(commands, expected);
    assert_eq!((state.standing(10), state.standing(11)), (Standing::Enforced, Standing::Enforced));
}

#[test]
fn a_pod_that_is_not_enforced_is_told_why() {
    let now = Instant::now();
    let mut state = state(2);
    assert_eq!(state.standing(10), Standing::Pending("the host's interfaces are not known".to_owned()));
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(starting("api")), with_pod(starting("web")), deny_all()]);
    assert_eq!(state.standing(12), Standing::Pending("there is no veth with the index 12".to_owned()));
    state.hand_over(handover(10, "api", "10.0.0.1"));
    run(&mut state, now, |command| matches!(command, Command::Attach { .. }).then_some(0));
    assert_eq!(state.standing(10), Standing::Pending("refused".to_owned()));
    state.hand_over(handover(11, "web", "10.0.0.2"));
    run(&mut state, now, never);
    assert_eq!(state.standing(11), Standing::Pending("every slot for pods is taken".to_owned()));
}

#[test]
fn an_isolated_interface_that_goes_is_released() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![]);
    state.hand_over(handover(10, "api", "10.0.0.1"));
    run(&mut state, now, never);
    state.take_view(host(&[]));
    assert_eq!(short(&run(&mut state, now, never)), ["release 1"]);
}

/// Which of these addresses operations give a group, and which they take it from.
fn peers(commands: &[Command]) -> Vec<String> {
    let ops = commands.iter().filter_map(|command| if let Command::Apply { ops } = command { Some(ops) } else { None });
    let peer = |op: &Op| match op {
        Op::PutAddress { address, .. } => Some(format!("+{address}")),
        Op::DeleteAddress { address } => Some(format!("-{address}")),
        _ => None,
    };
    ops.flatten().filter_map(peer).collect()
}

#[test]
fn a_pod_that_cni_hands_over_is_a_peer_before_its_status_has_an_address_and_as_long_as_it_has_the_interface() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(starting("web")), testing::allow_pods()]);
    assert_eq!(peers(&run(&mut state, now, never)), ["+10.0.0.1"]);
    state.hand_over(handover(11, "web", "10.0.0.2"));
    assert_eq!(peers(&run(&mut state, now, never)), ["+10.0.0.2"]);
    // Its status changes and still has none; then it has.
    state.take_update(vec![with_pod(starting("web"))]);
    assert_eq!(peers(&run(&mut state, now, never)), Vec::<String>::new());
    state.take_view(host(&[(10, "10.0.0.1")]));
    assert_eq!(peers(&run(&mut state, now, never)), ["-10.0.0.2"]);
    state.take_update(vec![with_pod(pod("web", "10.0.0.2"))]);
    assert_eq!(peers(&run(&mut state, now, never)), ["+10.0.0.2"]);
}
