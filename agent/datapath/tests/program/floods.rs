//! Floods: a pod's half-open and unanswered flows take no other pod's room, and no lasting flow's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podgate_common::{Direction, Reason, map};
use podgate_datapath::{TestContext, test_run};

use crate::frames::{ACK, SYN, SYN_ACK, tcp, udp};
use crate::rig::{ELSEWHERE, Ends, FAMILIES, Rig, Side, second_pod};

/// Entries of the tables of half-open flows. The kernel's LRU hands each CPU entries in advance.
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

#[test]
fn a_pod_above_its_share_lets_pass_what_is_allowed_and_records_no_more() {
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = rig(Side::All, Side::Deny);
        let syn = |n: u32| tcp((sender(pod, n), 1), (pod, 80), SYN);
        let answer = |n: u32| tcp((pod, 80), (sender(pod, n), 1), SYN_ACK);
        flood(&rig, Direction::Ingress, (0..SHARE - 1).map(syn));
        assert_eq!(rig.ingress(&syn(SHARE - 1)), Reason::Rule);
        assert_eq!(rig.ingress(&syn(SHARE)), Reason::Unrecorded);
        assert_eq!(rig.ingress(&udp((friend, 1), (pod, 80))), Reason::Unrecorded);
        assert_eq!(rig.ingress(&syn(0)), Reason::Rule, "it has its entry already");
        assert_eq!(rig.egress(&answer(0)), Reason::Established);
        assert_eq!(rig.egress(&answer(SHARE)), Reason::NoRule);
        // One that becomes a lasting flow makes room for another.
        assert_eq!(rig.ingress(&tcp((sender(pod, 0), 1), (pod, 80), ACK)), Reason::Established);
        assert_eq!(rig.ingress(&syn(SHARE)), Reason::Rule);
        assert_eq!(rig.ingress(&syn(SHARE + 1)), Reason::Unrecorded);
    }
}

#[test]
fn what_the_pod_opens_and_what_the_node_opens_need_no_room_in_the_share_of_what_others_open() {
    for Ends { pod, friend, .. } in FAMILIES {
        let rig = rig(Side::All, Side::All);
        flood(&rig, Direction::Ingress, (0..SHARE).map(|n| tcp((sender(pod, n), 1), (pod, 80), SYN)));
        assert_eq!(rig.ingress(&tcp((friend, 1), (pod, 80), SYN)), Reason::Unrecorded);
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
