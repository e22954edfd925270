//! Egress to Services and to the host's own addresses: what the pod's hook leaves open, and what the exit hook says.

use std::net::IpAddr;

use etherparse::EtherType;
use podgate_common::map::SHARED_SLOT;
use podgate_common::{Direction, Reason, Tag};
use podgate_datapath::{Arrivals, Deferring, Exits, Guard, Identity, ServiceEgress, TestContext};

use crate::frames::{self, ACK, SYN, SYN_ACK, echo_request, fragments, icmp, of_type, sctp, tcp, udp};
use crate::rig::{ELSEWHERE, Ends, FAMILIES, Rig, SLOT, Side, identity};

const SERVICE: Option<Deferring> = Some(Deferring { host: false, service: Some(ServiceEgress::Exit) });
const HOST: Option<Deferring> = Some(Deferring { host: true, service: None });
/// The pod's interface.
const INTERFACE: u32 = 1;

/// Tags of the pod.
const FIRST: Tag = Tag::deferred(0, SLOT, false);
const KNOWN: Tag = Tag::deferred(0, SLOT, true);

fn defer(rig: &mut Rig, address: IpAddr, deferring: Option<Deferring>) {
    rig.datapath.defer(&[(address, deferring)].into()).expect("room for an address");
}

/// What the exit hook says, where it has to say something.
fn exit(rig: &Rig, frame: &[u8], tag: Tag) -> Reason {
    let said = rig.exit(frame, tag);
    let [(Direction::Egress, reason)] = said[..] else { panic!("one verdict on egress, not {said:?}") };
    reason
}

fn exits(rig: &Rig) -> Exits {
    rig.datapath.exits().expect("readable counters")
}

#[test]
fn what_goes_to_a_service_or_to_the_host_is_left_to_the_exit_hook() {
    let mut rig = Rig::new(Side::Open, Side::Deny);
    for Ends { pod, friend, stranger } in FAMILIES {
        let frames = |to: IpAddr| {
            [
                tcp((pod, 4000), (to, 80), SYN),
                udp((pod, 4000), (to, 53)),
                sctp((pod, 1), (to, 2)),
                echo_request(pod, to, 1),
            ]
        };
        for deferring in [SERVICE, HOST] {
            defer(&mut rig, stranger, deferring);
            assert_eq!(frames(stranger).map(|frame| rig.egress(&frame)), [Reason::Deferred; 4]);
            assert_eq!(frames(friend).map(|frame| rig.egress(&frame)), [Reason::NoRule; 4]);
        }
    }
}

#[test]
fn a_pod_that_egress_policies_do_not_isolate_needs_no_exit_hook() {
    let mut rig = Rig::new(Side::Deny, Side::Open);
    for ends in FAMILIES {
        defer(&mut rig, ends.friend, SERVICE);
        let syn = tcp((ends.pod, 4000), (ends.friend, 80), SYN);
        assert_eq!(rig.egress(&syn), Reason::DirectionNotIsolated);
        assert_eq!(exit(&rig, &syn, FIRST), Reason::DirectionNotIsolated, "isolation ended on the way");
    }
}

#[test]
fn the_exit_hook_judges_by_the_address_and_port_that_the_packet_has_there() {
    let rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        let cases = [
            ("the allowed port of the friend", tcp((pod, 4000), (friend, 80), SYN), Reason::Rule),
            ("the same, masqueraded", tcp((stranger, 4000), (friend, 80), SYN), Reason::Rule),
            ("UDP likewise", udp((pod, 4000), (friend, 53)), Reason::Rule),
            ("another port", tcp((pod, 4000), (friend, 81), SYN), Reason::NoRule),
            ("another address", tcp((pod, 4000), (stranger, 80), SYN), Reason::NoRule),
            ("UDP to another port", udp((pod, 4000), (friend, 80)), Reason::NoRule),
            ("a protocol that no rule names", sctp((pod, 4000), (friend, 80)), Reason::NoRule),
            ("ICMP", echo_request(pod, friend, 7), Reason::NoRule),
        ];
        for (name, frame, reason) in cases {
            assert_eq!(exit(&rig, &frame, FIRST), reason, "{name}, {pod}");
        }
    }
    assert_eq!(exits(&rig), Exits { allowed: 6, denied: 10, ..Exits::default() });
}

#[test]
fn at_the_exit_only_the_first_packet_of_a_connection_asks_policy() {
    let rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, .. } in FAMILIES {
        let (from, to) = ((pod, 4000), (friend, 80));
        assert_eq!(exit(&rig, &tcp(from, to, SYN), FIRST), Reason::Rule);
        assert_eq!(exit(&rig, &tcp(from, to, ACK), KNOWN), Reason::Established);
        assert_eq!(exit(&rig, &tcp(from, to, SYN), KNOWN), Reason::Rule, "a packet that opens is always judged");
        let (from, to) = ((pod, 4000), (friend, 53));
        assert_eq!(exit(&rig, &udp(from, to), FIRST), Reason::Rule);
        assert_eq!(exit(&rig, &udp(from, to), FIRST), Reason::Established);
        assert_eq!(exit(&rig, &udp(from, to), KNOWN), Reason::Established);
    }
}

#[test]
fn answers_of_a_service_enter_the_pod_that_asked_and_nothing_else_does() {
    let mut rig = Rig::new(Side::Deny, Side::Deny);
    for Ends { pod, friend, .. } in FAMILIES {
        defer(&mut rig, friend, SERVICE);
        let (client, service) = ((pod, 4000), (friend, 80));
        assert_eq!(rig.ingress(&tcp(service, client, SYN_ACK)), Reason::NoRule, "nobody asked");
        assert_eq!(rig.egress(&tcp(client, service, SYN)), Reason::Deferred);
        assert_eq!(rig.ingress(&tcp(service, client, SYN_ACK)), Reason::Established);
        assert_eq!(rig.egress(&tcp(client, service, ACK)), Reason::Deferred);
        assert_eq!(rig.ingress(&tcp(service, client, ACK)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(service, client, SYN)), Reason::NoRule, "a Service opens nothing");
        assert_eq!(rig.ingress(&tcp((friend, 81), client, ACK)), Reason::NoRule);
        let (client, service) = ((pod, 4001), (friend, 53));
        assert_eq!(rig.egress(&udp(client, service)), Reason::Deferred);
        assert_eq!(rig.ingress(&udp(service, client)), Reason::Established);
        assert_eq!(rig.egress(&udp(client, service)), Reason::Deferred);
    }
}

#[test]
fn a_change_of_policy_reaches_connections_at_the_exit() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, .. } in FAMILIES {
        rig.switch(Side::Open, Side::Web);
        let (syn, ack) = (tcp((pod, 4000), (friend, 80), SYN), tcp((pod, 4000), (friend, 80), ACK));
        let datagram = udp((pod, 4000), (friend, 53));
        assert_eq!([exit(&rig, &syn, FIRST), exit(&rig, &datagram, FIRST)], [Reason::Rule; 2]);
        rig.switch(Side::Open, Side::All);
        assert_eq!([exit(&rig, &ack, KNOWN), exit(&rig, &datagram, KNOWN)], [Reason::Established; 2]);
        rig.switch(Side::Open, Side::Deny);
        assert_eq!(exit(&rig, &ack, KNOWN), Reason::Cut);
        assert_eq!(exit(&rig, &ack, KNOWN), Reason::Cut, "it stays cut");
        assert_eq!(exit(&rig, &datagram, KNOWN), Reason::NoRule);
        rig.switch(Side::Open, Side::Web);
        assert_eq!(exit(&rig, &ack, KNOWN), Reason::Established);
    }
}

#[test]
fn a_connection_that_the_exit_hook_does_not_know_goes_on_as_policy_says() {
    for (keep, cut) in [(false, Reason::Cut), (true, Reason::Kept)] {
        let mut rig = Rig::with(Identity { keep, ..identity() }, Side::Open, Side::Web);
        for Ends { pod, friend, .. } in FAMILIES {
            rig.switch(Side::Open, Side::Web);
            let ack = tcp((pod, 4000), (friend, 80), ACK);
            assert_eq!(exit(&rig, &ack, KNOWN), Reason::Rule);
            assert_eq!(exit(&rig, &ack, KNOWN), Reason::Established);
            rig.switch(Side::Open, Side::Deny);
            assert_eq!(exit(&rig, &ack, KNOWN), cut);
            let other = tcp((pod, 4001), (friend, 80), ACK);
            assert_eq!(exit(&rig, &other, KNOWN), Reason::Cut, "nothing says that who is there now has answered");
            assert_eq!(exit(&rig, &other, FIRST), Reason::NoRule);
        }
    }
}

#[test]
fn a_flow_to_a_service_outlives_the_service_but_no_new_one_does() {
    let mut rig = Rig::new(Side::Deny, Side::Deny);
    for Ends { pod, friend, .. } in FAMILIES {
        let (client, service) = ((pod, 4000), (friend, 80));
        defer(&mut rig, friend, SERVICE);
        assert_eq!(rig.egress(&tcp(client, service, SYN)), Reason::Deferred);
        assert_eq!(rig.ingress(&tcp(service, client, SYN_ACK)), Reason::Established);
        defer(&mut rig, friend, None);
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.egress(&tcp(client, service, ACK)), Reason::Deferred);
        assert_eq!(rig.ingress(&tcp(service, client, ACK)), Reason::Established);
        assert_eq!(rig.egress(&tcp((pod, 4001), service, SYN)), Reason::NoRule);
    }
}

#[test]
fn a_flow_to_an_address_that_becomes_a_services_is_left_to_the_exit_hook_from_then_on() {
    let mut rig = Rig::new(Side::Open, Side::All);
    for Ends { pod, stranger, .. } in FAMILIES {
        let datagram = udp((pod, 4000), (stranger, 53));
        assert_eq!(rig.egress(&datagram), Reason::Rule);
        assert_eq!(rig.egress(&datagram), Reason::Established);
        defer(&mut rig, stranger, SERVICE);
        assert_eq!(rig.egress(&datagram), Reason::Deferred);
    }
}

#[test]
fn fragments_of_a_packet_to_a_service_follow_its_first_at_both_hooks() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        defer(&mut rig, stranger, SERVICE);
        let before = fragments(&udp((pod, 4000), (stranger, 53)), 8, 7);
        assert_eq!(rig.egress(&before[1]), Reason::FragmentBeforeFirst);
        assert_eq!([&before[0], &before[1]].map(|frame| rig.egress(frame)), [Reason::Deferred; 2]);
        let after = fragments(&udp((pod, 4000), (friend, 53)), 8, 9);
        assert_eq!(exit(&rig, &after[1], FIRST), Reason::FragmentBeforeFirst);
        assert_eq!(exit(&rig, &after[0], FIRST), Reason::Rule);
        assert_eq!(exit(&rig, &after[1], FIRST), Reason::Established);
    }
}

#[test]
fn a_pod_reaches_itself_through_a_service_whatever_isolates_it() {
    let rig = Rig::new(Side::Deny, Side::Deny);
    for Ends { pod, stranger, .. } in FAMILIES {
        // Masqueraded, as kube-proxy does with a pod that is its own backend.
        let (host, server) = ((stranger, 4000), (pod, 80));
        let itself = [(Direction::Ingress, Reason::Itself), (Direction::Egress, Reason::Itself)];
        assert_eq!(rig.ingress_tagged(&tcp(host, server, SYN), FIRST), itself);
        assert_eq!(rig.egress(&tcp(server, host, SYN_ACK)), Reason::Established);
        let again = rig.ingress_tagged(&tcp(host, server, ACK), KNOWN);
        assert_eq!(again, [(Direction::Ingress, Reason::Established), (Direction::Egress, Reason::Itself)]);
        assert_eq!(
            rig.ingress(&tcp((stranger, 4001), server, SYN)),
            Reason::NoRule,
            "the host's address is not the pod"
        );
    }
}

#[test]
fn pods_that_share_a_slot_are_not_the_same_pod() {
    let mut rig = Rig::new(Side::Open, Side::Open);
    rig.datapath.confine(identity().ifindex).expect("the last slot is free");
    let tags = [Tag::deferred(0, SHARED_SLOT, false), Tag::inward(0, SHARED_SLOT), Tag::judged(0, SHARED_SLOT)];
    for Ends { pod, friend, .. } in FAMILIES {
        let seen = tags.map(|tag| rig.ingress_tagged(&tcp((friend, 4000), (pod, 80), SYN), tag));
        let of_sender = |reason| vec![(Direction::Egress, reason)];
        let of_receiver = vec![(Direction::Ingress, Reason::NoRule)];
        assert_eq!(seen, [of_sender(Reason::NoRule), of_sender(Reason::Cut), of_receiver]);
    }
}

#[test]
fn what_another_pod_sent_to_a_service_is_judged_by_both_pods_policies() {
    let mut rig = Rig::new(Side::Web, Side::Open);
    rig.second_pod(Side::Web);
    let other = Tag::deferred(0, SLOT + 1, false);
    for Ends { pod, friend, stranger } in FAMILIES {
        // The other pod may go to the friend's port 80 only, whose place this pod has here.
        let syn = |from: IpAddr, port| tcp((from, 4000), (pod, port), SYN);
        assert_eq!(rig.ingress_tagged(&syn(friend, 80), other), [(Direction::Egress, Reason::NoRule)]);
        rig.switch_second(Side::All);
        let both = |ingress| vec![(Direction::Ingress, ingress), (Direction::Egress, Reason::Rule)];
        assert_eq!(rig.ingress_tagged(&syn(friend, 80), other), both(Reason::Rule));
        assert_eq!(rig.ingress_tagged(&syn(stranger, 80), other), both(Reason::NoRule));
        rig.switch_second(Side::Web);
    }
}

#[test]
fn what_the_pods_own_hook_has_judged_is_not_judged_again() {
    let rig = Rig::new(Side::Open, Side::Deny);
    for Ends { pod, friend, .. } in FAMILIES {
        assert_eq!(rig.exit(&tcp((pod, 4000), (friend, 80), SYN), Tag::judged(0, SLOT)), []);
    }
    assert_eq!(exits(&rig), Exits::default());
}

#[test]
fn what_may_go_to_the_host_only_goes_nowhere_else() {
    let rig = Rig::new(Side::Open, Side::All);
    for Ends { pod, friend, .. } in FAMILIES {
        assert_eq!(exit(&rig, &tcp((pod, 80), (friend, 4000), ACK), Tag::inward(0, SLOT)), Reason::Cut);
    }
}

/// "Port unreachable", as the pod would send it about a datagram that came from this end to its port 4000.
fn unreachable(pod: IpAddr, about: (IpAddr, u16)) -> Vec<u8> {
    frames::unreachable(pod, about.0, &udp(about, (pod, 4000)))
}

#[test]
fn icmp_errors_about_no_known_flow_are_not_left_to_the_exit_hook() {
    let mut rig = Rig::new(Side::Open, Side::Deny);
    for Ends { pod, stranger, .. } in FAMILIES {
        defer(&mut rig, stranger, HOST);
        assert_eq!(rig.egress(&unreachable(pod, (stranger, 53))), Reason::IcmpUnrelated);
    }
}

#[test]
fn icmp_errors_about_a_flow_to_a_service_reach_only_what_the_exit_hook_has_let_the_flow_reach() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        rig.switch(Side::Open, Side::Web);
        defer(&mut rig, stranger, SERVICE);
        let at_exit = |rig: &Rig, backend| exit(rig, &unreachable(pod, (backend, 53)), FIRST);
        assert_eq!(rig.egress(&udp((pod, 4000), (stranger, 53))), Reason::Deferred);
        assert_eq!(rig.egress(&unreachable(pod, (stranger, 53))), Reason::Deferred);
        assert_eq!(at_exit(&rig, friend), Reason::IcmpUnrelated, "nothing has gone there");
        assert_eq!(exit(&rig, &udp((pod, 4000), (friend, 53)), FIRST), Reason::Rule);
        assert_eq!(exit(&rig, &udp((pod, 4000), (stranger, 53)), FIRST), Reason::NoRule);
        assert_eq!([friend, stranger].map(|to| at_exit(&rig, to)), [Reason::Related, Reason::IcmpUnrelated]);
        rig.switch(Side::Open, Side::Deny);
        assert_eq!(at_exit(&rig, friend), Reason::IcmpUnrelated, "policy no longer allows it");
        assert_eq!(rig.ingress(&unreachable_from(stranger, pod)), Reason::Related, "what the Service sends back");
        defer(&mut rig, stranger, None);
    }
}

/// "Port unreachable" about what the pod has sent from its port 4000 to port 53 of this address.
fn unreachable_from(remote: IpAddr, pod: IpAddr) -> Vec<u8> {
    frames::unreachable(remote, pod, &udp((pod, 4000), (remote, 53)))
}

/// What says of an address that others may be behind it.
const IN_FRONT_OF_OTHERS: [Option<Deferring>; 2] = [HOST, SERVICE];

#[test]
fn what_answers_an_address_with_others_behind_it_is_judged_by_where_it_goes_if_nobody_has_asked() {
    for (said, port) in IN_FRONT_OF_OTHERS.into_iter().zip([4000, 4001]) {
        let mut rig = Rig::new(Side::All, Side::Web);
        for Ends { pod, friend, stranger } in FAMILIES {
            let asked = [udp((stranger, 53), (pod, port)), sctp((stranger, 9), (pod, port))];
            let answers = [udp((pod, port), (stranger, 53)), sctp((pod, port), (stranger, 9))];
            assert_eq!(rig.ingress(&asked[0]), Reason::Rule, "before the address is one of these, too");
            defer(&mut rig, stranger, said);
            assert_eq!(rig.ingress(&asked[1]), Reason::Rule);
            let passed = answers.each_ref().map(|frame| rig.egress(frame));
            assert_eq!(passed, [Reason::Established; 2], "it may be who asked");
            // Connection tracking knows nothing of packets of test runs.
            let answer = Tag::answer(0, SLOT);
            assert_eq!(exit(&rig, &answers[0], answer), Reason::NoRule);
            assert_eq!(exit(&rig, &tcp((pod, port), (stranger, 80), ACK), answer), Reason::NoRule);
            assert_eq!(exit(&rig, &udp((pod, port), (friend, 53)), answer), Reason::Rule);
            assert_eq!(exit(&rig, &unreachable(pod, (stranger, 53)), answer), Reason::IcmpUnrelated);
            assert_eq!(rig.egress(&tcp((pod, port), (stranger, 53), SYN)), Reason::Deferred, "a question");
        }
    }
}

#[test]
fn a_packet_from_elsewhere_is_not_the_nodes_own_though_the_kernel_has_made_it_anew() {
    let mut rig = Rig::new(Side::Web, Side::Open);
    for Ends { pod, friend, stranger } in FAMILIES {
        // Not even from an address of the host.
        defer(&mut rig, stranger, HOST);
        let from = |from| rig.ingress_made_anew(&udp((from, 4000), (pod, 53)), Tag::FOREIGN);
        assert_eq!(from(stranger), [(Direction::Ingress, Reason::NoRule)]);
        assert_eq!(from(friend), [(Direction::Ingress, Reason::Rule)]);
        assert_eq!(rig.exit(&udp((stranger, 4000), (friend, 53)), Tag::FOREIGN), [], "it may go through the host");
    }
}

#[test]
fn what_comes_out_of_a_tunnel_by_a_pods_packet_must_be_from_the_pod_itself() {
    let mut rig = Rig::new(Side::Open, Side::Deny);
    for Ends { pod, friend, stranger } in FAMILIES {
        rig.switch(Side::Open, Side::Deny);
        let inner = |rig: &Rig, from, tag| rig.inner(&udp((from, 4000), (stranger, 53)), tag);
        for tag in [Tag::judged(0, SLOT), FIRST, KNOWN, Tag::inward(0, SLOT), Tag::answer(0, SLOT)] {
            assert_eq!(inner(&rig, pod, tag), [], "it is judged at the exit");
            assert_eq!(inner(&rig, friend, tag), [(Direction::Egress, Reason::Spoofed)]);
        }
        assert_eq!(inner(&rig, friend, Tag::FOREIGN), [], "no pod of this node sent it");
        assert_eq!(inner(&rig, friend, Tag::deferred(1, SLOT, false)), [(Direction::Egress, Reason::NoEndpoint)]);
        let mut neighbour = icmp(pod, stranger, 136, 0, &[0; 20]);
        neighbour[if pod.is_ipv4() { 22 } else { 21 }] = 255;
        let said = if pod.is_ipv4() { vec![] } else { vec![(Direction::Egress, Reason::Spoofed)] };
        assert_eq!(rig.inner(&neighbour, FIRST), said, "the pod is nobody's neighbour there");
        assert_eq!(rig.inner(&of_type(EtherType::ARP, &[0; 28]), FIRST), [(Direction::Egress, Reason::Spoofed)]);
        rig.switch(Side::Open, Side::Open);
        assert_eq!(inner(&rig, friend, Tag::judged(0, SLOT)), [], "nobody looks at an open pod's addresses");
    }
}

#[test]
fn a_packet_that_lost_its_tag_is_judged_by_the_interface_that_it_came_from() {
    let rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        let sent_by_pod = TestContext { ingress_ifindex: INTERFACE, ..TestContext::default() };
        let exit = |to| rig.run_program(rig.datapath.exit_program(), &tcp((pod, 4000), (to, 80), SYN), &sent_by_pod);
        assert_eq!(exit(friend), [(Direction::Egress, Reason::Rule)]);
        assert_eq!(exit(stranger), [(Direction::Egress, Reason::NoRule)]);
    }
    assert_eq!(exits(&rig), Exits { allowed: 2, denied: 2, untagged: 4, others_tag: 0 });
}

#[test]
fn a_tag_of_another_start_is_counted_apart_from_a_lost_one_and_the_packet_judged_by_its_interface_too() {
    let rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        for tag in [Tag::deferred(1, SLOT + 1, false), Tag::inward(1, SLOT)] {
            let exit = |to| rig.sent_by_pod(rig.datapath.exit_program(), &tcp((pod, 4000), (to, 80), SYN), tag);
            assert_eq!(exit(friend), [(Direction::Egress, Reason::Rule)]);
            assert_eq!(exit(stranger), [(Direction::Egress, Reason::NoRule)]);
        }
        let entering = rig.datapath.program(Direction::Ingress);
        rig.sent_by_pod(entering, &tcp((pod, 4000), (pod, 80), SYN), Tag::deferred(1, SLOT + 1, false));
    }
    let counted = exits(&rig);
    assert_eq!((counted.denied, counted.untagged, counted.others_tag), (4, 0, 10));
}

#[test]
fn a_packet_that_lost_its_tag_behind_a_bridge_is_judged_by_the_address_that_it_came_from() {
    let mut rig = Rig::new(Side::Open, Side::Web);
    let bridge = ELSEWHERE + 2;
    rig.datapath
        .guard(bridge, Guard { exit: None, arrivals: Arrivals::Passing })
        .expect("a place for another interface");
    let by_bridge = TestContext { ingress_ifindex: bridge, ..TestContext::default() };
    for Ends { pod, friend, stranger } in FAMILIES {
        let exit =
            |from, to| rig.run_program(rig.datapath.exit_program(), &tcp((from, 4000), (to, 80), SYN), &by_bridge);
        assert_eq!(exit(pod, friend), [(Direction::Egress, Reason::Rule)]);
        assert_eq!(exit(pod, stranger), [(Direction::Egress, Reason::NoRule)]);
        assert_eq!(exit(stranger, friend), [], "no pod of this node has the address");
    }
    assert_eq!(exits(&rig), Exits { allowed: 2, denied: 2, untagged: 4, others_tag: 0 });
    rig.datapath.release(SLOT).expect("an endpoint in use");
    let syn = tcp((FAMILIES[0].pod, 4000), (FAMILIES[0].stranger, 80), SYN);
    assert_eq!(rig.run_program(rig.datapath.exit_program(), &syn, &by_bridge), [], "the pod is gone");
}

#[test]
fn what_no_pod_sent_leaves_the_host_unjudged() {
    let rig = Rig::new(Side::Deny, Side::Deny);
    for Ends { pod, friend, .. } in FAMILIES {
        for ingress_ifindex in [0, ELSEWHERE] {
            let context = TestContext { ingress_ifindex, ..TestContext::default() };
            let syn = tcp((pod, 4000), (friend, 80), SYN);
            assert_eq!(rig.run_program(rig.datapath.exit_program(), &syn, &context), []);
        }
    }
    assert_eq!(exits(&rig), Exits::default());
}

#[test]
fn a_tag_of_another_start_names_nobody_here() {
    let rig = Rig::new(Side::Open, Side::All);
    for Ends { pod, friend, .. } in FAMILIES {
        let syn = tcp((pod, 4000), (friend, 80), SYN);
        assert_eq!(rig.exit(&syn, Tag::deferred(1, SLOT, false)), [(Direction::Egress, Reason::NoEndpoint)]);
        assert_eq!(rig.exit(&syn, Tag::judged(1, SLOT)), [], "that start has judged it");
    }
    assert_eq!(exits(&rig), Exits { denied: 2, ..Exits::default() });
}
