//! Flows: who may answer, what a change of policy does, what closed connections leave behind.

use podgate_common::{Direction, Reason, Tag};
use podgate_datapath::Identity;
use podgate_policy::op::{Entry, Key, Op};

use crate::frames::{
    ACK, FIN, RST, SYN, SYN_ACK, echo_reply, echo_request, icmp, raw, sctp, tcp, too_big, udp, unreachable,
};
use crate::rig::{Ends, FAMILIES, Rig, SECOND_INTERFACE, SLOT, Side, id, identity, second_pod};

/// Opens a TCP connection from the friend to the pod's port 80 and completes the handshake.
fn open_from_friend(rig: &Rig, ends: Ends) {
    let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
    assert_eq!(rig.ingress(&tcp(friend, pod, SYN)), Reason::Rule);
    assert_eq!(rig.egress(&tcp(pod, friend, SYN_ACK)), Reason::Established);
    assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established);
}

#[test]
fn a_pod_without_policies_is_left_alone() {
    let rig = Rig::new(Side::Open, Side::Open);
    for ends in FAMILIES {
        assert_eq!(rig.ingress(&tcp((ends.stranger, 1), (ends.pod, 2), SYN)), Reason::NotIsolated);
        assert_eq!(rig.egress(&raw(ends.stranger, ends.friend, 253, &[])), Reason::NotIsolated, "whatever it is");
    }
}

#[test]
fn what_no_rule_allows_is_dropped_by_protocol_port_and_peer() {
    let rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        let to = |port| (ends.pod, port);
        let from = (ends.friend, 4000);
        let cases = [
            ("TCP to the allowed port", tcp(from, to(80), SYN), Reason::Rule),
            ("UDP to the allowed port", udp(from, to(53)), Reason::Rule),
            ("TCP to another port", tcp(from, to(81), SYN), Reason::NoRule),
            ("TCP to the port that is allowed for UDP", tcp(from, to(53), SYN), Reason::NoRule),
            ("UDP to the port that is allowed for TCP", udp(from, to(80)), Reason::NoRule),
            ("SCTP to either", sctp(from, to(80)), Reason::NoRule),
            ("ICMP, which has no port", echo_request(ends.friend, ends.pod, 1), Reason::NoRule),
            ("a protocol without ports", raw(ends.friend, ends.pod, 47, &[0; 8]), Reason::NoRule),
            ("a peer that the rule doesn't name", tcp((ends.stranger, 4000), to(80), SYN), Reason::NoRule),
        ];
        for (name, frame, reason) in cases {
            assert_eq!(rig.ingress(&frame), reason, "{name}, {ends:?}");
        }
        assert_eq!(rig.egress(&tcp((ends.pod, 4001), (ends.friend, 80), SYN)), Reason::NoRule);
    }
}

#[test]
fn a_rule_without_ports_allows_every_protocol() {
    let rig = Rig::new(Side::Friend, Side::Deny);
    for ends in FAMILIES {
        let frames = [
            tcp((ends.friend, 1), (ends.pod, 9999), SYN),
            udp((ends.friend, 1), (ends.pod, 9999)),
            sctp((ends.friend, 1), (ends.pod, 9999)),
            echo_request(ends.friend, ends.pod, 1),
            raw(ends.friend, ends.pod, 47, &[0; 8]),
        ];
        for frame in frames {
            assert_eq!(rig.ingress(&frame), Reason::Rule);
        }
    }
}

#[test]
fn a_direction_that_is_not_isolated_passes_and_its_replies_too() {
    let rig = Rig::new(Side::Deny, Side::Open);
    for ends in FAMILIES {
        let (pod, peer) = ((ends.pod, 4000), (ends.stranger, 443));
        assert_eq!(rig.egress(&tcp(pod, peer, SYN)), Reason::DirectionNotIsolated);
        assert_eq!(rig.ingress(&tcp(peer, pod, SYN_ACK)), Reason::Established);
        assert_eq!(rig.egress(&udp(pod, peer)), Reason::DirectionNotIsolated);
        assert_eq!(rig.ingress(&udp(peer, pod)), Reason::Established);
        assert_eq!(rig.ingress(&udp(peer, (ends.pod, 4001))), Reason::NoRule, "nobody asked from this port");
    }
}

#[test]
fn replies_of_an_allowed_connection_pass_though_the_other_direction_is_isolated() {
    let rig = Rig::new(Side::Friend, Side::Deny);
    for ends in FAMILIES {
        open_from_friend(&rig, ends);
        let (pod, friend) = ((ends.pod, 132), (ends.friend, 4000));
        assert_eq!(rig.egress(&udp(pod, friend)), Reason::NoRule, "before it is asked");
        assert_eq!(rig.ingress(&udp(friend, pod)), Reason::Rule);
        assert_eq!(rig.egress(&udp(pod, friend)), Reason::Established);
        assert_eq!(rig.ingress(&sctp(friend, pod)), Reason::Rule);
        assert_eq!(rig.egress(&sctp(pod, friend)), Reason::Established);
        assert_eq!(rig.ingress(&echo_request(ends.friend, ends.pod, 7)), Reason::Rule);
        assert_eq!(rig.egress(&echo_reply(ends.pod, ends.friend, 7)), Reason::Established);
        assert_eq!(rig.ingress(&raw(ends.friend, ends.pod, 47, &[0; 8])), Reason::Rule);
        assert_eq!(rig.egress(&raw(ends.pod, ends.friend, 47, &[0; 8])), Reason::Established);
    }
}

#[test]
fn a_connection_that_a_new_policy_denies_is_cut_with_its_next_packet() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut, "judged as it was opened, not as it goes");
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Cut);
    }
}

#[test]
fn a_cut_connection_stays_cut_whatever_its_allowed_side_sends() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        // The pod may now send anything to the friend, but the connection was the friend's to open.
        rig.switch(Side::Deny, Side::Friend);
        for flags in [ACK, "PA", FIN, RST, SYN_ACK] {
            assert_eq!(rig.egress(&tcp(pod, friend, flags)), Reason::Cut, "{flags}");
        }
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Cut);
        assert_eq!(rig.egress(&tcp(pod, friend, SYN)), Reason::Rule, "only an allowed opening revives it");
        assert_eq!(rig.ingress(&tcp(friend, pod, SYN_ACK)), Reason::Established);
    }
}

#[test]
fn a_connection_that_a_new_policy_goes_on_allowing_is_never_disturbed() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        for (ingress, egress) in [(Side::Friend, Side::Deny), (Side::All, Side::Web), (Side::Open, Side::Deny)] {
            rig.switch(ingress, egress);
            assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established, "{ingress:?}");
            assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established, "{ingress:?}");
        }
    }
}

#[test]
fn an_allow_that_comes_back_revives_the_connection_it_cut() {
    let mut rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        open_from_friend(&rig, ends);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.ingress(&tcp((ends.friend, 4000), (ends.pod, 80), ACK)), Reason::Cut);
        rig.switch(Side::Web, Side::Deny);
        assert_eq!(rig.ingress(&tcp((ends.friend, 4000), (ends.pod, 80), ACK)), Reason::Established);
    }
}

#[test]
fn with_keep_a_connection_ends_in_peace_and_no_new_one_opens() {
    for ends in FAMILIES {
        let mut rig = Rig::with(Identity { keep: true, ..identity() }, Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Kept);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Kept);
        assert_eq!(rig.ingress(&tcp(friend, pod, SYN)), Reason::NoRule);
        assert_eq!(rig.ingress(&tcp((ends.friend, 4001), pod, SYN)), Reason::NoRule);
    }
}

#[test]
fn udp_that_is_denied_as_it_was_opened_is_judged_as_it_goes() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 53), (ends.friend, 4000));
        assert_eq!(rig.ingress(&udp(friend, pod)), Reason::Rule);
        rig.switch(Side::Deny, Side::Friend);
        assert_eq!(rig.ingress(&udp(friend, pod)), Reason::NoRule);
        assert_eq!(rig.egress(&udp(pod, friend)), Reason::Rule, "the pod may open what it was asked for before");
        assert_eq!(rig.ingress(&udp(friend, pod)), Reason::Established, "now the friend answers");
    }
}

#[test]
fn a_flow_without_connection_that_may_go_only_the_other_way_now_gives_way_to_its_successor() {
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 5000), (ends.friend, 5000));
        let exchanges = [
            ("UDP", udp(friend, pod), udp(pod, friend)),
            ("SCTP", sctp(friend, pod), sctp(pod, friend)),
            ("GRE", raw(ends.friend, ends.pod, 47, &[0; 8]), raw(ends.pod, ends.friend, 47, &[0; 8])),
        ];
        for (name, into, out) in exchanges {
            let mut rig = Rig::new(Side::Friend, Side::Deny);
            let what = format!("{name}, {ends:?}");
            assert_eq!([rig.ingress(&into), rig.egress(&out)], [Reason::Rule, Reason::Established], "{what}");
            rig.switch(Side::Deny, Side::Friend);
            assert_eq!([rig.egress(&out), rig.ingress(&into)], [Reason::Rule, Reason::Established], "{what}");
            assert_eq!([rig.egress(&out), rig.ingress(&into)], [Reason::Established; 2], "{what}");
            rig.switch(Side::Deny, Side::Deny);
            assert_eq!([rig.egress(&out), rig.ingress(&into)], [Reason::NoRule; 2], "{what}");
            rig.switch(Side::Friend, Side::Deny);
            assert_eq!([rig.ingress(&into), rig.egress(&out)], [Reason::Rule, Reason::Established], "{what}");
        }
    }
}

#[test]
fn the_node_is_answered_though_the_pod_had_a_flow_with_it_that_it_may_have_no_more() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Deny, Side::All);
        let (pod, node) = ((ends.pod, 5000), (ends.stranger, 5000));
        assert_eq!(rig.egress(&udp(pod, node)), Reason::Rule);
        assert_eq!(rig.ingress(&udp(node, pod)), Reason::Established);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.ingress_of_node(&udp(node, pod)), Reason::Node);
        assert_eq!(rig.egress(&udp(pod, node)), Reason::Established);
    }
}

#[test]
fn a_tcp_packet_of_no_connection_is_judged_as_it_goes_and_licenses_nothing() {
    let rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        for flags in [ACK, FIN, RST, SYN_ACK] {
            assert_eq!(rig.ingress(&tcp(friend, pod, flags)), Reason::Rule, "{flags}");
            assert_eq!(rig.egress(&tcp(pod, friend, flags)), Reason::NoRule, "{flags}");
        }
    }
}

#[test]
fn a_syn_in_the_reply_direction_is_judged_as_new_and_leaves_the_flow_alone() {
    let rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        assert_eq!(rig.egress(&tcp(pod, friend, SYN)), Reason::NoRule);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established);
    }
}

#[test]
fn a_source_port_may_be_used_again_after_a_connection_closed() {
    let mut rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        rig.switch(Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        assert_eq!(rig.ingress(&tcp(friend, pod, FIN)), Reason::Established);
        assert_eq!(rig.egress(&tcp(pod, friend, FIN)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established, "the last acknowledgement");
        open_from_friend(&rig, ends);
        // A reset of one side neither closes the door on what is under way nor opens it the other way.
        assert_eq!(rig.egress(&tcp(pod, friend, RST)), Reason::Established);
        assert_eq!(rig.egress(&tcp(pod, friend, SYN)), Reason::NoRule);
        open_from_friend(&rig, ends);
    }
}

#[test]
fn an_echo_of_the_peer_with_the_identifier_of_the_pods_is_judged_as_new() {
    let rig = Rig::new(Side::Deny, Side::All);
    for ends in FAMILIES {
        assert_eq!(rig.egress(&echo_request(ends.pod, ends.friend, 7)), Reason::Rule);
        assert_eq!(rig.ingress(&echo_reply(ends.friend, ends.pod, 7)), Reason::Established);
        assert_eq!(rig.ingress(&echo_request(ends.friend, ends.pod, 7)), Reason::NoRule);
        assert_eq!(rig.ingress(&echo_reply(ends.friend, ends.pod, 8)), Reason::NoRule, "of another identifier");
    }
}

#[test]
fn an_echo_licenses_no_other_icmp_message_whatever_its_identifier() {
    let rig = Rig::new(Side::Deny, Side::All);
    for ends in FAMILIES {
        // Timestamp and redirect, and what ICMPv6 has no meaning for; with the bytes of an identifier and a number.
        let others = if ends.pod.is_ipv4() { [13, 5] } else { [200, 100] };
        for id in 0..=2 {
            assert_eq!(rig.egress(&echo_request(ends.pod, ends.friend, id)), Reason::Rule);
            assert_eq!(rig.ingress(&echo_reply(ends.friend, ends.pod, id)), Reason::Established);
            for kind in others {
                let other = icmp(ends.friend, ends.pod, kind, 0, &[id.to_be_bytes(), [0, 1]].concat());
                assert_eq!(rig.ingress(&other), Reason::NoRule, "type {kind} after echo {id}");
            }
        }
    }
}

#[test]
fn an_echo_reply_that_nobody_asked_for_licenses_no_request() {
    let rig = Rig::new(Side::Friend, Side::Deny);
    for ends in FAMILIES {
        assert_eq!(rig.ingress(&echo_reply(ends.friend, ends.pod, 7)), Reason::Rule);
        assert_eq!(rig.egress(&echo_request(ends.pod, ends.friend, 7)), Reason::NoRule);
    }
}

#[test]
fn icmp_errors_about_an_allowed_flow_pass_and_others_do_not() {
    let rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        let sent = tcp(pod, friend, ACK);
        assert_eq!(rig.ingress(&too_big(ends.stranger, ends.pod, &sent)), Reason::IcmpUnrelated, "no flow yet");
        open_from_friend(&rig, ends);
        assert_eq!(rig.ingress(&too_big(ends.stranger, ends.pod, &sent)), Reason::Related);
        let other = tcp((ends.pod, 81), friend, ACK);
        assert_eq!(rig.ingress(&too_big(ends.stranger, ends.pod, &other)), Reason::IcmpUnrelated);
        let received = tcp(friend, pod, ACK);
        assert_eq!(rig.egress(&too_big(ends.pod, ends.friend, &received)), Reason::Related);
        let elsewhere = too_big(ends.pod, ends.stranger, &received);
        assert_eq!(rig.egress(&elsewhere), Reason::IcmpUnrelated, "only to the sender of what it is about");
        assert_eq!(rig.egress(&too_big(ends.stranger, ends.friend, &received)), Reason::Spoofed);
    }
}

#[test]
fn a_pod_of_this_node_sends_icmp_errors_only_about_what_was_sent_to_it() {
    let mut rig = Rig::new(Side::Deny, Side::All);
    rig.second_pod_on_its_own_interface(Side::Open, Side::Open);
    for ends in FAMILIES {
        let Ends { pod, friend, stranger } = ends;
        let second = second_pod(ends);
        let [to_friend, to_second] = [friend, second].map(|to| udp((pod, 4000), (to, 53)));
        assert_eq!([&to_friend, &to_second].map(|datagram| rig.egress(datagram)), [Reason::Rule; 2]);
        let ping = echo_request(pod, friend, 7);
        assert_eq!(rig.egress(&ping), Reason::Rule);
        for about in [&to_friend, &ping] {
            for error in [too_big(second, pod, about), unreachable(second, pod, about)] {
                assert_eq!(rig.ingress_of_second(&error), Reason::IcmpUnrelated);
                let tagged = |tag| rig.ingress_tagged(&error, tag);
                assert_eq!(tagged(Tag::judged(0, SLOT + 1)), [(Direction::Ingress, Reason::IcmpUnrelated)]);
                assert_eq!(
                    tagged(Tag::FOREIGN),
                    [(Direction::Ingress, Reason::Related)],
                    "another node's pod, or a router"
                );
            }
        }
        assert_eq!(rig.ingress_of_second(&too_big(second, pod, &to_second)), Reason::Related);
        assert_eq!(rig.ingress_of_second(&too_big(friend, pod, &to_friend)), Reason::Related, "as behind a Service");
        assert_eq!(rig.ingress_of_node(&too_big(stranger, pod, &to_friend)), Reason::Related, "the node is a router");
    }
}

#[test]
fn a_pod_of_this_node_that_routes_sends_icmp_errors_about_what_it_forwards() {
    let mut rig = Rig::new(Side::Deny, Side::All);
    rig.second_pod_on_its_own_interface(Side::Open, Side::Open);
    rig.datapath
        .identify(SLOT + 1, &Identity { ifindex: SECOND_INTERFACE, routes: true, ..identity() })
        .expect("the second pod's slot");
    for ends in FAMILIES {
        let datagram = udp((ends.pod, 4000), (ends.friend, 53));
        assert_eq!(rig.egress(&datagram), Reason::Rule);
        assert_eq!(rig.ingress_of_second(&too_big(second_pod(ends), ends.pod, &datagram)), Reason::Related);
    }
}

#[test]
fn an_isolated_pod_sends_no_icmp_error_about_what_was_sent_to_others() {
    for (ingress, egress, expected) in
        [(Side::Deny, Side::Open, Reason::DirectionNotIsolated), (Side::All, Side::Deny, Reason::Related)]
    {
        let rig = Rig::new(ingress, egress);
        for Ends { pod, friend, stranger } in FAMILIES {
            let [to_pod, to_stranger] = [pod, stranger].map(|to| udp((friend, 4000), (to, 53)));
            rig.ingress(&to_pod);
            assert_eq!(rig.egress(&too_big(pod, friend, &to_pod)), expected);
            for error in [too_big(pod, friend, &to_stranger), unreachable(pod, friend, &to_stranger)] {
                assert_eq!(rig.egress(&error), Reason::Spoofed);
            }
        }
    }
}

#[test]
fn icmp_errors_about_a_flow_that_is_no_longer_allowed_are_dropped() {
    let mut rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        rig.switch(Side::Web, Side::Deny);
        open_from_friend(&rig, ends);
        let error = too_big(ends.stranger, ends.pod, &tcp((ends.pod, 80), (ends.friend, 4000), ACK));
        rig.switch(Side::Friend, Side::Deny);
        assert_eq!(rig.ingress(&error), Reason::Related, "outdated, but allowed");
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.ingress(&error), Reason::IcmpUnrelated);
    }
}

#[test]
fn what_the_node_sends_passes_whatever_it_is_and_is_answered() {
    let mut rig = Rig::new(Side::Deny, Side::Deny);
    for ends in FAMILIES {
        let (pod, node) = ((ends.pod, 8080), (ends.stranger, 4000));
        assert_eq!(rig.egress(&tcp(pod, node, SYN_ACK)), Reason::NoRule, "nobody asked");
        assert_eq!(rig.ingress_of_node(&tcp(node, pod, SYN)), Reason::Node);
        assert_eq!(rig.egress(&tcp(pod, node, SYN_ACK)), Reason::Established);
        assert_eq!(rig.ingress_of_node(&udp(node, pod)), Reason::Node);
        assert_eq!(rig.egress(&udp(pod, node)), Reason::Established);
        assert_eq!(rig.ingress_of_node(&echo_request(ends.stranger, ends.pod, 3)), Reason::Node);
        assert_eq!(rig.egress(&echo_reply(ends.pod, ends.stranger, 3)), Reason::Established);
        assert_eq!(
            rig.ingress_of_node(&raw(ends.stranger, ends.pod, 6, &[0; 3])),
            Reason::Node,
            "even what is malformed"
        );
        assert_eq!(rig.ingress(&tcp(node, (ends.pod, 8081), SYN)), Reason::NoRule, "its address is no licence");
        rig.switch(Side::Web, Side::Deny);
        assert_eq!(rig.egress(&tcp(pod, node, ACK)), Reason::Established, "nor does a change of policy end it");
    }
}

#[test]
fn a_flow_that_the_node_opened_lets_nobody_else_in_who_has_its_address_and_port() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Deny, Side::Open);
        let (pod, node) = ((ends.pod, 8080), (ends.stranger, 4000));
        let flows = [udp(node, pod), sctp(node, pod), tcp(node, pod, ACK)];
        let strangers = |rig: &Rig| flows.each_ref().map(|frame| rig.ingress(frame));
        assert_eq!(rig.ingress_of_node(&tcp(node, pod, SYN)), Reason::Node);
        assert_eq!(flows.each_ref().map(|frame| rig.ingress_of_node(frame))[..2], [Reason::Node; 2]);
        assert_eq!(strangers(&rig), [Reason::NoRule; 3], "nobody has answered");
        let answers = [udp(pod, node), sctp(pod, node), tcp(pod, node, SYN_ACK)];
        assert_eq!(answers.each_ref().map(|frame| rig.egress(frame)), [Reason::Established; 3]);
        assert_eq!(strangers(&rig), [Reason::NoRule; 3]);
        rig.switch(Side::Deny, Side::All);
        assert_eq!(strangers(&rig), [Reason::NoRule; 3], "under policies that have changed since");
        assert_eq!(flows.each_ref().map(|frame| rig.ingress_of_node(frame)), [Reason::Established; 3]);
        rig.switch(Side::All, Side::Open);
        assert_eq!(strangers(&rig), [Reason::Rule; 3], "policy lets them in");
        rig.switch(Side::Deny, Side::Open);
        assert_eq!(strangers(&rig), [Reason::NoRule; 3], "which licenses nothing");
        assert_eq!(flows.each_ref().map(|frame| rig.ingress_of_node(frame)), [Reason::Established; 3]);
    }
}

#[test]
fn a_flow_is_judged_again_when_an_allow_is_taken_from_its_remote_address() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        rig.apply(&[Op::Delete(Key::Address { address: ends.friend }), Op::Invalidate { address: ends.friend }]);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Cut);
        rig.apply(&[Op::Write(Entry::Address { address: ends.friend, group: id::FRIEND_GROUP })]);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established);
    }
}

#[test]
fn a_pods_successor_inherits_nothing() {
    for ends in FAMILIES {
        let mut rig = Rig::with(Identity { keep: true, ..identity() }, Side::Web, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 4000));
        open_from_friend(&rig, ends);
        rig.datapath.release(SLOT).expect("an endpoint in use");
        rig.apply(&[Op::Grace]);
        rig.datapath.identify(SLOT, &Identity { keep: true, ..identity() }).expect("free");
        rig.switch(Side::Deny, Side::Deny);
        rig.datapath.attach(SLOT).expect("loopback takes programs");
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::NoRule, "not kept, not cut: not known");
    }
}
