//! ICMP errors: the flow of the packet that they are about decides.

use podgate_common::{Direction, NetPort, Reason, Stamp, place};

use crate::family::Family;
use crate::flow::{self, Scene};
use crate::maps;
use crate::packet::{self, Frame, Packet};
use crate::parse::{self, Headers};
use crate::program::{self, Endpoint};

/// What happens to an ICMP error at a pod's hook. Reads the packet anew: errors are rare, and the stack of the BPF machine is
/// small.
#[inline(never)]
pub(crate) fn judge<F: Family>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Reason {
    if endpoint.direction == Direction::Egress && is_spoofed::<F>(packet, endpoint) {
        return Reason::Spoofed;
    }
    by_flow::<F, { packet::ETHERNET }>(packet, endpoint, place::POD).unwrap_or_else(|reason| reason)
}

/// What happens at an exit hook to one that was left to it: address translation has changed it as it does the packets of the
/// flow that it is about, which must be known here.
#[inline(never)]
pub(crate) fn judge_at_exit<F: Family, const L3: u32>(packet: &Packet<'_, L3>, endpoint: &Endpoint<'_>) -> Reason {
    by_flow::<F, L3>(packet, endpoint, place::EXIT).unwrap_or_else(|reason| reason)
}

/// Whether it leaves the pod with a source address that is not the pod's. A function of its own, so that the addresses are
/// off the stack afterwards.
#[inline(never)]
fn is_spoofed<F: Family>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> bool {
    F::ends(packet).is_ok_and(|(source, _)| program::is_spoofed(endpoint.config, source, false))
}

#[inline(always)]
fn by_flow<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
    place: u8,
) -> Result<Reason, Reason> {
    let error = F::headers(packet)?;
    // What is read of the packet in it stands at offsets from the error's own headers, wherever those begin.
    let frame = Frame::new(packet.context());
    let about = F::embedded(&frame, &error)?;
    let transport = parse::embedded_transport(&frame, &about.headers)?;
    // An error that enters the pod is about a packet that left it, and the reverse.
    let (direction, local, remote) = match endpoint.direction {
        Direction::Ingress => (Direction::Egress, about.source, about.destination),
        Direction::Egress => (Direction::Ingress, about.destination, about.source),
    };
    if endpoint.direction == Direction::Egress && F::ends(packet)?.1 != remote {
        // An error goes to the sender of the packet that it is about; any other address would be a way round policy.
        return Err(Reason::IcmpUnrelated);
    }
    let ports = (transport.local_port(direction), transport.remote_port(direction));
    Ok(flow::related::<F>(&scene(&frame, endpoint, &about.headers, (local, remote), ports, place)))
}

#[inline(always)]
fn scene<'a, F: Family>(
    packet: &Frame<'a>,
    endpoint: &Endpoint<'a>,
    about: &Headers,
    (local, remote): (F, F),
    ports: (NetPort, NetPort),
    place: u8,
) -> Scene<'a, F> {
    Scene::<F> {
        packet: *packet,
        config: endpoint.config,
        key: F::flow_key(remote, ports, local.holder(endpoint, about.protocol, place)),
        stamp: Stamp::new(endpoint.generation, maps::epoch(remote.epoch_index())),
        now: flow::jiffies(),
        direction: endpoint.direction,
        protocol: about.protocol,
        tcp_flags: 0,
        from_node: 0,
        opens_flow: false,
        at_exit: place == place::EXIT,
    }
}
