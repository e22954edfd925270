//! ICMP errors: the flow of the packet that they are about decides.

use podgate_common::{Addr4, Addr6, Direction, NetPort, Reason, Stamp};

use crate::family::Family;
use crate::flow::{self, Scene};
use crate::maps;
use crate::packet::Packet;
use crate::parse::{self, Headers};
use crate::program::Endpoint;

/// A family whose ICMP errors can be read.
pub(crate) trait Errors: Family {
    /// The headers of the packet that an error is about.
    fn embedded(packet: &Packet<'_>, error: &Headers<Self>) -> Result<Headers<Self>, Reason>;
}

impl Errors for Addr4 {
    #[inline(always)]
    fn embedded(packet: &Packet<'_>, error: &Headers<Self>) -> Result<Headers<Self>, Reason> {
        parse::embedded4(packet, error)
    }
}

impl Errors for Addr6 {
    #[inline(always)]
    fn embedded(packet: &Packet<'_>, error: &Headers<Self>) -> Result<Headers<Self>, Reason> {
        parse::embedded6(packet, error)
    }
}

/// What happens to an ICMP error.
#[inline(never)]
pub(crate) fn judge<F: Errors>(packet: &Packet<'_>, endpoint: &Endpoint<'_>, error: &Headers<F>) -> Reason {
    match is_related(packet, endpoint, error) {
        Ok(true) => Reason::Related,
        Ok(false) => Reason::IcmpUnrelated,
        Err(reason) => reason,
    }
}

#[inline(always)]
fn is_related<F: Errors>(packet: &Packet<'_>, endpoint: &Endpoint<'_>, error: &Headers<F>) -> Result<bool, Reason> {
    let about = F::embedded(packet, error)?;
    let transport = parse::embedded_transport(packet, &about)?;
    // An error that enters the pod is about a packet that left it, and the reverse.
    let (direction, local, remote) = match endpoint.direction {
        Direction::Ingress => (Direction::Egress, about.source, about.destination),
        Direction::Egress => (Direction::Ingress, about.destination, about.source),
    };
    if endpoint.direction == Direction::Egress && error.destination != remote {
        // An error goes to the sender of the packet that it is about; any other address would be a way round policy.
        return Ok(false);
    }
    let ports = transport.flow_ports(direction);
    Ok(flow::is_allowed(&scene(packet, endpoint, &about, (local, remote), ports)))
}

#[inline(always)]
fn scene<'a, F: Errors>(
    packet: &Packet<'a>,
    endpoint: &Endpoint<'a>,
    about: &Headers<F>,
    (local, remote): (F, F),
    ports: (NetPort, NetPort),
) -> Scene<'a, F> {
    Scene {
        packet: *packet,
        config: endpoint.config,
        key: F::flow_key(local, remote, ports, about.protocol, endpoint.slot as u16),
        local,
        remote,
        ports,
        stamp: Stamp::new(endpoint.generation, maps::epoch(remote.epoch_index())),
        now: flow::jiffies(),
        direction: endpoint.direction,
        protocol: about.protocol,
        tcp_flags: 0,
        from_node: false,
        opens_flow: false,
    }
}
