//! The maps of one set of programs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use podgate_common::{
    Addr4, Addr6, Backend4, Backend6, BackendKey, Block4, Block6, ClassRowKey, Counter, Direction, EndpointConfig,
    EthernetSource, Flow, FlowKey4, FlowKey6, FragmentKey4, FragmentKey6, FragmentPorts, Frontend, FrontendKey4,
    FrontendKey6, InterfaceSlot, OwnAddressKey, PortClasses, Reason, Row, RowPortKey, SlotWord, counter_index, map,
};

use aya::Pod;

use crate::Error;
use crate::audit::Audible;
use crate::sys::{self, Walk};
use crate::table::{BlockKey, Table};

/// The maps by what they hold.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) interfaces: Table<u32, InterfaceSlot>,
    pub(crate) interfaces_more: Table<u32, u32>,
    pub(crate) slots: Table<u32, SlotWord>,
    pub(crate) configs: Table<u32, EndpointConfig>,
    pub(crate) addresses4: Table<Addr4, u32>,
    pub(crate) addresses6: Table<Addr6, u32>,
    pub(crate) groups: Table<u32, u32>,
    pub(crate) blocks4: Table<BlockKey<Block4>, u32>,
    pub(crate) blocks6: Table<BlockKey<Block6>, u32>,
    pub(crate) class_rows: Table<ClassRowKey, u32>,
    pub(crate) rows: Table<u32, Row>,
    pub(crate) row_ports: Table<RowPortKey, u32>,
    pub(crate) ports: Table<u32, PortClasses>,
    pub(crate) epochs: Table<u32, u32>,
    pub(crate) deferring4: Table<Addr4, u32>,
    pub(crate) deferring6: Table<Addr6, u32>,
    pub(crate) frontends4: Table<FrontendKey4, Frontend>,
    pub(crate) frontends6: Table<FrontendKey6, Frontend>,
    pub(crate) backends4: Table<BackendKey, Backend4>,
    pub(crate) backends6: Table<BackendKey, Backend6>,
    pub(crate) origins4: Table<Addr4, u32>,
    pub(crate) origins6: Table<Addr6, u32>,
    pub(crate) own_addresses: Table<OwnAddressKey, u32>,
    pub(crate) ethernet_sources: Table<u32, EthernetSource>,
    pub(crate) flows: [FlowTable; 6],
    counters: OwnedFd,
    events_lost: OwnedFd,
    exits: OwnedFd,
    shares: OwnedFd,
    rules: OwnedFd,
    /// Entries by map name.
    pub(crate) capacities: BTreeMap<&'static str, u32>,
}

impl Maps {
    /// What the epochs have come to. They are as they should be.
    pub(crate) fn read_epochs(&mut self) -> Result<Vec<u32>, Error> {
        let epochs = self.epochs.read_array(0, self.capacities[map::EPOCHS])?;
        self.epochs.entries = (0..).zip(epochs.iter().copied()).collect();
        Ok(epochs)
    }

    /// All that can be compared with what the kernel has, as [`Datapath::audit`](crate::Datapath::audit) goes through it.
    pub(crate) fn audible(&mut self) -> [&mut dyn Audible; 24] {
        [
            &mut self.interfaces,
            &mut self.interfaces_more,
            &mut self.slots,
            &mut self.configs,
            &mut self.addresses4,
            &mut self.addresses6,
            &mut self.groups,
            &mut self.blocks4,
            &mut self.blocks6,
            &mut self.class_rows,
            &mut self.rows,
            &mut self.row_ports,
            &mut self.ports,
            &mut self.epochs,
            &mut self.deferring4,
            &mut self.deferring6,
            &mut self.frontends4,
            &mut self.frontends6,
            &mut self.backends4,
            &mut self.backends6,
            &mut self.origins4,
            &mut self.origins6,
            &mut self.own_addresses,
            &mut self.ethernet_sources,
        ]
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
pub(crate) struct FlowTable {
    pub(crate) name: &'static str,
    map: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl FlowTable {
    fn new<K, V>(name: &'static str, maps: &mut Descriptors) -> Result<Self, Error> {
        Ok(Self { name, map: maps.take(name)?, key_size: size_of::<K>(), value_size: size_of::<V>() })
    }

    /// The map.
    #[cfg(test)]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Copies the entries of another that this one does not have.
    pub(crate) fn copy_from(&self, other: BorrowedFd<'_>) -> Result<(), Error> {
        sys::hash_copy(other, self.map.as_fd(), self.key_size, self.value_size).map_err(|source| Error::Table {
            action: "carry over the entries of",
            table: self.name,
            source,
        })
    }

    /// Writes entries.
    pub(crate) fn put<K: Pod, V: Pod>(&self, keys: &[K], values: &[V]) -> Result<(), Error> {
        debug_assert!((size_of::<K>(), size_of::<V>()) == (self.key_size, self.value_size), "of this table");
        if keys.is_empty() {
            return Ok(());
        }
        sys::map_update_batch(self.map.as_fd(), keys, values).map_err(|(_, source)| Error::Table {
            action: "write to",
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

    fn hash<K: Pod + Ord, V: Pod + Default>(&mut self, name: &'static str) -> Result<Table<K, V>, Error> {
        Ok(Table::hash(name, self.take(name)?))
    }

    fn array<V: Pod + Default>(
        &mut self,
        name: &'static str,
        capacities: &BTreeMap<&'static str, u32>,
    ) -> Result<Table<u32, V>, Error> {
        Ok(Table::array(name, self.take(name)?, capacities[name]))
    }

    /// Sorts the descriptors by what the maps hold.
    ///
    /// # Errors
    /// A map is missing.
    pub(crate) fn sort(mut self, capacities: BTreeMap<&'static str, u32>) -> Result<Maps, Error> {
        Ok(Maps {
            interfaces: self.array(map::INTERFACES, &capacities)?,
            interfaces_more: self.hash(map::INTERFACES_MORE)?,
            slots: self.array(map::SLOTS, &capacities)?,
            configs: self.array(map::CONFIGS, &capacities)?,
            addresses4: self.hash(map::ADDRESSES4)?,
            addresses6: self.hash(map::ADDRESSES6)?,
            groups: self.array(map::GROUPS, &capacities)?,
            blocks4: self.hash(map::BLOCKS4)?,
            blocks6: self.hash(map::BLOCKS6)?,
            class_rows: self.hash(map::CLASS_ROWS)?,
            rows: self.array(map::ROWS, &capacities)?,
            row_ports: self.hash(map::ROW_PORTS)?,
            ports: self.array(map::PORTS, &capacities)?,
            epochs: self.array(map::EPOCHS, &capacities)?,
            deferring4: self.hash(map::DEFERRING4)?,
            deferring6: self.hash(map::DEFERRING6)?,
            frontends4: self.hash(map::FRONTENDS4)?,
            frontends6: self.hash(map::FRONTENDS6)?,
            backends4: self.hash(map::BACKENDS4)?,
            backends6: self.hash(map::BACKENDS6)?,
            origins4: self.hash(map::ORIGINS4)?,
            origins6: self.hash(map::ORIGINS6)?,
            own_addresses: self.hash(map::OWN_ADDRESSES)?,
            ethernet_sources: self.array(map::ETHERNET_SOURCES, &capacities)?,
            flows: [
                FlowTable::new::<FlowKey4, Flow>(map::FLOWS4, &mut self)?,
                FlowTable::new::<FlowKey6, Flow>(map::FLOWS6, &mut self)?,
                FlowTable::new::<FlowKey4, Flow>(map::PENDING4, &mut self)?,
                FlowTable::new::<FlowKey6, Flow>(map::PENDING6, &mut self)?,
                FlowTable::new::<FragmentKey4, FragmentPorts>(map::FRAGMENTS4, &mut self)?,
                FlowTable::new::<FragmentKey6, FragmentPorts>(map::FRAGMENTS6, &mut self)?,
            ],
            counters: self.take(map::COUNTERS)?,
            events_lost: self.take(map::EVENTS_LOST)?,
            exits: self.take(map::EXITS)?,
            shares: self.take(map::SHARES)?,
            rules: self.take(map::RULES)?,
            capacities,
        })
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
