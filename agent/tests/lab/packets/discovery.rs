//! ARP, neighbour discovery and listener discovery between pods on a bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use etherparse::{IpNumber, PacketBuilder};
use podgate_lab::{LinkSocket, Pod, Result, Wiring};

use super::{ARRIVES, Pair, STAYS_AWAY, arp, carries, ip_header, link};
use crate::support::{World, deny_all, policy, until};

const PAYLOAD: &[u8] = b"is this discovery?";
const NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const LISTENERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const EVERYBODY: [u8; 6] = [0xff; 6];

/// The link-local address on a pod's interface.
fn link_local(pod: &Pod) -> Result<Ipv6Addr> {
    let shown = pod.output("ip", &["-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"])?;
    let address = shown.split_whitespace().find_map(|word| word.split('/').next()?.parse().ok());
    Ok(address.expect("an interface that is up has a link-local address"))
}

/// An IP packet from a pod to an Ethernet address.
fn packet(from: &Pod, to: [u8; 6], ends: (IpAddr, IpAddr), protocol: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.interface().mac, to)
        .ip(ip_header(ends.0, ends.1))
        .write(&mut frame, IpNumber(protocol), payload)
        .expect("a vector takes every frame");
    if ends.0.is_ipv6() {
        frame[21] = hop_limit;
    }
    frame
}

/// A message of ICMPv6 on the link, without a checksum: for those who look at the wire.
fn message(from: &Pod, ends: (Ipv6Addr, Ipv6Addr), kind: u8, rest: &[u8]) -> Vec<u8> {
    let ends = (ends.0.into(), ends.1.into());
    packet(from, EVERYBODY, ends, 58, 255, &[&[kind, 0, 0, 0], rest].concat())
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Which of these frames arrive.
fn arrive(sending: &LinkSocket, arriving: &mut LinkSocket, frames: &[Vec<u8>]) -> Result<Vec<bool>> {
    let arrives = |frame: &Vec<u8>| {
        sending.send(frame)?;
        Ok(arriving.catch(STAYS_AWAY, |seen| seen == frame).is_some())
    };
    frames.iter().map(arrives).collect()
}

#[test]
fn nothing_is_discovery_that_only_has_its_numbers() -> Result<()> {
    let mut pair = Pair::started("not-discovery", Wiring::Bridge, &deny_all("shop", "{}"))?;
    let (client, server) = (&pair.client, &pair.server);
    let to = server.interface().mac;
    let (four, six) = ((client.ip4(), server.ip4()), (client.ip6(), server.ip6()));
    let with = |kind: u8, rest: &[u8]| [&[kind, 0, 0, 0, 0, 0, 0, 0], rest, PAYLOAD].concat();
    let frames = [
        packet(client, to, four, 58, 0, &with(143, &[])),
        packet(client, to, four, 58, 0, &with(135, &octets(server.ip6()))),
        packet(client, to, four, 58, 0, &with(136, &octets(client.ip6()))),
        packet(client, to, six, 58, 1, &with(143, &[])),
        packet(client, to, six, 58, 255, &with(135, &octets(server.ip6()))),
        packet(client, to, six, 58, 255, &with(136, &octets(client.ip6()))),
        packet(client, to, six, 58, 254, &with(136, &octets(client.ip6()))),
    ];
    let (sending, mut arriving) = (link(client)?, link(server)?);
    frames.iter().try_for_each(|frame| sending.send(frame))?;
    assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None);
    // Of the two that neighbours take for discovery, they may learn what is not so.
    let expected = [("no_rule", 5), ("neighbour_spoofed", 2)].map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(pair.world.denied(&pair.client, "egress")?, expected.into());
    Ok(())
}

#[test]
fn no_pod_speaks_for_another_among_its_neighbours() -> Result<()> {
    let mut pair = Pair::new("impostor", Wiring::Bridge)?;
    let friend = pair.world.pod("shop/friend", Wiring::Bridge)?;
    pair.world.run_agent(&[])?;
    let (thief, victim) = (&pair.client, &pair.server);
    let own = (link_local(thief)?, NODES);
    let claim = |address: IpAddr| message(thief, own, 136, &[&[0x20, 0, 0, 0], &octets(address)[..]].concat());
    let lies = [
        arp(thief, 2, victim.ip4(), friend.ip4()),
        arp(thief, 1, victim.ip4(), friend.ip4()),
        claim(victim.ip6()),
        claim(link_local(victim)?.into()),
        message(thief, (link_local(victim)?, ROUTERS), 133, &[0; 4]),
    ];
    let truths = [
        arp(thief, 2, thief.ip4(), friend.ip4()),
        arp(thief, 1, thief.ip4(), victim.ip4()),
        claim(thief.ip6()),
        claim(link_local(thief)?.into()),
    ];
    let (sending, mut arriving) = (link(thief)?, link(&friend)?);
    assert_eq!(arrive(&sending, &mut arriving, &lies)?, [false; 5], "of an open pod");
    assert_eq!(arrive(&sending, &mut arriving, &truths)?, [true; 4], "of an open pod");
    pair.world.write("policies.yaml", &deny_all("shop", "{matchLabels: {app: client}}"))?;
    assert_eq!(arrive(&sending, &mut arriving, &lies)?, [false; 5], "of an isolated pod");
    assert_eq!(arrive(&sending, &mut arriving, &truths)?, [true; 4], "of an isolated pod");
    let spoofed = pair.world.denied(&pair.client, "egress")?.get("neighbour_spoofed").copied();
    assert_eq!(spoofed, Some(10));
    Ok(())
}

#[test]
fn no_pod_is_a_router_for_another() -> Result<()> {
    let mut pair = Pair::new("rogue", Wiring::Bridge)?;
    pair.world.run_agent(&[])?;
    let (rogue, victim) = (&pair.client, &pair.server);
    let from = link_local(rogue)?;
    let IpAddr::V6(to) = victim.ip6() else { panic!("by definition") };
    let frames = [
        message(rogue, (from, NODES), 134, &[0; 12]),
        message(rogue, (from, to), 134, &[0; 12]),
        message(rogue, (from, to), 137, &[0; 36]),
    ];
    let (sending, mut arriving) = (link(rogue)?, link(victim)?);
    assert_eq!(arrive(&sending, &mut arriving, &frames)?, [false; 3]);
    assert_eq!(pair.world.denied(&pair.client, "egress")?, [("rogue_router".to_owned(), 3)].into());
    Ok(())
}

#[test]
fn no_pod_is_a_router_for_its_node() -> Result<()> {
    let mut world = World::new("rogue-for-node")?;
    let rogue = world.pod("shop/rogue", Wiring::Ptp)?;
    world.run_agent(&[])?;
    let from = link_local(&rogue)?;
    let frames = [134, 137].map(|kind| message(&rogue, (from, NODES), kind, &[0; 36]));
    frames.iter().try_for_each(|frame| link(&rogue)?.send(frame))?;
    until("both are denied", || Ok(world.denied(&rogue, "egress")? == [("rogue_router".to_owned(), 2)].into()))
}

/// A bridge that runs the spanning tree protocol follows whoever says that it is the root (IEEE 802.1D).
#[test]
fn no_pod_is_a_bridge_for_its_bridge() -> Result<()> {
    let mut pair = Pair::new("bpdu", Wiring::Bridge)?;
    pair.world.run_agent(&[])?;
    let [first, last] = [0x00, 0x0f].map(|last| {
        let to = [0x01, 0x80, 0xc2, 0, 0, last];
        let llc = [0x42, 0x42, 0x03];
        [&to[..], &pair.client.interface().mac, &[0, 38], &llc, &[0; 35]].concat()
    });
    let other = [&[0x01, 0x80, 0xc2, 0, 0, 0x10][..], &first[6..]].concat();
    let (sending, mut arriving) = (link(&pair.client)?, link(&pair.server)?);
    assert_eq!(arrive(&sending, &mut arriving, &[first, last, other])?, [false, false, true]);
    assert_eq!(pair.world.denied(&pair.client, "egress")?, [("rogue_router".to_owned(), 2)].into());
    Ok(())
}

/// Pods isolated for egress alone are told nothing by a pod that passes for their gateway.
fn no_pod_is_a_gateway(name: &str, hook: &str) -> Result<()> {
    let mut pair = Pair::new(name, Wiring::Bridge)?;
    let egress = "podSelector: {matchLabels: {app: server}}\npolicyTypes: [Egress]";
    pair.world.write("policies.yaml", &policy("shop", "egress", egress))?;
    pair.world.run_agent(&["--hook", hook])?;
    let (rogue, victim) = (&pair.client, &pair.server);
    let (IpAddr::V4(own), IpAddr::V4(to)) = (rogue.ip4(), victim.ip4()) else { panic!("by definition") };
    let from = |address: Ipv4Addr, to: Ipv4Addr, kind: u8, rest: &[u8]| {
        let message = [&[kind, 1, 0, 0], rest, PAYLOAD].concat();
        packet(rogue, victim.interface().mac, (address.into(), to.into()), 1, 64, &message)
    };
    let redirect = from(own, to, 5, &own.octets());
    let mut tagged = redirect.clone();
    tagged.splice(12..12, [0x81, 0, 0, 0]);
    let frames = [redirect, tagged, from(own, Ipv4Addr::new(224, 0, 0, 1), 9, &[1, 2, 0, 9])];
    let (sending, mut arriving) = (link(rogue)?, link(victim)?);
    for frame in &frames {
        sending.send(frame)?;
        assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None);
    }
    assert_eq!(pair.world.denied(&pair.server, "ingress")?, [("rogue_router".to_owned(), 3)].into());
    let (rogue, victim) = (&pair.client, &pair.server);
    let answer = packet(
        rogue,
        victim.interface().mac,
        (own.into(), to.into()),
        1,
        64,
        &[&[0, 0, 0, 0, 0, 7, 0, 1], PAYLOAD].concat(),
    );
    sending.send(&answer)?;
    assert!(arriving.catch(ARRIVES, |frame| carries(frame, PAYLOAD)).is_some(), "its ingress is open");
    Ok(())
}

/// Looks for a duplicate of an address, as whoever wants it does.
fn detection(from: &Pod, target: IpAddr) -> Vec<u8> {
    let octets = octets(target);
    let [.., x, y, z] = octets;
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]);
    message(from, (Ipv6Addr::UNSPECIFIED, group), 135, &[&[0; 4], &octets[..]].concat())
}

fn nobody_is_kept_from_an_address(hook: &str) -> Result<()> {
    let mut pair = Pair::new(&format!("probes-{hook}"), Wiring::Bridge)?;
    pair.world.run_agent(&["--hook", hook])?;
    let (thief, victim) = (&pair.client, &pair.server);
    let nobody = Ipv4Addr::UNSPECIFIED.into();
    let of = |pod: &Pod| -> Result<[Vec<u8>; 3]> {
        let on_link = link_local(pod)?.into();
        Ok([detection(thief, pod.ip6()), detection(thief, on_link), arp(thief, 1, nobody, pod.ip4())])
    };
    let (sending, mut arriving) = (link(thief)?, link(victim)?);
    for policies in ["", &deny_all("shop", "{matchLabels: {app: client}}")] {
        pair.world.write("policies.yaml", policies)?;
        assert_eq!(arrive(&sending, &mut arriving, &of(victim)?)?, [false; 3], "the victim's, under {policies:?}");
        assert_eq!(arrive(&sending, &mut arriving, &of(thief)?)?, [true; 3], "its own, under {policies:?}");
    }
    assert_eq!(pair.world.denied(&pair.client, "egress")?, [].into(), "nobody is accused");
    Ok(())
}

#[test]
fn nobody_is_kept_from_an_address_by_anothers_probe_with_tcx() -> Result<()> {
    nobody_is_kept_from_an_address("tcx")
}

#[test]
fn nobody_is_kept_from_an_address_by_anothers_probe_with_clsact() -> Result<()> {
    nobody_is_kept_from_an_address("clsact")
}

/// A pod has addresses of the bridge and of another pod on its interface, and one that is nobody's.
fn no_pod_has_anothers_link_local_address(hook: &str) -> Result<()> {
    let mut pair = Pair::new(&format!("claims-{hook}"), Wiring::Bridge)?;
    let [gateway, random, free] = [1, 0xabcd, 7].map(|last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last));
    pair.world.node.ip(&[format!("addr add {gateway}/64 dev {} nodad", pair.client.gateway().name)])?;
    let others = [gateway, random, link_local(&pair.server)?];
    pair.server.ip(&[format!("addr add {random}/64 dev eth0 nodad")])?;
    pair.world.run_agent(&["--hook", hook])?;
    let (thief, victim) = (&pair.client, &pair.server);
    let own = (link_local(thief)?, NODES);
    let claim = |address: Ipv6Addr| message(thief, own, 136, &[&[0x20, 0, 0, 0], &address.octets()[..]].concat());
    thief.ip(&others.map(|address| format!("addr add {address}/64 dev eth0 nodad")))?;
    thief.ip(&[format!("addr add {free}/64 dev eth0 nodad")])?;
    let (sending, mut arriving) = (link(thief)?, link(victim)?);
    // Once the last one is the pod's, the agent has seen the others.
    let limit = Instant::now() + ARRIVES;
    while arrive(&sending, &mut arriving, &[claim(free)])? != [true] {
        assert!(Instant::now() < limit, "its own new address");
    }
    assert_eq!(arrive(&sending, &mut arriving, &others.map(claim))?, [false; 3]);
    assert_eq!(arrive(&sending, &mut arriving, &[claim(own.0)])?, [true]);
    Ok(())
}

/// A pod gives itself its neighbour's address, which is not made of an Ethernet address, and another agent comes.
fn the_next_agent_knows_whose_an_address_is(hook: &str) -> Result<()> {
    let mut pair = Pair::new(&format!("whose-{hook}"), Wiring::Bridge)?;
    let random = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xabcd);
    let own = [link_local(&pair.client)?, link_local(&pair.server)?];
    pair.server.ip(&[format!("addr add {random}/64 dev eth0 nodad")])?;
    pair.world.run_agent(&["--hook", hook])?;
    pair.client.ip(&[format!("addr add {random}/64 dev eth0 nodad")])?;
    pair.world.take_agent().kill()?;
    pair.world.restart()?;
    let claim = |pod: &Pod, own| message(pod, (own, NODES), 136, &[&[0x20, 0, 0, 0], &random.octets()[..]].concat());
    let claims = [claim(&pair.client, own[0]), claim(&pair.server, own[1])];
    let (mut at_client, mut at_server) = (link(&pair.client)?, link(&pair.server)?);
    assert_eq!(arrive(&link(&pair.client)?, &mut at_server, &claims[..1])?, [false], "the neighbour's");
    assert_eq!(arrive(&link(&pair.server)?, &mut at_client, &claims[1..])?, [true], "its own");
    Ok(())
}

#[test]
fn the_next_agent_knows_whose_a_link_local_address_is_with_tcx() -> Result<()> {
    the_next_agent_knows_whose_an_address_is("tcx")
}

#[test]
fn the_next_agent_knows_whose_a_link_local_address_is_with_clsact() -> Result<()> {
    the_next_agent_knows_whose_an_address_is("clsact")
}

#[test]
fn no_pod_is_a_gateway_for_another() -> Result<()> {
    no_pod_is_a_gateway("gateway", "tcx")
}

#[test]
fn no_pod_is_a_gateway_for_another_by_clsact() -> Result<()> {
    no_pod_is_a_gateway("gateway-clsact", "clsact")
}

#[test]
fn no_pod_has_the_link_local_address_of_its_gateway_or_neighbour_with_tcx() -> Result<()> {
    no_pod_has_anothers_link_local_address("tcx")
}

#[test]
fn no_pod_has_the_link_local_address_of_its_gateway_or_neighbour_with_clsact() -> Result<()> {
    no_pod_has_anothers_link_local_address("clsact")
}

fn reports_reach_no_pod(hook: &str) -> Result<()> {
    let mut pair = Pair::new(&format!("reports-{hook}"), Wiring::Bridge)?;
    pair.world.write("policies.yaml", &deny_all("shop", "{}"))?;
    pair.world.run_agent(&["--hook", hook])?;
    let (client, server) = (&pair.client, &pair.server);
    let from = link_local(client)?;
    let report = |to: Ipv6Addr, message: &[&[u8]]| {
        let payload = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &message.concat()].concat();
        let mut frame = packet(client, EVERYBODY, (from.into(), to.into()), 58, 1, &payload);
        frame[20] = 0;
        frame
    };
    let group: Ipv6Addr = "ff02::fb".parse().expect("an address");
    let sources = PAYLOAD.iter().copied().cycle().take(16 * 8).collect::<Vec<_>>();
    let record = [&[4, 0, 0, 8], &group.octets()[..], &sources].concat();
    let frames = [
        report(LISTENERS, &[&[143, 0, 0, 0, 0, 0, 0, 1], &record]),
        report(group, &[&[131, 0, 0, 0, 0, 0, 0, 0], &group.octets()]),
        report(ROUTERS, &[&[132, 0, 0, 0, 0, 0, 0, 0], &group.octets()]),
    ];
    let mut at_host = LinkSocket::open(&pair.world.node, &client.gateway().name)?;
    let (sending, mut arriving) = (link(client)?, link(server)?);
    assert_eq!(arrive(&sending, &mut arriving, &frames)?, [false; 3], "at another pod");
    assert_eq!(arrive(&sending, &mut at_host, &frames)?, [true; 3], "at the bridge");
    for (pod, direction) in [(&pair.server, "ingress"), (&pair.client, "egress")] {
        assert_eq!(pair.world.denied(pod, direction)?, [].into(), "{direction}");
    }
    Ok(())
}

#[test]
fn listeners_reports_reach_the_bridge_and_no_pod_with_tcx() -> Result<()> {
    reports_reach_no_pod("tcx")
}

#[test]
fn listeners_reports_reach_the_bridge_and_no_pod_with_clsact() -> Result<()> {
    reports_reach_no_pod("clsact")
}

#[test]
fn solicitations_that_a_bridge_floods_are_no_denials_and_reports_enter_no_pod() -> Result<()> {
    let mut pair = Pair::started("idle", Wiring::Bridge, &deny_all("shop", "{matchLabels: {app: server}}"))?;
    let from = link_local(&pair.client)?;
    let report = {
        let record = [&[4, 0, 0, 0], &LISTENERS.octets()[..]].concat();
        let payload = [&[58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 1], &record[..]].concat();
        let mut frame = packet(&pair.client, EVERYBODY, (from.into(), LISTENERS.into()), 58, 1, &payload);
        frame[20] = 0;
        frame
    };
    let frames = [
        message(&pair.client, (from, ROUTERS), 133, &[0; 4]),
        message(&pair.client, (Ipv6Addr::UNSPECIFIED, ROUTERS), 133, &[0; 4]),
        report,
    ];
    let (sending, mut arriving) = (link(&pair.client)?, link(&pair.server)?);
    assert_eq!(arrive(&sending, &mut arriving, &frames)?, [true, true, false]);
    for direction in ["ingress", "egress"] {
        assert_eq!(pair.world.denied(&pair.server, direction)?, [].into(), "{direction}");
    }
    Ok(())
}

#[test]
fn a_pods_own_link_local_address_is_its_own_and_in_no_block_of_others() -> Result<()> {
    let everything =
        policy("shop", "sends", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{}]");
    let world = "podSelector: {matchLabels: {app: closed}}\ningress: [{from: [{ipBlock: {cidr: '::/0'}}]}]";
    let policies = [everything, policy("shop", "world", world)].join("---\n");
    let mut pair = Pair::new("link-local", Wiring::Bridge)?;
    let closed = pair.world.pod("shop/closed", Wiring::Bridge)?;
    pair.world.write("policies.yaml", &policies)?;
    pair.world.run_agent(&[])?;
    let (client, server) = (&pair.client, &pair.server);
    let datagram = |from: Ipv6Addr, to: &Pod| -> Result<Vec<u8>> {
        let ends = (from.into(), link_local(to)?.into());
        let udp = [&[0x0f, 0xa0, 0, 80, 0, 26, 0, 0], PAYLOAD].concat();
        Ok(packet(client, to.interface().mac, ends, 17, 64, &udp))
    };
    let (sending, mut arriving) = (link(client)?, link(server)?);
    sending.send(&datagram(link_local(server)?, server)?)?;
    assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None, "another's address");
    sending.send(&datagram(link_local(client)?, server)?)?;
    assert!(arriving.catch(ARRIVES, |frame| carries(frame, PAYLOAD)).is_some(), "its own address");
    let mut at_closed = link(&closed)?;
    sending.send(&datagram(link_local(client)?, &closed)?)?;
    assert_eq!(at_closed.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None, "in no block");
    assert_eq!(pair.world.denied(&closed, "ingress")?.get("no_rule"), Some(&1));
    assert_eq!(pair.world.denied(&pair.client, "egress")?, [("spoofed".to_owned(), 1)].into());
    Ok(())
}
