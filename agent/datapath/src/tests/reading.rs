use std::os::fd::AsFd as _;
use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use podgate_common::{Counter, Direction, FlowEvent, NetPort, Reason, Tag, map};
use podgate_policy::id::GroupId;
use podgate_policy::op::{EndpointPolicies, Entry, Op};

use super::sandbox::{Pod, deny_all, enforce, sandbox, unpinned, with_both_hooks};
use crate::{CounterKey, Datapath, Hook, Options, PortWalk, Tagged, TestContext, TestRun, empty_program, test_run};

const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;

/// An Ethernet frame with a UDP datagram from port 1000 to port 53.
fn datagram(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend([3, 232, 0, 53, 0, 12, 0, 0]);
    frame.extend([0; 4]);
    frame
}

/// A datagram of another host enters the pod.
fn enter(datapath: &Datapath, pod: &Pod, repeat: u32) -> TestRun {
    let frame = datagram([192, 0, 2, 1], pod.address.octets());
    let context = TestContext { ifindex: pod.ifindex, ingress_ifindex: 1, ..TestContext::default() };
    test_run(datapath.program(Direction::Ingress), &frame, &context, repeat).unwrap()
}

/// The counters of a slot that are not zero.
fn counted(datapath: &Datapath, slot: u32) -> Vec<(Direction, Reason, Counter)> {
    let counters = datapath.counters().unwrap().into_iter();
    counters
        .filter(|(key, counter)| key.slot == slot && *counter != Counter::default())
        .map(|(CounterKey { direction, reason, .. }, counter)| (direction, reason, counter))
        .collect()
}

#[test]
fn every_packet_is_counted_with_its_slot_direction_and_reason() {
    with_both_hooks(|hook| {
        let mut datapath = Datapath::load(&unpinned(hook)).unwrap();
        let (denied, open, unknown) = (Pod::new(1), Pod::new(2), Pod::new(3));
        enforce(&mut datapath, 1, &denied, deny_all());
        enforce(&mut datapath, 2, &open, EndpointPolicies::default());
        let verdicts = [&denied, &open, &unknown].map(|pod| enter(&datapath, pod, 5).verdict);
        assert_eq!(verdicts, [TC_ACT_SHOT, TC_ACT_UNSPEC, TC_ACT_SHOT]);
        let five = Counter { packets: 5, bytes: 5 * 46 };
        let seen: Vec<_> = (0..3).map(|slot| counted(&datapath, slot)).collect();
        assert_eq!(
            seen,
            [
                vec![(Direction::Ingress, Reason::NoEndpoint, five)],
                vec![(Direction::Ingress, Reason::NoRule, five)],
                vec![(Direction::Ingress, Reason::NotIsolated, five)],
            ]
        );
    });
}

#[test]
fn counters_exist_at_zero_for_slots_in_use_only() {
    sandbox(|| {
        let mut datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        let pod = Pod::new(1);
        datapath.identify(7, &pod.identity()).unwrap();
        let counters = datapath.counters().unwrap();
        let slots: Vec<u32> = counters.keys().map(|key| key.slot).collect();
        let per_slot = 2 * Reason::ALL.len();
        assert_eq!(slots, [vec![0; per_slot], vec![7; per_slot]].concat());
        assert!(counters.values().all(|counter| *counter == Counter::default()));
    });
}

#[test]
fn the_next_owner_of_a_slot_begins_at_zero() {
    sandbox(|| {
        let mut datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        let (pod, next) = (Pod::new(1), Pod::new(2));
        enforce(&mut datapath, 1, &pod, deny_all());
        enter(&datapath, &pod, 5);
        datapath.release(1).unwrap();
        enforce(&mut datapath, 1, &next, deny_all());
        assert_eq!(counted(&datapath, 1), []);
        enter(&datapath, &next, 1);
        assert_eq!(counted(&datapath, 1), [(Direction::Ingress, Reason::NoRule, Counter { packets: 1, bytes: 46 })]);
    });
}

#[test]
fn a_dropped_packet_is_told_with_both_ends_and_those_over_the_limit_are_counted() {
    sandbox(|| {
        let options = Options { event_rate: 3, ..unpinned(Hook::Auto) };
        let mut datapath = Datapath::load(&options).unwrap();
        let pod = Pod::new(1);
        enforce(&mut datapath, 1, &pod, deny_all());
        enter(&datapath, &pod, 100);
        let mut events = Vec::new();
        let drained = datapath.drain_events(|event| events.push(*event));
        assert_eq!(drained, events.len());
        assert_eq!(events.len() as u64 + datapath.lost().unwrap().denied, 100);
        // A run of a hundred may meet a change of second, and of CPU.
        assert!((3..=12).contains(&events.len()), "{} events at a rate of 3", events.len());
        let mut source = [0; 16];
        source[..4].copy_from_slice(&[192, 0, 2, 1]);
        let mut destination = [0; 16];
        destination[..4].copy_from_slice(&[10, 0, 1, 2]);
        let expected = FlowEvent {
            slot: 1,
            generation: 1,
            source,
            destination,
            source_port: NetPort::new(1000),
            destination_port: NetPort::new(53),
            length: 46,
            direction: Direction::Ingress as u8,
            reason: Reason::NoRule as u8,
            family: 4,
            protocol: 17,
            ..FlowEvent::default()
        };
        assert_eq!(FlowEvent { time: 0, ..events[0] }, expected);
        assert_eq!(datapath.drain_events(|_| {}), 0);
    });
}

#[test]
fn usage_tells_how_full_each_table_is() {
    sandbox(|| {
        let mut datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        let pod = Pod::new(1);
        enforce(&mut datapath, 1, &pod, deny_all());
        let addresses = ["10.0.0.1", "10.0.0.2"];
        datapath
            .apply(&addresses.map(|address| {
                Op::Write(Entry::Address { address: address.parse().unwrap(), group: GroupId::from_raw(1) })
            }))
            .unwrap();
        let usage = datapath.usage().unwrap();
        assert!(usage.is_sorted_by_key(|usage| usage.table));
        let used: Vec<_> =
            usage.iter().filter(|usage| usage.used != 0).map(|usage| (usage.table, usage.used)).collect();
        let tables =
            [map::CONFIGS, map::INTERFACES, map::ORIGINS4, map::OWN_ADDRESSES, map::SLOTS].map(|table| (table, 1));
        assert_eq!(used, [&[(map::ADDRESSES4, 2)][..], &tables].concat());
        let capacities: Vec<_> = usage.iter().map(|usage| (usage.table, usage.capacity)).collect();
        assert!(capacities.contains(&(map::FLOWS6, u64::from(map::capacity::FLOWS6))), "{capacities:?}");
    });
}

#[test]
fn a_test_run_takes_the_fields_of_its_context_and_gives_the_frame_back() {
    sandbox(|| {
        let datapath = Datapath::load(&unpinned(Hook::Auto)).unwrap();
        let frame = datagram([192, 0, 2, 1], [10, 0, 1, 2]);
        let context = TestContext { mark: 77, gso_segs: 3, gso_size: 10, ..TestContext::default() };
        let run = test_run(datapath.program(Direction::Ingress), &frame, &context, 1).unwrap();
        assert_eq!((run.packet, run.mark), (frame, 77));
        let expected = Counter { packets: 3, bytes: 46 };
        assert_eq!(counted(&datapath, 0), [(Direction::Ingress, Reason::NoEndpoint, expected)]);
    });
}

#[test]
fn a_port_walk_comes_to_each_port_once_also_in_one_test_run() {
    let mut ports = vec![PortWalk::FIRST];
    while ports.len() < usize::from(PortWalk::COUNT) {
        ports.push(PortWalk::next(ports[ports.len() - 1]));
    }
    let last = ports[ports.len() - 1];
    ports.sort_unstable();
    assert_eq!(ports, (PortWalk::FIRST..PortWalk::FIRST + PortWalk::COUNT).collect::<Vec<_>>());
    let (walk, empty) = (PortWalk { at: 34 }, empty_program().unwrap());
    let walking = Tagged::walking(empty.as_fd(), Tag::FOREIGN, walk).unwrap();
    let mut frame = datagram([192, 0, 2, 1], [10, 0, 1, 2]);
    frame[34..36].copy_from_slice(&PortWalk::FIRST.to_be_bytes());
    let repeat = u32::from(PortWalk::COUNT) - 1;
    let run = test_run(walking.program(), &frame, &TestContext::default(), repeat).unwrap();
    frame[34..36].copy_from_slice(&last.to_be_bytes());
    assert_eq!((run.verdict, run.packet), (TC_ACT_UNSPEC, frame));
}

/// Keeps what is logged, of all tests of this process.
struct Kept(Mutex<Vec<String>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

#[test]
fn the_programs_log_verdicts_only_when_told_to_trace() {
    log::set_logger(&KEPT).unwrap();
    log::set_max_level(LevelFilter::Trace);
    sandbox(|| {
        let pod = Pod::new(1);
        for trace in [false, true] {
            let mut datapath = Datapath::load(&Options { trace, ..unpinned(Hook::Auto) }).unwrap();
            // A slot that no other test has.
            enforce(&mut datapath, 499, &pod, deny_all());
            enter(&datapath, &pod, 1);
            datapath.drain_events(|_| {});
            let told = KEPT.0.lock().unwrap().iter().any(|line| line.starts_with("TRACE") && line.contains("499"));
            assert_eq!(told, trace);
        }
    });
}
