use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use podgate_datapath::{Exits, FormerSlot};
use podgate_host::binding::{Handover, PodId};
use podgate_policy::model::{Labels, ObjectKey, Phase, Pod};
use podgate_policy::op::{EndpointPolicy, Entry, Key, Op};
use podgate_policy::services::Node;
use podgate_policy::tables::Limits;
use podgate_source::{Change, KnownClusterPolicies, Location, Object, ObjectRef, ResourceStatus, SourceStatus};

use super::command::{Command, Outcome};
use super::fixtures::{NOW, deny_all, host, never, pod, pod_states, run, short, state, with_pod, without_pod};
use super::handovers::Standing;
use super::memory::Interface;
use super::report::Reading;
use super::stale::Derived;
use super::upkeep::Check;
use super::*;
use crate::handover::PodRecord;
use crate::status::{AnomalyStatus, PodState, RepairStatus, Status, UntaggedStatus};

fn status(state: &State) -> Status {
    state.status(Reading::default(), NOW)
}

/// Whether operations isolate a slot for ingress.
fn isolates(command: &Command, wanted: u32) -> bool {
    let Command::Apply { ops } = command else { return false };
    ops.iter().any(|op| match op {
        Op::Switch { slot, policies } => *slot == wanted && policies.ingress != EndpointPolicy::Open,
        _ => false,
    })
}

/// Whether operations leave a slot open for ingress.
fn opens(command: &Command, wanted: u32) -> bool {
    let Command::Apply { ops } = command else { return false };
    ops.iter().any(|op| match op {
        Op::Switch { slot, policies } => *slot == wanted && policies.ingress == EndpointPolicy::Open,
        _ => false,
    })
}

#[test]
fn nothing_is_done_before_objects_and_host_are_known() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    assert_eq!(run(&mut state, now, never), []);
    assert_eq!(state.not_ready(NOW), ["objects: not read yet"]);

    let mut state = fixtures::state(8);
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    assert_eq!(run(&mut state, now, never), []);
    assert_eq!(state.not_ready(NOW), ["network interfaces: not read yet"]);
}

fn api() -> Location {
    Location::Api { url: "https://192.0.2.1/".to_owned(), host: "192.0.2.1".to_owned(), port: 443 }
}

fn source(location: Location, resource: ResourceStatus) -> SourceStatus {
    SourceStatus {
        source: location,
        resources: [("NetworkPolicy".to_owned(), resource)].into(),
        cluster_policies: KnownClusterPolicies::default(),
        problems: vec![],
        problem_count: 0,
        problems_met: BTreeMap::new(),
    }
}

fn with_node(name: &str) -> Change {
    Change::Apply(Object::Node(Arc::new(Node {
        name: name.into(),
        labels: Labels::new(),
        addresses: vec![],
        pod_cidrs: vec![],
    })))
}

/// Why an agent is not ready whose source is this and has these nodes.
fn not_ready_with(location: Location, nodes: &[&str]) -> Vec<String> {
    let mut state = state(8);
    state.take_view(host(&[]));
    state.take_source_status(source(location, ResourceStatus { synced: Some(NOW), ..ResourceStatus::default() }));
    state.take_update(nodes.iter().map(|name| with_node(name)).collect());
    run(&mut state, Instant::now(), never);
    state.not_ready(NOW)
}

#[test]
fn a_node_that_does_not_exist_is_never_ready() {
    let missing = |place: &str| {
        let told = "so no pod is enforced: --node-name must be the name of this machine's Node object";
        vec![format!("node node-a: {place} has no such node, {told}")]
    };
    let directory = || Location::Directory("/etc/podgate".into());
    assert_eq!(not_ready_with(api(), &[]), missing("Kubernetes API https://192.0.2.1/"));
    assert_eq!(not_ready_with(api(), &["node-b"]), missing("Kubernetes API https://192.0.2.1/"));
    assert_eq!(not_ready_with(api(), &["node-a"]), Vec::<String>::new());
    assert_eq!(not_ready_with(directory(), &["node-b"]), missing("directory /etc/podgate"));
    assert_eq!(not_ready_with(directory(), &["node-b", "node-a"]), Vec::<String>::new());
    assert_eq!(not_ready_with(directory(), &[]), Vec::<String>::new(), "files need not tell of nodes");
}

#[test]
fn a_node_that_goes_while_its_pods_are_enforced_is_not_ready_any_more_and_they_stay_enforced() {
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_source_status(source(api(), ResourceStatus { synced: Some(NOW), ..ResourceStatus::default() }));
    state.take_update(vec![with_node(fixtures::NODE), with_pod(pod("api", "10.0.0.1")), deny_all()]);
    run(&mut state, Instant::now(), never);
    assert_eq!(state.not_ready(NOW), Vec::<String>::new());
    state.take_update(vec![Change::Delete(ObjectRef::Node(fixtures::NODE.into()))]);
    assert_eq!(short(&run(&mut state, Instant::now(), never)), Vec::<String>::new());
    assert_eq!((state.not_ready(NOW).len(), pod_states(&status(&state))["api"]), (1, PodState::Enforced));
}

#[test]
fn a_source_that_hears_nothing_or_hangs_is_not_ready_and_not_synced() {
    let told = |resource: ResourceStatus| {
        let mut state = state(8);
        state.take_view(host(&[]));
        state.take_source_status(source(Location::Directory("/etc/podgate".into()), resource));
        state.take_update(vec![]);
        run(&mut state, Instant::now(), never);
        let later = NOW + Duration::from_secs(100);
        let synced = state.status(Reading::default(), later).sources[0].synced;
        (state.not_ready(later), synced)
    };
    let synced = || ResourceStatus { synced: Some(NOW), ..ResourceStatus::default() };
    assert_eq!(told(synced()), (vec![], true));
    let unheard = ResourceStatus { unheard_since: Some(NOW), ..synced() };
    assert_eq!(told(unheard), (vec!["NetworkPolicy: could not be read for 90 seconds".to_owned()], false));
    let hangs = ResourceStatus { reading_since: Some(NOW), ..synced() };
    let expected = "NetworkPolicy: reading does not end: what has changed since is not known";
    assert_eq!(told(hangs), (vec![expected.to_owned()], false));
}

#[test]
fn a_pod_is_isolated_before_its_programs_run() {
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    let commands = run(&mut state, Instant::now(), never);
    assert_eq!(short(&commands), ["identify 1 on 10", "apply", "attach 1", "finish takeover"]);
    assert!(isolates(&commands[1], 1), "{commands:?}");
    assert_eq!(state.not_ready(NOW), Vec::<String>::new());
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
    assert_eq!(state.not_ready(NOW).len(), 1, "{:?}", state.not_ready(NOW));
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["identify 2 on 11", "apply", "attach 2"]);
    assert!(isolates(&commands[1], 2) && !isolates(&commands[1], 1), "{commands:?}");
    assert_eq!(state.not_ready(NOW), Vec::<String>::new());
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
        view.devices.insert(ifindex, fixtures::device(ifindex));
        view.local_addresses.insert(address.parse().unwrap(), [ifindex].into());
        Arc::new(view)
    };
    let mut state = state(8);
    state.take_view(uplink(2, "192.0.2.1"));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), fixtures::with_service("web", &["10.96.0.1"])]);
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands)[..3], ["guard 2", "defer 2", "identify 1 on 10"], "the pod's veth is not guarded");
    state.take_update(vec![fixtures::with_service("web", &["10.96.0.1", "fd96::1"])]);
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
    view.devices.insert(2, fixtures::device(2));
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
fn a_pod_whose_object_is_deleted_stays_enforced_until_its_interface_is_gone() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2")), deny_all()]);
    run(&mut state, now, never);
    state.take_update(vec![without_pod("api")]);
    let commands = run(&mut state, now, never);
    assert_eq!((short(&commands), peers(&commands)), (vec!["apply".to_owned()], vec!["-10.0.0.1".to_owned()]));
    assert_eq!(pod_states(&status(&state)), [("api", PodState::Enforced), ("web", PodState::Enforced)].into());
    assert!(status(&state).anomalies.iter().any(|anomaly| anomaly.kind == "deleted_pod_runs"));
    // Policies go on to change what it may do, and it is no peer any more.
    state.take_update(vec![fixtures::allow_pods()]);
    let commands = run(&mut state, now, never);
    assert!(isolates(&commands[0], 1), "{commands:?}");
    assert_eq!(peers(&commands), Vec::<String>::new());
    state.take_view(host(&[(11, "10.0.0.2")]));
    assert_eq!(short(&run(&mut state, now, never))[0], "release 1");
    assert_eq!(pod_states(&status(&state)), [("web", PodState::Enforced)].into());
}

#[test]
fn a_pod_that_has_ended_is_not_enforced_any_more() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("job", "10.0.0.1")), deny_all()]);
    run(&mut state, now, never);
    state.take_update(vec![with_pod(Pod { phase: Phase::Finished, ..pod("job", "10.0.0.1") })]);
    assert_eq!(short(&run(&mut state, now, never))[0], "release 1");
    assert_eq!(pod_states(&status(&state)), BTreeMap::new());
}

#[test]
fn a_pod_that_takes_the_name_of_a_deleted_one_that_runs_on_has_policies_of_its_own() {
    let now = Instant::now();
    let mut state = state(8);
    let labelled = |uid: &str, address: &str, app: &str| Pod {
        uid: uid.into(),
        labels: [("app".into(), app.into())].into(),
        ..pod("api", address)
    };
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(labelled("old", "10.0.0.1", "old")), fixtures::deny("old")]);
    assert!(run(&mut state, now, never).iter().any(|command| isolates(command, 1)));
    // In one update or in two: StatefulSets are quick.
    state.take_update(vec![without_pod("api"), with_pod(labelled("new", "10.0.0.2", "new"))]);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    let commands = run(&mut state, now, never);
    assert!(!short(&commands).contains(&"release 1".to_owned()), "{commands:?}");
    assert!(!commands.iter().any(|command| opens(command, 1)), "{commands:?}");
    assert!(commands.iter().any(|command| opens(command, 2)), "{commands:?}");
    state.take_update(vec![fixtures::deny("new")]);
    let commands = run(&mut state, now, never);
    assert!(isolates(&commands[0], 2) && !commands.iter().any(|command| opens(command, 1)), "{commands:?}");
    let expected = [("api", PodState::Enforced), ("api (uid old)", PodState::Enforced)];
    assert_eq!(pod_states(&status(&state)), expected.into());
    state.take_view(host(&[(11, "10.0.0.2")]));
    assert_eq!(short(&run(&mut state, now, never))[0], "release 1");
    assert_eq!(pod_states(&status(&state)), [("api", PodState::Enforced)].into());
}

/// A state that goes on after another, with what that one has left.
fn restarted(former: &mut State, slots: Vec<FormerSlot>) -> State {
    let enforced = former.take_enforced();
    let left = Left { enforced, slots };
    fixtures::state_after(8, left)
}

fn slot(slot: u32, ifindex: u32, address: &str) -> FormerSlot {
    FormerSlot {
        slot,
        ifindex,
        addresses: vec![address.parse().unwrap()],
        macs: [None; 2],
        link_locals: BTreeSet::new(),
    }
}

#[test]
fn a_pod_that_lost_its_object_stays_enforced_over_a_restart_of_the_agent() {
    let now = Instant::now();
    let mut former = state(8);
    former.take_view(host(&[(10, "10.0.0.1")]));
    former.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    run(&mut former, now, never);
    for deleted_before in [true, false] {
        if deleted_before {
            former.take_update(vec![without_pod("api")]);
            run(&mut former, now, never);
            former.stale.mark(Derived::Enforced);
        }
        let mut state = restarted(&mut former, vec![slot(1, 10, "10.0.0.1")]);
        state.take_view(host(&[(10, "10.0.0.1")]));
        state.take_update(vec![deny_all()]);
        let commands = run(&mut state, now, never);
        assert_eq!(short(&commands), ["identify 1 on 10", "apply", "attach 1", "finish takeover"]);
        assert!(isolates(&commands[1], 1), "{commands:?}");
        assert_eq!(state.not_ready(NOW), Vec::<String>::new());
        state.take_view(host(&[]));
        assert_eq!(short(&run(&mut state, now, never))[0], "release 1");
        former = state;
        former.stale.mark(Derived::Enforced);
        former.take_view(host(&[(10, "10.0.0.1")]));
        former.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
        run(&mut former, now, never);
        former.stale.mark(Derived::Enforced);
    }
}

#[test]
fn nothing_that_is_enforced_loses_its_programs_when_the_file_of_bindings_is_lost() {
    let now = Instant::now();
    let slots = vec![slot(1, 10, "10.0.0.1"), slot(2, 11, "10.0.0.2")];
    let mut state = fixtures::state_after(8, Left { enforced: None, slots });
    // One pod has taken its address off its interface; the object of the other is gone.
    let mut view = (*host(&[(10, "10.0.0.1"), (11, "10.0.0.2")])).clone();
    let veth = view.veths.get_mut(&10).unwrap();
    for addresses in [&mut veth.peer_addresses, &mut veth.interface_addresses, &mut veth.first_addresses] {
        addresses.clear();
    }
    state.take_view(Arc::new(view));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    let commands = short(&run(&mut state, now, never));
    let expected =
        ["identify 1 on 10", "identify 2 on 11", "isolate 2", "attach 2", "apply", "attach 1", "finish takeover"];
    assert_eq!(commands, expected);
    assert_eq!(pod_states(&status(&state)), [("api", PodState::Enforced)].into());
    state.take_update(vec![with_pod(pod("web", "10.0.0.2"))]);
    assert_eq!(short(&run(&mut state, now, never)), ["identify 2 on 11", "apply", "attach 2"]);
}

#[test]
fn an_interface_that_turns_out_to_be_another_pods_is_enforced_all_the_time() {
    let now = Instant::now();
    let mut state = state(8);
    let labelled =
        |name: &str, address: &str| Pod { labels: [("app".into(), name.into())].into(), ..pod(name, address) };
    // The node was restarted: the statuses are from before, and the veth is web's.
    state.take_view(host(&[(10, "10.0.0.1")]));
    let pods = [with_pod(labelled("api", "10.0.0.1")), with_pod(labelled("web", "10.0.0.2"))];
    state.take_update([pods.to_vec(), vec![fixtures::deny("web")]].concat());
    assert!(run(&mut state, now, never).iter().any(|command| opens(command, 1)), "api is open");
    state.take_update(vec![with_pod(labelled("web", "10.0.0.1"))]);
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["identify 1 on 10", "apply", "attach 1"]);
    assert!(isolates(&commands[1], 1) && !opens(&commands[1], 1), "{commands:?}");
    // Its status says that it is elsewhere: nobody knows whose the veth is now.
    state.take_update(vec![with_pod(labelled("web", "10.0.0.9")), with_pod(labelled("api", "10.0.0.8"))]);
    assert_eq!(short(&run(&mut state, now, never))[..2], ["identify 1 on 10", "isolate 1"]);
    state.take_update(vec![with_pod(labelled("api", "10.0.0.1"))]);
    let commands = run(&mut state, now, never);
    assert_eq!(short(&commands), ["identify 1 on 10", "apply", "attach 1"]);
    assert!(opens(&commands[1], 1), "{commands:?}");
}

#[test]
fn a_terminating_pod_whose_interface_is_gone_is_no_peer_any_more() {
    let now = Instant::now();
    let mut state = state(8);
    let terminating = || with_pod(Pod { terminating: true, ..pod("api", "10.0.0.1") });
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![terminating(), with_pod(pod("web", "10.0.0.2")), fixtures::allow_pods()]);
    assert_eq!(peers(&run(&mut state, now, never)), ["+10.0.0.1", "+10.0.0.2"]);
    state.take_view(host(&[(11, "10.0.0.2")]));
    assert_eq!(peers(&run(&mut state, now, never)), ["-10.0.0.1"]);
    state.take_update(vec![terminating()]);
    assert_eq!(peers(&run(&mut state, now, never)), Vec::<String>::new());
    assert_eq!(state.not_ready(NOW), Vec::<String>::new());
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
    assert!(state.not_ready(NOW).iter().any(|reason| reason.contains("refused")), "{:?}", state.not_ready(NOW));

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
    state.take_view(host(&[(11, "10.0.0.2")]));
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
    assert_eq!(state.not_ready(NOW), ["pod shop/api is not enforced: refused"]);
    let later = state.deadline(now).unwrap();
    assert_eq!(short(&run(&mut state, later, never))[0], "attach 1");
    assert_eq!(state.not_ready(NOW), Vec::<String>::new());
}

#[test]
fn more_pods_than_slots_are_isolated_and_told_of_and_served_when_a_slot_is_free() {
    let now = Instant::now();
    let mut state = state(2);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2"))]);
    let commands = short(&run(&mut state, now, never));
    assert_eq!(commands, ["identify 1 on 10", "confine 11", "apply", "attach 1", "finish takeover"]);
    assert_eq!(state.not_ready(NOW), ["pod shop/web is isolated altogether: every slot for pods is taken"]);
    assert_eq!(pod_states(&status(&state))["web"], PodState::Unfit);
    assert_eq!(state.standing(11), Standing::Isolated);
    // What it is isolated with is looked after.
    let later = now + Duration::from_secs(1);
    assert_eq!(short(&run(&mut state, later, never)), ["check 1", "check confined 11", "check pins"]);
    state.take_view(host(&[(11, "10.0.0.2")]));
    let commands = short(&run(&mut state, later, never));
    assert_eq!(commands, ["release 1", "identify 1 on 11", "apply", "attach 1"]);
    assert_eq!((pod_states(&status(&state))["web"], state.not_ready(NOW).len()), (PodState::Enforced, 1));
}

#[test]
fn a_pod_without_a_slot_whose_interface_takes_no_programs_is_not_enforced_and_tried_again() {
    let now = Instant::now();
    let mut state = state(2);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2"))]);
    assert_eq!(state.next(now).map(|command| short(&[command])), Some(vec!["identify 1 on 10".to_owned()]));
    let problem = |state: &State| status(state).pods.into_iter().find_map(|pod| pod.problem);
    assert_eq!(problem(&state).as_deref(), Some("not isolated yet: every slot for pods is taken"));
    run(&mut state, now, |command| matches!(command, Command::Confine { .. }).then_some(0));
    assert_eq!(state.not_ready(NOW), ["pod shop/web is not enforced: every slot for pods is taken: refused"]);
    assert_eq!(pod_states(&status(&state))["web"], PodState::Pending);
    assert_eq!(state.standing(11), Standing::Pending("refused".to_owned()));
    let later = state.deadline(now).unwrap();
    assert_eq!(short(&run(&mut state, later, never))[0], "confine 11");
    state.take_view(host(&[(10, "10.0.0.1")]));
    assert_eq!(short(&run(&mut state, later, never)), ["unconfine 11"]);
}

#[test]
fn an_interface_that_is_bound_again_before_it_was_let_go_of_stays_isolated() {
    let now = Instant::now();
    let mut state = state(2);
    let both = || host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]);
    state.take_view(both());
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2"))]);
    run(&mut state, now, never);
    state.take_view(host(&[(10, "10.0.0.1")]));
    run(&mut state, now, |command| matches!(command, Command::Unconfine { .. }).then_some(0));
    state.take_view(both());
    let later = now + Duration::from_secs(60);
    let commands = short(&run(&mut state, later, never));
    assert!(commands.contains(&"confine 11".to_owned()), "{commands:?}");
    assert!(!commands.contains(&"unconfine 11".to_owned()), "{commands:?}");
    assert_eq!(state.standing(11), Standing::Isolated);
}

#[test]
fn policies_that_do_not_fit_isolate_their_pod_and_are_told_of() {
    let config = Config {
        services: Services::Exit,
        node: fixtures::NODE.into(),
        keep: false,
        routing: [].into(),
        attribution: AttributionSettings { granularity: Granularity::None, series: 0 },
        audit: false,
        isolate_unknown: false,
    };
    let mut state = State::new(config, Room { limits: Limits::each(2), slots: 8, addresses: 1024 }, Left::default());
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), fixtures::allow_blocks(8)]);
    let commands = run(&mut state, Instant::now(), never);
    assert!(commands.iter().any(|command| isolates(command, 1)), "{commands:?}");
    assert_eq!(pod_states(&status(&state))["api"], PodState::Unfit);
    assert!(state.not_ready(NOW)[0].starts_with("pod shop/api is isolated altogether for ingress: table "));
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
    assert_eq!(state.not_ready(NOW), ["pod shop/api is not enforced: no room"]);
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
    let object = Some((&fixtures::pod("api", "10.0.0.1")).into());
    let interface = Interface { pod, addresses: ["10.0.0.1".parse().unwrap()].into(), firm: false, object };
    let expected = Enforced { interfaces: [(10, interface)].into(), ..Enforced::default() };
    assert_eq!(state.take_enforced(), Some(expected));
    assert_eq!(state.take_enforced(), None);
    state.take_view(host(&[]));
    run(&mut state, now, never);
    assert_eq!(state.take_enforced(), Some(Enforced::default()));
}

#[test]
fn what_policies_know_a_pod_by_is_remembered_as_it_changes() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    run(&mut state, now, never);
    state.take_enforced();
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    assert_eq!(state.take_enforced(), None, "nothing has changed");
    let relabelled = Pod { labels: [("app".into(), "web".into())].into(), ..pod("api", "10.0.0.1") };
    state.take_update(vec![with_pod(relabelled.clone())]);
    let kept = state.take_enforced().unwrap();
    assert_eq!(kept.interfaces[&10].object, Some((&relabelled).into()));
}

#[test]
fn packets_without_a_tag_are_told_apart_by_whether_hooks_stood() {
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1"))]);
    state.tags.look(100);
    run(&mut state, Instant::now(), never);
    for total in [103, 103, 103, 108, 108] {
        state.tags.look(total);
    }
    let exits = Exits { others_tag: 7, ..Exits::default() };
    let told = state.status(Reading { exits, ..Reading::default() }, NOW).services.untagged;
    assert_eq!(told, UntaggedStatus { takeover: 7, changing: 3, standing: 5 });
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
    Handover { ifindex, pod, addresses: [address.parse().unwrap()].into(), mac: None }
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
    assert_eq!(state.standing(11), Standing::Isolated);
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

#[test]
fn pods_that_policies_isolate_are_attached_before_the_others() {
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2"), (12, "10.0.0.3")]));
    let labelled = |name, address, app: &str| {
        let labels = [("app".into(), app.into())].into_iter().collect();
        with_pod(Pod { labels, ..pod(name, address) })
    };
    state.take_update(vec![
        labelled("a", "10.0.0.1", "open"),
        labelled("b", "10.0.0.2", "web"),
        labelled("c", "10.0.0.3", "web"),
        fixtures::deny("web"),
    ]);
    let commands = short(&run(&mut state, Instant::now(), never));
    let attached: Vec<&String> = commands.iter().filter(|command| command.starts_with("attach")).collect();
    assert_eq!(attached, ["attach 2", "attach 3", "attach 1"]);
}

/// A state with a pod on interface 10 that is about to be attached, and that command.
fn attaching() -> (State, Command) {
    let (now, mut state) = (Instant::now(), state(8));
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), deny_all()]);
    let attach = run_until(&mut state, now, |command| matches!(command, Command::Attach { .. }));
    (state, attach)
}

/// Carries out what comes before a command, which is about to be carried out then.
fn run_until(state: &mut State, now: Instant, is_it: impl Fn(&Command) -> bool) -> Command {
    loop {
        let Some(command) = state.next(now) else {
            let made = state.begin_plan().unwrap().run();
            state.end_plan(made);
            continue;
        };
        if is_it(&command) {
            return command;
        }
        state.report(command, Outcome::Done, now);
    }
}

#[test]
fn while_the_kernel_lets_nobody_at_hooks_policies_and_pods_change_all_the_same() {
    let now = Instant::now();
    let (mut state, attach) = attaching();
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("web", "10.0.0.2")), fixtures::allow_pods()]);
    assert_eq!(short(&run(&mut state, now, never)), ["identify 2 on 11", "apply"]);
    state.report(attach, Outcome::Done, now);
    assert_eq!(short(&run(&mut state, now, never)), ["attach 2", "finish takeover"]);
}

#[test]
fn a_pod_that_becomes_known_while_its_interface_is_attached_waits_for_its_policies() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1")]));
    state.take_update(vec![deny_all()]);
    run(&mut state, now, never);
    state.hand_over(handover(10, "api", "10.0.0.1"));
    let attach = run_until(&mut state, now, |command| matches!(command, Command::Attach { .. }));
    state.take_update(vec![with_pod(starting("api"))]);
    let identify = state.next(now).unwrap();
    state.report(attach, Outcome::Done, now);
    assert_ne!(state.standing(10), Standing::Enforced);
    state.report(identify, Outcome::Done, now);
    assert_eq!(short(&run(&mut state, now, never)), ["apply", "attach 1"]);
}

#[test]
fn an_interface_that_goes_while_it_is_attached_is_released_after_that() {
    let now = Instant::now();
    let (mut state, attach) = attaching();
    state.take_view(host(&[]));
    state.take_update(vec![without_pod("api")]);
    assert!(!short(&run(&mut state, now, never)).contains(&"release 1".to_owned()));
    state.report(attach, Outcome::Done, now);
    assert!(short(&run(&mut state, now, never)).contains(&"release 1".to_owned()));
}

#[test]
fn an_interface_that_goes_while_it_is_isolated_without_a_slot_is_cleared_after_that() {
    let now = Instant::now();
    let mut state = state(2);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(pod("web", "10.0.0.2"))]);
    let confine = run_until(&mut state, now, |command| matches!(command, Command::Confine { .. }));
    state.take_view(host(&[(10, "10.0.0.1")]));
    run(&mut state, now, never);
    state.report(confine, Outcome::Done, now);
    assert!(short(&run(&mut state, now, never)).contains(&"unconfine 11".to_owned()));
}

#[test]
fn a_filter_enforces_while_its_link_is_awaited_and_the_link_comes_when_all_is_quiet() {
    let now = Instant::now();
    let (mut state, attach) = attaching();
    state.report(attach, Outcome::Provisional, now);
    assert_eq!(pod_states(&status(&state))["api"], PodState::Enforced);
    assert_eq!(status(&state).filtered_interfaces, 1);
    assert_eq!(short(&run(&mut state, now, never)), ["finish takeover"]);
    let later = now + Duration::from_millis(600);
    assert_eq!(short(&run(&mut state, later, never)), ["link 10"]);
    assert_eq!(status(&state).filtered_interfaces, 0, "the link has come");
}

/// Which of these addresses operations give a group, and which they take it from.
fn peers(commands: &[Command]) -> Vec<String> {
    let ops = commands.iter().filter_map(|command| if let Command::Apply { ops } = command { Some(ops) } else { None });
    let peer = |op: &Op| match op {
        Op::Write(Entry::Address { address, .. }) => Some(format!("+{address}")),
        Op::Delete(Key::Address { address }) => Some(format!("-{address}")),
        _ => None,
    };
    ops.flatten().filter_map(peer).collect()
}

#[test]
fn a_pod_that_cni_hands_over_is_a_peer_before_its_status_has_an_address_and_as_long_as_it_has_the_interface() {
    let now = Instant::now();
    let mut state = state(8);
    state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
    state.take_update(vec![with_pod(pod("api", "10.0.0.1")), with_pod(starting("web")), fixtures::allow_pods()]);
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
