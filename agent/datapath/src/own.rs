//! The addresses that pods may speak for among their neighbours, and the Ethernet addresses that they send from.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::AsFd as _;

use podgate_common::map::{OWN_ADDRESSES, OWN_ADDRESSES_OF_A_POD};
use podgate_common::{Addr6, EthernetSource, OwnAddressKey, PodAddresses, ethernet_index};
use podgate_host::netlink::Mac;

use crate::pins::Pins;
use crate::{Datapath, Error, Identity, sys};

/// Link-local addresses of one pod that are told to the programs; a pod can add as many to itself as it likes. The rest of
/// its room is for both its addresses and for the mark of those that route.
const MOST: usize = OWN_ADDRESSES_OF_A_POD as usize - 3;

/// What is known of the interface of a slot's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnLink {
    /// The IPv6 link-local addresses that are the pod's own.
    pub link_locals: BTreeSet<Ipv6Addr>,
    /// What its frames may come from.
    pub source: EthernetSource,
    /// What they may come from too, if one address alone was named.
    pub later_source: Option<EthernetSource>,
}

/// Link-local addresses by slot.
pub(crate) type LinkLocals = BTreeMap<u32, BTreeSet<Ipv6Addr>>;

/// What is known by slot and interface; `None`: nothing any more.
pub type OnLinks = BTreeMap<(u32, u32), Option<OnLink>>;

/// The link-local addresses that were told to the programs of the set in force, by slot; of another version's tables none.
pub(crate) fn former_link_locals(pins: &Pins) -> io::Result<LinkLocals> {
    let mut former = LinkLocals::new();
    let Some(map) = pins.open_in_force(OWN_ADDRESSES) else { return Ok(former) };
    let size = sys::map_size(map.as_fd())?;
    if (size.key as usize, size.value as usize) != (size_of::<OwnAddressKey>(), size_of::<u32>()) {
        return Ok(former);
    }
    for OwnAddressKey { slot, address } in sys::all_hash_keys(map.as_fd(), size_of::<u32>())? {
        let address = Ipv6Addr::from(address.octets());
        if address.is_unicast_link_local() {
            former.entry(slot).or_default().insert(address);
        }
    }
    Ok(former)
}

/// What an identity alone makes a pod's own.
pub(crate) fn own(slot: u32, identity: &Identity) -> BTreeSet<OwnAddressKey> {
    let v4 = identity.key4().map(|address| OwnAddressKey::v4(slot, address));
    let v6 = identity.key6().map(|address| OwnAddressKey::v6(slot, address));
    let every = identity.routes.then_some(OwnAddressKey::every(slot));
    v4.into_iter().chain(v6).chain(every).collect()
}

impl Datapath {
    /// Tells the programs what is on the interfaces of slots. What another interface than the slot's has is left out: the slot
    /// is somebody else's by now.
    ///
    /// # Errors
    /// The kernel refused a write; what was written stays. Doing the same again is harmless.
    pub fn own_on_link(&mut self, changes: &OnLinks) -> Result<(), Error> {
        for (&(slot, ifindex), on_link) in changes {
            let Ok(endpoint) = self.slots.endpoint(slot) else { continue };
            if endpoint.identity.ifindex != ifindex {
                continue;
            }
            let all = on_link.iter().flat_map(|it| &it.link_locals).take(MOST);
            let keys = all.map(|address| OwnAddressKey::v6(slot, Addr6::from_octets(address.octets())));
            let wanted = own(slot, &endpoint.identity).into_iter().chain(keys).collect();
            let sources = on_link.as_ref().filter(|_| !endpoint.identity.routes);
            let sources = sources.map(|it| (it.source, it.later_source.unwrap_or_default()));
            self.set_own(slot, &wanted)?;
            self.set_sources(slot, sources.unwrap_or_default())?;
            self.note(slot)?;
        }
        Ok(())
    }

    /// Tells the programs what is a slot's own by who has it.
    pub(crate) fn own_identity(
        &mut self,
        slot: u32,
        former: Option<&Identity>,
        now: Option<&Identity>,
    ) -> Result<(), Error> {
        let of = |identity: Option<&Identity>| identity.map(|identity| own(slot, identity)).unwrap_or_default();
        let addresses = now.map(Identity::addresses).unwrap_or_default();
        let (former, now) = (of(former), of(now));
        let kept: BTreeSet<_> = self.owned(slot).difference(&former).copied().collect();
        self.set_own(slot, &kept.union(&now).copied().collect())?;
        self.set_addresses(slot, addresses)
    }

    /// A slot has nothing of its own any more.
    pub(crate) fn disown(&mut self, slot: u32) -> Result<(), Error> {
        self.set_addresses(slot, PodAddresses::default())?;
        self.set_own(slot, &BTreeSet::new())?;
        self.set_sources(slot, Default::default())
    }

    fn set_addresses(&mut self, slot: u32, addresses: PodAddresses) -> Result<(), Error> {
        self.maps.pod_addresses.set(slot, addresses)
    }

    /// Tells the programs what a slot's frames may come from. Where any address may, the later one is not looked at.
    fn set_sources(&mut self, slot: u32, (first, later): (EthernetSource, EthernetSource)) -> Result<(), Error> {
        for (is_later, source) in [(true, later), (false, first)] {
            self.maps.ethernet_sources.set(ethernet_index(slot, is_later), source)?;
        }
        Ok(())
    }

    /// The Ethernet addresses that a slot's frames may come from; zero where there is none.
    pub(crate) fn ethernet_of(&self, slot: u32) -> [Mac; 2] {
        let told = [false, true].map(|later| self.maps.ethernet_sources.entries.get(&ethernet_index(slot, later)));
        told.map(|source| source.and_then(|source| source.octets()).unwrap_or_default())
    }

    fn owned(&self, slot: u32) -> BTreeSet<OwnAddressKey> {
        let first = OwnAddressKey::every(slot);
        let all = self.maps.own_addresses.entries.range(first..).map(|(key, _)| *key);
        all.take_while(|key| key.slot == slot).collect()
    }

    fn set_own(&mut self, slot: u32, wanted: &BTreeSet<OwnAddressKey>) -> Result<(), Error> {
        let owned = self.owned(slot);
        let gone: Vec<_> = owned.difference(wanted).copied().collect();
        let new: Vec<_> = wanted.difference(&owned).copied().collect();
        self.maps.own_addresses.delete(&gone).map_err(|(_, error)| error)?;
        self.maps.own_addresses.put(&new, &vec![1; new.len()]).map_err(|(_, error)| error)
    }
}
