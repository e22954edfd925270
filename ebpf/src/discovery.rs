//! How neighbours find each other: ARP, IPv6 neighbour discovery, multicast listener discovery.
//!
//! Such packets pass whatever the policies say, so they must be exactly what the RFCs call valid: anything else with
//! the same type is judged as any other packet. [`Message`] and [`Arp`] say what a packet is; whose addresses it may
//! speak for is known to `neighbours` alone.

use podgate_common::{Addr4, Addr6, Direction, Reason, protocol};

use crate::packet::{ETHERNET, Frame};
use crate::parse::{self, Fragment, HEADER6, Headers};

/// ICMPv6 types of neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710, RFC 3810).
pub mod kind {
    /// MLD query.
    pub const LISTENER_QUERY: u8 = 130;
    /// MLDv1 report.
    pub const LISTENER_REPORT: u8 = 131;
    /// MLDv1 done.
    pub const LISTENER_DONE: u8 = 132;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// MLDv2 report.
    pub const LISTENER_REPORT_2: u8 = 143;
}

/// Options of neighbour discovery that pass. Each of them has eight bytes.
mod option {
    /// Source link-layer address (RFC 4861).
    pub(super) const SOURCE: u8 = 1;
    /// Target link-layer address (RFC 4861).
    pub(super) const TARGET: u8 = 2;
    /// Nonce (RFC 3971), by which a sender knows its own solicitations again (RFC 7527).
    pub(super) const NONCE: u8 = 14;
}

/// Whether an IPv6 packet whose header names this next header may be discovery.
#[must_use]
#[inline(always)]
pub const fn may_follow(next_header: u8) -> bool {
    next_header == protocol::ICMPV6 || parse::is_extension(next_header)
}

/// Which headers stand before the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The IPv6 header alone, as neighbour discovery has it.
    Plain,
    /// A hop-by-hop header with a router alert and nothing else, as multicast listener discovery has it.
    RouterAlert,
    /// Any others.
    Other,
}

/// An ICMPv6 message as far as the rules of discovery look at it. What lies behind its end is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Source address of the IPv6 header.
    pub source: Addr6,
    /// Destination address of the IPv6 header.
    pub destination: Addr6,
    /// Hop limit of the IPv6 header.
    pub hop_limit: u8,
    /// Which headers stand before it.
    pub framing: Framing,
    /// ICMPv6 type.
    pub kind: u8,
    /// ICMPv6 code.
    pub code: u8,
    /// Bytes from the ICMPv6 header to the packet's end.
    pub length: u32,
    /// Bytes of the frame behind that.
    trailer: u32,
    /// Bytes 4 to 8: flags of an advertisement, the number of records in an MLDv2 report.
    second: u32,
    /// Bytes 8 to 24: the address that a solicitation or advertisement is about, or the group.
    pub target: Addr6,
    /// Bytes 24 to 28: the first option, or the number of sources in an MLDv2 query.
    tail: [u16; 2],
    /// Bytes 32 and 33: the second option.
    second_option: u16,
}

impl Message {
    /// No message at all, which is valid nowhere.
    pub const NONE: Self = Self {
        source: Addr6::from_words([0; 4]),
        destination: Addr6::from_words([0; 4]),
        hop_limit: 0,
        framing: Framing::Other,
        kind: 0,
        code: 0,
        length: 0,
        trailer: 0,
        second: 0,
        target: Addr6::from_words([0; 4]),
        tail: [0; 2],
        second_option: 0,
    };

    /// Reads an IPv6 packet into `message`, which stays [`Self::NONE`] if it is no ICMPv6 message, or a part of one that
    /// does not say what it is. Fills in a place, as the parser does: the compiler would copy what a missing value has
    /// not got, and the verifier refuses that.
    ///
    /// # Errors
    /// Its headers can't be followed.
    #[inline(always)]
    pub fn read(packet: &Frame<'_>, message: &mut Self) -> Result<(), Reason> {
        let mut headers = Headers::NONE;
        parse::ipv6(packet, &mut headers)?;
        if headers.protocol == protocol::ICMPV6 && headers.fragment != Fragment::Later {
            message.fill(packet, &headers);
        }
        Ok(())
    }

    #[inline(always)]
    fn fill(&mut self, packet: &Frame<'_>, headers: &Headers) {
        let (at, length) = (headers.l4, headers.end - headers.l4);
        let Some(fixed) = packet.load::<[u32; 10]>(ETHERNET) else { return };
        if length < 8 {
            return;
        }
        let Some([first, second]) = packet.load::<[u32; 2]>(at) else { return };
        let mut target = [0; 4];
        if length >= 24 {
            let Some(words) = packet.load::<[u32; 4]>(at + 8) else { return };
            target = words;
        } else if length >= 16 {
            let Some([one, other]) = packet.load::<[u32; 2]>(at + 8) else { return };
            target = [one, other, 0, 0];
        }
        if length >= 28 {
            let Some(tail) = packet.load::<[u16; 2]>(at + 24) else { return };
            self.tail = tail;
        }
        if length >= 34 {
            let Some(option) = packet.load::<u16>(at + 32) else { return };
            self.second_option = option;
        }
        let [_, second_word, a, b, c, d, e, f, g, h] = fixed;
        let [kind, code, _, _] = first.to_ne_bytes();
        self.source = Addr6::from_words([a, b, c, d]);
        self.destination = Addr6::from_words([e, f, g, h]);
        self.hop_limit = second_word.to_ne_bytes()[3];
        self.framing = framing(packet, headers);
        (self.length, self.trailer, self.second) = (length, packet.length() - headers.end, second);
        self.target = Addr6::from_words(target);
        (self.kind, self.code) = (kind, code);
    }

    /// Whether a receiver takes it for what a router says. Others ignore what was forwarded (RFC 4861, sections 6.1.2
    /// and 8.1).
    #[must_use]
    #[inline(always)]
    pub const fn is_of_router(&self) -> bool {
        self.hop_limit == 255 && matches!(self.kind, kind::ROUTER_ADVERTISEMENT | kind::REDIRECT)
    }

    /// Whether a receiver takes it for what a neighbour says of itself.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_neighbour(&self) -> bool {
        use kind::*;
        self.hop_limit == 255
            && matches!(self.kind, ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)
    }

    /// Whether a router asks by it what listeners listen to. A bridge takes its sender for the router to which groups lead,
    /// whether listeners take it for valid or not (`br_multicast_query_received` of Linux).
    #[must_use]
    #[inline(always)]
    pub const fn asks_listeners(&self) -> bool {
        self.kind == kind::LISTENER_QUERY
    }

    /// Whether a listener tells by it what it listens to.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_listener(&self) -> bool {
        use kind::*;
        matches!(self.kind, LISTENER_REPORT | LISTENER_DONE | LISTENER_REPORT_2)
    }

    /// Whether it says who has an address.
    #[must_use]
    #[inline(always)]
    pub const fn is_advertisement(&self) -> bool {
        self.kind == kind::NEIGHBOUR_ADVERTISEMENT
    }

    /// Whether it looks for a duplicate of the address that its sender wants (RFC 4862, section 5.4.2).
    #[must_use]
    #[inline(always)]
    pub const fn is_duplicate_detection(&self) -> bool {
        self.kind == kind::NEIGHBOUR_SOLICITATION && self.source.is_unspecified()
    }

    /// Whether it tells another link-layer address than this one, in an option that [`Self::is_valid`] knows.
    #[must_use]
    #[inline(always)]
    pub fn tells_other_than(&self, packet: &Frame<'_>, address: [u16; 3]) -> bool {
        let first = match self.kind {
            kind::ROUTER_SOLICITATION => 8,
            kind::NEIGHBOUR_SOLICITATION | kind::NEIGHBOUR_ADVERTISEMENT => 24,
            _ => return false,
        };
        let is_other = |at: u32| {
            let Some([head, a, b, c]) = packet.load::<[u16; 4]>(ETHERNET + HEADER6 + at) else { return false };
            let [option, _] = head.to_ne_bytes();
            at + 8 <= self.length && matches!(option, option::SOURCE | option::TARGET) && [a, b, c] != address
        };
        self.framing == Framing::Plain && (is_other(first) || is_other(first + 8))
    }

    /// Whether it goes to one node, perhaps beyond the link.
    #[must_use]
    #[inline(always)]
    pub fn may_be_forwarded(&self) -> bool {
        !is_multicast(&self.destination) && !self.destination.is_link_local()
    }

    /// Whether it is valid discovery in a direction, seen from a pod, which is no router.
    #[must_use]
    #[inline(always)]
    pub fn is_valid(&self, direction: Direction) -> bool {
        let enters = matches!(direction, Direction::Ingress);
        if self.code != 0 || is_multicast(&self.source) || !enters && self.carries_more() {
            return false;
        }
        match self.framing {
            Framing::Plain => self.hop_limit == 255 && self.is_valid_neighbour_discovery(enters),
            Framing::RouterAlert => self.hop_limit == 1 && self.is_valid_listener_discovery(enters),
            Framing::Other => false,
        }
    }

    /// Whether there is something in it that its receivers ignore and only those see who look for it: bits that are reserved,
    /// which its sender has to leave zero, or bytes behind its end, which no frame of this length needs.
    #[inline(always)]
    fn carries_more(&self) -> bool {
        let reserved: u32 = match self.kind {
            kind::NEIGHBOUR_ADVERTISEMENT => 0x1fff_ffff,
            kind::LISTENER_REPORT_2 => 0xffff_0000,
            _ => 0xffff_ffff,
        };
        self.trailer != 0 || u32::from_be(self.second) & reserved != 0
    }

    /// RFC 4861, sections 6.1, 7.1 and 8.1; RFC 4862, section 5.4.
    #[inline(always)]
    fn is_valid_neighbour_discovery(&self, enters: bool) -> bool {
        match self.kind {
            kind::ROUTER_SOLICITATION => self.is_router_solicitation(),
            kind::NEIGHBOUR_SOLICITATION => self.is_neighbour_solicitation(),
            kind::NEIGHBOUR_ADVERTISEMENT => self.is_neighbour_advertisement(),
            kind::ROUTER_ADVERTISEMENT => {
                let to_all = is_same(&self.destination, &ALL_NODES);
                enters && self.source.is_link_local() && self.length >= 16 && (to_all || is_node(&self.destination))
            }
            kind::REDIRECT => enters && self.source.is_link_local() && self.length >= 40 && is_node(&self.destination),
            _ => false,
        }
    }

    #[inline(always)]
    fn is_router_solicitation(&self) -> bool {
        let [first, _, second, _] = self.target.words();
        let options = [first_half(first), first_half(second)];
        is_same(&self.destination, &ALL_ROUTERS) && self.has_options(8, options, self.source_option())
    }

    #[inline(always)]
    fn is_neighbour_solicitation(&self) -> bool {
        let options = [self.tail[0], self.second_option];
        let asked = is_same(&self.destination, &self.target) && !self.source.is_unspecified();
        is_node(&self.target)
            && (asked || is_same(&self.destination, &solicited_node(&self.target)))
            && self.has_options(24, options, self.source_option())
    }

    #[inline(always)]
    fn is_neighbour_advertisement(&self) -> bool {
        const SOLICITED: u8 = 1 << 6;
        let [flags, _, _, _] = self.second.to_ne_bytes();
        let unsolicited = is_same(&self.destination, &ALL_NODES) && flags & SOLICITED == 0;
        is_node(&self.target)
            && is_node(&self.source)
            && (unsolicited || is_node(&self.destination))
            && self.has_options(24, [self.tail[0], self.second_option], option::TARGET)
    }

    /// The option that tells the sender's link-layer address, which a sender without an address does not tell.
    #[inline(always)]
    fn source_option(&self) -> u8 {
        if self.source.is_unspecified() { option::NONCE } else { option::SOURCE }
    }

    /// Whether all that follows from `first` on are options of a type, or nonces. Two are enough for all that senders use.
    #[inline(always)]
    fn has_options(&self, first: u32, [one, other]: [u16; 2], permitted: u8) -> bool {
        let is_permitted = |head: u16| {
            let [option, length] = head.to_ne_bytes();
            length == 1 && (option == permitted || option == option::NONCE)
        };
        match self.length.wrapping_sub(first) {
            0 => true,
            8 => is_permitted(one),
            16 => is_permitted(one) && is_permitted(other),
            _ => false,
        }
    }

    /// RFC 2710, sections 3 and 4; RFC 3590, section 4; RFC 3810, sections 5.1 and 5.2.
    #[inline(always)]
    fn is_valid_listener_discovery(&self, enters: bool) -> bool {
        let group = &self.target;
        let on_link = self.source.is_link_local();
        match self.kind {
            kind::LISTENER_QUERY => {
                let to_group = is_multicast(group) && is_same(&self.destination, group);
                let sources = u32::from(u16::from_be(self.tail[1]));
                let fits = self.length == 24 || self.length == 28 + sources * 16;
                enters && on_link && fits && (to_group || is_same(&self.destination, &ALL_NODES))
            }
            _ if !on_link && !self.source.is_unspecified() => false,
            kind::LISTENER_REPORT => self.length == 24 && is_multicast(group) && is_same(&self.destination, group),
            kind::LISTENER_DONE => self.length == 24 && is_multicast(group) && is_same(&self.destination, &ALL_ROUTERS),
            kind::LISTENER_REPORT_2 => is_same(&self.destination, &ALL_LISTENERS) && self.has_records(),
            _ => false,
        }
    }

    /// Whether an MLDv2 report is as long as its records, each of 20 bytes and 16 more for every source.
    #[inline(always)]
    fn has_records(&self) -> bool {
        let [_, _, high, low] = self.second.to_ne_bytes();
        let records = u32::from(u16::from_be_bytes([high, low]));
        let shortest = 8 + records * 20;
        records > 0 && self.length >= shortest && (self.length - shortest).is_multiple_of(16)
    }
}

/// Which headers stand between the IPv6 header and the message.
#[inline(always)]
fn framing(packet: &Frame<'_>, headers: &Headers) -> Framing {
    /// A hop-by-hop header before ICMPv6 with a router alert for MLD (RFC 2711), padded behind it or before.
    const ALERTS: [[u32; 2]; 2] = [
        [u32::from_ne_bytes([58, 0, 5, 2]), u32::from_ne_bytes([0, 0, 1, 0])],
        [u32::from_ne_bytes([58, 0, 1, 0]), u32::from_ne_bytes([5, 2, 0, 0])],
    ];
    const START: u32 = ETHERNET + HEADER6;
    if headers.fragment != Fragment::Whole {
        return Framing::Other;
    }
    if headers.l4 == START {
        return Framing::Plain;
    }
    let is_hop_by_hop = packet.load::<u8>(ETHERNET + 6) == Some(0);
    let Some([first, second]) = packet.load::<[u32; 2]>(START) else { return Framing::Other };
    let [behind, before] = ALERTS;
    let is_alert = (first, second) == (behind[0], behind[1]) || (first, second) == (before[0], before[1]);
    if headers.l4 == START + 8 && is_hop_by_hop && is_alert { Framing::RouterAlert } else { Framing::Other }
}

const ALL_NODES: Addr6 = link_scope(1);
const ALL_ROUTERS: Addr6 = link_scope(2);
/// All MLDv2-capable routers.
const ALL_LISTENERS: Addr6 = link_scope(0x16);

/// ff02::, with a last word.
const fn link_scope(last: u32) -> Addr6 {
    Addr6::from_words([0xff02_0000_u32.to_be(), 0, 0, last.to_be()])
}

/// The group in which whoever has an address is asked (RFC 4291, section 2.7.1).
#[inline(always)]
const fn solicited_node(target: &Addr6) -> Addr6 {
    let [_, _, _, last] = target.words();
    let last = u32::from_be(last) | 0xff00_0000;
    Addr6::from_words([0xff02_0000_u32.to_be(), 0, 1_u32.to_be(), last.to_be()])
}

#[inline(always)]
const fn is_multicast(address: &Addr6) -> bool {
    u32::from_be(address.words()[0]) >> 24 == 0xff
}

/// Whether this is the address of one node.
#[inline(always)]
const fn is_node(address: &Addr6) -> bool {
    !is_multicast(address) && !address.is_unspecified()
}

/// Compares word by word, where `==` would become a call.
#[inline(always)]
const fn is_same(one: &Addr6, other: &Addr6) -> bool {
    let ([a, b, c, d], [e, f, g, h]) = (one.words(), other.words());
    (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
}

const fn first_half(word: u32) -> u16 {
    let [first, second, _, _] = word.to_ne_bytes();
    u16::from_ne_bytes([first, second])
}

/// Where an ARP packet ends in its frame.
const PACKET: u32 = ETHERNET + 28;
/// How long the frame is at most.
const FILLED: u32 = 64;

/// An ARP packet (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Hardware and protocol type, both address lengths, operation, as they stand in the packet.
    header: [u16; 4],
    /// The Ethernet address of who sends it, as it says.
    pub hardware: [u16; 3],
    /// Who sends it, as it says.
    pub sender: Addr4,
    /// Whom it is about.
    pub target: Addr4,
    /// Bytes from the Ethernet header on.
    length: u32,
}

impl Arp {
    const REQUEST: u16 = 1_u16.to_be();
    const REPLY: u16 = 2_u16.to_be();
    /// Ethernet and IPv4.
    const KIND: [u16; 3] = [1_u16.to_be(), 0x0800_u16.to_be(), u16::from_ne_bytes([6, 4])];

    /// Reads it; `None`: it is too short.
    #[inline(always)]
    pub fn read(packet: &Frame<'_>) -> Option<Self> {
        let header = packet.load::<[u16; 4]>(ETHERNET)?;
        let hardware = packet.load::<[u16; 3]>(ETHERNET + 8)?;
        let [sender, target] = [packet.load::<u32>(ETHERNET + 14)?, packet.load::<u32>(ETHERNET + 24)?];
        let [sender, target] = [sender, target].map(|address| Addr4::from_octets(address.to_ne_bytes()));
        Some(Self { header, hardware, sender, target, length: packet.length() })
    }

    /// Whether it asks who has an address without telling who asks (RFC 5227).
    #[must_use]
    #[inline(always)]
    pub const fn is_probe(&self) -> bool {
        self.header[3] == Self::REQUEST && self.sender.is_unspecified()
    }

    /// Whether it is a request or a reply, and nothing more: behind it there is only what fills up an Ethernet frame,
    /// perhaps with a VLAN tag that is off by now.
    #[must_use]
    #[inline(always)]
    pub const fn is_valid(&self) -> bool {
        let [hardware, protocol, lengths, operation] = self.header;
        let [ethernet, ipv4, both] = Self::KIND;
        let is_kind = hardware == ethernet && protocol == ipv4 && lengths == both;
        let is_operation = operation == Self::REQUEST || operation == Self::REPLY;
        is_kind && is_operation && self.length >= PACKET && self.length <= FILLED
    }

    /// Whether nothing but zeros stands behind a packet that [`Self::is_valid`] takes.
    #[must_use]
    #[inline(always)]
    pub fn is_filled_with_zeros(&self, packet: &Frame<'_>) -> bool {
        (PACKET..FILLED).all(|at| at >= self.length || packet.load::<u8>(at) == Some(0))
    }
}

#[cfg(test)]
mod tests;
