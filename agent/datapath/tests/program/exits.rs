//! Egress to Services and to the host's own addresses: what the pod's hook leaves open, and what the exit hook says.

use std::net::IpAddr;

use podgate_common::{Direction, Reason, Tag};
use podgate_datapath::{Arrivals, Deferring, Exits, Guard, Identity, ServiceEgress, TestContext};

use crate::frames::{ACK, SYN, SYN_ACK, echo_request, fragments, icmp, sctp, tcp, udp};
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
    assert_eq!(exits(&rig), Exits { allowed: 6, denied: 10, untagged: 0 });
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
            assert_eq!(exit(&rig, &other, KNOWN), cut);
            assert_eq!(exit(&rig, &other, FIRST), Reason::NoRule, "nobody has answered: nothing is kept");
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

#[test]
fn icmp_errors_are_never_left_to_the_exit_hook() {
    let mut rig = Rig::new(Side::Open, Side::Deny);
    for Ends { pod, stranger, .. } in FAMILIES {
        defer(&mut rig, stranger, HOST);
        let about = udp((stranger, 53), (pod, 4000));
        let kind = if pod.is_ipv4() { (3, 3) } else { (1, 4) };
        let error = icmp(pod, stranger, kind.0, kind.1, &[&[0; 4], &about[14..]].concat());
        assert_eq!(rig.egress(&error), Reason::IcmpUnrelated);
    }
}

#[test]
fn a_packet_that_lost_its_tag_is_judged_by_the_interface_that_it_came_from() {
    let rig = Rig::new(Side::Open, Side::Web);
    for Ends { pod, friend, stranger } in FAMILIES {
        let from_pod = TestContext { ingress_ifindex: INTERFACE, ..TestContext::default() };
        let exit = |to| rig.run_program(rig.datapath.exit_program(), &tcp((pod, 4000), (to, 80), SYN), &from_pod);
        assert_eq!(exit(friend), [(Direction::Egress, Reason::Rule)]);
        assert_eq!(exit(stranger), [(Direction::Egress, Reason::NoRule)]);
    }
    assert_eq!(exits(&rig), Exits { allowed: 2, denied: 2, untagged: 4 });
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
    assert_eq!(exits(&rig), Exits { allowed: 2, denied: 2, untagged: 4 });
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
}
