//! What pods say to their neighbours: passes whatever the policies say, and is dropped where a pod speaks for another.

use aya_ebpf::bindings::__sk_buff;
use podgate_common::{Addr6, Direction, EthernetSource, OwnAddressKey, Reason, Tag, map};

use crate::checksum::is_unsummed;
use crate::discovery::{self, Arp, Message};
use crate::endpoint::{is_checked, is_own, speaks_for_all};
use crate::maps;
use crate::packet::{ETHERNET, ETHERNET_SOURCE, Frame};
use crate::parse::{self, ethertype};

/// Where a packet is looked at, as it crosses a function call of the BPF machine.
mod place {
    pub(super) const ENTERS: u32 = 0;
    pub(super) const LEAVES: u32 = 1;
    pub(super) const EXIT: u32 = 2;
}

/// Why a frame may not leave a pod, by its Ethernet source: a bridge learns from it where that address is, and sends there
/// what is for another. `None`: it may.
#[inline(always)]
pub(crate) fn judge_source(packet: &Frame<'_>, slot: u32) -> Option<Reason> {
    let Some(permitted) = maps::ethernet_source(slot, false) else { return Some(Reason::Internal) };
    if permits(permitted, packet) {
        return None;
    }
    match judge_other_source(slot, permitted.raw(), linear_source(packet).raw()) {
        UNDECIDED => None,
        NO_ENDPOINT => Some(Reason::NoEndpoint),
        _ => Some(Reason::NeighbourSpoofed),
    }
}

/// Whether a frame that leaves a pod may do so by what is known of the first address of the pod's interface.
#[inline(always)]
pub(crate) fn has_first_source(packet: &Frame<'_>, slot: u32) -> bool {
    maps::ethernet_source(slot, false).is_some_and(|permitted| permits(permitted, packet))
}

#[inline(always)]
fn permits(permitted: EthernetSource, packet: &Frame<'_>) -> bool {
    permitted == EthernetSource::ANY || permitted == linear_source(packet)
}

/// The Ethernet address that a frame comes from, which is in linear memory where a hook is.
#[inline(always)]
fn linear_source(packet: &Frame<'_>) -> EthernetSource {
    EthernetSource::of(packet.read::<[u16; 3]>(ETHERNET_SOURCE as usize).unwrap_or_default())
}

/// The same for those that do not come from the first address of their pod's interface. Not `#[cold]`: the loader finds
/// no function outside of `.text`.
#[inline(never)]
fn judge_other_source(slot: u32, permitted: u64, source: u64) -> u32 {
    if EthernetSource::from_raw(permitted) == EthernetSource::UNKNOWN {
        return NO_ENDPOINT;
    }
    let later = maps::ethernet_source(slot, true).map_or(0, EthernetSource::raw);
    if later == source { UNDECIDED } else { NEIGHBOUR_SPOOFED }
}

/// What becomes of a packet that may be discovery; `None`: it is judged as any other. Called before anything else is
/// known of the packet, and so at every pod: one comparison tells the others.
#[inline(always)]
pub(crate) fn judge(packet: &Frame<'_>, slot: u32, direction: Direction) -> Option<Reason> {
    if !is_suspect(packet) {
        return None;
    }
    let place = match direction {
        Direction::Ingress => place::ENTERS,
        Direction::Egress => place::LEAVES,
    };
    match podgate_neighbours(packet.context(), slot, place) {
        UNDECIDED => None,
        code => Some(Reason::from_code(code as u8).unwrap_or(Reason::Internal)),
    }
}

/// Whether a packet that a pod sent to a neighbour leaves the host on the same link.
#[inline(always)]
pub(crate) fn is_discovery_at_exit(packet: *mut __sk_buff) -> bool {
    let packet = Frame::new(packet);
    is_suspect(&packet) && podgate_neighbours(packet.context(), 0, place::EXIT) == DISCOVERY
}

const UNDECIDED: u32 = 0;
const DISCOVERY: u32 = Reason::Discovery as u32;
const NO_ENDPOINT: u32 = Reason::NoEndpoint as u32;
const NEIGHBOUR_SPOOFED: u32 = Reason::NeighbourSpoofed as u32;
const ROGUE_ROUTER: u32 = Reason::RogueRouter as u32;
const WITHHELD: u32 = Reason::DiscoveryWithheld as u32;
const MALFORMED: u32 = Reason::Malformed as u32;
const VLAN: u32 = Reason::Vlan as u32;

/// Whether a closer look is needed.
#[inline(always)]
pub(crate) fn is_suspect(packet: &Frame<'_>) -> bool {
    match packet.ethertype() {
        ethertype::IPV4 => false,
        ethertype::IPV6 => packet.read::<u8>(ETHERNET as usize + 6).is_none_or(discovery::may_follow),
        ethertype::ARP | ethertype::VLAN | ethertype::QINQ | ethertype::LLC => true,
        _ => false,
    }
}

/// A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_neighbours(context: *mut __sk_buff, slot: u32, place: u32) -> u32 {
    let packet = Frame::new(context);
    match packet.ethertype() {
        ethertype::ARP => arp(&packet, slot, place),
        ethertype::IPV6 => ip6(&packet, slot, place),
        ethertype::LLC => of_bridge(&packet, slot, place),
        _ => tagged_twice(&packet, place),
    }
}

/// ARP: whoever hears it believes the sender's address, in a request as in a reply. Of one that leaves out who asks it
/// believes that somebody else wants the address that it is about (RFC 5227, section 2.1.1).
#[inline(always)]
fn arp(packet: &Frame<'_>, slot: u32, place: u32) -> u32 {
    let Some(arp) = Arp::read(packet) else { return UNDECIDED };
    if place == place::LEAVES {
        if is_unsummed(packet) {
            return MALFORMED;
        }
        let (claimed, otherwise) =
            if arp.is_probe() { (arp.target, WITHHELD) } else { (arp.sender, NEIGHBOUR_SPOOFED) };
        if !is_own(&OwnAddressKey::v4(slot, claimed), slot) {
            return otherwise;
        }
        if is_checked(slot) && arp.hardware != source(packet) {
            return NEIGHBOUR_SPOOFED;
        }
    }
    let is_bare = place != place::LEAVES || arp.is_filled_with_zeros(packet);
    if arp.is_valid() && is_bare { pass(packet, slot, place, false) } else { UNDECIDED }
}

/// Neighbour and listener discovery.
#[inline(always)]
fn ip6(packet: &Frame<'_>, slot: u32, place: u32) -> u32 {
    packet.linearise();
    let mut message = Message::NONE;
    if Message::read(packet, &mut message).is_err() {
        // A receiver may follow more extension headers than this program can, to whatever stands behind them.
        return if place == place::LEAVES && follows_extension(packet) { MALFORMED } else { UNDECIDED };
    }
    match place {
        // ICMPv6's checksum is made by its sender.
        place::LEAVES if message.kind != Message::NONE.kind && is_unsummed(packet) => return MALFORMED,
        place::ENTERS if message.is_of_router() && is_of_pod(packet) => return ROGUE_ROUTER,
        place::LEAVES if !is_truthful(&message, slot) => {
            return match (message.is_of_neighbour(), message.is_duplicate_detection()) {
                (false, _) => UNDECIDED,
                (true, false) => NEIGHBOUR_SPOOFED,
                (true, true) => WITHHELD,
            };
        }
        place::LEAVES if (message.is_of_router() || message.asks_listeners()) && !speaks_for_all(slot) => {
            return ROGUE_ROUTER;
        }
        place::LEAVES if is_checked(slot) && misleads(packet, &message) => return NEIGHBOUR_SPOOFED,
        _ => {}
    }
    let direction = if place == place::ENTERS { Direction::Ingress } else { Direction::Egress };
    if !message.is_valid(direction) {
        return UNDECIDED;
    }
    if place == place::ENTERS && message.is_of_listener() && !speaks_for_all(slot) {
        return WITHHELD;
    }
    pass(packet, slot, place, message.may_be_forwarded())
}

/// Whether a pod speaks for itself alone. One without an address yet sends from the unspecified one; what it looks for a
/// duplicate of is then what it wants for its own (RFC 4862, section 5.4).
#[inline(always)]
fn is_truthful(message: &Message, slot: u32) -> bool {
    let is_own = |address: Addr6| is_own(&OwnAddressKey::v6(slot, address), slot);
    (message.source.is_unspecified() || is_own(message.source))
        && (!message.is_advertisement() && !message.is_duplicate_detection() || is_own(message.target))
}

/// Whether neighbours may learn another Ethernet address from it than that which it comes from. Of what is not valid nobody
/// knows what a receiver takes from it.
#[inline(always)]
fn misleads(packet: &Frame<'_>, message: &Message) -> bool {
    message.is_of_neighbour()
        && (!message.is_valid(Direction::Egress) || message.tells_other_than(packet, source(packet)))
}

/// The Ethernet address that a frame comes from.
#[inline(always)]
fn source(packet: &Frame<'_>) -> [u16; 3] {
    packet.load::<[u16; 3]>(ETHERNET_SOURCE).unwrap_or_default()
}

/// Whether a pod of this node sent a packet that is about to enter another.
#[inline(always)]
fn is_of_pod(packet: &Frame<'_>) -> bool {
    let is_pods = |slot: u32| slot != 0 && slot < map::ENDPOINTS;
    let tag = packet.tag();
    tag.is_present() && !tag.is_foreign() || maps::slot_of(packet.ingress_ifindex()).is_some_and(is_pods)
}

#[inline(always)]
fn follows_extension(packet: &Frame<'_>) -> bool {
    packet.load::<u8>(ETHERNET + 6).is_some_and(parse::is_extension)
}

/// Lets discovery pass. `forwarded`: a router would take it beyond the link, where it means nothing but may carry what
/// policy denies; so it is judged at the exit, if it gets there by routing.
#[inline(always)]
fn pass(packet: &Frame<'_>, slot: u32, place: u32, forwarded: bool) -> u32 {
    if packet.has_vlan_metadata() {
        return UNDECIDED;
    }
    match place {
        place::ENTERS => packet.clear_tag(),
        place::LEAVES if forwarded => packet.set_tag(Tag::deferred(maps::SET.load(), slot, false)),
        place::LEAVES => packet.set_tag(Tag::judged(maps::SET.load(), slot)),
        _ => {}
    }
    DISCOVERY
}

/// What bridges say to each other (IEEE 802.1D, clause 7.12.3): a bridge that runs the spanning tree protocol believes it,
/// and follows whoever says that it is the root.
#[inline(always)]
fn of_bridge(packet: &Frame<'_>, slot: u32, place: u32) -> u32 {
    /// 01:80:c2:00:00:00 to 01:80:c2:00:00:0f.
    const RESERVED: [u16; 3] = [u16::from_be(0x0180), u16::from_be(0xc200), u16::from_be(0x0000)];
    let [first, second, third] = packet.load::<[u16; 3]>(0).unwrap_or_default();
    let is_reserved = [first, second, third & u16::from_be(0xfff0)] == RESERVED;
    if place == place::LEAVES && is_reserved && is_checked(slot) { ROGUE_ROUTER } else { UNDECIDED }
}

/// A frame with two VLAN tags, the outer of which the kernel has taken off. A bridge may take off the outer one for good, if it
/// names the port's own VLAN. If the other one names none the receiver takes it off (`__netif_receive_skb_core` of Linux), and
/// sees what is behind.
#[inline(always)]
fn tagged_twice(packet: &Frame<'_>, place: u32) -> u32 {
    const VLAN_ID: u16 = 0xfff;
    let names_none = |control: u16| u16::from_be(control) & VLAN_ID == 0;
    let hides = packet.load::<u16>(ETHERNET).is_some_and(names_none);
    if place == place::LEAVES && hides { VLAN } else { UNDECIDED }
}
