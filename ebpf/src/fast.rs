//! What most packets are: whole, without options, and either an open pod's or of a flow that is known, current and as
//! it was. They cost one look-up. Whatever else a packet is, it is left to `program`, which judges all packets alike.
//!
//! A packet goes on here only if `program` lets it go on with the same tag and counts the same reason. Where that is
//! not certain, it is not decided here.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use podgate_common::{
    Addr4, Addr6, Direction, Flow, FlowKey, FlowPorts, Holder, NetPort, Reason, SlotWord, Stamp, Tag, VERDICT_DEFERRED,
    map, place, protocol, state,
};

use crate::arrival::{is_for, is_routed};
use crate::checksum::is_overwritten_here;
use crate::clock;
use crate::events;
use crate::family::Family;
use crate::maps;
use crate::neighbours;
use crate::origin::may_be_translated;
use crate::packet::{ETHERNET, Frame};
use crate::parse::{Fragment, HEADER4, HEADER6, Headers, ethertype};
use crate::rules;

/// How a packet goes on.
struct GoesOn {
    slot: u32,
    reason: Reason,
    /// The tag of one that leaves its pod.
    tag: Tag,
}

/// Judges a packet here, or by the whole program. A tail call, since what both take does not fit one stack; and so that
/// this program has no functions of its own, which some kernels allow no program that makes tail calls (arm64 before
/// Linux 6.0).
#[inline(always)]
pub fn run(ctx: &TcContext, direction: Direction) -> i32 {
    let packet = Frame::new(ctx.skb.skb);
    packet.note_missing(false);
    if let Some(GoesOn { slot, reason, .. }) = judge(&packet, direction) {
        events::count(&packet, slot, direction, reason);
        return TC_ACT_UNSPEC;
    }
    // SAFETY: a valid context. It returns only if there is no such program.
    unsafe { maps::WHOLE.tail_call(ctx, direction as u32) };
    events::count(&packet, 0, direction, Reason::Internal);
    TC_ACT_SHOT
}

/// Judges a packet that it is certain of, and gives it its tag, or takes it away.
#[inline(always)]
fn judge(packet: &Frame<'_>, direction: Direction) -> Option<GoesOn> {
    if maps::TRACE.load() != 0 || packet.has_vlan_metadata() || neighbours::is_suspect(packet) {
        return None;
    }
    let place = maps::INTERFACES.get(packet.ifindex() & (map::capacity::INTERFACES - 1))?;
    let slot = place.slot();
    if place.ifindex() != packet.ifindex() || slot == 0 || slot >= map::ENDPOINTS {
        return None;
    }
    let word = maps::slot_word(slot)?;
    let goes_on = if word.config() != 0 {
        isolated(packet, slot, word, direction)?
    } else if comes_plainly(packet, slot, direction) {
        GoesOn { slot, reason: Reason::NotIsolated, tag: Tag::settled(maps::SET.load(), slot) }
    } else {
        return None;
    };
    match direction {
        Direction::Ingress if packet.tag().is_present() => packet.clear_tag(),
        Direction::Ingress => {}
        Direction::Egress => packet.set_tag(goes_on.tag),
    }
    Some(goes_on)
}

/// Whether nothing is to be asked about where a packet comes from.
#[inline(always)]
fn comes_plainly(packet: &Frame<'_>, slot: u32, direction: Direction) -> bool {
    match direction {
        Direction::Ingress => arrives_plainly(packet, slot),
        Direction::Egress => neighbours::has_first_source(packet, slot),
    }
}

/// The same of a packet that is about to enter a pod. Who made one that no interface
/// brought matters only to flows that the node opened.
#[inline(always)]
fn arrives_plainly(packet: &Frame<'_>, slot: u32) -> bool {
    let tag = packet.tag();
    if !tag.is_present() {
        let ifindex = packet.ingress_ifindex();
        return ifindex == 0 || maps::slot_of(ifindex).is_none_or(|slot| slot == 0);
    }
    if tag.is_foreign() {
        return true;
    }
    if tag.set() != maps::SET.load() {
        return tag.is_judged() || tag.is_settled();
    }
    if tag.slot() == slot {
        return false;
    }
    tag.is_settled() || tag.is_judged() && (is_routed(slot) || is_for(packet, slot)) && !may_be_translated(packet)
}

/// The same of a packet of a pod that is isolated.
#[inline(always)]
fn isolated(packet: &Frame<'_>, slot: u32, word: SlotWord, direction: Direction) -> Option<GoesOn> {
    match packet.ethertype() {
        ethertype::IPV4 => by_flow(packet, slot, word, direction, &read4(packet)?),
        ethertype::IPV6 => by_flow(packet, slot, word, direction, &read6(packet)?),
        _ => None,
    }
}

/// What is read of a packet.
struct Plain<F> {
    source: F,
    destination: F,
    source_port: NetPort,
    destination_port: NetPort,
    protocol: u8,
}

/// Reads TCP or UDP in a whole IPv4 packet without options.
#[inline(always)]
fn read4(packet: &Frame<'_>) -> Option<Plain<Addr4>> {
    const VERSION_AND_LENGTH: u8 = 0x45;
    /// All of the field but "don't fragment".
    const FRAGMENT: u8 = 0xbf;
    let [first, second, third, source, destination] = packet.read::<[u32; 5]>(ETHERNET as usize)?;
    let [version, _tos, length_high, length_low] = first.to_ne_bytes();
    let [_, _, fragment, offset] = second.to_ne_bytes();
    let [_, protocol, _, _] = third.to_ne_bytes();
    let length = u32::from(u16::from_be_bytes([length_high, length_low]));
    if version != VERSION_AND_LENGTH || (fragment & FRAGMENT) | offset != 0 {
        return None;
    }
    let address = |word: u32| Addr4::from_octets(word.to_ne_bytes());
    read(packet, (address(source), address(destination)), protocol, HEADER4, length)
}

/// Reads TCP or UDP in a whole IPv6 packet without extension headers.
#[inline(always)]
fn read6(packet: &Frame<'_>) -> Option<Plain<Addr6>> {
    let [first, second] = packet.read::<[u32; 2]>(ETHERNET as usize)?;
    let [length_high, length_low, protocol, _] = second.to_ne_bytes();
    let length = u32::from(u16::from_be_bytes([length_high, length_low]));
    if first.to_ne_bytes()[0] >> 4 != 6 {
        return None;
    }
    let [a, b, c, d, e, f, g, h] = packet.read::<[u32; 8]>(ETHERNET as usize + 8)?;
    let ends = (Addr6::from_words([a, b, c, d]), Addr6::from_words([e, f, g, h]));
    read(packet, ends, protocol, HEADER6, HEADER6 + length)
}

/// Reads the transport header behind an IP header of this length; `length` is the packet's from the IP header on. A
/// checksum that the kernel is yet to write is one of those.
#[inline(always)]
fn read<F>(
    packet: &Frame<'_>,
    (source, destination): (F, F),
    protocol: u8,
    header: u32,
    length: u32,
) -> Option<Plain<F>> {
    let at = ETHERNET + header;
    let room = length.checked_sub(header)?;
    if ETHERNET + length > packet.length() {
        return None;
    }
    let ports = match protocol {
        protocol::TCP => {
            let [ports, _, _, fourth] = packet.read::<[u32; 4]>(at as usize)?;
            let [offset, flags, ..] = fourth.to_ne_bytes();
            let words = u32::from(offset >> 4);
            if flags & rules::tcp::CHANGES != 0 || words < 5 || words * 4 > room {
                return None;
            }
            ports
        }
        protocol::UDP => {
            let [ports, second] = packet.read::<[u32; 2]>(at as usize)?;
            let [high, low, ..] = second.to_ne_bytes();
            let told = u32::from(u16::from_be_bytes([high, low]));
            if told < 8 || told > room {
                return None;
            }
            ports
        }
        _ => return None,
    };
    let headers = Headers { protocol, l4: at, end: ETHERNET + length, fragment: Fragment::Whole };
    if is_overwritten_here(packet, &headers) {
        return None;
    }
    let [a, b, c, d] = ports.to_ne_bytes();
    let [source_port, destination_port] = [[a, b], [c, d]].map(|port| NetPort::from_network(u16::from_ne_bytes(port)));
    Some(Plain { source, destination, source_port, destination_port, protocol })
}

/// Asks the flow that a packet belongs to.
#[inline(always)]
fn by_flow<F: Family>(
    packet: &Frame<'_>,
    slot: u32,
    word: SlotWord,
    direction: Direction,
    plain: &Plain<F>,
) -> Option<GoesOn> {
    if !comes_plainly(packet, slot, direction) {
        return None;
    }
    let config = maps::CONFIGS.get(word.config())?;
    let (local, remote, ports) = match direction {
        Direction::Ingress => {
            (plain.destination, plain.source, FlowPorts::new(plain.destination_port, plain.source_port))
        }
        Direction::Egress => {
            (plain.source, plain.destination, FlowPorts::new(plain.source_port, plain.destination_port))
        }
    };
    if local != F::of(config) || local.is_unspecified() {
        return None;
    }
    // Read before the flow is: see `Scene::stamp`.
    let stamp = Stamp::new(word.generation(), maps::epoch(remote.epoch_index()));
    let key = FlowKey { remote, ports, holder: Holder::new(plain.protocol, place::POD, slot) };
    let Some(flow) = F::flows().get_ptr_mut(&key) else {
        packet.note_missing(true);
        return None;
    };
    unchanged(flow, &key, stamp, plain.protocol, direction)
}

/// How a packet goes on whose flow is current, and as it would be after this packet.
#[inline(always)]
fn unchanged<F: Family>(
    flow: *mut Flow,
    key: &FlowKey<F>,
    stamp: Stamp,
    protocol: u8,
    direction: Direction,
) -> Option<GoesOn> {
    // SAFETY: as in `flow::judge`.
    let flow = unsafe { &*flow };
    let is_recent = clock::jiffies().wrapping_sub(flow.seen) < clock::hz();
    let is_unchanged = rules::stays(flow.state, protocol, direction);
    let is_strangers = direction == Direction::Ingress && flow.state & state::NODE != 0;
    if flow.stamp != stamp || !is_recent || !is_unchanged || is_strangers {
        return None;
    }
    let (set, slot) = (maps::SET.load(), key.holder.slot());
    let (reason, tag) = if direction == Direction::Ingress {
        (Reason::Established, Tag::from_raw(0))
    } else if flow.rule == VERDICT_DEFERRED {
        (Reason::Deferred, Tag::deferred(set, slot, flow.state & state::PENDING == 0))
    } else if flow.state & state::ANSWERS_ONLY != 0 {
        (Reason::Established, Tag::answer(set, slot))
    } else {
        (Reason::Established, Tag::judged(set, slot))
    };
    Some(GoesOn { slot, reason, tag })
}
