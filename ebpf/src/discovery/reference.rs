//! What is valid discovery, a second time: slow, from a frame's bytes alone, in the order in which the RFCs say it.

use std::net::{Ipv4Addr, Ipv6Addr};

use podgate_common::Direction;

/// Whether an IPv6 frame is valid discovery in a direction, seen from a pod.
pub(super) fn is_discovery(frame: &[u8], direction: Direction) -> bool {
    packet(frame).is_some_and(|packet| packet.is_valid(direction == Direction::Ingress))
}

/// Whether a frame is an ARP request or reply and nothing more.
pub(super) fn is_arp(frame: &[u8]) -> bool {
    let known = |operation: u8| frame.get(14..22) == Some(&[0, 1, 8, 0, 6, 4, 0, operation]);
    (42..=64).contains(&frame.len()) && (known(1) || known(2))
}

/// Whether what stands behind an ARP packet is zero.
pub(super) fn is_bare_arp(frame: &[u8]) -> bool {
    is_arp(frame) && frame[42..].iter().all(|byte| *byte == 0)
}

/// The sender of an ARP packet, and whom it is about.
pub(super) fn arp_ends(frame: &[u8]) -> Option<[Ipv4Addr; 2]> {
    let at = |at: usize| <[u8; 4]>::try_from(frame.get(at..at + 4)?).ok();
    Some([at(28)?.into(), at(38)?.into()])
}

struct Packet<'a> {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    /// The bytes between the IPv6 header and the message.
    between: &'a [u8],
    first_header: u8,
    message: &'a [u8],
    /// Bytes behind the packet.
    behind: usize,
}

fn packet(frame: &[u8]) -> Option<Packet<'_>> {
    let ip = frame.get(14..)?;
    let header = ip.get(..40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = ip.get(40..40 + length)?;
    let address = |at: usize| header.get(at..at + 16).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
    // Only these two chains of headers may stand before discovery.
    let skipped = match header[6] {
        58 => 0,
        0 if payload.get(..2) == Some(&[58, 0]) => 8,
        _ => return None,
    };
    Some(Packet {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        hop_limit: header[7],
        between: payload.get(..skipped)?,
        first_header: header[6],
        message: payload.get(skipped..)?,
        behind: ip.len() - 40 - length,
    })
}

impl Packet<'_> {
    fn is_valid(&self, enters: bool) -> bool {
        if self.message.len() < 8 || self.message[1] != 0 || self.source.is_multicast() {
            return false;
        }
        if !enters && (self.behind > 0 || self.has_reserved_bits()) {
            return false;
        }
        let neighbours = self.first_header == 58 && self.hop_limit == 255;
        let alert = [[58, 0, 5, 2, 0, 0, 1, 0], [58, 0, 1, 0, 5, 2, 0, 0]].iter().any(|alert| self.between == alert);
        let listeners = alert && self.hop_limit == 1;
        match self.message[0] {
            130 => enters && listeners && self.is_query(),
            131 => listeners && self.is_by_listener() && self.is_about(self.destination),
            132 => listeners && self.is_by_listener() && self.is_done(),
            143 => listeners && self.is_by_listener() && self.is_report(),
            133 => neighbours && self.is_router_solicitation(),
            134 => neighbours && enters && self.is_router_advertisement(),
            135 => neighbours && self.is_neighbour_solicitation(),
            136 => neighbours && self.is_neighbour_advertisement(),
            137 => neighbours && enters && self.is_redirect(),
            _ => false,
        }
    }

    fn has_reserved_bits(&self) -> bool {
        match self.message[0] {
            136 => self.message[4] & 0x1f != 0 || self.message[5..8] != [0; 3],
            143 => self.message[4..6] != [0; 2],
            _ => self.message[4..8] != [0; 4],
        }
    }

    /// The address from byte 8 on.
    fn target(&self) -> Option<Ipv6Addr> {
        let octets: [u8; 16] = self.message.get(8..24)?.try_into().ok()?;
        Some(octets.into())
    }

    /// The options from a byte on, as pairs of type and eight bytes; `None`: they are none.
    fn options(&self, from: usize) -> Option<Vec<u8>> {
        let rest = self.message.get(from..)?;
        let all = rest.chunks(8).map(|option| (option.len() == 8 && option[1] == 1).then(|| option[0]));
        all.collect::<Option<Vec<_>>>().filter(|options| options.len() <= 2)
    }

    fn has_only(&self, from: usize, permitted: &[u8]) -> bool {
        self.options(from).is_some_and(|options| options.iter().all(|option| permitted.contains(option)))
    }

    fn solicitation_options(&self) -> &'static [u8] {
        if self.source.is_unspecified() { &[14] } else { &[1, 14] }
    }

    fn is_router_solicitation(&self) -> bool {
        self.destination == group(2) && self.has_only(8, self.solicitation_options())
    }

    fn is_router_advertisement(&self) -> bool {
        let to = self.destination == group(1) || is_node(self.destination);
        self.source.is_unicast_link_local() && self.message.len() >= 16 && to
    }

    fn is_redirect(&self) -> bool {
        self.source.is_unicast_link_local() && self.message.len() >= 40 && is_node(self.destination)
    }

    fn is_neighbour_solicitation(&self) -> bool {
        let Some(target) = self.target().filter(|target| is_node(*target)) else { return false };
        let [.., x, y, z] = target.octets();
        let solicited = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z];
        let to = self.destination.octets() == solicited || self.destination == target && !self.source.is_unspecified();
        to && self.has_only(24, self.solicitation_options())
    }

    fn is_neighbour_advertisement(&self) -> bool {
        let Some(target) = self.target() else { return false };
        let to_all = self.destination == group(1) && self.message[4] & 0x40 == 0;
        is_node(target) && is_node(self.source) && (to_all || is_node(self.destination)) && self.has_only(24, &[2, 14])
    }

    fn is_query(&self) -> bool {
        let length = match self.message.get(26..28) {
            Some(count) => 28 + 16 * usize::from(u16::from_be_bytes([count[0], count[1]])),
            None => 24,
        };
        let is_long = self.message.len() == length || self.message.len() == 24;
        let to = self.destination == group(1)
            || self.target().is_some_and(|target| target.is_multicast() && target == self.destination);
        self.source.is_unicast_link_local() && is_long && to
    }

    fn is_by_listener(&self) -> bool {
        self.source.is_unicast_link_local() || self.source.is_unspecified()
    }

    /// Whether this is an MLDv1 message about a group.
    fn is_about(&self, wanted: Ipv6Addr) -> bool {
        self.message.len() == 24 && wanted.is_multicast() && self.target() == Some(wanted)
    }

    fn is_done(&self) -> bool {
        self.destination == group(2) && self.target().is_some_and(|target| self.is_about(target))
    }

    fn is_report(&self) -> bool {
        let records = usize::from(u16::from_be_bytes([self.message[6], self.message[7]]));
        let more = self.message.len().checked_sub(8 + records * 20);
        self.destination == group(0x16) && records > 0 && more.is_some_and(|more| more.is_multiple_of(16))
    }
}

fn group(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, last)
}

fn is_node(address: Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_unspecified()
}
