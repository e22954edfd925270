//! ICMP errors: the flow of the packet that they are about decides.

use podgate_common::{Direction, NetPort, Reason, Stamp, place};

use crate::family::Family;
use crate::flow::{self, Scene};
use crate::maps;
use crate::packet::Packet;
use crate::parse::{self, Headers};
use crate::program::{self, Endpoint};

/// What happens to an ICMP error. Reads the packet anew: errors are rare, and the stack of the BPF machine is small.
#[inline(never)]
pub(crate) fn judge<F: Family>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Reason {
    if endpoint.direction == Direction::Egress && is_spoofed::<F>(packet, endpoint) {
        return Reason::Spoofed;
    }
    match is_related::<F>(packet, endpoint) {
        Ok(true) => Reason::Related,
        Ok(false) => Reason::IcmpUnrelated,
        Err(reason) => reason,
    }
}

/// Whether it leaves the pod with a source address that is not the pod's. A function of its own, so that the addresses are
/// off the stack afterwards.
#[inline(never)]
fn is_spoofed<F: Family>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> bool {
    F::ends(packet).is_ok_and(|(source, _)| program::is_spoofed(endpoint.config, source, false))
}

#[inline(always)]
fn is_related<F: Family>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Result<bool, Reason> {
    let error = F::headers(packet)?;
    let about = F::embedded(packet, &error)?;
    let transport = parse::embedded_transport(packet, &about.headers)?;
    // An error that enters the pod is about a packet that left it, and the reverse.
    let (direction, local, remote) = match endpoint.direction {
        Direction::Ingress => (Direction::Egress, about.source, about.destination),
        Direction::Egress => (Direction::Ingress, about.destination, about.source),
    };
    if endpoint.direction == Direction::Egress && F::ends(packet)?.1 != remote {
        // An error goes to the sender of the packet that it is about; any other address would be a way round policy.
        return Ok(false);
    }
    let ports = (transport.local_port(direction), transport.remote_port(direction));
    Ok(flow::is_allowed::<F>(&scene(packet, endpoint, &about.headers, (local, remote), ports)))
}

#[inline(always)]
fn scene<'a, F: Family>(
    packet: &Packet<'a>,
    endpoint: &Endpoint<'a>,
    about: &Headers,
    (local, remote): (F, F),
    ports: (NetPort, NetPort),
) -> Scene<'a, F> {
    Scene::<F> {
        packet: *packet,
        config: endpoint.config,
        key: F::flow_key(remote, ports, local.holder(endpoint, about.protocol, place::POD)),
        stamp: Stamp::new(endpoint.generation, maps::epoch(remote.epoch_index())),
        now: flow::jiffies(),
        direction: endpoint.direction,
        protocol: about.protocol,
        tcp_flags: 0,
        from_node: 0,
        opens_flow: false,
        at_exit: false,
    }
}
