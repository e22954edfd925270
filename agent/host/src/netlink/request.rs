//! The questions that are put to the kernel.

use std::net::IpAddr;
use std::os::fd::RawFd;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Every device of the host.
    Links,
    /// One device of the host.
    Link(u32),
    /// One device of the namespace with this id.
    LinkIn(u32, i32),
    /// Every address of a family in the host's namespace.
    OwnAddresses(Family),
    /// Every address of a family in the namespace with this id.
    Addresses(Family, i32),
    /// Every route of a family in any table.
    Routes(Family),
    /// The route that a packet to this address would take.
    RouteTo(IpAddr),
    /// The id of the namespace that this open file stands for.
    Namespace(RawFd),
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn code(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

impl Request {
    /// What is asked for, to be read after "reading" in a message.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::Links | Self::Link(_) => "network devices",
            Self::LinkIn(..) => "interfaces in pods' network namespaces",
            Self::OwnAddresses(_) => "the host's addresses",
            Self::Addresses(..) => "addresses in pods' network namespaces",
            Self::Routes(_) | Self::RouteTo(_) => "routes",
            Self::Namespace(_) => "the id of a network namespace",
        }
    }

    /// Whether the answer is a list that ends in a message of its own.
    pub(super) fn is_dump(self) -> bool {
        !matches!(self, Self::Link(_) | Self::LinkIn(..) | Self::RouteTo(_) | Self::Namespace(_))
    }

    /// The request as it is sent.
    pub(super) fn bytes(self, sequence: u32) -> Vec<u8> {
        let mut message = NetlinkMessage::from(self.message());
        message.header.flags = if self.is_dump() { NLM_F_REQUEST | NLM_F_DUMP } else { NLM_F_REQUEST };
        message.header.sequence_number = sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn message(self) -> RouteNetlinkMessage {
        match self {
            Self::Links => RouteNetlinkMessage::GetLink(link(0, None)),
            Self::Link(ifindex) => RouteNetlinkMessage::GetLink(link(ifindex, None)),
            Self::LinkIn(ifindex, netns_id) => RouteNetlinkMessage::GetLink(link(ifindex, Some(netns_id))),
            Self::OwnAddresses(family) => RouteNetlinkMessage::GetAddress(addresses(family, None)),
            Self::Addresses(family, netns_id) => RouteNetlinkMessage::GetAddress(addresses(family, Some(netns_id))),
            Self::Routes(family) => RouteNetlinkMessage::GetRoute(routes(family)),
            Self::RouteTo(address) => RouteNetlinkMessage::GetRoute(route_to(address)),
            Self::Namespace(file) => RouteNetlinkMessage::GetNsId(namespace(file)),
        }
    }
}

fn link(ifindex: u32, netns_id: Option<i32>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    // The kernel has renamed it to IFLA_TARGET_NETNSID.
    message.attributes.extend(netns_id.map(LinkAttribute::IfNetnsId));
    message
}

fn addresses(family: Family, netns_id: Option<i32>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family.code();
    message.attributes = netns_id.map(AddressAttribute::TargetNetNsId).into_iter().collect();
    message
}

fn routes(family: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family.code();
    message
}

fn namespace(file: RawFd) -> NsidMessage {
    let mut message = NsidMessage::default();
    message.attributes = vec![NsidAttribute::Fd(file.cast_unsigned())];
    message
}

fn route_to(address: IpAddr) -> RouteMessage {
    let (family, length, destination) = match address {
        IpAddr::V4(address) => (Family::V4, 32, RouteAddress::Inet(address)),
        IpAddr::V6(address) => (Family::V6, 128, RouteAddress::Inet6(address)),
    };
    let mut message = routes(family);
    message.header.destination_prefix_length = length;
    message.attributes = vec![RouteAttribute::Destination(destination)];
    message
}
