//! Packets of every kind, from one pod to another.

mod discovery;
mod errors;
mod fragments;
mod idle;
mod link_layer;
mod quiet;
pub(crate) mod sctp;
mod sources;
mod spoofing;
mod stray;

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice, SlicedPacket};
use podgate_lab::{LinkSocket, Pod, Result, Wiring};

use crate::support::World;

/// How long a packet that is to arrive may take.
pub(crate) const ARRIVES: Duration = Duration::from_secs(5);
/// How long a packet that is not to arrive is waited for.
pub(crate) const STAYS_AWAY: Duration = Duration::from_millis(300);

/// Two pods in the namespace `shop`, and the agent once it was started.
struct Pair {
    world: World,
    client: Pod,
    server: Pod,
}

impl Pair {
    fn new(name: &str, wiring: Wiring) -> Result<Self> {
        let mut world = World::new(name)?;
        let (client, server) = (world.pod("shop/client", wiring)?, world.pod("shop/server", wiring)?);
        Ok(Self { world, client, server })
    }

    /// With the agent at work and these policies in force.
    fn started(name: &str, wiring: Wiring, policies: &str) -> Result<Self> {
        let mut pair = Self::new(name, wiring)?;
        pair.world.write("policies.yaml", policies)?;
        pair.world.run_agent(&[])?;
        Ok(pair)
    }

    /// Client and server with their addresses of the same family, for each family.
    fn ends(&self) -> [(IpAddr, IpAddr); 2] {
        [(self.client.ip4(), self.server.ip4()), (self.client.ip6(), self.server.ip6())]
    }
}

/// An IP header without extensions; the builder fills in lengths, checksums and the protocol.
pub(crate) fn ip_header(from: IpAddr, to: IpAddr) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(0, 64, IpNumber(0), from.octets(), to.octets()).expect("it has no payload");
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber(0),
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => panic!("{from} and {to} are of different families"),
    }
}

/// ARP to everybody on a pod's link (RFC 826): 1 is a request, 2 a reply.
pub(crate) fn arp(from: &Pod, operation: u8, sender: IpAddr, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(sender), IpAddr::V4(target)) = (sender, target) else { panic!("ARP is IPv4's") };
    let mac = from.interface().mac;
    let header = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation];
    [&[0xff; 6][..], &mac, &header, &mac, &sender.octets(), &[0; 6], &target.octets()].concat()
}

/// The addresses of the IP packet in a frame, source first.
pub(crate) fn ends_of(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Arp(_) => None,
    }
}

/// Whether a frame carries these bytes.
pub(crate) fn carries(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}

/// A packet socket on a pod's own interface.
pub(crate) fn link(pod: &Pod) -> Result<LinkSocket> {
    LinkSocket::open(pod, &pod.interface().name)
}
