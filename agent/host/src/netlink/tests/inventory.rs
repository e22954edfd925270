//! What messages make of the inventory.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::netlink::inventory::{Inventory, Stale};
use crate::netlink::message::{Address, Link, Message, Route};
use crate::netlink::{Device, HostView, Unsupported, UnsupportedReason, Veth};

fn link(ifindex: u32, kind: &str, peer: u32, netns_id: Option<i32>) -> Link {
    Link {
        ifindex,
        name: format!("d{ifindex}"),
        kind: Some(kind.to_owned()),
        loopback: false,
        ethernet: true,
        up: true,
        master: None,
        peer,
        netns_id,
        xdp: false,
        mac: None,
    }
}

fn veth(ifindex: u32, netns_id: i32) -> Link {
    link(ifindex, "veth", 2, Some(netns_id))
}

fn address(text: &str, ifindex: u32) -> Address {
    Address { address: text.parse().expect("an address"), ifindex, prefix: 32, duplicate: false }
}

fn ips<const N: usize>(all: [&str; N]) -> BTreeSet<IpAddr> {
    all.map(|text| text.parse().expect("an address")).into()
}

/// An inventory that has read these devices and nothing in their namespaces.
fn inventory(links: impl IntoIterator<Item = Link>) -> Inventory {
    let mut inventory = Inventory::default();
    inventory.set_links(links);
    for id in inventory.unread_namespaces() {
        inventory.set_namespace(id, []);
    }
    inventory
}

fn shown(view: &HostView, ifindex: u32) -> BTreeSet<IpAddr> {
    view.veths[&ifindex].peer_addresses.clone()
}

#[test]
fn a_veth_shows_the_addresses_of_its_peers_namespace() {
    let mut inventory = inventory([Link { master: Some(9), xdp: true, ..veth(5, 0) }]);
    inventory.set_namespace(
        0,
        [
            address("10.1.0.5", 2),
            address("10.1.0.6", 1),
            address("127.0.0.1", 1),
            address("fe80::1", 2),
            Address { duplicate: true, ..address("fd01::5", 2) },
        ],
    );
    let expected = Veth {
        ifindex: 5,
        name: "d5".to_owned(),
        netns_id: 0,
        peer_index: 2,
        peer_addresses: ips(["10.1.0.5", "10.1.0.6", "fd01::5"]),
        interface_addresses: ips(["10.1.0.5", "fd01::5"]),
        link_local_addresses: ["fe80::1".parse().unwrap()].into(),
        first_addresses: ips(["10.1.0.5", "10.1.0.6", "fd01::5"]),
        duplicate_addresses: ips(["fd01::5"]),
        up: true,
        master: Some(9),
        xdp: true,
        peer_mac: None,
    };
    assert_eq!(inventory.view().veths.into_values().collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_pair_within_the_host_is_two_devices() {
    let mut inventory = inventory([link(5, "veth", 6, None), link(6, "veth", 5, None)]);
    let view = inventory.view();
    assert_eq!((view.veths.len(), view.devices.len()), (0, 2));
}

#[test]
fn devices_past_which_packets_may_slip_are_listed() {
    let mut inventory = inventory([
        link(3, "bridge", 0, None),
        link(4, "netkit", 2, Some(1)),
        Link { xdp: true, ..veth(5, 0) },
        veth(6, 2),
    ]);
    let view = inventory.view();
    let expected = [(4, UnsupportedReason::Netkit), (5, UnsupportedReason::Xdp)].map(|(ifindex, reason)| Unsupported {
        ifindex,
        name: format!("d{ifindex}"),
        reason,
    });
    assert_eq!(view.unsupported(), expected);
    let netkit = Device {
        ifindex: 4,
        name: "d4".to_owned(),
        kind: Some("netkit".to_owned()),
        loopback: false,
        ethernet: true,
        lower: None,
        up: true,
        master: None,
        mac: None,
    };
    assert_eq!(view.devices[&4], netkit);
}

#[test]
fn a_veth_shows_the_ethernet_address_of_its_peer_as_it_was_read_and_heard_last() {
    let mut inventory = inventory([veth(5, 0)]);
    let peer = |ifindex, last| Link { mac: Some([2, 0, 0, 0, 0, last]), ..link(ifindex, "veth", 5, Some(1)) };
    let mac = |inventory: &mut Inventory| inventory.view().veths[&5].peer_mac.map(|mac| mac[5]);
    inventory.hear_namespace(0, &Message::Link(peer(2, 1)));
    assert_eq!((mac(&mut inventory), inventory.peers_in(0)), (None, [2].into()), "it is still to be read");
    inventory.set_mac(0, 2, Some([2, 0, 0, 0, 0, 1]));
    assert_eq!(mac(&mut inventory), Some(1));
    inventory.hear_namespace(0, &Message::Link(peer(2, 7)));
    inventory.hear_namespace(0, &Message::Link(peer(3, 8)));
    inventory.hear_namespace(1, &Message::Link(peer(2, 9)));
    assert_eq!(mac(&mut inventory), Some(7));
    inventory.set_mac(0, 2, None);
    assert_eq!(mac(&mut inventory), None);
}

#[test]
fn addresses_heard_are_added_and_removed() {
    let mut inventory = inventory([veth(5, 0)]);
    for text in ["10.1.0.5", "10.1.0.6"] {
        inventory.hear_namespace(0, &Message::Address(address(text, 2)));
    }
    inventory.hear_namespace(0, &Message::AddressGone(address("10.1.0.5", 2)));
    assert_eq!(shown(&inventory.view(), 5), ips(["10.1.0.6"]));
}

#[test]
fn the_first_addresses_of_each_family_stay_the_first() {
    let mut inventory = inventory([veth(5, 0)]);
    let mut first = Vec::new();
    for text in ["10.1.0.5", "10.1.0.6", "fd01::5", "fd01::6"] {
        inventory.hear_namespace(0, &Message::Address(address(text, 2)));
        first.push(inventory.view().veths[&5].first_addresses.clone());
    }
    for text in ["10.1.0.5", "fd01::5"] {
        inventory.hear_namespace(0, &Message::AddressGone(address(text, 2)));
    }
    first.push(inventory.view().veths[&5].first_addresses.clone());
    let v4 = ips(["10.1.0.5"]);
    let both = ips(["10.1.0.5", "fd01::5"]);
    assert_eq!(first, [v4.clone(), v4, both.clone(), both.clone(), both]);
}

#[test]
fn a_veth_made_anew_has_first_addresses_of_its_own() {
    let mut inventory = inventory([veth(5, 0)]);
    inventory.hear_namespace(0, &Message::Address(address("10.1.0.5", 2)));
    inventory.view();
    inventory.hear_host(Message::LinkGone(5));
    inventory.hear_host(Message::Link(veth(5, 1)));
    inventory.set_namespace(1, [address("10.1.0.6", 2)]);
    assert_eq!(inventory.view().veths[&5].first_addresses, ips(["10.1.0.6"]));
}

#[test]
fn a_namespace_is_read_when_a_veth_leads_to_it() {
    let mut inventory = inventory([]);
    inventory.hear_namespace(4, &Message::Address(address("10.1.0.5", 2)));
    assert_eq!(inventory.unread_namespaces(), BTreeSet::new());
    inventory.hear_host(Message::Link(veth(5, 4)));
    assert_eq!(inventory.unread_namespaces(), BTreeSet::from([4]));
    inventory.set_namespace(4, [address("10.1.0.5", 2)]);
    assert_eq!(inventory.unread_namespaces(), BTreeSet::new());
    assert_eq!(shown(&inventory.view(), 5), ips(["10.1.0.5"]));
}

#[test]
fn an_id_given_to_another_namespace_lends_the_old_veth_no_addresses() {
    let mut inventory = inventory([veth(5, 0)]);
    inventory.set_namespace(0, [address("10.1.0.5", 2)]);
    inventory.hear_host(Message::NamespaceGone(0));
    inventory.hear_host(Message::Link(veth(6, 0)));
    assert_eq!(inventory.unread_namespaces(), BTreeSet::from([0]));
    inventory.set_namespace(0, [address("10.1.0.6", 2)]);
    let view = inventory.view();
    assert_eq!((shown(&view, 5), view.veths[&5].netns_id), (BTreeSet::new(), -1));
    assert_eq!((shown(&view, 6), view.veths[&6].netns_id), (ips(["10.1.0.6"]), 0));
}

#[test]
fn a_veth_whose_peer_left_the_host_is_asked_where_it_leads() {
    let mut inventory = inventory([link(5, "veth", 6, None), link(6, "veth", 5, None), veth(7, 0)]);
    inventory.hear_host(Message::LinkGone(6));
    let expected = Stale { links: BTreeSet::from([5]), ..Stale::default() };
    assert_eq!(inventory.take_stale(), expected);
}

#[test]
fn routes_are_read_again_only_when_they_may_have_changed() {
    let stale = |default_routes, api_servers| Stale { default_routes, api_servers, ..Stale::default() };
    let route = |default| Route { default, devices: vec![3] };
    let after = |message: Message| {
        let mut inventory = inventory([link(3, "bridge", 0, None), veth(5, 0)]);
        inventory.set_default_route_devices(BTreeSet::from([3]));
        inventory.hear_host(message);
        inventory.take_stale()
    };
    assert_eq!(after(Message::Link(veth(5, 0))), stale(false, false), "a pod's veth has changed");
    assert_eq!(after(Message::Address(address("10.1.0.1", 5))), stale(false, false));
    assert_eq!(after(Message::Link(link(3, "bridge", 0, None))), stale(true, true), "the uplink has changed");
    assert_eq!(after(Message::LinkGone(3)), stale(true, true), "the uplink is gone");
    assert_eq!(after(Message::Route(route(false))), stale(false, true));
    assert_eq!(after(Message::RouteGone(route(true))), stale(true, true));
    assert_eq!(after(Message::Rules), stale(false, true));
}

#[test]
fn a_pod_that_adds_addresses_without_end_does_not_push_out_the_one_it_was_given() {
    let mut inventory = inventory([veth(5, 0)]);
    inventory.hear_namespace(0, &Message::Address(address("10.1.255.255", 2)));
    for low in 0..2000_u16 {
        let [high, low] = low.to_be_bytes();
        inventory.hear_namespace(0, &Message::Address(address(&format!("10.1.{high}.{low}"), 2)));
    }
    let shown = shown(&inventory.view(), 5);
    assert_eq!((shown.len(), shown.is_superset(&ips(["10.1.255.255"]))), (1024, true));
}

#[test]
fn an_address_of_the_host_is_told_with_its_devices() {
    let mut inventory = inventory([]);
    inventory.set_own_addresses([address("10.1.0.1", 5), address("10.1.0.2", 5)]);
    inventory.hear_host(Message::Address(address("10.1.0.1", 6)));
    inventory.hear_host(Message::AddressGone(address("10.1.0.2", 5)));
    let expected = [("10.1.0.1".parse().expect("an address"), BTreeSet::from([5, 6]))];
    assert_eq!(inventory.view().local_addresses, expected.into());
}
