//! What is known of the host, and what has to be asked next. Pure: messages go in, views come out.
//!
//! Messages heard are applied to what was read. A message may be older than the reading; since the queue holds every
//! later one too, the inventory is right again once the queue is empty, and only then is a view made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;

use super::addresses::Addresses;
use super::message::{Address, Link, Message};
use super::view::{Device, HostView, Mac, Veth};

/// What is known of the host.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    links: BTreeMap<u32, Link>,
    own_addresses: Addresses,
    /// Addresses by namespace id.
    namespaces: BTreeMap<i32, Addresses>,
    /// Ethernet addresses of veths' peers, by namespace id and ifindex there.
    macs: BTreeMap<(i32, u32), Mac>,
    /// The addresses that each veth's namespace showed first, by ifindex.
    first: BTreeMap<u32, BTreeSet<IpAddr>>,
    default_route_devices: BTreeSet<u32>,
    api_server_devices: BTreeSet<u32>,
    stale: Stale,
}

/// What has to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    /// Devices.
    pub(super) links: BTreeSet<u32>,
    /// The default routes.
    pub(super) default_routes: bool,
    /// The ways to the API servers.
    pub(super) api_servers: bool,
}

impl Inventory {
    /// Takes in what the host's own namespace tells.
    pub(super) fn hear_host(&mut self, message: Message) {
        match message {
            Message::Link(link) => self.put_link(link),
            Message::LinkGone(ifindex) => self.remove_link(ifindex),
            Message::Address(address) => self.own_addresses.put(&address),
            Message::AddressGone(address) => self.own_addresses.remove(&address),
            Message::Route(route) | Message::RouteGone(route) => {
                self.stale.default_routes |= route.default;
                self.stale.api_servers = true;
            }
            Message::Rules => self.stale.api_servers = true,
            Message::NamespaceGone(id) => self.lose_namespace(id),
            Message::Namespace(_) | Message::End(_) | Message::Other => {}
        }
    }

    /// Takes in what the namespace with this id tells. What comes from one that no veth leads to is of no interest,
    /// and what comes before it was read will be seen when it is.
    pub(super) fn hear_namespace(&mut self, id: i32, message: &Message) {
        let Some(addresses) = self.namespaces.get_mut(&id) else { return };
        match message {
            Message::Address(address) => addresses.put(address),
            Message::AddressGone(address) => addresses.remove(address),
            // A pod can make as many interfaces as it likes.
            Message::Link(link) if self.macs.contains_key(&(id, link.ifindex)) => {
                self.set_mac(id, link.ifindex, link.mac);
            }
            _ => {}
        }
    }

    /// Takes in one device.
    pub(super) fn put_link(&mut self, link: Link) {
        // The kernel drops IPv4 routes of a device that goes down without a message.
        self.routes_may_have_left(link.ifindex);
        self.links.insert(link.ifindex, link);
    }

    /// Takes out one device.
    pub(super) fn remove_link(&mut self, ifindex: u32) {
        self.routes_may_have_left(ifindex);
        self.links.remove(&ifindex);
        self.first.remove(&ifindex);
        // A veth's peer that left the host's namespace went to another one, and nobody tells which.
        let left_behind = self.links.values().filter(|link| link.peer == ifindex && link.netns_id.is_none());
        self.stale.links.extend(left_behind.map(|link| link.ifindex));
    }

    fn routes_may_have_left(&mut self, ifindex: u32) {
        if self.default_route_devices.contains(&ifindex) || self.api_server_devices.contains(&ifindex) {
            self.forget_routes();
        }
    }

    /// Forgets a namespace whose id was taken back: it may be given to another one.
    pub(super) fn lose_namespace(&mut self, id: i32) {
        self.namespaces.remove(&id);
        for link in self.links.values_mut().filter(|link| link.netns_id == Some(id)) {
            link.netns_id = Some(-1);
        }
    }

    /// Takes in all devices of the host, in place of those known.
    pub(super) fn set_links(&mut self, links: impl IntoIterator<Item = Link>) {
        self.links = links.into_iter().map(|link| (link.ifindex, link)).collect();
        self.first.retain(|ifindex, _| self.links.contains_key(ifindex));
        self.stale.links.clear();
    }

    /// Takes in all addresses of the host, in place of those known.
    pub(super) fn set_own_addresses(&mut self, addresses: impl IntoIterator<Item = Address>) {
        self.own_addresses = addresses.into_iter().collect();
    }

    /// Takes in all addresses of a namespace, in place of those known.
    pub(super) fn set_namespace(&mut self, id: i32, addresses: impl IntoIterator<Item = Address>) {
        self.namespaces.insert(id, addresses.into_iter().collect());
    }

    /// Takes in the Ethernet address of a veth's peer.
    pub(super) fn set_mac(&mut self, id: i32, ifindex: u32, mac: Option<Mac>) {
        match mac {
            Some(mac) => drop(self.macs.insert((id, ifindex), mac)),
            None => drop(self.macs.remove(&(id, ifindex))),
        }
    }

    /// Takes in the devices that carry default routes.
    pub(super) fn set_default_route_devices(&mut self, devices: BTreeSet<u32>) {
        self.default_route_devices = devices;
    }

    /// Takes in the devices towards the API servers.
    pub(super) fn set_api_server_devices(&mut self, devices: BTreeSet<u32>) {
        self.api_server_devices = devices;
    }

    /// What has to be read again; the caller reads it.
    pub(super) fn take_stale(&mut self) -> Stale {
        mem::take(&mut self.stale)
    }

    /// Forgets the addresses of a namespace, so that they are read again.
    pub(super) fn forget_namespace(&mut self, id: i32) {
        self.namespaces.remove(&id);
    }

    /// Forgets the addresses of all namespaces, so that they are read again.
    pub(super) fn forget_namespaces(&mut self) {
        self.namespaces.clear();
    }

    /// Marks everything about routes as to be read again.
    pub(super) fn forget_routes(&mut self) {
        self.stale.default_routes = true;
        self.stale.api_servers = true;
    }

    /// The namespaces that veths lead to.
    pub(super) fn namespace_ids(&self) -> BTreeSet<i32> {
        self.links
            .values()
            .filter(|link| is_veth(link))
            .filter_map(|link| link.netns_id)
            .filter(|id| *id >= 0)
            .collect()
    }

    /// The peers of veths that are in the namespace with this id.
    pub(super) fn peers_in(&self, id: i32) -> BTreeSet<u32> {
        self.links.values().filter(|link| is_veth(link) && link.netns_id == Some(id)).map(|link| link.peer).collect()
    }

    /// Those of them whose addresses were not read yet.
    pub(super) fn unread_namespaces(&self) -> BTreeSet<i32> {
        self.namespace_ids().into_iter().filter(|id| !self.namespaces.contains_key(id)).collect()
    }

    /// The host as it is known now. To be called when everything heard is taken in and nothing is stale.
    pub(super) fn view(&mut self) -> HostView {
        let ids = self.namespace_ids();
        self.namespaces.retain(|id, _| ids.contains(id));
        self.macs.retain(|(id, _), _| ids.contains(id));
        let mut view = HostView {
            local_addresses: self.own_addresses.by_address(),
            default_route_devices: self.default_route_devices.clone(),
            api_server_devices: self.api_server_devices.clone(),
            ..HostView::default()
        };
        for link in self.links.values() {
            match link.netns_id.filter(|_| is_veth(link)) {
                Some(id) => {
                    let addresses = self.namespaces.get(&id).cloned().unwrap_or_default();
                    let first = self.first.entry(link.ifindex).or_default();
                    note_first(first, &addresses.reachable());
                    let veth = Veth {
                        peer_mac: self.macs.get(&(id, link.peer)).copied(),
                        ..veth(link, id, &addresses, first.clone())
                    };
                    view.veths.insert(link.ifindex, veth);
                }
                None => {
                    view.devices.insert(link.ifindex, device(link));
                }
            }
        }
        view
    }
}

fn is_veth(link: &Link) -> bool {
    link.kind.as_deref() == Some("veth")
}

/// Adds the addresses of each family of which none is known yet.
fn note_first(first: &mut BTreeSet<IpAddr>, now: &BTreeSet<IpAddr>) {
    let (has4, has6) = (first.iter().any(IpAddr::is_ipv4), first.iter().any(IpAddr::is_ipv6));
    first.extend(now.iter().filter(|address| if address.is_ipv4() { !has4 } else { !has6 }));
}

fn veth(link: &Link, netns_id: i32, addresses: &Addresses, first_addresses: BTreeSet<IpAddr>) -> Veth {
    Veth {
        ifindex: link.ifindex,
        name: link.name.clone(),
        netns_id,
        peer_index: link.peer,
        peer_addresses: addresses.reachable(),
        interface_addresses: addresses.reachable_on(link.peer),
        link_local_addresses: addresses.link_local_on(link.peer),
        first_addresses,
        duplicate_addresses: addresses.duplicates(),
        up: link.up,
        master: link.master,
        xdp: link.xdp,
        peer_mac: None,
    }
}

fn device(link: &Link) -> Device {
    Device {
        ifindex: link.ifindex,
        name: link.name.clone(),
        kind: link.kind.clone(),
        loopback: link.loopback,
        ethernet: link.ethernet,
        lower: (link.netns_id.is_none() && link.peer != 0 && link.peer != link.ifindex).then_some(link.peer),
        up: link.up,
        master: link.master,
        mac: link.mac,
    }
}
