//! The addresses that pods may speak for among their neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use podgate_common::map::OWN_ADDRESSES_OF_A_POD;
use podgate_common::{Addr6, OwnAddressKey};

use crate::{Datapath, Error, Identity};

/// Link-local addresses of one pod that are told to the programs; a pod can add as many to itself as it likes. The rest of
/// its room is for both its addresses and for the mark of those that route.
const MOST: usize = OWN_ADDRESSES_OF_A_POD as usize - 3;

/// Which slot on which interface has which IPv6 link-local addresses; `None`: none any more.
pub type LinkLocals = BTreeMap<(u32, u32), Option<BTreeSet<Ipv6Addr>>>;

/// What an identity alone makes a pod's own.
pub(crate) fn own(slot: u32, identity: &Identity) -> BTreeSet<OwnAddressKey> {
    let v4 = identity.key4().map(|address| OwnAddressKey::v4(slot, address));
    let v6 = identity.key6().map(|address| OwnAddressKey::v6(slot, address));
    let every = identity.routes.then_some(OwnAddressKey::every(slot));
    v4.into_iter().chain(v6).chain(every).collect()
}

impl Datapath {
    /// Tells the programs the IPv6 link-local addresses of slots. What another interface than the slot's has is left out: the
    /// slot is somebody else's by now.
    ///
    /// # Errors
    /// The kernel refused a write; what was written stays. Doing the same again is harmless.
    pub fn own_link_locals(&mut self, changes: &LinkLocals) -> Result<(), Error> {
        for (&(slot, ifindex), addresses) in changes {
            let Ok(endpoint) = self.slots.endpoint(slot) else { continue };
            if endpoint.identity.ifindex != ifindex {
                continue;
            }
            let all = addresses.iter().flatten().take(MOST);
            let keys = all.map(|address| OwnAddressKey::v6(slot, Addr6::from_octets(address.octets())));
            let wanted = own(slot, &endpoint.identity).into_iter().chain(keys).collect();
            self.set_own(slot, &wanted)?;
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
        let (former, now) = (of(former), of(now));
        let kept: BTreeSet<_> = self.owned(slot).difference(&former).copied().collect();
        self.set_own(slot, &kept.union(&now).copied().collect())
    }

    /// A slot has nothing of its own any more.
    pub(crate) fn disown(&mut self, slot: u32) -> Result<(), Error> {
        self.set_own(slot, &BTreeSet::new())
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
