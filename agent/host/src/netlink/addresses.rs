//! The addresses of one network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use super::message::Address;

/// How many addresses of one namespace are kept: a pod can add as many to itself as it likes, and they must not
/// become the agent's load. Those that came first are kept, and so the ones that CNI gave.
const MOST: usize = 1024;

/// The addresses of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// By device, address and prefix length; the value tells whether duplicate address detection failed.
    entries: BTreeMap<(u32, IpAddr, u8), bool>,
}

impl Addresses {
    pub(super) fn put(&mut self, address: &Address) {
        let key = key(address);
        if self.entries.len() < MOST || self.entries.contains_key(&key) {
            self.entries.insert(key, address.duplicate);
        }
    }

    pub(super) fn remove(&mut self, address: &Address) {
        self.entries.remove(&key(address));
    }

    /// Every address with the devices that carry it.
    pub(super) fn by_address(&self) -> BTreeMap<IpAddr, BTreeSet<u32>> {
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (ifindex, address, _) in self.entries.keys() {
            all.entry(*address).or_default().insert(*ifindex);
        }
        all
    }

    /// The addresses by which others can reach the namespace.
    pub(super) fn reachable(&self) -> BTreeSet<IpAddr> {
        self.entries.keys().map(|(_, address, _)| *address).filter(is_reachable).collect()
    }

    /// Those on one device.
    pub(super) fn reachable_on(&self, ifindex: u32) -> BTreeSet<IpAddr> {
        self.entries.keys().filter(|key| key.0 == ifindex).map(|key| key.1).filter(is_reachable).collect()
    }

    /// The IPv6 link-local addresses on one device.
    pub(super) fn link_local_on(&self, ifindex: u32) -> BTreeSet<Ipv6Addr> {
        let on_device = self.entries.keys().filter(|key| key.0 == ifindex);
        on_device.filter_map(|key| only6(key.1)).filter(Ipv6Addr::is_unicast_link_local).collect()
    }

    /// Those for which duplicate address detection failed.
    pub(super) fn duplicates(&self) -> BTreeSet<IpAddr> {
        self.entries.iter().filter(|(_, duplicate)| **duplicate).map(|(key, _)| key.1).filter(is_reachable).collect()
    }
}

fn key(address: &Address) -> (u32, IpAddr, u8) {
    (address.ifindex, address.address, address.prefix)
}

fn only6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

/// No pod's address is a loopback or an IPv6 link-local one.
fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

impl FromIterator<Address> for Addresses {
    fn from_iter<I: IntoIterator<Item = Address>>(all: I) -> Self {
        let mut addresses = Self::default();
        for address in all {
            addresses.put(&address);
        }
        addresses
    }
}
