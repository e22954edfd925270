use podgate_common::Direction::{Egress, Ingress};
use podgate_common::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
use podgate_common::state::{
    ANSWERED, EXCESS, FIN_LOCAL, FIN_REMOTE, OPENED_EGRESS, PENDING, RESET_LOCAL, RESET_REMOTE, at_place,
};
use podgate_common::{Share, Stamp};

use super::{
    has_room, is_expired, is_of_this_pod, may_be_kept, may_outlive_its_entry, next_state, opening_state, share_now,
    stays, tcp, timeout,
};

const HZ: u64 = 250;

#[test]
fn timeouts_depend_on_protocol_and_state() {
    let cases = [
        ("half-open TCP", TCP, OPENED_EGRESS | PENDING | at_place(7), 60),
        ("half-open TCP with a SYN-ACK", TCP, ANSWERED | PENDING, 60),
        ("established TCP", TCP, OPENED_EGRESS | ANSWERED, 86_400),
        ("one FIN keeps TCP established", TCP, ANSWERED | FIN_LOCAL, 86_400),
        ("both FINs", TCP, ANSWERED | FIN_LOCAL | FIN_REMOTE, 10),
        ("a reset by the pod", TCP, ANSWERED | RESET_LOCAL, 10),
        ("a reset by the other end", TCP, ANSWERED | RESET_REMOTE, 10),
        ("a reset of a half-open connection", TCP, RESET_REMOTE, 10),
        ("unanswered UDP", UDP, 0, 30),
        ("answered UDP", UDP, ANSWERED, 180),
        ("answered SCTP", SCTP, ANSWERED, 180),
        ("answered ICMP echo", ICMP, ANSWERED, 30),
        ("ICMPv6 echo", ICMPV6, OPENED_EGRESS, 30),
    ];
    for (name, protocol, state, seconds) in cases {
        assert_eq!(timeout(protocol, state), seconds, "{name}");
    }
}

#[test]
fn expiry_survives_the_wrap_of_jiffies() {
    let before_wrap = u64::MAX - 5 * HZ;
    assert!(!is_expired(UDP, 0, before_wrap, 24 * HZ, HZ));
    assert!(is_expired(UDP, 0, before_wrap, 26 * HZ, HZ));
}

#[test]
fn a_predecessors_generation_is_older_than_the_birth_even_across_the_wrap() {
    assert_eq!([is_of_this_pod(7, 7), is_of_this_pod(8, 7), is_of_this_pod(6, 7)], [true, true, false]);
    assert_eq!([is_of_this_pod(2, u32::MAX - 1), is_of_this_pod(u32::MAX - 1, 2)], [true, false]);
}

#[test]
fn fins_and_resets_are_remembered_by_sender() {
    let open = OPENED_EGRESS | ANSWERED;
    assert_eq!(next_state(open, TCP, Egress, tcp::FIN | tcp::ACK), open | FIN_LOCAL);
    assert_eq!(next_state(open, TCP, Ingress, tcp::FIN | tcp::ACK), open | FIN_REMOTE);
    assert_eq!(next_state(open, TCP, Egress, tcp::RST), open | RESET_LOCAL);
    assert_eq!(next_state(open, TCP, Ingress, tcp::RST | tcp::ACK), open | RESET_REMOTE);
    assert_eq!(next_state(open, UDP, Ingress, 0xff), open);
}

#[test]
fn a_packet_without_flags_changes_what_the_next_state_says() {
    // Only pending flows are above a share.
    for current in (0..1 << 10).filter(|current| current & (PENDING | EXCESS) != EXCESS) {
        for (protocol, direction) in [TCP, UDP, ICMP].into_iter().flat_map(|it| [(it, Ingress), (it, Egress)]) {
            let is_same = next_state(current, protocol, direction, 0) == current;
            assert_eq!(stays(current, protocol, direction), is_same, "{current:#x} {protocol} {direction:?}");
        }
    }
}

#[test]
fn only_the_other_end_answers() {
    assert_eq!(next_state(OPENED_EGRESS, UDP, Egress, 0), OPENED_EGRESS);
    assert_eq!(next_state(OPENED_EGRESS, UDP, Ingress, 0), OPENED_EGRESS | ANSWERED);
    assert_eq!(next_state(0, UDP, Egress, 0), ANSWERED);
}

#[test]
fn a_syn_ack_alone_makes_no_flow_lasting() {
    let syn_seen = opening_state(Ingress) | PENDING | EXCESS | at_place(7);
    let answered = next_state(syn_seen, TCP, Egress, tcp::SYN | tcp::ACK);
    assert_eq!(answered, syn_seen | ANSWERED);
    assert_eq!(next_state(answered, TCP, Egress, tcp::ACK), answered, "the listener alone");
    assert_eq!(next_state(answered, TCP, Ingress, tcp::RST), answered | RESET_REMOTE, "an opener that resets");
    assert_eq!(next_state(syn_seen, TCP, Ingress, tcp::ACK), syn_seen, "an opener without an answer");
    assert_eq!(next_state(answered, TCP, Ingress, tcp::ACK), ANSWERED, "the opener after the answer");
}

#[test]
fn an_answer_makes_udp_and_echo_lasting() {
    let asked = OPENED_EGRESS | PENDING | EXCESS | at_place(7);
    assert_eq!([Ingress, Egress].map(|it| next_state(asked, UDP, it, 0)), [OPENED_EGRESS | ANSWERED, asked]);
    assert_eq!([Egress, Ingress].map(|it| next_state(PENDING, ICMP, it, 0)), [ANSWERED, PENDING]);
}

#[test]
fn only_a_syn_without_ack_opens() {
    let cases = [(tcp::SYN, true), (tcp::SYN | tcp::ACK, false), (tcp::ACK, false), (tcp::RST, false), (0, false)];
    for (flags, opens) in cases {
        assert_eq!(tcp::opens(flags), opens, "{flags:#x}");
    }
    assert!(tcp::opens(tcp::SYN | tcp::FIN), "whatever else it claims");
}

#[test]
fn udp_of_a_changed_address_is_never_kept() {
    let flow = podgate_common::Flow { stamp: Stamp::new(3, 1), state: ANSWERED, ..podgate_common::Flow::default() };
    let kept = [may_be_kept(UDP, &flow, 1), may_be_kept(UDP, &flow, 2), may_be_kept(TCP, &flow, 2)];
    assert_eq!(kept, [true, false, true]);
}

#[test]
fn tcp_that_nobody_answered_is_never_kept() {
    let flow = podgate_common::Flow { stamp: Stamp::new(3, 1), ..podgate_common::Flow::default() };
    assert!(!may_be_kept(TCP, &flow, 1));
}

#[test]
fn only_a_connection_that_its_pod_has_not_ended_may_outlive_its_entry() {
    let may = |flow_state: u32| may_outlive_its_entry(ANSWERED | flow_state);
    assert_eq!([0, FIN_LOCAL, FIN_REMOTE, RESET_REMOTE].map(may), [true; 4]);
    let ended = [FIN_LOCAL | FIN_REMOTE, RESET_LOCAL, RESET_LOCAL | RESET_REMOTE];
    assert_eq!(ended.map(may), [false; 3]);
    assert!(!may_outlive_its_entry(ANSWERED | PENDING), "its opener has not confirmed it");
}

#[test]
fn a_share_forgets_what_no_flow_can_have_outlived() {
    let since = u64::MAX - 10 * HZ;
    let at = |seconds: u64, current, previous| {
        let now = since.wrapping_add(seconds * HZ);
        let share = share_now(&Share { since, current, previous }, now, HZ);
        (share.since == now, share.current, share.previous)
    };
    assert_eq!(at(0, 3, 4), (true, 3, 4), "nothing has changed");
    assert_eq!(at(59, 3, 4), (false, 3, 4));
    assert_eq!(at(60, 3, 4), (true, 0, 3));
    assert_eq!(at(60, -3, 4), (true, 0, 0), "more have moved than came");
    assert_eq!(at(119, 3, 4), (true, 0, 3));
    assert_eq!(at(120, 3, 4), (true, 0, 0));
}

#[test]
fn a_share_has_room_below_its_limit() {
    let room = |current, previous| has_room(&Share { since: 0, current, previous }, 10);
    assert_eq!(
        [room(9, 0), room(10, 0), room(4, 5), room(5, 5), room(-5, 14), room(-5, 15)],
        [true, false, true, false, true, false]
    );
    assert!(!has_room(&Share { since: 0, current: i64::MAX, previous: 1 }, u32::MAX));
}
