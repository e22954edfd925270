//! Shapes of packets: fragments, options, extension headers, what is malformed or not IP, false sources.

use std::net::IpAddr;

use etherparse::EtherType;
use podgate_common::Reason;
use podgate_datapath::{Identity, TestContext};

use crate::frames::{SYN, echo_request, fragments, of_type, raw, tcp, udp};
use crate::rig::{FAMILIES, LINK_LOCAL, Rig, Side, V4, V6, identity, second_pod};

#[test]
fn a_packet_with_a_source_that_is_not_the_pods_is_spoofed() {
    let rig = Rig::new(Side::Open, Side::All);
    for ends in FAMILIES {
        assert_eq!(rig.egress(&udp((ends.friend, 1), (ends.stranger, 53))), Reason::Spoofed);
        assert_eq!(rig.egress(&udp((ends.pod, 1), (ends.stranger, 53))), Reason::Rule);
    }
    let dhcp = udp((IpAddr::from([0, 0, 0, 0]), 68), (IpAddr::from([255; 4]), 67));
    assert_eq!(rig.egress(&dhcp), Reason::Rule, "a pod without an address may ask for one");
    let all_dhcp = "ff02::1:2".parse().expect("an address");
    assert_eq!(rig.egress(&udp((LINK_LOCAL.into(), 546), (all_dhcp, 547))), Reason::Rule);
    let anothers = "fe80::99".parse().expect("an address");
    assert_eq!(rig.egress(&udp((anothers, 546), (all_dhcp, 547))), Reason::Spoofed);
}

#[test]
fn the_unspecified_address_sends_nothing_but_questions_for_an_address() {
    let rig = Rig::new(Side::Open, Side::All);
    let (none4, none6) = (IpAddr::from([0; 4]), IpAddr::from([0; 16]));
    let everybody = IpAddr::from([255; 4]);
    let others = [
        udp((none4, 1111), (everybody, 7777)),
        udp((none4, 68), (V4.friend, 7777)),
        udp((none4, 67), (everybody, 68)),
        tcp((none4, 68), (V4.friend, 67), SYN),
        udp((none6, 68), (V6.friend, 67)),
        udp((none6, 546), ("ff02::1:2".parse().expect("an address"), 547)),
        udp((none6, 1111), ("ff02::1".parse().expect("an address"), 7777)),
        echo_request(none6, V6.friend, 1),
    ];
    assert_eq!(others.map(|frame| rig.egress(&frame)), [Reason::Spoofed; 8]);
}

#[test]
fn a_pod_that_is_isolated_for_ingress_alone_may_not_spoof_either() {
    let rig = Rig::new(Side::Deny, Side::Open);
    for ends in FAMILIES {
        assert_eq!(rig.egress(&udp((ends.friend, 1), (ends.stranger, 53))), Reason::Spoofed);
    }
}

#[test]
fn nor_by_what_can_not_be_read_to_its_end() {
    let unreadable = |from: IpAddr, to: IpAddr| {
        let datagram = udp((from, 1), (to, 53));
        let mut shorter = datagram.clone();
        shorter.truncate(shorter.len() - 4);
        let [_, later, ..] = &fragments(&raw(from, to, 17, &[0; 24]), 8, 9)[..] else { panic!("it has 24 bytes") };
        let [tiny, ..] = &fragments(&tcp((from, 1), (to, 53), SYN), 8, 10)[..] else { panic!("it has 20 bytes") };
        [shorter, later.clone(), tiny.clone()]
    };
    let rig = Rig::new(Side::Deny, Side::Open);
    let routing = Rig::with(Identity { routes: true, ..identity() }, Side::Deny, Side::Open);
    for ends in FAMILIES {
        let reasons = |rig: &Rig, from| unreadable(from, ends.stranger).map(|frame| rig.egress(&frame));
        assert_eq!(reasons(&rig, ends.friend), [Reason::Spoofed; 3], "{ends:?}");
        assert_eq!(reasons(&rig, ends.pod), [Reason::DirectionNotIsolated; 3], "{ends:?}");
        assert_eq!(reasons(&routing, ends.friend), [Reason::DirectionNotIsolated; 3], "{ends:?}");
    }
}

#[test]
fn a_pod_that_routes_may_send_for_others() {
    let rig = Rig::with(Identity { routes: true, ..identity() }, Side::Deny, Side::All);
    for ends in FAMILIES {
        assert_eq!(rig.egress(&udp((ends.friend, 1), (ends.stranger, 53))), Reason::Rule);
    }
}

#[test]
fn an_answer_to_one_address_behind_a_pod_that_routes_is_none_to_another() {
    let rig = Rig::with(Identity { routes: true, ..identity() }, Side::Deny, Side::All);
    for ends in FAMILIES {
        let answer = |to| rig.ingress(&udp((ends.stranger, 53), (to, 1)));
        assert_eq!(rig.egress(&udp((ends.friend, 1), (ends.stranger, 53))), Reason::Rule);
        let answered = [ends.friend, ends.pod, second_pod(ends)].map(answer);
        assert_eq!(answered, [Reason::Established, Reason::NoRule, Reason::NoRule]);
    }
}

/// A UDP datagram that needs several fragments.
fn large_udp(from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    let length = 8 + 3000_u16;
    let header = [from.1.to_be_bytes(), to.1.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    raw(from.0, to.0, 17, &[header, vec![0xaa; 3000]].concat())
}

#[test]
fn fragments_follow_the_verdict_of_their_first_in_any_order() {
    let rig = Rig::new(Side::Web, Side::Deny);
    for ends in FAMILIES {
        let [first, second, third] = &fragments(&large_udp((ends.friend, 4000), (ends.pod, 53)), 1400, 1)[..] else {
            panic!("three fragments")
        };
        assert_eq!(rig.ingress(third), Reason::FragmentBeforeFirst);
        assert_eq!(rig.ingress(first), Reason::Rule);
        assert_eq!([rig.ingress(third), rig.ingress(second)], [Reason::Established; 2]);
        let denied = fragments(&large_udp((ends.friend, 4000), (ends.pod, 54)), 1400, 2);
        assert_eq!(denied.iter().map(|part| rig.ingress(part)).collect::<Vec<_>>(), [Reason::NoRule; 3]);
        let stranger = fragments(&large_udp((ends.stranger, 4000), (ends.pod, 53)), 1400, 1);
        assert_eq!(rig.ingress(&stranger[1]), Reason::FragmentBeforeFirst, "the id alone is no licence");
    }
}

#[test]
fn a_large_echo_passes_in_fragments() {
    let rig = Rig::new(Side::Friend, Side::Deny);
    for ends in FAMILIES {
        let mut whole = echo_request(ends.friend, ends.pod, 9);
        whole.extend([0; 2992]);
        let seen: Vec<_> = fragments(&whole, 1400, 5).iter().map(|part| rig.ingress(part)).collect();
        assert_eq!(seen, [Reason::Rule, Reason::Established, Reason::Established]);
    }
}

#[test]
fn a_first_fragment_without_its_ports_and_tcp_at_offset_eight_are_dropped() {
    let rig = Rig::new(Side::All, Side::Deny);
    for ends in FAMILIES {
        let segment = fragments(&tcp((ends.friend, 4000), (ends.pod, 80), SYN), 8, 3);
        assert_eq!(rig.ingress(&segment[0]), Reason::FragmentTiny, "no flags in it");
        assert_eq!(rig.ingress(&segment[1]), Reason::FragmentTiny, "would overwrite flags");
        assert_eq!(rig.ingress(&segment[2]), Reason::FragmentBeforeFirst);
    }
}

#[test]
fn an_ipv6_atomic_fragment_is_a_whole_packet() {
    let rig = Rig::new(Side::Web, Side::Deny);
    let whole = udp((V6.friend, 4000), (V6.pod, 53));
    let [atomic] = &fragments(&whole, 1400, 7)[..] else { panic!("one fragment") };
    assert_eq!(rig.ingress(atomic), Reason::Rule);
}

#[test]
fn ports_behind_options_and_extension_headers_are_judged() {
    let rig = Rig::new(Side::Web, Side::Deny);
    for (port, allowed) in [(53, true), (54, false)] {
        let expected = |first| {
            if !allowed {
                Reason::NoRule
            } else if first {
                Reason::Rule
            } else {
                Reason::Established
            }
        };
        let mut options = udp((V4.friend, 4000), (V4.pod, port));
        options[14] = 0x46;
        options[17] += 4;
        options.splice(34..34, [1, 1, 1, 0]);
        assert_eq!(rig.ingress(&options), expected(true));
        let mut extension = udp((V6.friend, 4000), (V6.pod, port));
        extension[20] = 60;
        extension[19] += 8;
        extension.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(rig.ingress(&extension), expected(true));
        assert_eq!(rig.ingress(&udp((V6.friend, 4000), (V6.pod, port))), expected(false), "the same flow");
    }
}

#[test]
fn what_cannot_be_read_is_dropped_where_the_direction_is_isolated_and_passes_elsewhere() {
    let rig = Rig::new(Side::All, Side::Open);
    let unreadable = |from: IpAddr, to: IpAddr| {
        let whole = tcp((from, 4000), (to, 80), SYN);
        let mut long = whole.clone();
        long[if to.is_ipv4() { 16 } else { 18 }] = 0xff;
        let mut version = whole.clone();
        version[14] = 0x95;
        let hop_by_hop = to.is_ipv4().then(|| raw(from, to, 0, &[0; 8]));
        let frames = [whole[..whole.len() - 4].to_vec(), long, version, raw(from, to, 6, &[0; 19])];
        frames.into_iter().chain(hop_by_hop)
    };
    for ends in FAMILIES {
        for frame in unreadable(ends.friend, ends.pod) {
            assert_eq!(rig.ingress(&frame), Reason::Malformed, "{frame:02x?}");
        }
        for frame in unreadable(ends.pod, ends.friend) {
            assert_eq!(rig.egress(&frame), Reason::DirectionNotIsolated, "{frame:02x?}");
        }
    }
}

#[test]
fn tagged_and_other_frames_are_dropped_under_reasons_of_their_own() {
    let rig = Rig::new(Side::All, Side::All);
    let inner = &udp((V4.friend, 4000), (V4.pod, 53))[14..];
    let vlan = of_type(EtherType(0x8100), &[&[0, 5, 0x08, 0], inner].concat());
    let qinq = of_type(EtherType(0x88a8), &[&[0, 5, 0x08, 0], inner].concat());
    for frame in [&vlan, &qinq] {
        assert_eq!([rig.ingress(frame), rig.egress(frame)], [Reason::Vlan; 2]);
    }
    for ethertype in [0x8847, 0x88cc, 0x0026] {
        assert_eq!(rig.ingress(&of_type(EtherType(ethertype), &[0; 50])), Reason::NotIp);
    }
}

#[test]
fn a_packet_of_many_segments_counts_as_many() {
    let rig = Rig::new(Side::All, Side::Deny);
    let mut frame = tcp((V4.friend, 4000), (V4.pod, 80), SYN);
    frame.extend([0; 3000]);
    frame[16..18].copy_from_slice(&3040_u16.to_be_bytes());
    let context = TestContext { ingress_ifindex: 77, gso_segs: 3, gso_size: 1000, ..TestContext::default() };
    assert_eq!(rig.run(podgate_common::Direction::Ingress, &frame, &context), Reason::Rule);
}

#[test]
fn an_interface_without_endpoint_is_closed_and_counted() {
    let mut rig = Rig::new(Side::All, Side::All);
    rig.datapath.release(crate::rig::SLOT).expect("an endpoint in use");
    assert_eq!(rig.egress(&udp((V4.pod, 1), (V4.friend, 53))), Reason::NoEndpoint);
}
