//! Checksums that the kernel writes after a packet was judged, at places that its sender chooses.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep};
use podgate_lab::{LinkSocket, Outside, Pod, Result, Wiring};

use super::{datagram, to_gateway};
use crate::packets::{ARRIVES, STAYS_AWAY, arp, carries, ip_header, link};
use crate::support::{World, policy};

const PAYLOAD: &[u8] = b"not what it seems to be";
const ETHERNET: u16 = 14;

/// Both may ask the outside for anything, and nobody may ask them.
fn policies() -> String {
    let anything = "podSelector: {}\npolicyTypes: [Ingress, Egress]\negress: [{}]";
    policy("shop", "all", anything)
}

/// Where the transport header begins in a frame to this address.
fn transport(to: IpAddr) -> u16 {
    ETHERNET + if to.is_ipv4() { 20 } else { 40 }
}

/// A packet of the pod to this address, up to the transport header.
fn packet(pod: &Pod, to: IpAddr) -> PacketBuilderStep<IpHeaders> {
    let from = if to.is_ipv4() { pod.ip4() } else { pod.ip6() };
    let [source, destination] = to_gateway(pod);
    PacketBuilder::ethernet2(source, destination).ip(ip_header(from, to))
}

fn udp(pod: &Pod, to: IpAddr) -> Vec<u8> {
    let mut frame = Vec::new();
    packet(pod, to).udp(4000, 53).write(&mut frame, PAYLOAD).expect("a vector takes every frame");
    frame
}

fn tcp(pod: &Pod, to: IpAddr) -> Vec<u8> {
    let mut frame = Vec::new();
    let segment = packet(pod, to).tcp(4001, 53, 1000, 65_000).syn();
    segment.write(&mut frame, PAYLOAD).expect("a vector takes every frame");
    frame
}

fn echo(pod: &Pod, to: IpAddr) -> Vec<u8> {
    let mut frame = Vec::new();
    let written = match to {
        IpAddr::V4(_) => packet(pod, to).icmpv4_echo_request(7, 1).write(&mut frame, PAYLOAD),
        IpAddr::V6(_) => packet(pod, to).icmpv6_echo_request(7, 1).write(&mut frame, PAYLOAD),
    };
    written.expect("a vector takes every frame");
    frame
}

/// A packet of generic routing encapsulation with a checksum (RFC 2784).
fn gre(pod: &Pod, to: IpAddr) -> Vec<u8> {
    const GRE: u8 = 47;
    let mut frame = Vec::new();
    let payload = [&[0x80, 0, 8, 0, 0, 0, 0, 0], PAYLOAD].concat();
    packet(pod, to).write(&mut frame, IpNumber(GRE), &payload).expect("a vector takes every frame");
    frame
}

/// The same packet as a first fragment.
fn first_fragment(mut frame: Vec<u8>) -> Vec<u8> {
    const FLAGS: usize = ETHERNET as usize + 6;
    const MORE: u8 = 0x20;
    frame[FLAGS] |= MORE;
    let header = frame[ETHERNET as usize..ETHERNET as usize + 20].to_vec();
    let sum = etherparse::Ipv4Header::from_slice(&header).expect("it was made as one").0.calc_header_checksum();
    frame[ETHERNET as usize + 10..ETHERNET as usize + 12].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Frames whose checksum goes to a place, in bytes from the frame's beginning: by which they are judged, and others.
fn unsummed(pod: &Pod, to: IpAddr) -> [Vec<(Vec<u8>, u16)>; 2] {
    let (ip, l4) = (ETHERNET, transport(to));
    let source = if to.is_ipv4() { ip + 12 } else { ip + 8 };
    let mut judged = vec![
        (udp(pod, to), l4 + 2),
        (udp(pod, to), l4 + 4),
        (udp(pod, to), l4 - 2),
        (udp(pod, to), source),
        (tcp(pod, to), l4),
        (tcp(pod, to), l4 + 12),
        (echo(pod, to), l4),
        (echo(pod, to), l4 + 8),
    ];
    if to.is_ipv4() {
        judged.push((first_fragment(udp(pod, to)), l4 + 6));
    }
    let others = vec![
        (udp(pod, to), l4 + 6),
        (udp(pod, to), l4 + 12),
        (tcp(pod, to), l4 + 16),
        (tcp(pod, to), l4 + 22),
        (gre(pod, to), l4 + 4),
    ];
    [judged, others]
}

fn assert_judged_as_it_arrives(hook: &str) -> Result<()> {
    let mut world = World::new(&format!("unsummed-{hook}"))?;
    let pod = world.pod("shop/client", Wiring::Ptp)?;
    world.write("policies.yaml", &policies())?;
    world.run_agent(&["--hook", hook])?;
    let sending = link(&pod)?;
    let mut arriving = LinkSocket::open(world.lab.outside(), "node1")?;
    let mut denied = 0;
    for to in [Outside::IP4, Outside::IP6] {
        let start = transport(to);
        let send = |(frame, place): &(Vec<u8>, u16)| {
            let start = start.min(*place);
            sending.send_unsummed(frame, start, place - start)
        };
        let [judged, others] = unsummed(&pod, to);
        judged.iter().try_for_each(send)?;
        assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None, "{hook}, {to}");
        denied += judged.len() as u64;
        for other in &others {
            send(other)?;
            assert!(
                arriving.catch(ARRIVES, |frame| carries(frame, &PAYLOAD[14..])).is_some(),
                "{hook}, {to}, {other:?}"
            );
        }
    }
    assert_eq!(world.denied(&pod, "egress")?, [("malformed".to_owned(), denied)].into(), "{hook}");
    Ok(())
}

#[test]
fn no_checksum_is_written_over_what_a_packet_was_judged_by() -> Result<()> {
    assert_judged_as_it_arrives("auto")
}

#[test]
fn with_clsact_no_checksum_is_written_over_what_a_packet_was_judged_by() -> Result<()> {
    assert_judged_as_it_arrives("clsact")
}

#[test]
fn nor_over_what_lets_it_into_a_pod() -> Result<()> {
    let mut world = World::new("unsummed-in")?;
    let (client, server) = (world.pod("shop/client", Wiring::Ptp)?, world.pod("shop/server", Wiring::Ptp)?);
    let asked = "podSelector: {matchLabels: {app: server}}\ningress: [{ports: [{protocol: UDP, port: 53}]}]";
    world.write("policies.yaml", &policy("shop", "server", asked))?;
    world.run_agent(&[])?;
    let (sending, mut arriving) = (link(&client)?, link(&server)?);
    for to in server.addresses().both() {
        let frame = udp(&client, to);
        sending.send_unsummed(&frame, transport(to), 2)?;
        assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None, "{to}");
        sending.send_unsummed(&frame, transport(to), 6)?;
        assert!(arriving.catch(ARRIVES, |frame| carries(frame, PAYLOAD)).is_some(), "{to}");
    }
    assert_eq!(world.denied(&server, "ingress")?, [("malformed".to_owned(), 2)].into());
    Ok(())
}

/// A pod isolated for ingress alone sends as another, by what is judged no further in the other direction.
fn assert_nobody_is_another(hook: &str) -> Result<()> {
    let mut world = World::new(&format!("unread-{hook}"))?;
    let (client, server) = (world.pod("shop/client", Wiring::Ptp)?, world.pod("shop/server", Wiring::Ptp)?);
    world.write(
        "policies.yaml",
        &policy("shop", "ingress", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Ingress]"),
    )?;
    world.run_agent(&["--hook", hook])?;
    let (sending, mut arriving) = (link(&client)?, LinkSocket::open(world.lab.outside(), "node1")?);
    for (to, own, other) in [(Outside::IP4, client.ip4(), server.ip4()), (Outside::IP6, client.ip6(), server.ip6())] {
        let from =
            |source| datagram(to_gateway(&client), SocketAddr::new(source, 4000), SocketAddr::new(to, 53), PAYLOAD);
        let tagged = |mut frame: Vec<u8>| {
            frame.splice(12..12, [0x81, 0, 0, 0]);
            frame
        };
        sending.send(&tagged(from(other)))?;
        sending.send_unsummed(&from(other), transport(to), 0)?;
        // Complete, the sum would be another's address.
        sending.send_unsummed(&from(own), transport(to) - 8, 0)?;
        sending.send_unsummed(&tagged(from(own)), transport(to) - 4, 0)?;
        assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None, "{hook}, {to}");
        sending.send(&tagged(from(own)))?;
        assert!(arriving.catch(ARRIVES, |frame| carries(frame, PAYLOAD)).is_some(), "{hook}, {to}");
    }
    let expected = [("spoofed", 4), ("malformed", 2), ("vlan", 2)].map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(world.denied(&client, "egress")?, expected.into(), "{hook}");
    Ok(())
}

#[test]
fn nobody_is_another_by_what_is_read_no_further() -> Result<()> {
    ["tcx", "clsact"].into_iter().try_for_each(assert_nobody_is_another)
}

#[test]
fn no_redirect_enters_because_its_checksum_is_left_out() -> Result<()> {
    let mut world = World::new("unsummed-redirect")?;
    let (client, server) = (world.pod("shop/client", Wiring::Bridge)?, world.pod("shop/server", Wiring::Bridge)?);
    let egress = "podSelector: {matchLabels: {app: server}}\npolicyTypes: [Egress]";
    world.write("policies.yaml", &policy("shop", "egress", egress))?;
    world.run_agent(&[])?;
    let (sending, mut arriving) = (link(&client)?, link(&server)?);
    let mut redirect = Vec::new();
    PacketBuilder::ethernet2(client.interface().mac, server.interface().mac)
        .ip(ip_header(client.ip4(), server.ip4()))
        .icmpv4_raw(5, 1, [10, 0, 0, 1])
        .write(&mut redirect, PAYLOAD)
        .expect("a vector takes every frame");
    sending.send_unsummed(&redirect, transport(server.ip4()), 2)?;
    assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None);
    assert_eq!(world.denied(&server, "ingress")?, [("malformed".to_owned(), 1)].into());
    Ok(())
}

#[test]
fn nor_over_what_a_pod_tells_its_neighbours() -> Result<()> {
    let mut world = World::new("unsummed-arp")?;
    let (client, server) = (world.pod("shop/client", Wiring::Bridge)?, world.pod("shop/server", Wiring::Bridge)?);
    world.run_agent(&[])?;
    let arp = arp(&client, 1, client.ip4(), [192, 0, 2, 1].into());
    let (sending, mut arriving) = (link(&client)?, link(&server)?);
    let is_asked = |frame: &[u8]| frame.len() >= arp.len() && frame[..arp.len()] == arp;
    sending.send_unsummed(&arp, 20, 8)?;
    assert_eq!(arriving.catch(STAYS_AWAY, is_asked), None);
    sending.send(&arp)?;
    assert!(arriving.catch(ARRIVES, is_asked).is_some());
    assert_eq!(world.denied(&client, "egress")?, [("malformed".to_owned(), 1)].into());
    Ok(())
}
