//! ARP, neighbour discovery and listener discovery: what passes whatever the policies say, and whom a pod may speak for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::EtherType;
use podgate_common::{Direction, EthernetSource, Reason, Tag};
use podgate_datapath::{Identity, OnLink};
use podgate_policy::id::ClassId;
use podgate_policy::model::BEYOND;
use podgate_policy::op::{Entry, Op};

use crate::frames::{SYN, echo_request, fragments, icmp, of_type, raw, tcp, udp};
use crate::rig::{LINK_LOCAL, Rig, SECOND_LINK_LOCAL, SLOT, Side, V4, V6, id, identity, second_pod};

const NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const LISTENERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xee);
const ANYBODY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const QUIET: [u8; 4] = [0; 4];

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The group in which whoever has an address is asked.
fn solicited(target: IpAddr) -> IpAddr {
    let [.., x, y, z] = octets(target);
    IpAddr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z])
}

/// A message of neighbour discovery: the word behind the checksum, then the rest.
fn neighbour(from: impl Into<IpAddr>, to: impl Into<IpAddr>, kind: u8, word: [u8; 4], rest: &[&[u8]]) -> Vec<u8> {
    with_hop_limit(255, icmp(from.into(), to.into(), kind, 0, &[&word[..], &rest.concat()].concat()))
}

fn with_hop_limit(hop_limit: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[21] = hop_limit;
    frame
}

fn solicitation(from: impl Into<IpAddr>, target: IpAddr) -> Vec<u8> {
    neighbour(from, solicited(target), 135, QUIET, &[&octets(target), &[1, 1, 2, 0, 0, 0, 0, 1]])
}

fn advertisement(from: IpAddr, to: IpAddr, target: impl Into<IpAddr>) -> Vec<u8> {
    neighbour(from, to, 136, [0x60, 0, 0, 0], &[&octets(target.into()), &[2, 1, 2, 0, 0, 0, 0, 1]])
}

/// A message of listener discovery, with its hop-by-hop header.
fn listener(from: Ipv6Addr, to: Ipv6Addr, kind: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let payload = [&[58, 0, 5, 2, 0, 0, 1, 0, kind, 0, 0, 0], &word[..], rest].concat();
    let mut frame = raw(from.into(), to.into(), 58, &payload);
    frame[20] = 0;
    with_hop_limit(1, frame)
}

fn report(from: Ipv6Addr) -> Vec<u8> {
    listener(from, LISTENERS, 143, [0, 0, 0, 1], &[&[4, 0, 0, 0], &SECOND_LINK_LOCAL.octets()[..]].concat())
}

fn router_advertisement(from: Ipv6Addr) -> Vec<u8> {
    neighbour(from, NODES, 134, QUIET, &[&[0; 8]])
}

fn redirect(from: Ipv6Addr) -> Vec<u8> {
    neighbour(from, V6.pod, 137, QUIET, &[&octets(V6.stranger), &octets(V6.friend)])
}

fn arp(operation: u8, sender: IpAddr) -> Vec<u8> {
    let IpAddr::V4(sender) = sender else { panic!("ARP is IPv4's") };
    let header = [0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1];
    of_type(EtherType::ARP, &[&header[..], &sender.octets(), &[0; 10]].concat())
}

/// Asks who has an address, and leaves out who asks.
fn arp_probe(target: IpAddr) -> Vec<u8> {
    let IpAddr::V4(target) = target else { panic!("ARP is IPv4's") };
    let mut frame = arp(1, Ipv4Addr::UNSPECIFIED.into());
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

#[test]
fn discovery_passes_under_deny_all() {
    let rig = Rig::new(Side::Deny, Side::Deny);
    let leaving = [
        arp(1, V4.pod),
        arp(2, V4.pod),
        arp_probe(V4.pod),
        solicitation(V6.pod, V6.friend),
        solicitation(LINK_LOCAL, V6.friend),
        neighbour(ANYBODY, solicited(V6.pod), 135, QUIET, &[&octets(V6.pod)]),
        neighbour(V6.pod, V6.friend, 135, QUIET, &[&octets(V6.friend)]),
        advertisement(V6.pod, V6.friend, V6.pod),
        advertisement(V6.pod, ROUTER.into(), LINK_LOCAL),
        neighbour(LINK_LOCAL, ROUTERS, 133, QUIET, &[]),
        neighbour(ANYBODY, ROUTERS, 133, QUIET, &[]),
        report(LINK_LOCAL),
        report(ANYBODY),
    ];
    for frame in leaving {
        assert_eq!(rig.egress(&frame), Reason::Discovery, "{frame:02x?}");
    }
    let entering = [
        arp(1, V4.friend),
        arp(2, V4.friend),
        solicitation(V6.friend, V6.pod),
        advertisement(V6.friend, V6.pod, V6.friend),
        neighbour(SECOND_LINK_LOCAL, ROUTERS, 133, QUIET, &[&[1, 1, 2, 0, 0, 0, 0, 1]]),
        router_advertisement(ROUTER),
        redirect(ROUTER),
        listener(ROUTER, NODES, 130, QUIET, &[0; 16]),
    ];
    for frame in entering {
        assert_eq!(rig.ingress(&frame), Reason::Discovery, "{frame:02x?}");
        assert_eq!(rig.ingress_of_node(&frame), Reason::Discovery, "of the node: {frame:02x?}");
    }
}

#[test]
fn what_is_not_exactly_discovery_is_judged_as_any_other_packet() {
    let rig = Rig::new(Side::Deny, Side::Deny);
    let long = [0xaa; 64];
    let (pod, friend) = (octets(V6.pod), octets(V6.friend));
    let both_ways = [
        ("from beyond the link", with_hop_limit(254, solicitation(V6.pod, V6.friend))),
        ("asking one node about another", neighbour(V6.pod, V6.stranger, 135, QUIET, &[&friend])),
        ("asking with more than an address", neighbour(V6.pod, V6.friend, 135, QUIET, &[&friend, &long])),
        ("answering with more than an address", neighbour(V6.pod, V6.friend, 136, QUIET, &[&pod, &long])),
        ("asking one node for routers", neighbour(V6.pod, V6.friend, 133, QUIET, &[])),
        ("a report to one node", {
            let mut frame = report(LINK_LOCAL);
            frame[38..54].copy_from_slice(&friend);
            frame
        }),
        ("a report that may be forwarded", with_hop_limit(2, report(LINK_LOCAL))),
        ("a report without router alert", with_hop_limit(1, icmp(LINK_LOCAL.into(), LISTENERS.into(), 143, 0, &long))),
        ("a report longer than its records", listener(LINK_LOCAL, LISTENERS, 143, [0, 0, 0, 1], &long)),
        ("router renumbering", neighbour(V6.pod, V6.friend, 138, QUIET, &[])),
    ];
    for (name, frame) in both_ways {
        assert_eq!([rig.ingress(&frame), rig.egress(&frame)], [Reason::NoRule; 2], "{name}");
    }
    assert_eq!(rig.ingress(&with_hop_limit(64, router_advertisement(ROUTER))), Reason::NoRule);
    assert_eq!(rig.ingress(&router_advertisement("2001:db8::1".parse().expect("an address"))), Reason::NoRule);
    assert_eq!(rig.egress(&report("fe80::99".parse().expect("an address"))), Reason::Spoofed);
    let mut large = arp(1, V4.pod);
    large.extend([0xaa; 64]);
    for frame in [large, arp(3, V4.pod)] {
        assert_eq!([rig.ingress(&frame), rig.egress(&frame)], [Reason::NotIp; 2], "{frame:02x?}");
    }
}

#[test]
fn listeners_reports_enter_no_pod_but_those_that_route() {
    let group: Ipv6Addr = "ff02::fb".parse().expect("an address");
    let reports = [
        report(SECOND_LINK_LOCAL),
        report(ANYBODY),
        listener(SECOND_LINK_LOCAL, group, 131, QUIET, &group.octets()),
        listener(SECOND_LINK_LOCAL, ROUTERS, 132, QUIET, &group.octets()),
    ];
    for ingress in [Side::Open, Side::Deny, Side::All, Side::AuditedDeny] {
        let rig = Rig::new(ingress, Side::Open);
        assert_eq!(reports.clone().map(|frame| rig.ingress(&frame)), [Reason::DiscoveryWithheld; 4], "{ingress:?}");
        let query = listener(ROUTER, NODES, 130, QUIET, &[0; 16]);
        assert_ne!(rig.ingress(&query), Reason::DiscoveryWithheld, "{ingress:?}");
    }
    let rig = Rig::with(Identity { routes: true, ..identity() }, Side::Deny, Side::Deny);
    assert_eq!(reports.map(|frame| rig.ingress(&frame)), [Reason::Discovery; 4]);
}

#[test]
fn no_pod_asks_for_listeners_in_a_routers_place_but_those_that_route() {
    let query = |more: usize| listener(LINK_LOCAL, NODES, 130, QUIET, &vec![0; 16 + more]);
    let queries = [query(0), query(4), query(8), with_hop_limit(255, query(4))];
    for egress in [Side::Open, Side::Deny, Side::All, Side::AuditedDeny] {
        let rig = Rig::new(Side::Open, egress);
        assert_eq!(queries.clone().map(|frame| rig.egress(&frame)), [Reason::RogueRouter; 4], "{egress:?}");
    }
    let rig = Rig::with(Identity { routes: true, ..identity() }, Side::Open, Side::All);
    assert!(queries.iter().all(|frame| rig.egress(frame) != Reason::RogueRouter));
}

#[test]
fn discovery_carries_nothing_beside_itself_out_of_a_pod() {
    let rig = Rig::new(Side::Deny, Side::Deny);
    let with = |mut frame: Vec<u8>, more: &[u8]| {
        frame.extend(more);
        frame
    };
    for frame in [solicitation(V6.pod, V6.friend), advertisement(V6.pod, V6.friend, V6.pod), report(LINK_LOCAL)] {
        assert_eq!(rig.egress(&frame), Reason::Discovery);
        assert_eq!(rig.egress(&with(frame, b"hidden")), Reason::NoRule, "behind the packet");
    }
    let reserved = neighbour(V6.pod, solicited(V6.friend), 135, [0, 0, 0, 1], &[&octets(V6.friend)]);
    assert_eq!(rig.egress(&reserved), Reason::NoRule, "in reserved bits");
    assert_eq!(rig.egress(&with(arp(1, V4.pod), &[0; 18])), Reason::Discovery);
    assert_eq!(rig.egress(&with(arp(1, V4.pod), b"hidden")), Reason::NotIp);
}

#[test]
fn icmp_of_the_other_family_is_judged_as_any_other_packet() {
    let rig = Rig::new(Side::Deny, Side::Deny);
    for kind in [1, 2, 3, 128, 129, 130, 133, 134, 135, 136, 137, 143] {
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], &[0x45; 40][..]].concat();
        let four = raw(V4.pod, V4.friend, 58, &message);
        let back = raw(V4.friend, V4.pod, 58, &message);
        assert_eq!([rig.egress(&four), rig.ingress(&back)], [Reason::NoRule; 2], "ICMPv6 type {kind} in IPv4");
        let six = raw(V6.pod, V6.friend, 1, &message);
        let back = raw(V6.friend, V6.pod, 1, &message);
        assert_eq!([rig.egress(&six), rig.ingress(&back)], [Reason::NoRule; 2], "ICMP type {kind} in IPv6");
    }
}

/// What says that a pod has somebody else's address.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let mut hidden = advertisement(V6.pod, V6.stranger, V6.friend);
    let length = hidden[19] + 8;
    (hidden[19], hidden[20]) = (length, 60);
    hidden.splice(54..54, [58, 0, 1, 4, 0, 0, 0, 0]);
    vec![
        ("ARP request", arp(1, V4.friend)),
        ("ARP reply", arp(2, V4.friend)),
        ("ARP reply of nobody", arp(2, Ipv4Addr::UNSPECIFIED.into())),
        ("advertisement", advertisement(V6.pod, V6.stranger, V6.friend)),
        ("advertisement from a false source", advertisement(V6.friend, V6.stranger, V6.pod)),
        ("advertisement of the router's address", advertisement(V6.pod, NODES.into(), ROUTER)),
        ("advertisement of another pod's link-local address", advertisement(V6.pod, V6.friend, SECOND_LINK_LOCAL)),
        ("solicitation from a false source", solicitation(V6.friend, V6.stranger)),
        ("router solicitation from a false source", neighbour(ROUTER, ROUTERS, 133, QUIET, &[])),
        ("advertisement behind an extension header", hidden),
        ("advertisement with another option", {
            neighbour(V6.pod, V6.stranger, 136, QUIET, &[&octets(V6.friend), &[2, 1, 0, 0, 0, 0, 0, 0], &[9; 64]])
        }),
    ]
}

#[test]
fn a_pod_speaks_for_no_other_whether_it_is_isolated_or_not() {
    for egress in [Side::Open, Side::Deny, Side::All, Side::AuditedDeny] {
        let rig = Rig::new(Side::Open, egress);
        for (name, frame) in lies() {
            assert_eq!(rig.egress(&frame), Reason::NeighbourSpoofed, "{name}, {egress:?}");
        }
    }
}

#[test]
fn a_probe_for_an_address_that_is_not_the_pods_is_withheld_and_nobody_accused() {
    let detection =
        |target: IpAddr, options: &[u8]| neighbour(ANYBODY, solicited(target), 135, QUIET, &[&octets(target), options]);
    let mut hidden = detection(V6.friend, &[]);
    let length = hidden[19] + 8;
    (hidden[19], hidden[20]) = (length, 60);
    hidden.splice(54..54, [58, 0, 1, 4, 0, 0, 0, 0]);
    let others = [
        detection(V6.friend, &[]),
        detection(V6.friend, &[14, 1, 1, 2, 3, 4, 5, 6]),
        detection(SECOND_LINK_LOCAL.into(), &[]),
        hidden,
        arp_probe(V4.friend),
        arp_probe(Ipv4Addr::UNSPECIFIED.into()),
    ];
    let own = [detection(V6.pod, &[]), detection(LINK_LOCAL.into(), &[14, 1, 1, 2, 3, 4, 5, 6]), arp_probe(V4.pod)];
    for egress in [Side::Open, Side::Deny, Side::All, Side::AuditedDeny] {
        let rig = Rig::new(Side::Deny, egress);
        for frame in &others {
            assert_eq!(rig.egress(frame), Reason::DiscoveryWithheld, "{egress:?}, {frame:02x?}");
            let withheld = rig.ingress(frame) == Reason::DiscoveryWithheld;
            assert!(!withheld, "what others look for enters: {frame:02x?}");
        }
        for frame in &own {
            assert_eq!(rig.egress(frame), Reason::Discovery, "{egress:?}, {frame:02x?}");
        }
    }
}

#[test]
fn a_pod_of_a_bridge_tells_its_own_link_layer_address_alone() {
    let mut rig = Rig::new(Side::Open, Side::Open);
    let tells = |kind: u8, option: u8, mac: &[u8]| {
        let option = [&[option, 1][..], mac].concat();
        match kind {
            133 => neighbour(LINK_LOCAL, ROUTERS, 133, QUIET, &[&option]),
            135 => neighbour(V6.pod, solicited(V6.friend), 135, QUIET, &[&octets(V6.friend), &option]),
            _ => neighbour(V6.pod, V6.friend, 136, [0x60, 0, 0, 0], &[&octets(V6.pod), &option]),
        }
    };
    let by_arp = |operation: u8, mac: &[u8]| {
        let mut frame = arp(operation, V4.pod);
        frame[22..28].copy_from_slice(mac);
        frame
    };
    let all = |mac: &[u8]| [tells(133, 1, mac), tells(135, 1, mac), tells(136, 2, mac), by_arp(1, mac), by_arp(2, mac)];
    assert_eq!(all(&OTHER_MAC).map(|frame| rig.egress(&frame)), [Reason::NotIsolated; 5], "on a link of its own");
    rig.knows(on_link(EthernetSource::one(OWN_MAC), None));
    assert_eq!(all(&OWN_MAC).map(|frame| rig.egress(&frame)), [Reason::NotIsolated; 5]);
    for mac in [OTHER_MAC, [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
        assert_eq!(all(&mac).map(|frame| rig.egress(&frame)), [Reason::NeighbourSpoofed; 5], "{mac:?}");
    }
    for mut frame in [tells(135, 1, &OTHER_MAC), tells(136, 2, &OTHER_MAC)] {
        let nonces = [14, 1, 1, 2, 3, 4, 5, 6].repeat(2);
        let mut later = frame.clone();
        later[19] += 16;
        later.splice(78..78, nonces);
        assert_eq!(rig.egress(&later), Reason::NeighbourSpoofed, "behind other options");
        frame[19] += 8;
        frame[20] = 60;
        frame.splice(54..54, [58, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(rig.egress(&frame), Reason::NeighbourSpoofed, "behind another header");
    }
}

#[test]
fn a_pod_hides_no_lie_where_it_can_not_be_read() {
    let rig = Rig::new(Side::Open, Side::Open);
    let mut deep = advertisement(V6.pod, V6.stranger, V6.friend);
    let chain = [60, 0, 1, 4, 0, 0, 0, 0].repeat(8);
    deep[19] += 72;
    deep[20] = 60;
    deep.splice(54..54, [&chain[..], &[58, 0, 1, 4, 0, 0, 0, 0]].concat());
    assert_eq!(rig.egress(&deep), Reason::Malformed, "behind more headers than are followed");
    let inner = &arp(2, V4.friend)[12..];
    let without_vlan = of_type(EtherType(0x8100), &[&[0, 0], inner].concat());
    assert_eq!(rig.egress(&without_vlan), Reason::Vlan, "behind two tags that name no VLAN");
    let with_vlan = of_type(EtherType(0x8100), &[&[0, 5], inner].concat());
    assert_eq!(rig.egress(&with_vlan), Reason::NotIsolated);
}

#[test]
fn a_pod_without_policies_says_who_it_is() {
    let rig = Rig::new(Side::Open, Side::Open);
    for frame in [arp(2, V4.pod), advertisement(V6.pod, V6.friend, V6.pod), solicitation(LINK_LOCAL, V6.friend)] {
        assert_eq!([rig.egress(&frame), rig.ingress(&frame)], [Reason::NotIsolated; 2]);
    }
}

#[test]
fn a_pod_that_routes_speaks_for_others() {
    let rig = Rig::with(Identity { routes: true, ..identity() }, Side::Deny, Side::Deny);
    let frames =
        [arp(2, V4.friend), advertisement(V6.pod, V6.stranger, V6.friend), solicitation(V6.friend, V6.stranger)];
    assert_eq!(frames.map(|frame| rig.egress(&frame)), [Reason::Discovery; 3]);
}

#[test]
fn a_link_local_address_that_leaves_the_interface_is_the_pods_no_more() {
    let mut rig = Rig::new(Side::Open, Side::All);
    let sends = |rig: &Rig| {
        let datagram = udp((LINK_LOCAL.into(), 1), (ROUTER.into(), 53));
        [rig.egress(&datagram), rig.egress(&advertisement(V6.pod, V6.friend, LINK_LOCAL))]
    };
    assert_eq!(sends(&rig)[1], Reason::Discovery);
    rig.datapath.own_on_link(&[((SLOT, 1), None)].into()).expect("a slot");
    assert_eq!(sends(&rig), [Reason::Spoofed, Reason::NeighbourSpoofed]);
    let back = OnLink { link_locals: [LINK_LOCAL].into(), ..OnLink::default() };
    rig.datapath.own_on_link(&[((SLOT, 77), Some(back.clone()))].into()).expect("a slot");
    assert_eq!(sends(&rig), [Reason::Spoofed, Reason::NeighbourSpoofed], "another interface has the slot");
    rig.datapath.own_on_link(&[((SLOT, 1), Some(back))].into()).expect("a slot");
    rig.datapath.identify(SLOT, &Identity { keep: true, ..identity() }).expect("the slot");
    assert_eq!(sends(&rig)[1], Reason::Discovery, "what else is known of the pod does not matter");
}

/// The Ethernet address that frames of these tests come from, and another.
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// What a pod may send, from an Ethernet address.
fn sent_from(mac: [u8; 6]) -> Vec<Vec<u8>> {
    let frames = vec![
        arp(1, V4.pod),
        solicitation(V6.pod, V6.friend),
        report(LINK_LOCAL),
        tcp((V4.pod, 4000), (V4.friend, 80), SYN),
        udp((V6.pod, 4000), (V6.friend, 53)),
        of_type(EtherType(0x88b5), b"neither"),
    ];
    let from = |mut frame: Vec<u8>| {
        frame[6..12].copy_from_slice(&mac);
        frame
    };
    frames.into_iter().map(from).collect()
}

fn on_link(source: EthernetSource, later_source: Option<EthernetSource>) -> OnLink {
    OnLink { link_locals: [LINK_LOCAL].into(), source, later_source }
}

#[test]
fn whatever_leaves_a_pod_of_a_bridge_comes_from_its_own_ethernet_address() {
    for egress in [Side::Open, Side::Deny, Side::All, Side::AuditedDeny] {
        let mut rig = Rig::new(Side::Deny, egress);
        rig.knows(on_link(EthernetSource::one(OWN_MAC), None));
        let own: Vec<_> = sent_from(OWN_MAC).iter().map(|frame| rig.egress(frame)).collect();
        assert!(!own.contains(&Reason::NeighbourSpoofed), "{own:?}");
        for frame in sent_from(OTHER_MAC) {
            assert_eq!(rig.egress(&frame), Reason::NeighbourSpoofed, "{egress:?}, {frame:02x?}");
            assert_ne!(rig.ingress(&frame), Reason::NeighbourSpoofed, "what enters comes from others");
        }
    }
}

#[test]
fn a_later_ethernet_address_is_the_pods_beside_the_first() {
    let mut rig = Rig::new(Side::Open, Side::Open);
    rig.knows(on_link(EthernetSource::one(OWN_MAC), Some(EthernetSource::one(OTHER_MAC))));
    for mac in [OWN_MAC, OTHER_MAC] {
        // What is said of link-layer addresses in them is another matter.
        let frame = sent_from(mac).swap_remove(3);
        assert_eq!(rig.egress(&frame), Reason::NotIsolated, "{mac:?}");
    }
    let (first, later) = (&sent_from(OWN_MAC)[3], &sent_from(OTHER_MAC)[3]);
    rig.knows(on_link(EthernetSource::one(OWN_MAC), None));
    assert_eq!([first, later].map(|frame| rig.egress(frame)), [Reason::NotIsolated, Reason::NeighbourSpoofed]);
}

#[test]
fn nothing_leaves_a_pod_whose_ethernet_address_is_unknown_or_anothers() {
    let mut rig = Rig::new(Side::Open, Side::Open);
    for (source, reason) in
        [(EthernetSource::UNKNOWN, Reason::NoEndpoint), (EthernetSource::REFUSED, Reason::NeighbourSpoofed)]
    {
        rig.knows(on_link(source, None));
        for frame in sent_from(OWN_MAC).iter().chain(&sent_from([0; 6])) {
            assert_eq!(rig.egress(frame), reason, "{source:?}, {frame:02x?}");
        }
    }
}

#[test]
fn a_pod_that_routes_or_is_forgotten_sends_from_any_ethernet_address() {
    let mut rig = Rig::with(Identity { routes: true, ..identity() }, Side::Open, Side::Open);
    rig.knows(on_link(EthernetSource::one(OWN_MAC), None));
    let is_open = |rig: &Rig| sent_from(OTHER_MAC).iter().all(|frame| rig.egress(frame) == Reason::NotIsolated);
    assert!(is_open(&rig));
    let mut rig = Rig::new(Side::Open, Side::Open);
    rig.knows(on_link(EthernetSource::one(OWN_MAC), None));
    assert!(!is_open(&rig));
    rig.datapath.own_on_link(&[((SLOT, 1), None)].into()).expect("a slot");
    assert!(is_open(&rig));
}

#[test]
fn a_router_advertisement_or_redirect_leaves_a_pod_only_if_it_routes() {
    let redirected = octets(V6.friend);
    let of_routers = [
        neighbour(LINK_LOCAL, NODES, 134, QUIET, &[&[0; 8]]),
        neighbour(LINK_LOCAL, V6.friend, 137, QUIET, &[&redirected, &redirected]),
    ];
    for egress in [Side::Open, Side::Deny, Side::All, Side::AuditedDeny] {
        let rig = Rig::new(Side::Open, egress);
        assert_eq!(of_routers.clone().map(|frame| rig.egress(&frame)), [Reason::RogueRouter; 2], "{egress:?}");
    }
    let rig = Rig::with(Identity { routes: true, ..identity() }, Side::Open, Side::All);
    assert!(of_routers.iter().all(|frame| rig.egress(frame) != Reason::RogueRouter));
}

/// What bridges say to each other (IEEE 802.1D), to one of their addresses.
fn of_bridge(last: u8) -> Vec<u8> {
    [&[1, 0x80, 0xc2, 0, 0, last][..], &OWN_MAC, &[0, 38, 0x42, 0x42, 3], &[0; 35]].concat()
}

#[test]
fn a_pod_of_a_bridge_is_no_bridge() {
    for egress in [Side::Open, Side::Deny, Side::AuditedDeny] {
        let mut rig = Rig::new(Side::Open, egress);
        let unjudged = rig.egress(&of_bridge(0));
        rig.knows(on_link(EthernetSource::one(OWN_MAC), None));
        assert_eq!([0, 15].map(|last| rig.egress(&of_bridge(last))), [Reason::RogueRouter; 2], "{egress:?}");
        assert_eq!(rig.egress(&of_bridge(16)), unjudged, "{egress:?}: an address that is nobody's");
        assert_ne!(unjudged, Reason::RogueRouter, "{egress:?}: it is on no bridge");
    }
}

#[test]
fn a_router_advertisement_or_redirect_of_a_pod_enters_no_other() {
    for ingress in [Side::Open, Side::Deny, Side::All, Side::AuditedDeny] {
        let mut rig = Rig::new(ingress, Side::Open);
        rig.second_pod_on_its_own_interface(Side::Open, Side::Open);
        for frame in [router_advertisement(SECOND_LINK_LOCAL), redirect(SECOND_LINK_LOCAL)] {
            assert_eq!(rig.ingress_of_second(&frame), Reason::RogueRouter);
            let tagged = rig.ingress_tagged(&frame, Tag::judged(0, SLOT + 1));
            assert_eq!(tagged, [(Direction::Ingress, Reason::RogueRouter)]);
            assert_ne!(rig.ingress(&frame), Reason::RogueRouter, "what the uplink brings is a router's");
            assert_ne!(rig.ingress_tagged(&frame, Tag::FOREIGN), [(Direction::Ingress, Reason::RogueRouter)]);
        }
    }
}

/// With room for options behind the IPv4 header.
fn with_options(mut frame: Vec<u8>) -> Vec<u8> {
    frame[14] = 0x46;
    frame[17] += 4;
    frame.splice(34..34, [1, 1, 1, 0]);
    frame
}

#[test]
fn an_icmp_redirect_or_router_advertisement_of_a_pod_enters_no_isolated_one() {
    let redirect =
        icmp(second_pod(V4), V4.pod, 5, 1, &[&[10, 0, 0, 3], &udp((V4.pod, 1), (V4.stranger, 53))[14..]].concat());
    let advertisement =
        icmp(second_pod(V4), Ipv4Addr::new(224, 0, 0, 1).into(), 9, 0, &[1, 2, 7, 8, 10, 0, 0, 3, 0, 0, 0, 0]);
    let options = with_options(redirect.clone());
    let [first, ..] = &fragments(&redirect, 8, 7)[..] else { panic!("it has more than eight bytes") };
    for (ingress, egress) in [(Side::Open, Side::Deny), (Side::All, Side::Open), (Side::AuditedDeny, Side::Open)] {
        let mut rig = Rig::new(ingress, egress);
        rig.second_pod_on_its_own_interface(Side::Open, Side::Open);
        for frame in [&redirect, &advertisement, &options, first] {
            assert_eq!(rig.ingress_of_second(frame), Reason::RogueRouter);
            let tagged = rig.ingress_tagged(frame, Tag::judged(0, SLOT + 1));
            assert_eq!(tagged, [(Direction::Ingress, Reason::RogueRouter)]);
            for others in [rig.ingress(frame), rig.ingress_tagged(frame, Tag::FOREIGN)[0].1, rig.ingress_of_node(frame)]
            {
                assert_ne!(others, Reason::RogueRouter, "what the uplink or the node brings is a router's");
            }
        }
        let timestamp = icmp(second_pod(V4), V4.pod, 13, 0, &[0; 16]);
        assert_ne!(rig.ingress_of_second(&timestamp), Reason::RogueRouter);
        let of_icmpv6 = icmp(V6.friend, V6.pod, 5, 0, &[0; 8]);
        assert_ne!(rig.ingress_of_second(&of_icmpv6), Reason::RogueRouter, "its type 5 says nothing");
    }
    let mut rig = Rig::new(Side::Open, Side::Open);
    rig.second_pod_on_its_own_interface(Side::Open, Side::Open);
    assert_eq!(rig.ingress_of_second(&redirect), Reason::NotIsolated, "nothing of IPv4 is read there");
}

#[test]
fn a_pods_own_link_local_address_is_no_false_source() {
    let router = IpAddr::from(ROUTER);
    for (ingress, egress) in [(Side::Deny, Side::Open), (Side::Open, Side::All), (Side::Deny, Side::All)] {
        let rig = Rig::new(ingress, egress);
        let frames = [
            tcp((LINK_LOCAL.into(), 4000), (router, 80), SYN),
            udp((LINK_LOCAL.into(), 5353), ("ff02::fb".parse().expect("an address"), 5353)),
            echo_request(LINK_LOCAL.into(), router, 1),
        ];
        let expected = if egress == Side::Open { Reason::DirectionNotIsolated } else { Reason::Rule };
        assert_eq!(frames.map(|frame| rig.egress(&frame)), [expected; 3]);
        let false_one = tcp((SECOND_LINK_LOCAL.into(), 4000), (router, 80), SYN);
        assert_eq!(rig.egress(&false_one), Reason::Spoofed);
    }
    let rig = Rig::new(Side::Deny, Side::Deny);
    assert_eq!(rig.egress(&udp((LINK_LOCAL.into(), 1), (router, 53))), Reason::NoRule);
}

/// A rig whose friend policy allows all addresses of both families by a block, as the compiler writes that.
fn open_to_the_world(ingress: Side, egress: Side) -> Rig {
    let mut rig = Rig::new(ingress, egress);
    rig.second_pod_on_its_own_interface(Side::Open, Side::Open);
    for block in ["0.0.0.0/0", "::/0"] {
        rig.apply(&[Op::Write(Entry::Block { block: block.parse().expect("a block"), class: id::FRIEND_CLASS })]);
    }
    for block in BEYOND.concat() {
        rig.apply(&[Op::Write(Entry::Block { block, class: ClassId::from_raw(0) })]);
    }
    rig
}

#[test]
fn anothers_pods_link_local_or_missing_address_is_in_no_block() {
    let rig = open_to_the_world(Side::Friend, Side::Friend);
    let from = |address: IpAddr| {
        let to = if address.is_ipv4() { V4.pod } else { V6.pod };
        rig.ingress_of_second(&udp((address, 1111), (to, 7777)))
    };
    let missing = [IpAddr::from(SECOND_LINK_LOCAL), ANYBODY.into(), Ipv4Addr::UNSPECIFIED.into()];
    assert_eq!(missing.map(from), [Reason::NoRule; 3]);
    assert_eq!(from(Ipv4Addr::new(169, 254, 1, 1).into()), Reason::NoRule);
    assert_eq!([V4.stranger, V6.stranger, second_pod(V4)].map(from), [Reason::Rule; 3], "others are in the block");
}

#[test]
fn a_link_local_destination_is_in_a_block_only_if_that_speaks_of_link_local_addresses() {
    let mut rig = open_to_the_world(Side::Friend, Side::Friend);
    let to = |rig: &Rig, port| rig.egress(&udp((LINK_LOCAL.into(), port), (SECOND_LINK_LOCAL.into(), 7777)));
    assert_eq!(to(&rig, 1), Reason::NoRule);
    let class = ClassId::from_raw(2);
    rig.apply(&[
        Op::Write(Entry::ClassRow { policy: id::FRIEND_POLICY, class, row: id::ANY_ROW }),
        Op::Write(Entry::Block { block: "fe80::/10".parse().expect("a block"), class }),
    ]);
    assert_eq!(to(&rig, 2), Reason::Rule);
    let metadata = udp((V4.pod, 1), (Ipv4Addr::new(169, 254, 169, 254).into(), 80));
    assert_eq!(rig.egress(&metadata), Reason::Rule, "IPv4's are where clouds serve metadata");
    let groups = [Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::BROADCAST, Ipv4Addr::new(240, 0, 0, 9)];
    let told = groups.map(|to| rig.egress(&udp((V4.pod, 2), (to.into(), 7777))));
    assert_eq!(told, [Reason::NoRule, Reason::NoRule, Reason::Rule], "the last is an address like others");
}

#[test]
fn an_answer_that_is_routed_beyond_its_link_is_judged_at_the_exit() {
    let rig = Rig::new(Side::Open, Side::Deny);
    let answer = advertisement(V6.pod, V6.stranger, V6.pod);
    assert_eq!(rig.egress(&answer), Reason::Discovery);
    let tag = Tag::deferred(0, SLOT, false);
    assert_eq!(rig.exit(&answer, tag), [(Direction::Egress, Reason::Discovery)], "bridged");
    assert_eq!(rig.exit(&with_hop_limit(254, answer), tag), [(Direction::Egress, Reason::NoRule)], "routed");
}
