//! ICMP errors: the flow of the packet that they are about decides.

use core::mem::MaybeUninit;

use podgate_common::{Direction, FlowKey, FlowPorts, Reason, Stamp, place};

use crate::clock;
use crate::endpoint::{Endpoint, speaks_for_all};
use crate::family::Family;
use crate::flow;
use crate::maps;
use crate::packet::{self, Frame, Packet};
use crate::parse::{self, Headers};
use crate::read;
use crate::scene::{Scene, write_scene};

/// What happens to an ICMP error at a pod's hook. Reads the packet anew: errors are rare, and the stack of the BPF machine is
/// small.
#[inline(never)]
pub(crate) fn judge<F: Family>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Reason {
    if endpoint.direction == Direction::Egress && is_spoofed::<F>(packet, endpoint) {
        return Reason::Spoofed;
    }
    by_flow::<F, { packet::ETHERNET }>(packet, endpoint, place::POD)
}

/// What happens at an exit hook to one that was left to it: address translation has changed it as it does the packets of the
/// flow that it is about, which must be known here.
#[inline(never)]
pub(crate) fn judge_at_exit<F: Family, const L3: u32>(packet: &Packet<'_, L3>, endpoint: &Endpoint<'_>) -> Reason {
    by_flow::<F, L3>(packet, endpoint, place::EXIT)
}

/// Whether it leaves the pod with a source address that is not the pod's. A function of its own, so that the addresses are
/// off the stack afterwards.
#[inline(never)]
fn is_spoofed<F: Family>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> bool {
    F::ends(packet).is_ok_and(|(source, _)| read::is_spoofed(endpoint, source, false))
}

#[inline(always)]
fn by_flow<F: Family, const L3: u32>(packet: &Packet<'_, L3>, endpoint: &Endpoint<'_>, place: u8) -> Reason {
    let mut scene = MaybeUninit::uninit();
    match fill::<F, L3>(packet, endpoint, place, &mut scene) {
        // SAFETY: `fill` has filled it in.
        Ok(()) => flow::related(unsafe { scene.assume_init_ref() }),
        Err(reason) => reason,
    }
}

/// Whether an error must go from one end of its flow to the other. One that leaves a pod goes to the sender of the packet that
/// it is about; any other address would be a way round policy. One that enters may be a router's, which no pod is unless it may
/// send for every address.
#[inline(always)]
fn must_be_between_ends(endpoint: &Endpoint<'_>) -> bool {
    endpoint.direction == Direction::Egress || endpoint.origin.pod().is_some_and(|slot| !speaks_for_all(slot))
}

/// The address at the other end of an error's way.
#[inline(always)]
fn other_end<F: Family, const L3: u32>(packet: &Packet<'_, L3>, direction: Direction) -> Result<F, Reason> {
    let (source, destination) = F::ends(packet)?;
    Ok(match direction {
        Direction::Ingress => source,
        Direction::Egress => destination,
    })
}

/// Reads what the error is about and fills in the scene, in place. A function of its own, so that what it takes to read is off
/// the stack afterwards.
#[inline(never)]
fn fill<'a, F: Family, const L3: u32>(
    packet: &Packet<'a, L3>,
    endpoint: &Endpoint<'a>,
    place: u8,
    scene: &mut MaybeUninit<Scene<'a, F>>,
) -> Result<(), Reason> {
    let mut error = Headers::NONE;
    F::headers(packet, &mut error)?;
    // What is read of the packet in it stands at offsets from the error's own headers, wherever those begin.
    let frame = Frame::new(packet.context());
    let about = F::embedded(&frame, &error)?;
    let transport = parse::embedded_transport(&frame, &about.headers)?;
    // An error that enters the pod is about a packet that left it, and the reverse.
    let (direction, local, remote) = match endpoint.direction {
        Direction::Ingress => (Direction::Egress, about.source, about.destination),
        Direction::Egress => (Direction::Ingress, about.destination, about.source),
    };
    if endpoint.direction == Direction::Egress && place == place::POD && read::is_spoofed(endpoint, local, false) {
        return Err(Reason::Spoofed);
    }
    if must_be_between_ends(endpoint) && other_end::<F, L3>(packet, endpoint.direction)? != remote {
        return Err(Reason::IcmpUnrelated);
    }
    let ports = FlowPorts::new(transport.local_port(direction), transport.remote_port(direction));
    write_scene!(scene, {
        packet: frame,
        config: endpoint.config,
        key: FlowKey { remote, ports, holder: local.holder(endpoint, about.headers.protocol, place) },
        stamp: Stamp::new(endpoint.generation, maps::epoch(remote.epoch_index())),
        now: clock::jiffies(),
        direction: endpoint.direction,
        protocol: about.headers.protocol,
        tcp_flags: 0,
        from_node: 0,
        opens_flow: false,
        at_exit: place == place::EXIT,
    });
    Ok(())
}
