//! Floods: a pod's half-open and unanswered flows take no other pod's room, and no lasting flow's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use podgate_common::{
    Addr4, Addr6, Direction, EXCESS_GROUPS, Reason, Tag, epoch_index4, epoch_index6, excess_group, map,
};
use podgate_datapath::{Deferring, ServiceEgress, TestContext, test_run};

use crate::frames::{ACK, SYN, SYN_ACK, tcp, udp};
use crate::rig::{ELSEWHERE, Ends, FAMILIES, Rig, SLOT, Side, second_pod};

/// Places for pending flows.
const ENTRIES: u32 = 8192;
const SHARE: u32 = ENTRIES / map::PENDING_SHARES;
const FLOOD: u32 = 20 * ENTRIES;

fn rig(ingress: Side, egress: Side) -> Rig {
    let mut rig = Rig::sized(&[(map::PENDING4, ENTRIES), (map::PENDING6, ENTRIES)], ingress, egress);
    rig.second_pod_on_its_own_interface(ingress, egress);
    rig
}

/// The n-th of many senders, of the family of an address.
fn sender(like: IpAddr, n: u32) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(11 << 24 | n).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n)).into(),
    }
}

/// Runs a program on many frames, without a look at what it counts.
fn flood(rig: &Rig, direction: Direction, frames: impl Iterator<Item = Vec<u8>>) {
    let context = TestContext { ingress_ifindex: ELSEWHERE, ..TestContext::default() };
    for frame in frames {
        test_run(rig.datapath.program(direction), &frame, &context, 1).expect("a test run");
    }
}

/// SYNs and datagrams from everywhere to the first pod.
fn flood_first(rig: &Rig, ends: Ends) {
    let frames = (0..FLOOD).map(|n| {
        let (from, to) = ((sender(ends.pod, n), 1024 + n as u16 % 50_000), (ends.pod, 80));
        if n % 2 == 0 { tcp(from, to, SYN) } else { udp(from, to) }
    });
    flood(rig, Direction::Ingress, frames);
}

#[test]
fn a_flood_at_one_pod_ends_no_lasting_flow_and_no_half_open_one_of_another_pod() {
    for ends in FAMILIES {
        let rig = rig(Side::All, Side::Deny);
        let (first, second, friend) = (ends.pod, second_pod(ends), ends.friend);
        for pod in [first, second] {
            let at = |frame: &[u8], direction| rig.at(pod == second, direction, frame);
            assert_eq!(at(&tcp((friend, 1), (pod, 80), SYN), Direction::Ingress), Reason::Rule);
            assert_eq!(at(&tcp((pod, 80), (friend, 1), SYN_ACK), Direction::Egress), Reason::Established);
            assert_eq!(at(&tcp((friend, 1), (pod, 80), ACK), Direction::Ingress), Reason::Established);
            assert_eq!(at(&udp((friend, 2), (pod, 53)), Direction::Ingress), Reason::Rule);
            assert_eq!(at(&udp((pod, 53), (friend, 2)), Direction::Egress), Reason::Established);
        }
        // Half open, and unanswered.
        assert_eq!(rig.at(true, Direction::Ingress, &tcp((friend, 3), (second, 80), SYN)), Reason::Rule);
        assert_eq!(rig.at(true, Direction::Ingress, &udp((friend, 4), (second, 53))), Reason::Rule);
        flood_first(&rig, ends);
        for pod in [first, second] {
            let at = |frame: &[u8], direction| rig.at(pod == second, direction, frame);
            assert_eq!(at(&tcp((pod, 80), (friend, 1), ACK), Direction::Egress), Reason::Established, "{pod}");
            assert_eq!(at(&udp((pod, 53), (friend, 2)), Direction::Egress), Reason::Established, "{pod}");
        }
        assert_eq!(rig.at(true, Direction::Egress, &tcp((second, 80), (friend, 3), SYN_ACK)), Reason::Established);
        assert_eq!(rig.at(true, Direction::Egress, &udp((second, 53), (friend, 4))), Reason::Established);
    }
}

/// SYNs of many senders that fill what a pod may have before its own entries take each other's place.
fn fill(rig: &Rig, pod: IpAddr) {
    flood(rig, Direction::Ingress, (0..SHARE / 2).map(|n| tcp((sender(pod, n), 1), (pod, 80), SYN)));
}

/// Entries that remotes of the same group have above the share.
const GROUP: u16 = (SHARE / 2 / EXCESS_GROUPS) as u16;

/// The group of a remote address above the share.
fn group(address: IpAddr) -> u32 {
    let hash = match address {
        IpAddr::V4(address) => epoch_index4(Addr4::from_octets(address.octets())),
        IpAddr::V6(address) => epoch_index6(Addr6::from_octets(address.octets())),
    };
    excess_group(0, hash)
}

#[test]
fn a_pod_above_its_share_answers_whoever_is_allowed_to_ask() {
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = rig(Side::All, Side::Deny);
        fill(&rig, pod);
        for n in SHARE..3 * SHARE {
            let remote = (sender(pod, n), 1);
            let (syn, answer) = (tcp(remote, (pod, 80), SYN), tcp((pod, 80), remote, SYN_ACK));
            assert_eq!([rig.ingress(&syn), rig.egress(&answer)], [Reason::OverShare, Reason::Established], "{n}");
        }
        assert_eq!(rig.ingress(&udp((friend, 1), (pod, 80))), Reason::OverShare);
        assert_eq!(rig.egress(&udp((pod, 80), (friend, 1))), Reason::Established);
        assert_eq!(rig.egress(&udp((pod, 80), (friend, 2))), Reason::NoRule, "nothing else is licensed");
        let first = (sender(pod, 0), 1);
        assert_eq!(rig.ingress(&tcp(first, (pod, 80), SYN)), Reason::Rule, "it has its entry already");
        // One that becomes a lasting flow makes room for another within the share.
        assert_eq!(rig.egress(&tcp((pod, 80), first, SYN_ACK)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(first, (pod, 80), ACK)), Reason::Established);
        assert_eq!(rig.ingress(&tcp((friend, 3), (pod, 80), SYN)), Reason::Rule);
        assert_eq!(rig.ingress(&tcp((friend, 4), (pod, 80), SYN)), Reason::OverShare);
    }
}

#[test]
fn a_connection_above_the_share_lasts_and_takes_none_of_it() {
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = rig(Side::All, Side::Deny);
        fill(&rig, pod);
        for port in 1..=3 * GROUP {
            let remote = (friend, port);
            assert_eq!(rig.ingress(&tcp(remote, (pod, 80), SYN)), Reason::OverShare);
            assert_eq!(rig.egress(&tcp((pod, 80), remote, SYN_ACK)), Reason::Established);
            assert_eq!(rig.ingress(&tcp(remote, (pod, 80), ACK)), Reason::Established);
        }
        for port in 1..=3 * GROUP {
            assert_eq!(rig.egress(&tcp((pod, 80), (friend, port), ACK)), Reason::Established, "{port}");
        }
    }
}

#[test]
fn who_floods_a_pod_loses_its_own_oldest_entries_and_nobody_elses() {
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = rig(Side::All, Side::Deny);
        let ask = |from, port| udp((from, port), (pod, 53));
        let answer = |to, port| udp((pod, 53), (to, port));
        let mut others = (SHARE..).map(|n| sender(pod, n)).filter(|&it| group(it) != group(friend));
        let flooding = others.next().expect("there are many groups");
        fill(&rig, pod);
        assert_eq!(rig.ingress(&ask(friend, 1)), Reason::OverShare);
        flood(&rig, Direction::Ingress, (1..=10_000).map(|port| ask(flooding, port)));
        assert_eq!(rig.egress(&answer(friend, 1)), Reason::Established);
        let answered = |port| rig.egress(&answer(flooding, port)) == Reason::Established;
        assert_eq!((1..=10_000).rev().take_while(|&port| answered(port)).count(), usize::from(GROUP));
        assert!((1..=10_000 - GROUP).step_by(13).all(|port| !answered(port)));
    }
}

#[test]
fn a_pod_that_floods_is_answered_what_it_asks_next() {
    for Ends { pod, friend, stranger } in FAMILIES {
        let rig = rig(Side::Deny, Side::All);
        flood(&rig, Direction::Egress, (1..=3000).map(|port| udp((pod, port), (stranger, 53))));
        for port in 1..=50 {
            assert_eq!(rig.egress(&udp((pod, port), (friend, 53))), Reason::OverShare);
            assert_eq!(rig.ingress(&udp((friend, 53), (pod, port))), Reason::Established);
        }
        assert_eq!(rig.ingress(&udp((friend, 54), (pod, 1))), Reason::NoRule);
    }
}

#[test]
fn what_the_pod_opens_and_what_the_node_opens_need_no_room_in_the_share_of_what_others_open() {
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = rig(Side::All, Side::All);
        flood(&rig, Direction::Ingress, (0..SHARE).map(|n| tcp((sender(pod, n), 1), (pod, 80), SYN)));
        assert_eq!(rig.ingress(&tcp((friend, 1), (pod, 80), SYN)), Reason::OverShare);
        assert_eq!(rig.egress(&udp((pod, 2), (friend, 53))), Reason::Rule);
        assert_eq!(rig.ingress_of_node(&tcp((friend, 3), (pod, 80), SYN)), Reason::Node);
        assert_eq!(rig.egress(&tcp((pod, 80), (friend, 3), SYN_ACK)), Reason::Established);
    }
}

#[test]
fn a_denied_flood_takes_no_room() {
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = rig(Side::Web, Side::Deny);
        flood(&rig, Direction::Ingress, (0..2 * SHARE).map(|n| tcp((sender(pod, n), 1), (pod, 80), SYN)));
        assert_eq!(rig.ingress(&tcp((friend, 1), (pod, 80), SYN)), Reason::Rule);
    }
}

/// Few places for pending flows.
const SMALL: &[(&str, u32)] = &[(map::PENDING4, 512), (map::PENDING6, 512)];

/// How many of these places a CPU has: that on which this thread stays from now on, with the programs that it runs.
fn ring_of_this_cpu() -> u16 {
    let mut this_one = CpuSet::new();
    this_one.set(sched_getcpu().expect("a CPU")).expect("a set has room for each");
    sched_setaffinity(Pid::from_raw(0), &this_one).expect("a CPU that is there");
    let cpus = aya::util::online_cpus().expect("a number of CPUs").len();
    512_u16.div_ceil(u16::try_from(cpus).expect("few CPUs")).max(256)
}

#[test]
fn pending_flows_of_all_pods_together_take_the_place_of_the_oldest_and_of_no_lasting_one() {
    let ring = ring_of_this_cpu();
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = Rig::sized(SMALL, Side::All, Side::Deny);
        assert_eq!(rig.ingress(&udp((friend, 1), (pod, 53))), Reason::Rule);
        assert_eq!(rig.egress(&udp((pod, 53), (friend, 1))), Reason::Established);
        // What the node opens is in no pod's share.
        for port in 1..=5 * ring {
            assert_eq!(rig.ingress_of_node(&tcp((friend, port), (pod, 80), SYN)), Reason::Node);
        }
        let answered = |port| rig.egress(&tcp((pod, 80), (friend, port), SYN_ACK)) == Reason::Established;
        let held: Vec<u16> = (1..=5 * ring).filter(|&port| answered(port)).collect();
        assert_eq!(held, (4 * ring + 1..=5 * ring).collect::<Vec<_>>());
        assert_eq!(rig.egress(&udp((pod, 53), (friend, 1))), Reason::Established);
    }
}

#[test]
fn who_waits_for_an_answer_outlives_many_that_are_answered_at_once() {
    let ring = ring_of_this_cpu();
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = Rig::sized(SMALL, Side::Deny, Side::All);
        let asks = |port, server| rig.egress(&udp((pod, port), (friend, server)));
        let is_answered = |port, server| rig.ingress(&udp((friend, server), (pod, port))) == Reason::Established;
        let slow = 1..=20;
        for port in slow.clone() {
            assert_eq!(asks(port, 53), Reason::Rule);
        }
        for port in 1000..1000 + 5 * ring {
            assert_eq!((asks(port, 54), is_answered(port, 54)), (Reason::Rule, true));
        }
        assert_eq!(slow.filter(|&port| !is_answered(port, 53)).collect::<Vec<_>>(), []);
    }
}

#[test]
fn what_a_pod_asks_of_a_service_takes_none_of_its_share_once_it_is_answered() {
    for Ends { pod, friend, stranger } in FAMILIES {
        let mut rig = rig(Side::Deny, Side::All);
        let service = Some(Deferring { host: false, service: Some(ServiceEgress::Exit) });
        rig.datapath.defer(&[(stranger, service)].into()).expect("room for an address");
        let asks = |port| {
            assert_eq!(rig.egress(&udp((pod, port), (stranger, 53))), Reason::Deferred);
            let left = rig.exit(&udp((pod, port), (friend, 53)), Tag::deferred(0, SLOT, false));
            assert_eq!(left, [(Direction::Egress, Reason::Rule)]);
        };
        let is_answered = |port| rig.ingress(&udp((stranger, 53), (pod, port))) == Reason::Established;
        for port in 1..=2000 {
            asks(port);
            assert!(is_answered(port), "{port}");
        }
        let at_once = 5000..5100;
        at_once.clone().for_each(asks);
        assert_eq!(at_once.filter(|&port| !is_answered(port)).collect::<Vec<_>>(), []);
    }
}
