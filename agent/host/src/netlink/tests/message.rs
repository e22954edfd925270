//! Messages taken apart.

use std::net::IpAddr;

use netlink_packet_core::{
    DefaultNla, DoneMessage, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use proptest::prelude::*;

use crate::netlink::message::{Address, Link, Message, Route, messages};

fn bytes(payload: impl Into<NetlinkPayload<RouteNetlinkMessage>>) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.sequence_number = 7;
    let mut message = NetlinkMessage::new(header, payload.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn read(payload: impl Into<NetlinkPayload<RouteNetlinkMessage>>) -> Vec<Message> {
    messages(&bytes(payload)).map(|framed| framed.message).collect()
}

fn ip(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

fn veth_message() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.index = 5;
    message.header.flags = LinkFlags::Up;
    message.attributes = vec![
        LinkAttribute::IfName("v1".to_owned()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 5]),
        LinkAttribute::Link(2),
        LinkAttribute::LinkNetNsId(3),
        LinkAttribute::Controller(9),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
    ];
    message
}

fn veth() -> Link {
    Link {
        ifindex: 5,
        name: "v1".to_owned(),
        kind: Some("veth".to_owned()),
        loopback: false,
        ethernet: true,
        up: true,
        master: Some(9),
        peer: 2,
        netns_id: Some(3),
        xdp: false,
        mac: Some([2, 0, 0, 0, 0, 5]),
    }
}

fn address_message(attributes: Vec<AddressAttribute>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = 2;
    message.header.prefix_len = 32;
    message.attributes = attributes;
    message
}

fn address(text: &str, duplicate: bool) -> Address {
    Address { address: ip(text), ifindex: 2, prefix: 32, duplicate }
}

#[test]
fn a_veth_is_read_with_its_peer() {
    assert_eq!(read(RouteNetlinkMessage::NewLink(veth_message())), [Message::Link(veth())]);
    assert_eq!(read(RouteNetlinkMessage::DelLink(veth_message())), [Message::LinkGone(5)]);
}

#[test]
fn an_attribute_that_nobody_knows_hides_no_veth() {
    let mut message = veth_message();
    let unknown = LinkAttribute::Other(DefaultNla::new(999, vec![1, 2, 3]));
    let odd = LinkAttribute::Other(DefaultNla::new(libc::IFLA_LINKMODE, vec![1, 2, 3]));
    message.attributes.splice(0..0, [unknown, odd]);
    assert_eq!(read(RouteNetlinkMessage::NewLink(message)), [Message::Link(veth())]);
}

#[test]
fn an_xdp_program_is_noticed() {
    for (mode, attached) in [(XdpAttached::None, false), (XdpAttached::Driver, true), (XdpAttached::SocketBuffer, true)]
    {
        let mut message = veth_message();
        message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Attached(mode)]));
        assert_eq!(read(RouteNetlinkMessage::NewLink(message)), [Message::Link(Link { xdp: attached, ..veth() })]);
    }
}

#[test]
fn a_port_that_leaves_its_bridge_has_not_left_the_host() {
    let mut message = veth_message();
    message.header.interface_family = AddressFamily::Bridge;
    assert_eq!(read(RouteNetlinkMessage::DelLink(message)), [Message::Other]);
}

#[test]
fn an_addresss_own_side_is_read() {
    let own = AddressAttribute::Local(ip("10.1.0.2"));
    let other = AddressAttribute::Address(ip("10.1.0.1"));
    let message = address_message(vec![other, own]);
    assert_eq!(read(RouteNetlinkMessage::NewAddress(message)), [Message::Address(address("10.1.0.2", false))]);
    let message = address_message(vec![AddressAttribute::Address(ip("fd01::2"))]);
    assert_eq!(read(RouteNetlinkMessage::DelAddress(message)), [Message::AddressGone(address("fd01::2", false))]);
}

#[test]
fn failed_duplicate_address_detection_is_noticed() {
    let failed = AddressAttribute::Flags(AddressFlags::Dadfailed | AddressFlags::Tentative);
    let message = address_message(vec![AddressAttribute::Address(ip("fd01::2")), failed]);
    assert_eq!(read(RouteNetlinkMessage::NewAddress(message)), [Message::Address(address("fd01::2", true))]);
}

#[test]
fn a_label_that_a_pod_made_up_hides_no_address() {
    const IFA_LABEL: u16 = 3;
    let label = AddressAttribute::Other(DefaultNla::new(IFA_LABEL, vec![b'e', 0xff, 0xfe, 0]));
    let message = address_message(vec![label, AddressAttribute::Local(ip("10.1.0.2"))]);
    assert_eq!(read(RouteNetlinkMessage::NewAddress(message)), [Message::Address(address("10.1.0.2", false))]);
}

#[test]
fn the_devices_of_a_route_are_read() {
    let hop = |ifindex| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = ifindex;
        hop
    };
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Oif(4), RouteAttribute::MultiPath(vec![hop(5), hop(6)])];
    let expected = Route { default: true, devices: vec![4, 5, 6] };
    assert_eq!(read(RouteNetlinkMessage::NewRoute(message.clone())), [Message::Route(expected.clone())]);
    message.header.protocol = RouteProtocol::Ra;
    let advertised = Route { default: false, ..expected };
    assert_eq!(read(RouteNetlinkMessage::DelRoute(message)), [Message::RouteGone(advertised)]);
}

#[test]
fn an_id_that_is_taken_back_is_read() {
    let mut message = NsidMessage::default();
    message.attributes = vec![NsidAttribute::Id(3)];
    assert_eq!(read(RouteNetlinkMessage::DelNsId(message)), [Message::NamespaceGone(3)]);
}

#[test]
fn a_dump_tells_how_it_ended() {
    let mut done = DoneMessage::default();
    done.code = -22;
    let mut datagram = bytes(RouteNetlinkMessage::NewLink(veth_message()));
    datagram.extend(bytes(NetlinkPayload::Done(done)));
    datagram[6..8].copy_from_slice(&(NLM_F_MULTIPART | NLM_F_DUMP_INTR).to_ne_bytes());
    let read: Vec<_> =
        messages(&datagram).map(|framed| (framed.sequence, framed.interrupted, framed.message)).collect();
    assert_eq!(read, [(7, true, Message::Link(veth())), (7, false, Message::End(-22))]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        base in prop::sample::select(vec![
            bytes(RouteNetlinkMessage::NewLink(veth_message())),
            bytes(RouteNetlinkMessage::NewAddress(address_message(vec![AddressAttribute::Local(ip("10.1.0.2"))]))),
            bytes(RouteNetlinkMessage::NewRoute(RouteMessage::default())),
        ]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut datagram = base;
        for (position, value) in changes {
            let position = position.index(datagram.len());
            datagram[position] = value;
        }
        datagram.truncate(cut.index(datagram.len() + 1));
        prop_assert!(messages(&datagram).count() <= 1 + datagram.len() / 16);
    }
}
