//! The maps of one set of programs.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use podgate_common::{Counter, Direction, Reason, counter_index, map};

use aya::Pod;

use crate::Error;
use crate::sys::{self, Walk};
use crate::table::{AnyTable, BlockKey, Table};

/// Makes the holder of the maps of the registry: a table for each that the agent writes.
macro_rules! holder {
    (
        agent {
            $($(#[$doc:meta])* $field:ident $name:ident: $kind:ident $types:tt = $entries:expr $(, $($trait:ident)+)?;)*
        }
        flows {
            $($(#[$flow_doc:meta])* $flow_field:ident $flow_name:ident: $_kind:ident ($flow_key:ty => $flow_value:ty)
                = $_entries:expr $(, $($_trait:ident)+)?;)*
        }
        programs { $($_programs:tt)* }
    ) => {
        /// The maps by what they hold.
        #[derive(Debug)]
        pub(crate) struct Maps {
            $($(#[$doc])* pub(crate) $field: holder!(@table $kind $types),)*
            $($(#[$flow_doc])* pub(crate) $flow_field: FlowTable<$flow_key, $flow_value>,)*
            counters: OwnedFd,
            events_lost: OwnedFd,
            exits: OwnedFd,
            shares: OwnedFd,
            rules: OwnedFd,
            /// Entries by map name.
            pub(crate) capacities: BTreeMap<&'static str, u32>,
        }

        impl Maps {
            /// Those that the agent writes, as [`Datapath::audit`](crate::Datapath::audit) goes through them.
            pub(crate) fn tables(&self) -> [&dyn AnyTable; [$(stringify!($name)),*].len()] {
                [$(&self.$field),*]
            }

            /// The same, to be changed.
            pub(crate) fn tables_mut(&mut self) -> [&mut dyn AnyTable; [$(stringify!($name)),*].len()] {
                [$(&mut self.$field),*]
            }

            /// Those of flows and fragments.
            pub(crate) fn flows(&self) -> [&FlowMap; [$(stringify!($flow_name)),*].len()] {
                [$(&self.$flow_field.map),*]
            }
        }

        /// Bytes of a key and of a value of a map that the agent writes; `None`: there is none of this name.
        pub(crate) fn sizes(name: &str) -> Option<(usize, usize)> {
            match name {
                $(map::$name => Some(holder!(@sizes $kind $types)),)*
                _ => None,
            }
        }

        impl Descriptors {
            /// Sorts the descriptors by what the maps hold.
            ///
            /// # Errors
            /// A map is missing.
            pub(crate) fn sort(mut self, capacities: BTreeMap<&'static str, u32>) -> Result<Maps, Error> {
                Ok(Maps {
                    $($field: holder!(@open $kind $name, self, capacities),)*
                    $($flow_field: FlowTable::new(map::$flow_name, &mut self)?,)*
                    counters: self.take(map::COUNTERS)?,
                    events_lost: self.take(map::EVENTS_LOST)?,
                    exits: self.take(map::EXITS)?,
                    shares: self.take(map::SHARES)?,
                    rules: self.take(map::RULES)?,
                    capacities,
                })
            }
        }
    };
    (@table array ($value:ty)) => { Table<u32, $value> };
    (@table trie ($key:ty => $value:ty)) => { Table<BlockKey<$key>, $value> };
    (@table $hash:ident ($key:ty => $value:ty)) => { Table<$key, $value> };
    (@sizes array ($value:ty)) => { (size_of::<u32>(), size_of::<$value>()) };
    (@sizes trie ($key:ty => $value:ty)) => { (size_of::<BlockKey<$key>>(), size_of::<$value>()) };
    (@sizes $hash:ident ($key:ty => $value:ty)) => { (size_of::<$key>(), size_of::<$value>()) };
    (@open array $name:ident, $maps:ident, $capacities:ident) => {
        Table::array(map::$name, $maps.take(map::$name)?, $capacities[map::$name])
    };
    (@open $hash:ident $name:ident, $maps:ident, $capacities:ident) => {
        Table::hash(map::$name, $maps.take(map::$name)?)
    };
}

podgate_common::for_each_map!(holder);

impl Maps {
    /// What the epochs have come to. They are as they should be.
    pub(crate) fn read_epochs(&mut self) -> Result<Vec<u32>, Error> {
        let epochs = self.epochs.read_array(0, self.capacities[map::EPOCHS])?;
        self.epochs.entries = (0..).zip(epochs.iter().copied()).collect();
        Ok(epochs)
    }

    /// [`map::COUNTERS`]
    pub(crate) fn counters(&self) -> BorrowedFd<'_> {
        self.counters.as_fd()
    }

    /// [`map::EVENTS_LOST`]
    pub(crate) fn events_lost(&self) -> BorrowedFd<'_> {
        self.events_lost.as_fd()
    }

    /// [`map::SHARES`]
    pub(crate) fn shares(&self) -> BorrowedFd<'_> {
        self.shares.as_fd()
    }

    /// [`map::RULES`]
    pub(crate) fn rules(&self) -> BorrowedFd<'_> {
        self.rules.as_fd()
    }

    /// [`map::EXITS`]
    pub(crate) fn exits(&self) -> BorrowedFd<'_> {
        self.exits.as_fd()
    }
}

/// A map that the programs write: entries come and go without user space.
#[derive(Debug)]
pub(crate) struct FlowTable<K, V> {
    pub(crate) map: FlowMap,
    types: PhantomData<(K, V)>,
}

/// The same, whose types do not matter.
#[derive(Debug)]
pub(crate) struct FlowMap {
    pub(crate) name: &'static str,
    map: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl<K: Pod, V: Pod> FlowTable<K, V> {
    fn new(name: &'static str, maps: &mut Descriptors) -> Result<Self, Error> {
        let map = FlowMap { name, map: maps.take(name)?, key_size: size_of::<K>(), value_size: size_of::<V>() };
        Ok(Self { map, types: PhantomData })
    }

    /// The map.
    #[cfg(test)]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.map.map.as_fd()
    }

    /// Writes entries.
    pub(crate) fn put(&self, keys: &[K], values: &[V]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        sys::map_update_batch(self.map.map.as_fd(), keys, values).map_err(|(_, source)| Error::Table {
            action: "write to",
            table: self.map.name,
            source,
        })
    }
}

impl FlowMap {
    /// Copies the entries of another that this one does not have.
    pub(crate) fn copy_from(&self, other: BorrowedFd<'_>) -> Result<(), Error> {
        sys::hash_copy(other, self.map.as_fd(), self.key_size, self.value_size).map_err(|source| Error::Table {
            action: "carry over the entries of",
            table: self.name,
            source,
        })
    }

    /// Counts the entries, and removes them if asked to.
    pub(crate) fn walk(&self, walk: Walk) -> Result<u64, Error> {
        sys::hash_walk(self.map.as_fd(), walk, self.key_size, self.value_size).map_err(|source| Error::Table {
            action: "walk over",
            table: self.name,
            source,
        })
    }
}

/// The descriptors of the maps by name.
#[derive(Debug)]
pub(crate) struct Descriptors(pub(crate) BTreeMap<String, OwnedFd>);

impl Descriptors {
    pub(crate) fn take(&mut self, name: &'static str) -> Result<OwnedFd, Error> {
        self.0.remove(name).ok_or_else(|| Error::BadObject(format!("it has no map {name}")))
    }
}

/// Waits until every program that runs now has ended.
///
/// Returning from an update of a map-in-map, the kernel has waited for all non-sleepable programs that were running:
/// `maybe_wait_bpf_programs` calls `synchronize_rcu` (since Linux 5.0, commit 1ae80cf31938 "bpf: wait for running BPF
/// programs when updating map-in-map"). TC programs run within an RCU read-side critical section at either hook.
#[derive(Debug)]
pub(crate) struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Makes a map-in-map of one entry.
    pub(crate) fn new() -> io::Result<Self> {
        let inner = sys::map_create(sys::MAP_TYPE_ARRAY, 1, None)?;
        let outer = sys::map_create(sys::MAP_TYPE_ARRAY_OF_MAPS, 1, Some(inner.as_fd()))?;
        Ok(Self { outer, inner })
    }

    /// Waits for a grace period.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let inner = std::os::fd::AsRawFd::as_raw_fd(&self.inner).cast_unsigned();
        sys::map_update(self.outer.as_fd(), &0_u32, &inner)
    }
}

/// How many values an entry of a per-CPU map has.
pub(crate) fn cpus() -> Result<usize, Error> {
    aya::util::nr_cpus().map_err(|(_, source)| Error::Table { action: "size", table: map::COUNTERS, source })
}

/// Clears the counters of a slot, in [`map::COUNTERS`].
pub(crate) fn clear_counters(counters: BorrowedFd<'_>, slot: u32, cpus: usize) -> Result<(), Error> {
    let first = counter_index(slot, Direction::Ingress, Reason::NotIsolated);
    let keys: Vec<u32> = (first..first + 2 * Reason::ROOM).collect();
    let zeros = vec![Counter::default(); keys.len() * cpus];
    sys::map_update_batch(counters, &keys, &zeros).map_err(|(_, source)| Error::Table {
        action: "clear",
        table: map::COUNTERS,
        source,
    })
}

/// Reads what a per-CPU array holds at indexes that follow one another: `cpus` values for each.
pub(crate) fn per_cpu<V: Pod + Default>(
    map: BorrowedFd<'_>,
    table: &'static str,
    first: u32,
    count: u32,
    cpus: usize,
) -> Result<Vec<V>, Error> {
    let mut values = vec![V::default(); count as usize * cpus];
    sys::array_lookup_batch(map, first, count, &mut values).map_err(|source| Error::Table {
        action: "read",
        table,
        source,
    })?;
    Ok(values)
}
