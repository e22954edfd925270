//! From netlink's bytes to the few facts that are used.
//!
//! Messages are taken apart attribute by attribute instead of through the types of netlink-packet-route: those fail on
//! the whole message when one attribute is of a newer kernel or, like the label that a pod can give to an address, not
//! UTF-8. No veth and no address may disappear for that.

use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlaBuffer, NlasIterator, parse_i32, parse_ip,
    parse_u8, parse_u32,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeader;
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType};
use netlink_packet_route::route::{RouteHeader, RouteProtocol, RouteType};

use super::view::Mac;

const LINK_HEADER_LENGTH: usize = 16;
const ADDRESS_HEADER_LENGTH: usize = 8;
const ROUTE_HEADER_LENGTH: usize = 12;
const NSID_HEADER_LENGTH: usize = 4;
/// `struct rtnexthop`.
const NEXT_HOP_LENGTH: usize = 8;

// linux/if_link.h and linux/net_namespace.h; not in libc.
const IFLA_XDP_ATTACHED: u16 = 2;
const NETNSA_NSID: u16 = 1;

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A device, new or changed.
    Link(Link),
    /// The device with this ifindex left the namespace.
    LinkGone(u32),
    /// An address, new or changed.
    Address(Address),
    /// An address was removed.
    AddressGone(Address),
    /// A route, new or changed.
    Route(Route),
    /// A route was removed.
    RouteGone(Route),
    /// The routing rules changed.
    Rules,
    /// The id of the namespace that was asked for; negative: it has none.
    Namespace(i32),
    /// The id stands for no namespace any more and may be given to another.
    NamespaceGone(i32),
    /// The end of an answer: 0 or a negative errno.
    End(i32),
    /// Nothing of interest.
    Other,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) loopback: bool,
    /// Whether its link layer is Ethernet.
    pub(super) ethernet: bool,
    pub(super) up: bool,
    pub(super) master: Option<u32>,
    /// IFLA_LINK: for a veth the peer's ifindex, in the namespace the peer is in; for a VLAN and its like the device that
    /// carries it.
    pub(super) peer: u32,
    /// The namespace the peer is in if that is another one; negative: it is going away.
    pub(super) netns_id: Option<i32>,
    pub(super) xdp: bool,
    /// Its Ethernet address.
    pub(super) mac: Option<Mac>,
}

/// An address on a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) ifindex: u32,
    pub(super) prefix: u8,
    /// Whether duplicate address detection failed.
    pub(super) duplicate: bool,
}

/// A route, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Whether it is a default route that counts: unicast and not learned from a router advertisement.
    pub(super) default: bool,
    /// The devices it leads to, one per next hop.
    pub(super) devices: Vec<u32>,
}

/// A message with what its header says of the answer it is part of.
pub(super) struct Framed {
    pub(super) sequence: u32,
    /// The kernel's data changed during the dump, which may have missed or repeated entries.
    pub(super) interrupted: bool,
    pub(super) message: Message,
}

/// Takes apart a datagram of netlink messages. Messages that can't be read are skipped with a warning.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Framed> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let buffer = NetlinkBuffer::new_checked(rest).ok()?;
        let length = (buffer.length() as usize).next_multiple_of(4);
        let framed = Framed {
            sequence: buffer.sequence_number(),
            interrupted: buffer.flags() & NLM_F_DUMP_INTR != 0,
            message: message(buffer.message_type(), buffer.payload()).unwrap_or_else(|error| {
                tracing::warn!(kind = buffer.message_type(), %error, "unreadable netlink message");
                Message::Other
            }),
        };
        rest = rest.get(length..).unwrap_or_default();
        Some(framed)
    })
}

fn message(kind: u16, payload: &[u8]) -> Result<Message, DecodeError> {
    Ok(match kind {
        NLMSG_ERROR | NLMSG_DONE => Message::End(code(payload)),
        libc::RTM_NEWLINK => link(payload)?.map_or(Message::Other, Message::Link),
        libc::RTM_DELLINK => link(payload)?.map_or(Message::Other, |link| Message::LinkGone(link.ifindex)),
        libc::RTM_NEWADDR => address(payload)?.map_or(Message::Other, Message::Address),
        libc::RTM_DELADDR => address(payload)?.map_or(Message::Other, Message::AddressGone),
        libc::RTM_NEWROUTE => Message::Route(route(payload)?),
        libc::RTM_DELROUTE => Message::RouteGone(route(payload)?),
        libc::RTM_NEWRULE | libc::RTM_DELRULE => Message::Rules,
        libc::RTM_NEWNSID => namespace(payload)?.map_or(Message::Other, Message::Namespace),
        libc::RTM_DELNSID => namespace(payload)?.map_or(Message::Other, Message::NamespaceGone),
        _ => Message::Other,
    })
}

/// The errno of NLMSG_ERROR and of NLMSG_DONE, which both carry it first. A dump that fails after it began, as for an
/// unknown namespace id, ends in NLMSG_DONE.
pub(super) fn code(payload: &[u8]) -> i32 {
    payload.get(..4).and_then(|bytes| parse_i32(bytes).ok()).unwrap_or_default()
}

fn body(payload: &[u8], header: usize) -> Result<&[u8], DecodeError> {
    payload.get(header..).ok_or_else(|| DecodeError::buffer_too_small(payload.len(), header))
}

/// A device; `None` for what a bridge says of its ports under the same message type, the removal of a port included.
fn link(payload: &[u8]) -> Result<Option<Link>, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    if header.interface_family != AddressFamily::Unspec {
        return Ok(None);
    }
    let mut link = Link {
        ifindex: header.index,
        name: String::new(),
        kind: None,
        loopback: header.flags.contains(LinkFlags::Loopback),
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        up: header.flags.contains(LinkFlags::Up),
        master: None,
        peer: 0,
        netns_id: None,
        xdp: false,
        mac: None,
    };
    for attribute in NlasIterator::new(body(payload, LINK_HEADER_LENGTH)?) {
        link_attribute(&mut link, &attribute?)?;
    }
    Ok(Some(link))
}

fn link_attribute(link: &mut Link, attribute: &NlaBuffer<&[u8]>) -> Result<(), DecodeError> {
    let value = attribute.value();
    match attribute.kind() {
        libc::IFLA_IFNAME => link.name = text(value),
        libc::IFLA_MASTER => link.master = Some(parse_u32(value)?),
        libc::IFLA_ADDRESS => link.mac = value.try_into().ok().filter(|_| link.ethernet),
        libc::IFLA_LINK => link.peer = parse_u32(value)?,
        libc::IFLA_LINK_NETNSID => link.netns_id = Some(parse_i32(value)?),
        libc::IFLA_LINKINFO => link.kind = nested(value, libc::IFLA_INFO_KIND)?.map(text),
        libc::IFLA_XDP => {
            link.xdp = nested(value, IFLA_XDP_ATTACHED)?.map(parse_u8).transpose()?.is_some_and(|mode| mode != 0);
        }
        _ => {}
    }
    Ok(())
}

/// A string that ends in a zero byte, or not.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

/// The value of the attribute of this kind among nested ones.
pub(super) fn nested(attributes: &[u8], kind: u16) -> Result<Option<&[u8]>, DecodeError> {
    let mut rest = attributes;
    while !rest.is_empty() {
        let attribute = NlaBuffer::new_checked(rest)?;
        let length = usize::from(attribute.length());
        if attribute.kind() == kind {
            return Ok(rest.get(4..length));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(None)
}

/// An address; `None` for those of other families than IP.
fn address(payload: &[u8]) -> Result<Option<Address>, DecodeError> {
    let header = AddressHeader::parse(payload)?;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let (mut local, mut any, mut flags) = (None, None, 0);
    for attribute in NlasIterator::new(body(payload, ADDRESS_HEADER_LENGTH)?) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::IFA_LOCAL => local = Some(parse_ip(attribute.value())?),
            // On a point-to-point link this is the other side's, and the own one is local.
            libc::IFA_ADDRESS => any = Some(parse_ip(attribute.value())?),
            libc::IFA_FLAGS => flags = parse_u32(attribute.value())?,
            _ => {}
        }
    }
    Ok(local.or(any).map(|address| Address {
        address,
        ifindex: header.index,
        prefix: header.prefix_len,
        duplicate: flags & libc::IFA_F_DADFAILED != 0,
    }))
}

fn route(payload: &[u8]) -> Result<Route, DecodeError> {
    let header = RouteHeader::parse(payload)?;
    let mut devices = Vec::new();
    for attribute in NlasIterator::new(body(payload, ROUTE_HEADER_LENGTH)?) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::RTA_OIF => devices.push(parse_u32(attribute.value())?),
            libc::RTA_MULTIPATH => devices.extend(next_hop_devices(attribute.value())?),
            _ => {}
        }
    }
    let default = header.destination_prefix_length == 0
        && header.kind == RouteType::Unicast
        && header.protocol != RouteProtocol::Ra;
    Ok(Route { default, devices })
}

/// The devices in an array of `struct rtnexthop`: length (16 bits), flags, hops, ifindex, attributes.
fn next_hop_devices(mut hops: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let mut devices = Vec::new();
    while let Some((head, _)) = hops.split_first_chunk::<NEXT_HOP_LENGTH>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        if length < NEXT_HOP_LENGTH {
            return Err(DecodeError::buffer_too_small(length, NEXT_HOP_LENGTH));
        }
        devices.push(parse_u32(&head[4..])?);
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(devices)
}

fn namespace(payload: &[u8]) -> Result<Option<i32>, DecodeError> {
    nested(body(payload, NSID_HEADER_LENGTH)?, NETNSA_NSID)?.map(parse_i32).transpose()
}
