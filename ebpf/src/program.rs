//! From a hook to an action.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use podgate_common::{Addr4, Addr6, Direction, Reason, SlotWord, Tag, Verdict, flags, map, place};

use crate::arrival;
use crate::checksum::is_unsummed;
use crate::clock;
use crate::endpoint::{Endpoint, Origin, if_isolated, is_enforced};
use crate::events;
use crate::family::Family;
use crate::flow;
use crate::maps;
use crate::neighbours;
use crate::packet::{self, Frame, Packet};
use crate::parse::{self, Fragment, Headers, Transport, TransportKind, ethertype};
use crate::read::{IcmpError, NoScene, is_rogue, is_spoofed, read_at};
use crate::related;

/// Judges a packet, counts it and acts.
#[inline(always)]
pub fn run(ctx: &TcContext, direction: Direction) -> i32 {
    let packet = Frame::new(ctx.skb.skb);
    let Some(slot) = maps::slot_of(packet.ifindex()).filter(|&slot| slot != 0 && slot < map::ENDPOINTS) else {
        return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
    };
    let refused = match direction {
        Direction::Ingress => None,
        Direction::Egress => neighbours::judge_source(&packet, slot),
    };
    if let Some(reason) = refused.or_else(|| neighbours::judge(&packet, slot, direction)) {
        let Some(word) = maps::slot_word(slot) else {
            return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
        };
        if reason == Reason::DiscoveryWithheld {
            events::count(&packet, slot, direction, reason);
            return TC_ACT_SHOT;
        }
        let is_open = word.config() == 0 && reason == Reason::Discovery;
        let reason = if is_open { Reason::NotIsolated } else { reason };
        return finish(ctx, &packet, slot, word.generation(), direction, reason);
    }
    let origin = match direction {
        Direction::Ingress => arrival::arrive(&packet, slot),
        Direction::Egress => Some(Origin::ELSEWHERE),
    };
    let Some(origin) = origin else { return TC_ACT_SHOT };
    let Some(word) = maps::slot_word(slot) else {
        return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
    };
    if direction == Direction::Egress {
        // Unless something below says otherwise. Nothing has judged an open pod's, nor will.
        let set = maps::SET.load();
        packet.set_tag(if word.config() == 0 { Tag::settled(set, slot) } else { Tag::judged(set, slot) });
    }
    let reason = judge(&packet, slot, word, direction, origin);
    finish(ctx, &packet, slot, word.generation(), direction, reason)
}

/// The lower half of jiffies.
#[inline(always)]
pub fn jiffies() -> i32 {
    clock::jiffies() as i32
}

#[inline(always)]
fn finish(
    ctx: &TcContext,
    packet: &Packet<'_>,
    slot: u32,
    generation: u32,
    direction: Direction,
    reason: Reason,
) -> i32 {
    events::count(packet, slot, direction, reason);
    if maps::TRACE.load() != 0 {
        trace(ctx, slot, direction, reason);
    }
    if !reason.is_reported() {
        return TC_ACT_UNSPEC;
    }
    events::report(packet, slot, generation, direction, reason);
    match reason.verdict() {
        Verdict::Allowed | Verdict::Deferred | Verdict::WouldDeny => TC_ACT_UNSPEC,
        Verdict::Denied | Verdict::Withheld => TC_ACT_SHOT,
    }
}

#[inline(never)]
pub(crate) fn trace(ctx: &TcContext, slot: u32, direction: Direction, reason: Reason) {
    aya_log_ebpf::trace!(
        ctx,
        "slot={} direction={} reason={} length={}",
        slot,
        direction as u8,
        reason as u8,
        Frame::new(ctx.skb.skb).length()
    );
}

#[inline(always)]
fn judge(packet: &Packet<'_>, slot: u32, word: SlotWord, direction: Direction, origin: Origin) -> Reason {
    if word.config() == 0 {
        return Reason::NotIsolated;
    }
    let Some(config) = maps::CONFIGS.get(word.config()) else { return Reason::Internal };
    let endpoint = Endpoint { slot, generation: word.generation(), config, direction, origin };
    let reason = frame(packet, &endpoint);
    if origin.is_itself() && (reason == Reason::Node || reason.verdict() == Verdict::Denied) {
        return Reason::Itself;
    }
    if origin.near() != 0 && reason.verdict() == Verdict::Denied {
        return Reason::Node;
    }
    if reason.matters_only_if_isolated() {
        return unread(packet, &endpoint, reason);
    }
    // Without the policies that are in audit mode, nobody would look at the pod's addresses.
    if reason == Reason::Spoofed && !is_enforced(config) { reason.audited() } else { reason }
}

/// What becomes of a packet that could not be read to its end at a pod's hook. In a direction that is not isolated it may pass
/// all the same, but not from another's address, nor with what it says yet to be overwritten: its receiver, who takes a VLAN
/// tag off or puts fragments together, would take it for another's. Pods that route may do both.
#[inline(never)]
fn unread(packet: &Packet<'_>, endpoint: &Endpoint<'_>, reason: Reason) -> Reason {
    let judged = if_isolated(reason, endpoint.config, endpoint.direction);
    if judged != Reason::DirectionNotIsolated || endpoint.config.flags & flags::ROUTES != 0 {
        return judged;
    }
    let forged = if endpoint.direction == Direction::Egress && has_false_source(packet, endpoint) {
        Reason::Spoofed
    } else if is_unsummed(packet) {
        reason
    } else {
        return judged;
    };
    if is_enforced(endpoint.config) { forged } else { forged.audited() }
}

/// Whether the source address in an IP header is another's, whatever follows it.
#[inline(always)]
fn has_false_source(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> bool {
    match packet.ethertype() {
        ethertype::IPV4 => Addr4::ends(packet).is_ok_and(|(source, _)| is_spoofed(endpoint, source, true)),
        ethertype::IPV6 => Addr6::ends(packet).is_ok_and(|(source, _)| is_spoofed(endpoint, source, true)),
        _ => false,
    }
}

/// What happens to a frame.
#[inline(always)]
fn frame(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Reason {
    packet.linearise();
    if packet.has_vlan_metadata() {
        return tagged(packet, endpoint);
    }
    match packet.ethertype() {
        ethertype::IPV4 => match endpoint.direction {
            Direction::Ingress => ip::<Addr4, INGRESS>(packet, endpoint),
            Direction::Egress => ip::<Addr4, EGRESS>(packet, endpoint),
        }
        .unwrap_or_else(|IcmpError| related::judge::<Addr4>(packet, endpoint)),
        ethertype::IPV6 => match endpoint.direction {
            Direction::Ingress => ip::<Addr6, INGRESS>(packet, endpoint),
            Direction::Egress => ip::<Addr6, EGRESS>(packet, endpoint),
        }
        .unwrap_or_else(|IcmpError| related::judge::<Addr6>(packet, endpoint)),
        ethertype::VLAN | ethertype::QINQ => Reason::Vlan,
        _ => Reason::NotIp,
    }
}

/// What happens to a frame with a VLAN tag. One that names no VLAN is taken off by the receiver (`__netif_receive_skb_core` of
/// Linux).
#[inline(never)]
fn tagged(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Reason {
    let mut headers = Headers::NONE;
    let mut transport = Transport::PORTLESS;
    let is_of_router = packet.ethertype() == ethertype::IPV4
        && parse::ipv4(packet, &mut headers).is_ok()
        && headers.fragment != Fragment::Later
        && parse::read_transport(packet, &headers, parse::HEADER4, &mut transport).is_ok()
        && transport.kind == TransportKind::OfRouter;
    if is_of_router && is_rogue(endpoint, endpoint.direction) { Reason::RogueRouter } else { Reason::Vlan }
}

const INGRESS: bool = false;
const EGRESS: bool = true;

/// What happens to an IP packet. A function of its own, since what reading takes and what judging takes don't fit one stack
/// frame of the BPF machine.
#[inline(never)]
fn ip<F: Family, const OUT: bool>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Result<Reason, IcmpError> {
    let mut scene = MaybeUninit::uninit();
    match read_at::<F, { packet::ETHERNET }>(packet, endpoint, &mut scene, direction(OUT), place::POD) {
        Err(NoScene::Fate(reason)) => Ok(reason),
        Err(NoScene::IcmpError) => Err(IcmpError),
        // SAFETY: `read_at` has filled it in.
        Ok(()) => Ok(flow::judge(unsafe { scene.assume_init_ref() }, direction(OUT))),
    }
}

/// The direction that a function is compiled for: known there, it costs the hot path nothing.
const fn direction(out: bool) -> Direction {
    if out { Direction::Egress } else { Direction::Ingress }
}
