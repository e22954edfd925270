//! What is measured.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use podgate_common::{Counter, Direction, Reason, Tag, Verdict};
use podgate_datapath::{Deferring, PortWalk, ServiceEgress, Tagged, TestContext, test_run};
use podgate_policy::op::{Entry, Op};

use crate::frames::{ACK, SYN, SYN_ACK, tcp, udp};
use crate::measure::{At, Case, Packets};
use crate::pick_up;
use crate::rig::{ELSEWHERE, Ends, Rig, SLOT, Side, V4, V6, id};

const PROGRAMS: &str = "Programs";
const INTO: At = At::Pod(Direction::Ingress);
const OUT_OF: At = At::Pod(Direction::Egress);

/// All cases, in the order of the tables, in benchmarks of so many rounds.
pub(crate) fn all(rounds: u32) -> Vec<Case> {
    let mut cases = vec![open_pod()];
    for (family, ends) in [("IPv4", V4), ("IPv6", V6)] {
        cases.extend(isolated_pod(family, ends));
    }
    cases.push(random_flows());
    for (family, ends) in [("IPv4", V4), ("IPv6", V6)] {
        cases.extend(services(family, ends));
    }
    cases.extend([10, 1_000, 100_000].into_iter().flat_map(with_peers));
    for (family, ends) in [("IPv4", V4), ("IPv6", V6)] {
        cases.extend(pick_up::cases(family, ends, rounds));
    }
    cases
}

fn open_pod() -> Case {
    Case {
        table: PROGRAMS,
        row: "pod without policies".to_owned(),
        column: "IPv4".to_owned(),
        rig: Rc::new(Rig::new(Side::Open, Side::Open)),
        home: None,
        at: INTO,
        frame: tcp((V4.friend, 4000), (V4.pod, 80), ACK),
        packets: Packets::Same,
        expected: Verdict::Allowed,
    }
}

/// Packets of a pod that is isolated in both directions.
fn isolated_pod(family: &str, ends: Ends) -> [Case; 11] {
    let rig = Rc::new(Rig::new(Side::Web, Side::Web));
    connect(&rig, ends, 4000);
    let (web, dns, asks) = ((ends.pod, 80), (ends.pod, 53), (ends.friend, 4001));
    rig.ingress(&udp(asks, dns));
    rig.egress(&udp(dns, asks));
    let case = |row: &str, at, frame, packets, expected| Case {
        table: PROGRAMS,
        row: row.to_owned(),
        column: family.to_owned(),
        rig: Rc::clone(&rig),
        home: None,
        at,
        frame,
        packets,
        expected,
    };
    let asked = (ends.friend, 80);
    let (client, stranger, any) = ((ends.friend, 4000), (ends.stranger, 9), (ends.friend, PortWalk::FIRST));
    let (allowed, denied, same) = (Verdict::Allowed, Verdict::Denied, Packets::Same);
    let flooded = Rc::new(Rig::new(Side::Web, Side::Web));
    let flood = case("new TCP flow above the pod's share", INTO, tcp(any, web, SYN), Packets::AnyPort, allowed);
    [
        case("established TCP, into the pod", INTO, tcp(client, web, ACK), same, allowed),
        case("established TCP, out of the pod", OUT_OF, tcp(web, client, ACK), same, allowed),
        case("answered UDP, out of the pod", OUT_OF, udp(dns, asks), same, allowed),
        case("denied TCP SYN", INTO, tcp(stranger, web, SYN), same, denied),
        case("denied UDP", INTO, udp(stranger, web), same, denied),
        case("denied TCP SYN, out of the pod", OUT_OF, tcp((ends.pod, 9), stranger, SYN), same, denied),
        case("denied UDP, out of the pod", OUT_OF, udp((ends.pod, 9), stranger), same, denied),
        case("allowed TCP SYN, the same again", INTO, tcp((ends.friend, 9), web, SYN), same, allowed),
        case("allowed TCP SYN, the same again, out of the pod", OUT_OF, tcp((ends.pod, 9), asked, SYN), same, allowed),
        case("new TCP flow", INTO, tcp(any, web, SYN), Packets::NewFlows(ends), allowed),
        Case { rig: flooded, ..flood },
    ]
}

/// Packets of as many connections as a port walk has ports.
fn random_flows() -> Case {
    let rig = Rig::new(Side::Web, Side::Web);
    for port in PortWalk::FIRST..PortWalk::FIRST + PortWalk::COUNT {
        connect(&rig, V4, port);
    }
    let frame = tcp((V4.friend, PortWalk::FIRST), (V4.pod, 80), ACK);
    assert_all_known(&rig, &frame);
    Case {
        table: PROGRAMS,
        row: format!("established TCP, random among {} flows", PortWalk::COUNT),
        column: "IPv4".to_owned(),
        rig: Rc::new(rig),
        home: None,
        at: INTO,
        frame,
        packets: Packets::AnyPort,
        expected: Verdict::Allowed,
    }
}

/// A run reports its last verdict only, so the counters say whether all flows are there.
fn assert_all_known(rig: &Rig, frame: &[u8]) {
    let established = || {
        let counters = rig.counters().into_iter().filter(|(key, _)| key.reason == Reason::Established);
        counters.map(|(_, Counter { packets, .. })| packets).sum::<u64>()
    };
    let walking = Tagged::walking(rig.datapath.program(Direction::Ingress), Tag::FOREIGN, PortWalk { at: 34 });
    let context = TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() };
    let before = established();
    let program = walking.expect("the kernel takes a small program");
    test_run(program.program(), frame, &context, PortWalk::COUNT.into()).expect("a test run");
    assert_eq!(established() - before, u64::from(PortWalk::COUNT), "packets of known flows");
}

/// Packets to a Service: at the pod's hook and at the exit hook, and what merely passes there.
fn services(family: &str, ends: Ends) -> [Case; 6] {
    let mut rig = Rig::new(Side::Web, Side::Web);
    let service = Some(Deferring { host: false, service: Some(ServiceEgress::Exit) });
    rig.datapath.defer(&[(ends.stranger, service)].into()).expect("room for an address");
    let (client, service, backend) = ((ends.pod, 4000), (ends.stranger, 80), (ends.friend, 80));
    rig.egress(&tcp(client, service, SYN));
    rig.ingress(&tcp(service, client, SYN_ACK));
    rig.egress(&tcp(client, service, ACK));
    let known = Tag::deferred(0, SLOT, true);
    rig.exit(&tcp(client, backend, SYN), Tag::deferred(0, SLOT, false));
    rig.exit(&tcp(client, backend, ACK), known);
    let rig = Rc::new(rig);
    let case = |row: &str, at, frame, expected| Case {
        table: "Services",
        row: row.to_owned(),
        column: family.to_owned(),
        rig: Rc::clone(&rig),
        home: None,
        at,
        frame,
        packets: Packets::Same,
        expected,
    };
    let ack = tcp(client, backend, ACK);
    let unknown = tcp(client, (ends.friend, 81), SYN);
    let (deferred, allowed) = (Verdict::Deferred, Verdict::Allowed);
    [
        case("established TCP to a Service, out of the pod", OUT_OF, tcp(client, service, ACK), deferred),
        case("answer of a Service, into the pod", INTO, tcp(service, client, ACK), allowed),
        case("exit hook, a packet that no pod sent", At::Exit(None), ack.clone(), allowed),
        case(
            "exit hook, a packet that was judged at its pod",
            At::Exit(Some(Tag::judged(0, SLOT))),
            ack.clone(),
            allowed,
        ),
        case("exit hook, established TCP to a Service", At::Exit(Some(known)), ack, allowed),
        case("exit hook, denied TCP SYN to a Service", At::Exit(Some(known)), unknown, Verdict::Denied),
    ]
}

/// Cases with so many other pods known.
fn with_peers(peers: u32) -> [Case; 3] {
    let mut rig = Rig::new(Side::Web, Side::Web);
    let address = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n));
    let ops: Vec<_> =
        (0..peers).map(|n| Op::Write(Entry::Address { address: address(n), group: id::FRIEND_GROUP })).collect();
    rig.apply(&ops);
    connect(&rig, V4, 4000);
    let rig = Rc::new(rig);
    let case = |column: &str, frame, packets, expected| Case {
        table: "Peers",
        row: format!("{peers} peers"),
        column: column.to_owned(),
        rig: Rc::clone(&rig),
        home: None,
        at: INTO,
        frame,
        packets,
        expected,
    };
    let web = (V4.pod, 80);
    let any = tcp((V4.friend, PortWalk::FIRST), web, SYN);
    [
        case("established TCP", tcp((V4.friend, 4000), web, ACK), Packets::Same, Verdict::Allowed),
        case("denied TCP SYN", tcp((V4.stranger, 9), web, SYN), Packets::Same, Verdict::Denied),
        case("new TCP flow", any, Packets::NewFlows(V4), Verdict::Allowed),
    ]
}

/// Opens a connection of the friend to the pod.
fn connect(rig: &Rig, ends: Ends, port: u16) {
    send(rig, Direction::Ingress, &tcp((ends.friend, port), (ends.pod, 80), SYN));
    answer(rig, ends, port);
}

/// Opens the connections of which a port walk from behind `port` has sent so many SYN segments.
pub(crate) fn complete(rig: &Rig, ends: Ends, mut port: u16, count: u32) {
    for _ in 0..count {
        port = PortWalk::next(port);
        answer(rig, ends, port);
    }
}

fn answer(rig: &Rig, ends: Ends, port: u16) {
    let (pod, friend) = ((ends.pod, 80), (ends.friend, port));
    send(rig, Direction::Egress, &tcp(pod, friend, SYN_ACK));
    send(rig, Direction::Ingress, &tcp(friend, pod, ACK));
}

fn send(rig: &Rig, direction: Direction, frame: &[u8]) {
    let context = TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() };
    test_run(rig.datapath.program(direction), frame, &context, 1).expect("a test run");
}
