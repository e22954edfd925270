//! The exit hooks: where what a pod sent to a Service, or to an address of this host, is judged by the address that it
//! really goes to.
//!
//! ```text
//! pod ──► its hook: tag ──► routing, address translation, bridging ──► exit hook: judge by the tag ──► pod, wire, tunnel
//!                                                    └──► this host itself, which every pod may reach
//! ```

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use podgate_common::{
    Addr4, Addr6, Direction, EndpointConfig, Flow, InterfaceSlot, Reason, SlotWord, Tag, VERDICT_NONE, Verdict, exits,
    flags, place, protocol, state,
};

use crate::checksum::is_overwritten;
use crate::endpoint::{Endpoint, Origin, if_isolated, is_enforced, is_isolated};
use crate::events;
use crate::family::Family;
use crate::flow::{self, AsNew};
use crate::maps;
use crate::neighbours;
use crate::origin::{is_translated, lost_tag, refuse_stranger};
use crate::packet::{BARE, Frame, Opening, Packet};
use crate::parse::{Headers, ethertype};
use crate::read::{self, IcmpError, NoScene};
use crate::related;
use crate::rules::tcp;
use crate::scene::Scene;

/// Judges what leaves by a device that is no pod's. What was judged keeps a tag that says so, for the next device on its
/// way, where it may be part of a tunnel's packet.
#[inline(always)]
pub fn leave<const L3: u32>(ctx: &TcContext) -> i32 {
    let packet = Packet::<'_, L3>::new(ctx.skb.skb);
    let mut tag = packet.tag();
    if tag.is_settled() || tag.is_foreign() {
        return TC_ACT_UNSPEC;
    }
    // Of a pod of another start's nobody knows which it is; that start has judged it.
    if tag.is_present() && tag.is_judged() && (tag.set() != maps::SET.load() || !is_translated(&packet)) {
        return TC_ACT_UNSPEC;
    }
    if !tag.is_present() || tag.set() != maps::SET.load() {
        let counter = if tag.is_present() { exits::OTHERS_TAG } else { exits::UNTAGGED };
        match lost_tag(&packet, packet.ingress_ifindex(), counter) {
            Some(lost) => tag = lost,
            None if !tag.is_present() => return TC_ACT_UNSPEC,
            None => {
                refuse_stranger(&packet);
                return TC_ACT_SHOT;
            }
        }
    }
    let settled = match L3 {
        BARE => podgate_settle_bare(packet.context(), u32::from(tag.raw())),
        _ => podgate_settle(packet.context(), u32::from(tag.raw())),
    };
    if settled != 0 {
        return TC_ACT_SHOT;
    }
    packet.set_tag(Tag::settled(maps::SET.load(), tag.slot()));
    TC_ACT_UNSPEC
}

/// Says of a packet that it comes from elsewhere. It may bear a tag of another host's pod, which it keeps on its way into
/// another network namespace; and what stands in `tc_classid` may be left over from the driver, and would be the tag behind
/// a TCX program that says OK.
#[inline(always)]
pub fn enter(ctx: &TcContext) -> i32 {
    Frame::new(ctx.skb.skb).set_tag(Tag::FOREIGN);
    TC_ACT_UNSPEC
}

/// Says whose a packet is that comes out of a tunnel which ends on this host. The packet around it may be a pod's, which was
/// let go to this host: then the one in it is that pod's, from an address of the pod, and is to be judged yet.
#[inline(always)]
pub fn emerge<const L3: u32>(ctx: &TcContext) -> i32 {
    let packet = Packet::<'_, L3>::new(ctx.skb.skb);
    let tag = packet.tag();
    if !tag.is_present() || tag.is_foreign() {
        packet.set_tag(Tag::FOREIGN);
        return TC_ACT_UNSPEC;
    }
    let Some(word) = maps::slot_word(tag.slot()).filter(|_| tag.set() == maps::SET.load()) else {
        refuse_stranger(&packet);
        return TC_ACT_SHOT;
    };
    if let Some(reason) = unwrapped(&packet, word) {
        events::count(&packet, tag.slot(), Direction::Egress, reason);
        events::report(&packet, tag.slot(), word.generation(), Direction::Egress, reason);
        if reason.verdict() == Verdict::Denied {
            events::count_exit(exits::DENIED);
            return TC_ACT_SHOT;
        }
    }
    if !tag.is_inward() {
        packet.set_tag(Tag::deferred(maps::SET.load(), tag.slot(), false));
    }
    TC_ACT_UNSPEC
}

/// Why a packet that was in a pod's should not go on; `None`: the exit hook decides.
#[inline(always)]
fn unwrapped<const L3: u32>(packet: &Packet<'_, L3>, word: SlotWord) -> Option<Reason> {
    // The bridge would learn that the pod is behind the tunnel, whoever it says it is.
    if maps::slot_of(packet.ifindex()) == Some(InterfaceSlot::TUNNEL_PORT) {
        return Some(Reason::NeighbourSpoofed);
    }
    if word.config() == 0 {
        return tells_neighbours(packet).then_some(Reason::NeighbourSpoofed);
    }
    let Some(config) = maps::CONFIGS.get(word.config()) else { return Some(Reason::Internal) };
    packet.linearise();
    let is_own = match packet.ethertype() {
        ethertype::IPV4 => is_own::<Addr4, L3>(packet, config),
        ethertype::IPV6 => is_own::<Addr6, L3>(packet, config),
        _ => false,
    };
    if is_own {
        return None;
    }
    Some(if is_enforced(config) { Reason::Spoofed } else { Reason::Spoofed.audited() })
}

/// Whether a packet is from an address of the pod, or any if the pod routes for others. What finds neighbours is not: the pod
/// is no neighbour of those beyond the tunnel.
#[inline(always)]
fn is_own<F: Family, const L3: u32>(packet: &Packet<'_, L3>, config: &EndpointConfig) -> bool {
    let mut headers = Headers::NONE;
    F::headers(packet, &mut headers).is_ok()
        && !finds_neighbours(packet, &headers)
        && !is_overwritten(packet, &headers)
        && F::ends(packet).is_ok_and(|(source, _)| {
            !source.is_unspecified() && (source == F::of(config) || config.flags & flags::ROUTES != 0)
        })
}

/// Whether a packet may say where an address is, whatever stands between it and that.
#[inline(always)]
fn tells_neighbours<const L3: u32>(packet: &Packet<'_, L3>) -> bool {
    match packet.ethertype() {
        ethertype::IPV4 => false,
        ethertype::IPV6 => packet.load::<u8>(L3 + HOP_LIMIT) == Some(255),
        _ => true,
    }
}

/// Where an IPv6 header has the hop limit.
const HOP_LIMIT: u32 = 7;

/// Neighbour discovery like nothing else has this hop limit (RFC 4861, section 7.1).
#[inline(always)]
fn finds_neighbours<const L3: u32>(packet: &Packet<'_, L3>, headers: &Headers) -> bool {
    headers.protocol == protocol::ICMPV6 && packet.load::<u8>(L3 + HOP_LIMIT) == Some(255)
}

/// Judges a packet by the policies of the pod that its tag names, and counts it; 0: it goes on. A global function: see
/// `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_settle(context: *mut __sk_buff, tag: u32) -> u32 {
    settle(&Frame::new(context), Tag::from_raw(tag as u16))
}

/// The same on a device without link-layer headers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_settle_bare(context: *mut __sk_buff, tag: u32) -> u32 {
    settle(&Packet::<'_, BARE>::new(context), Tag::from_raw(tag as u16))
}

#[inline(always)]
fn settle<const L3: u32>(packet: &Packet<'_, L3>, tag: Tag) -> u32 {
    let word = maps::slot_word(tag.slot());
    // A tag beyond the slots is none of ours: it is counted where there is no endpoint.
    let (slot, word, reason) = match word {
        Some(word) => (tag.slot(), word, judge(packet, tag, word)),
        None => (0, SlotWord::default(), Reason::Internal),
    };
    // What goes on was counted at the pod's hook; what was judged there was not deferred.
    if tag.is_judged() && reason.verdict() == Verdict::Allowed {
        return 0;
    }
    if tag.is_answer() && reason == Reason::Established {
        events::count_exit(exits::ALLOWED);
        return 0;
    }
    events::count(packet, slot, Direction::Egress, reason);
    if reason.is_reported() {
        events::report(packet, slot, word.generation(), Direction::Egress, reason);
        if reason.verdict() == Verdict::Denied {
            events::count_exit(exits::DENIED);
            return 1;
        }
    }
    events::count_exit(exits::ALLOWED);
    0
}

#[inline(always)]
fn judge<const L3: u32>(packet: &Packet<'_, L3>, tag: Tag, word: SlotWord) -> Reason {
    if word.config() == 0 {
        return Reason::NotIsolated;
    }
    let Some(config) = maps::CONFIGS.get(word.config()) else { return Reason::Internal };
    if !is_isolated(config, Direction::Egress) {
        return Reason::DirectionNotIsolated;
    }
    if tag.is_inward() {
        events::note_rule(VERDICT_NONE);
        return Reason::Cut;
    }
    if tag.is_answer() && is_reply(packet) {
        return Reason::Established;
    }
    let endpoint = Endpoint {
        slot: tag.slot(),
        generation: word.generation(),
        config,
        direction: Direction::Egress,
        origin: Origin::ELSEWHERE,
    };
    packet.linearise();
    let reason = match packet.ethertype() {
        ethertype::IPV4 => ip::<Addr4, L3>(packet, &endpoint, tag.is_established())
            .unwrap_or_else(|IcmpError| related::judge_at_exit::<Addr4, L3>(packet, &endpoint)),
        ethertype::IPV6 if L3 != BARE && neighbours::is_discovery_at_exit(packet.context()) => Reason::Discovery,
        ethertype::IPV6 => ip::<Addr6, L3>(packet, &endpoint, tag.is_established())
            .unwrap_or_else(|IcmpError| related::judge_at_exit::<Addr6, L3>(packet, &endpoint)),
        _ => Reason::NotIp,
    };
    if reason.matters_only_if_isolated() { if_isolated(reason, config, Direction::Egress) } else { reason }
}

/// Whether connection tracking says that a packet answers, as far as the loader has found out where it says so.
#[inline(always)]
fn is_reply<const L3: u32>(packet: &Packet<'_, L3>) -> bool {
    let at = maps::CONNTRACK.load();
    at != 0 && packet.is_reply(at)
}

/// What happens to an IP packet. A function of its own for the sake of the stack, as its like in `program`.
#[inline(never)]
fn ip<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
    established: bool,
) -> Result<Reason, IcmpError> {
    let mut scene = MaybeUninit::uninit();
    match fill::<F, L3>(packet, endpoint, &mut scene) {
        Err(NoScene::Fate(reason)) => Ok(reason),
        Err(NoScene::IcmpError) => Err(IcmpError),
        // SAFETY: `fill` has filled it in.
        Ok(()) => Ok(by_flow(unsafe { scene.assume_init_ref() }, established)),
    }
}

#[inline(never)]
fn fill<'a, F: Family, const L3: u32>(
    packet: &Packet<'a, L3>,
    endpoint: &Endpoint<'a>,
    scene: &mut MaybeUninit<Scene<'a, F>>,
) -> Result<(), NoScene> {
    read::read_at::<F, L3>(packet, endpoint, scene, Direction::Egress, place::EXIT)
}

/// What happens to a packet: only the first one of a connection asks policy. Answers do not come by here.
#[inline(always)]
fn by_flow<F: Family>(scene: &Scene<'_, F>, established: bool) -> Reason {
    if scene.protocol == protocol::TCP && tcp::opens(scene.tcp_flags) {
        return flow::open_tcp(scene);
    }
    if let Some(found) = F::flows().get_ptr_mut(&scene.key) {
        // SAFETY: the map's element; may be reused by another flow while we look, as in every LRU map of the kernel.
        let found = unsafe { &*found };
        if scene.is_usable(found) {
            return known(scene, found, established);
        }
    }
    unknown(scene, established)
}

#[inline(always)]
fn known<F: Family>(scene: &Scene<'_, F>, found: &Flow, established: bool) -> Reason {
    if found.stamp != scene.stamp {
        return flow::outdated(scene, found).unwrap_or_else(|AsNew| flow::in_own_direction(scene));
    }
    if established && found.state & state::PENDING != 0 {
        flow::change(scene, found, scene.next_state(found.state) & !state::OF_PENDING | state::ANSWERED);
    } else {
        flow::touch(scene, found, Direction::Egress);
    }
    Reason::Established
}

/// A packet of a flow that has no entry here: its first, or the first since policy isolates its pod, or the entry was
/// evicted.
#[inline(never)]
fn unknown<F: Family>(scene: &Scene<'_, F>, established: bool) -> Reason {
    if !established || !scene.opens_flow {
        return flow::in_own_direction(scene);
    }
    match scene.verdict(Direction::Egress) {
        Ok(rule) => {
            let entry = scene.flow(state::OPENED_EGRESS | state::ANSWERED, rule);
            scene.store(&entry, scene.passed(rule, true))
        }
        Err(reason) if reason.is_by_policy() && scene.protocol == protocol::TCP => {
            if scene.keeps() && is_answered(scene) { Reason::Kept } else { Reason::Cut }
        }
        Err(reason) => reason,
    }
}

/// Whether the end that a packet goes to has answered in its connection: what is established at the pod says nothing of who is
/// behind a Service now. Connection tracking may have forgotten the connection, and begun another one with this packet.
#[inline(always)]
fn is_answered<F: Family>(scene: &Scene<'_, F>) -> bool {
    let at = maps::CONNTRACK.load();
    at != 0 && scene.packet.opening(at).is_some_and(Opening::is_answered)
}
