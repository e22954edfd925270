//! What is about to enter a pod: where it comes from, and whether the policies of the pod that sent it let it go here.

use aya_ebpf::bindings::__sk_buff;
use podgate_common::{
    Addr4, Addr6, Direction, EndpointConfig, EthernetSource, OwnAddressKey, Reason, Tag, VERDICT_NONE, Verdict, exits,
};

use crate::endpoint::{Origin, if_isolated, is_isolated, is_own};
use crate::events;
use crate::exit;
use crate::family::Family;
use crate::maps;
use crate::origin::{by_interface, is_translated, lost_tag, refuse_stranger};
use crate::packet::{self, Frame, Packet};
use crate::parse::ethertype;

/// Tells where a packet comes from that is about to enter the pod of a slot, and takes its tag away: a tag must not
/// get into another network namespace. `None`: a pod's policies do not allow it to go here; it is counted.
#[inline(always)]
pub(crate) fn arrive(packet: &Packet<'_>, slot: u32) -> Option<Origin> {
    let tag = packet.tag();
    if !tag.is_present() {
        let ifindex = packet.ingress_ifindex();
        return match lost_tag(packet, ifindex, exits::UNTAGGED) {
            None => Some(by_interface(packet, ifindex)),
            Some(tag) => arrive_tagged(packet, slot, tag),
        };
    }
    packet.clear_tag();
    if tag.is_foreign() {
        return Some(Origin::ELSEWHERE);
    }
    if tag.set() == maps::SET.load() {
        return arrive_tagged(packet, slot, tag);
    }
    if tag.is_judged() || tag.is_settled() {
        return Some(Origin::ELSEWHERE);
    }
    match lost_tag(packet, packet.ingress_ifindex(), exits::OTHERS_TAG) {
        Some(tag) => arrive_tagged(packet, slot, tag),
        None => {
            refuse_stranger(packet);
            None
        }
    }
}

#[inline(always)]
fn arrive_tagged(packet: &Packet<'_>, slot: u32, tag: Tag) -> Option<Origin> {
    let origin = Origin::by_slots(tag.slot(), slot);
    if tag.is_settled() {
        return Some(origin);
    }
    if origin.is_itself() {
        if !tag.is_judged() {
            events::count(packet, slot, Direction::Egress, Reason::Itself);
        }
        return Some(origin);
    }
    let may_stray = !is_routed(slot) && !is_for(packet, slot);
    if may_stray && podgate_refuse_stray(packet.context(), slot, u32::from(tag.raw())) != 0 {
        return None;
    }
    if tag.is_judged() && !is_translated(packet) {
        return Some(origin);
    }
    let allowed = exit::podgate_settle(packet.context(), u32::from(tag.raw())) == 0;
    allowed.then_some(origin)
}

/// Drops and counts a packet that a bridge gives to the pod in a slot though it is not for it, unless the policies of the pod that
/// sent it let it speak to everybody; 0: it goes on. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_refuse_stray(context: *mut __sk_buff, to: u32, tag: u32) -> u32 {
    let packet = Frame::new(context);
    if !strays(&packet, to) {
        return 0;
    }
    let slot = Tag::from_raw(tag as u16).slot();
    let Some(word) = maps::slot_word(slot).filter(|word| word.config() != 0) else { return 0 };
    let reason = match maps::CONFIGS.get(word.config()) {
        None => Reason::Internal,
        Some(config) if !is_isolated(config, Direction::Egress) || may_open_all(config) => return 0,
        Some(config) => if_isolated(Reason::NoRule, config, Direction::Egress),
    };
    events::count(&packet, slot, Direction::Egress, reason);
    events::report(&packet, slot, word.generation(), Direction::Egress, reason);
    if reason.verdict() != Verdict::Denied {
        return 0;
    }
    events::count_exit(exits::DENIED);
    1
}

/// Whether a rule allows egress to everybody.
#[inline(always)]
fn may_open_all(config: &EndpointConfig) -> bool {
    maps::ROWS.get(config.default_row[Direction::Egress as usize]).is_some_and(|row| row.any != VERDICT_NONE)
}

/// Whether a pod of a bridge is given a packet that is for another address than its own, while its kernel, which has the Ethernet
/// address, may take it.
#[inline(always)]
fn strays(packet: &Frame<'_>, slot: u32) -> bool {
    let [own, later] = [false, true].map(|later| ethernet_source(slot, later));
    let to = packet.read_or_load::<[u16; 3]>(0).unwrap_or_default();
    let is_group = to[0].to_ne_bytes()[0] & 1 != 0;
    let to = EthernetSource::of(to).raw();
    if !is_group && to != own && to != later {
        return false;
    }
    let key = match packet.ethertype() {
        ethertype::IPV4 => {
            let to = packet.read_or_load::<u32>(packet::ETHERNET + 16).unwrap_or(0).to_ne_bytes();
            let address = Addr4::from_octets(to);
            if address.is_group() {
                return false;
            }
            OwnAddressKey::v4(slot, address)
        }
        ethertype::IPV6 => {
            let to = Addr6::from_words(packet.read_or_load::<[u32; 4]>(packet::ETHERNET + 24).unwrap_or_default());
            if to.is_group() {
                return false;
            }
            OwnAddressKey::v6(slot, to)
        }
        _ => return false,
    };
    !is_own(&key, slot)
}

/// Whether a packet is for the address of the pod in a slot; of one with several addresses [`is_own`] knows more.
#[inline(always)]
pub(crate) fn is_for(packet: &Packet<'_>, slot: u32) -> bool {
    let Some(own) = maps::POD_ADDRESSES.get(slot) else { return false };
    match packet.ethertype() {
        ethertype::IPV4 => Addr4::ends(packet).is_ok_and(|(_, to)| !to.is_unspecified() && to == own.v4),
        ethertype::IPV6 => Addr6::ends(packet).is_ok_and(|(_, to)| !to.is_unspecified() && to == own.v6),
        _ => false,
    }
}

/// Whether nothing is asked of the Ethernet addresses of a pod's frames: it routes, or is reached by routes.
#[inline(always)]
pub(crate) fn is_routed(slot: u32) -> bool {
    ethernet_source(slot, false) == EthernetSource::ANY.raw()
}

/// A number: the verifier doesn't take what the compiler makes of a comparison of two that may be none.
#[inline(always)]
fn ethernet_source(slot: u32, later: bool) -> u64 {
    maps::ethernet_source(slot, later).map_or(0, EthernetSource::raw)
}
