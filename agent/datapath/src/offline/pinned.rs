//! The maps and programs of a set, opened by their pins.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::Pod;
use podgate_common::map::program;
use podgate_common::{Counter, Direction, OwnAddressKey, Resident, map};

use super::plan::Snapshot;
use crate::kept::RESIDENTS;
use crate::maps::{Grace, clear_counters, cpus, sizes};
use crate::pins::Pins;
use crate::sys::MapSize;
use crate::{Error, sys};

/// The maps of a set that are read and written.
const MAPS: [&str; 9] = [
    map::SLOTS,
    map::CONFIGS,
    map::INTERFACES,
    map::INTERFACES_MORE,
    map::ORIGINS4,
    map::ORIGINS6,
    map::OWN_ADDRESSES,
    map::ETHERNET_SOURCES,
    map::POD_ADDRESSES,
];

/// The same of those that all sets share, with the sizes of their keys and values.
const KEPT: [(&str, (usize, usize)); 2] =
    [(RESIDENTS, (size_of::<u32>(), size_of::<Resident>())), (map::COUNTERS, (size_of::<u32>(), size_of::<Counter>()))];

/// What is pinned of a set.
#[derive(Debug)]
pub(super) struct Pinned {
    maps: BTreeMap<&'static str, (OwnedFd, MapSize)>,
    ingress: OwnedFd,
    egress: OwnedFd,
}

impl Pinned {
    /// Opens a set.
    ///
    /// # Errors
    /// A pin is missing, or a map has not the form that this version gives it.
    pub(super) fn open(set: &Path, pins: &Pins) -> Result<Self, Error> {
        let open = |path: PathBuf| sys::open_pin(&path).map_err(|source| Error::Pin { action: "open", path, source });
        let of_set = MAPS.map(|name| (name, sizes(name), set.join("maps").join(name.to_lowercase())));
        let kept = KEPT.map(|(name, sizes)| (name, Some(sizes), pins.kept(name)));
        let mut maps = BTreeMap::new();
        for (name, expected, path) in of_set.into_iter().chain(kept) {
            let map = open(path)?;
            let size = sys::map_size(map.as_fd()).map_err(|source| failed("look at", name, source))?;
            if Some((size.key as usize, size.value as usize)) != expected {
                return Err(failed("use", name, io::Error::other("it was made by another version of podgate")));
            }
            maps.insert(name, (map, size));
        }
        let program = |name| open(set.join("programs").join(name));
        Ok(Self { maps, ingress: program(program::INGRESS)?, egress: program(program::EGRESS)? })
    }

    /// The program that judges a direction at a pod's interface.
    pub(super) fn program(&self, direction: Direction) -> BorrowedFd<'_> {
        match direction {
            Direction::Ingress => self.ingress.as_fd(),
            Direction::Egress => self.egress.as_fd(),
        }
    }

    /// Waits until no program runs that has read what stands before this point.
    pub(super) fn wait(&self, grace: &Grace) -> Result<(), Error> {
        grace.wait().map_err(|source| failed("wait for the readers of", "GRACE", source))
    }

    /// Writes one entry.
    pub(super) fn put<K: Pod, V: Pod>(&self, name: &'static str, key: &K, value: &V) -> Result<(), Error> {
        let (map, size) = &self.maps[name];
        debug_assert_eq!((size.key as usize, size.value as usize), (size_of::<K>(), size_of::<V>()));
        sys::map_update(map.as_fd(), key, value).map_err(|source| failed("write to", name, source))
    }

    /// Takes away what the pod that a slot had before may speak for, but for `kept`.
    pub(super) fn disown(&self, slot: u32, kept: &BTreeSet<OwnAddressKey>) -> Result<(), Error> {
        let (map, size) = &self.maps[map::OWN_ADDRESSES];
        let keys = sys::all_hash_keys::<OwnAddressKey>(map.as_fd(), size.value as usize);
        let mut former = keys.map_err(|source| failed("read", map::OWN_ADDRESSES, source))?;
        former.retain(|key| key.slot == slot && !kept.contains(key));
        let deleted = sys::map_delete_batch(map.as_fd(), &former);
        deleted.map_err(|(_, error)| failed("delete from", map::OWN_ADDRESSES, error))
    }

    /// Clears the counters of a slot.
    pub(super) fn clear_counters(&self, slot: u32) -> Result<(), Error> {
        clear_counters(self.maps[map::COUNTERS].0.as_fd(), slot, cpus()?)
    }

    /// What the tables say of slots and interfaces. `live` are the interfaces that there are.
    pub(super) fn snapshot(&self, live: &BTreeSet<u32>) -> Result<Snapshot, Error> {
        let (more, _) = &self.maps[map::INTERFACES_MORE];
        let mut hash = BTreeMap::new();
        for ifindex in live {
            let slot = sys::map_lookup(more.as_fd(), ifindex);
            hash.extend(slot.map_err(|e| failed("read", map::INTERFACES_MORE, e))?.map(|slot| (*ifindex, slot)));
        }
        Ok(Snapshot {
            words: self.array(map::SLOTS)?,
            configs: self.array(map::CONFIGS)?,
            residents: self.array(RESIDENTS)?,
            interfaces: self.array(map::INTERFACES)?,
            more: hash,
            live: live.clone(),
        })
    }

    /// All of an array.
    fn array<V: Pod + Default>(&self, name: &'static str) -> Result<Vec<V>, Error> {
        let (map, size) = &self.maps[name];
        let mut values = vec![V::default(); size.entries as usize];
        sys::array_lookup_batch(map.as_fd(), 0, size.entries, &mut values).map_err(|e| failed("read", name, e))?;
        Ok(values)
    }
}

/// A failure with a table.
pub(super) fn failed(action: &'static str, table: &'static str, source: io::Error) -> Error {
    Error::Table { action, table, source }
}
