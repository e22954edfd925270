//! What is measured.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use podgate_common::{Direction, Tag, Verdict};
use podgate_datapath::{Deferring, ServiceEgress};
use podgate_policy::op::{Entry, Op};

use crate::frames::{ACK, SYN, SYN_ACK, tcp, udp};
use crate::measure::{At, Case};
use crate::rig::{Ends, Rig, SLOT, Side, V4, V6, id};

const FLOWS: u16 = 60_000;

/// All cases, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = vec![open_pod()];
    for (family, ends) in [("IPv4", V4), ("IPv6", V6)] {
        let rig = Rc::new(Rig::new(Side::Web, Side::Web));
        let case = |name: &str, direction, frames, expected| Case {
            name: format!("{name}, {family}"),
            rig: Rc::clone(&rig),
            at: At::Pod(direction),
            frames,
            expected,
        };
        let denied = |frame| vec![frame];
        cases.extend([
            case(
                "established TCP, into the pod",
                Direction::Ingress,
                established(&rig, ends, Direction::Ingress),
                Verdict::Allowed,
            ),
            case(
                "established TCP, out of the pod",
                Direction::Egress,
                established(&rig, ends, Direction::Egress),
                Verdict::Allowed,
            ),
            case("answered UDP, out of the pod", Direction::Egress, answered(&rig, ends), Verdict::Allowed),
            case(
                "denied TCP SYN",
                Direction::Ingress,
                denied(tcp((ends.stranger, 9), (ends.pod, 80), SYN)),
                Verdict::Denied,
            ),
            case("denied UDP", Direction::Ingress, denied(udp((ends.stranger, 9), (ends.pod, 80))), Verdict::Denied),
            case(
                "allowed TCP SYN, the same again",
                Direction::Ingress,
                denied(tcp((ends.friend, 9), (ends.pod, 80), SYN)),
                Verdict::Allowed,
            ),
            case("new TCP flow", Direction::Ingress, new_flows(ends), Verdict::Allowed),
            case("new TCP flow above the pod's share", Direction::Ingress, syns(ends, 10_000), Verdict::Allowed),
        ]);
    }
    for (family, ends) in [("IPv4", V4), ("IPv6", V6)] {
        cases.extend(services(family, ends));
    }
    cases.extend(one_by_one());
    cases.extend([10, 1_000, 100_000].map(with_peers).into_iter().flatten());
    cases
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
    let case = |name: &str, at, frame, expected| Case {
        name: format!("{name}, {family}"),
        rig: Rc::clone(&rig),
        at,
        frames: vec![frame],
        expected,
    };
    let ack = tcp(client, backend, ACK);
    let unknown = tcp(client, (ends.friend, 81), SYN);
    let (deferred, allowed) = (Verdict::Deferred, Verdict::Allowed);
    [
        case(
            "established TCP to a Service, out of the pod",
            At::Pod(Direction::Egress),
            tcp(client, service, ACK),
            deferred,
        ),
        case("answer of a Service, into the pod", At::Pod(Direction::Ingress), tcp(service, client, ACK), allowed),
        case("exit hook, no pod's packet", At::Exit(None), ack.clone(), allowed),
        case("exit hook, judged at the pod", At::Exit(Some(Tag::judged(0, SLOT))), ack.clone(), allowed),
        case("exit hook, established TCP to a Service", At::Exit(Some(known)), ack, allowed),
        case("exit hook, denied TCP SYN to a Service", At::Exit(Some(known)), unknown, Verdict::Denied),
    ]
}

fn open_pod() -> Case {
    Case {
        name: "pod without policies".to_owned(),
        rig: Rc::new(Rig::new(Side::Open, Side::Open)),
        at: At::Pod(Direction::Ingress),
        frames: vec![tcp((V4.friend, 4000), (V4.pod, 80), ACK)],
        expected: Verdict::Allowed,
    }
}

/// Opens a connection and returns a packet of it.
fn established(rig: &Rig, ends: Ends, direction: Direction) -> Vec<Vec<u8>> {
    connect(rig, ends, 4000);
    let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
    vec![match direction {
        Direction::Ingress => tcp(friend, pod, ACK),
        Direction::Egress => tcp(pod, friend, ACK),
    }]
}

fn connect(rig: &Rig, ends: Ends, port: u16) {
    let (pod, friend) = ((ends.pod, 80), (ends.friend, port));
    let run = |direction, frame: &[u8]| {
        let context = podgate_datapath::TestContext { ingress_ifindex: 77, ..Default::default() };
        podgate_datapath::test_run(rig.datapath.program(direction), frame, &context, 1).expect("a test run");
    };
    run(Direction::Ingress, &tcp(friend, pod, SYN));
    run(Direction::Egress, &tcp(pod, friend, SYN_ACK));
    run(Direction::Ingress, &tcp(friend, pod, ACK));
}

fn answered(rig: &Rig, ends: Ends) -> Vec<Vec<u8>> {
    let (pod, friend) = ((ends.pod, 53), (ends.friend, 4001));
    rig.ingress(&udp(friend, pod));
    rig.egress(&udp(pod, friend));
    vec![udp(pod, friend)]
}

/// So many that the pod's share has room for them.
fn new_flows(ends: Ends) -> Vec<Vec<u8>> {
    syns(ends, 500)
}

fn syns(ends: Ends, count: u16) -> Vec<Vec<u8>> {
    (1024..1024 + count).map(|port| tcp((ends.friend, port), (ends.pod, 80), SYN)).collect()
}

/// Packets of one connection, and of many in an order that no cache foresees, both run one by one: between two of them
/// the kernel does much else, so both are slower than what is repeated, and their difference is what many flows cost.
fn one_by_one() -> [Case; 2] {
    let rig = Rc::new(Rig::new(Side::Web, Side::Web));
    for port in 1024..1024 + FLOWS {
        connect(&rig, V4, port);
    }
    // A permutation by a multiplier that has no factor in common with the length.
    let random = (0..u32::from(FLOWS)).map(|at| 1024 + (u64::from(at) * 48_271 % u64::from(FLOWS)) as u16);
    let case = |name: String, ports: Vec<u16>| Case {
        name,
        rig: Rc::clone(&rig),
        at: At::Pod(Direction::Ingress),
        frames: ports.into_iter().map(|port| tcp((V4.friend, port), (V4.pod, 80), ACK)).collect(),
        expected: Verdict::Allowed,
    };
    [
        case("established TCP, one flow, one by one, IPv4".to_owned(), vec![1024; usize::from(FLOWS)]),
        case(format!("established TCP, random among {FLOWS} flows, one by one, IPv4"), random.collect()),
    ]
}

/// Cases with so many other pods known.
fn with_peers(peers: u32) -> [Case; 3] {
    let mut rig = Rig::new(Side::Web, Side::Web);
    let address = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n));
    let ops: Vec<_> =
        (0..peers).map(|n| Op::Write(Entry::Address { address: address(n), group: id::FRIEND_GROUP })).collect();
    rig.apply(&ops);
    let frames = established(&rig, V4, Direction::Ingress);
    let rig = Rc::new(rig);
    let case = |name: &str, frames, expected| Case {
        name: format!("{name}, {peers} peers, IPv4"),
        rig: Rc::clone(&rig),
        at: At::Pod(Direction::Ingress),
        frames,
        expected,
    };
    [
        case("established TCP", frames, Verdict::Allowed),
        case("denied TCP SYN", vec![tcp((V4.stranger, 9), (V4.pod, 80), SYN)], Verdict::Denied),
        case("new TCP flow", new_flows(V4), Verdict::Allowed),
    ]
}
