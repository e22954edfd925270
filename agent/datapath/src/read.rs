//! What the kernel has counted and told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use podgate_common::{Counter, Direction, FlowEvent, Reason, VERDICT_NONE, counter_index, exits, lost, map};

use crate::maps::per_cpu;
use crate::sys::{self, Walk};
use crate::table::AnyTable;
use crate::{Datapath, Error};

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterKey {
    /// The endpoint's slot; 0 is for packets of interfaces that have none.
    pub slot: u32,
    /// The direction, seen from the endpoint.
    pub direction: Direction,
    /// Why the packets passed or were dropped.
    pub reason: Reason,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableUsage {
    /// Its name, one of [`podgate_common::map`].
    pub table: &'static str,
    /// Entries in it.
    pub used: u64,
    /// Entries it has room for.
    pub capacity: u64,
}

/// Packets at the exit hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// Deferred ones that were judged and went on.
    pub allowed: u64,
    /// Deferred ones that were judged and dropped.
    pub denied: u64,
    /// Those that came from a pod without a tag: a program on their way has cleared it, or none of podgate's was at the
    /// pod's interface yet, or any more. They were judged by the interface that they came from.
    pub untagged: u64,
    /// Those that came from a pod with a tag of another start's tables, while one start took over from another. They were
    /// judged likewise.
    pub others_tag: u64,
}

/// What the programs had no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Denials that emitted no event, for the rate limit or for a full ring. They are counted all the same.
    pub denied: u64,
    /// Allowed flows that emitted none.
    pub allowed: u64,
    /// Allows by rules that had no room for a counter of their own.
    pub rules: u64,
}

/// The programs' tables are walked over to count their entries, so not at every scrape of an eager scraper.
const FLOW_COUNTS_AGE: Duration = Duration::from_secs(5);

impl Datapath {
    /// The counters of all slots in use and of slot 0, those at zero included, since the slot has its present owner.
    ///
    /// # Errors
    /// The kernel refused to read.
    pub fn counters(&self) -> Result<BTreeMap<CounterKey, Counter>, Error> {
        let mut counters = BTreeMap::new();
        for slot in std::iter::once(0).chain(self.slots.in_use()) {
            self.read_slot(slot, &mut counters)?;
        }
        Ok(counters)
    }

    fn read_slot(&self, slot: u32, counters: &mut BTreeMap<CounterKey, Counter>) -> Result<(), Error> {
        let first = counter_index(slot, Direction::Ingress, Reason::NotIsolated);
        let count = 2 * Reason::ROOM;
        let values: Vec<Counter> = per_cpu(self.maps.counters(), map::COUNTERS, first, count, self.cpus)?;
        for direction in Direction::ALL {
            for &reason in Reason::ALL {
                let at = (counter_index(slot, direction, reason) - first) as usize * self.cpus;
                counters.insert(CounterKey { slot, direction, reason }, sum(&values[at..at + self.cpus]));
            }
        }
        Ok(())
    }

    /// How full each table is that can fill up, ordered by name. Tables that the programs write are counted at most
    /// every five seconds.
    ///
    /// # Errors
    /// The kernel refused to read.
    pub fn usage(&mut self) -> Result<Vec<TableUsage>, Error> {
        let counts = self.flow_counts()?;
        let flows = self.maps.flows().into_iter().map(|table| table.name).zip(counts);
        let mut usage: Vec<TableUsage> = self
            .written()
            .into_iter()
            .map(|(table, used)| (table, used as u64))
            .chain(flows)
            .map(|(table, used)| TableUsage { table, used, capacity: self.maps.capacities[table].into() })
            .collect();
        usage.sort_unstable();
        Ok(usage)
    }

    /// Entries of the tables that only user space writes, but for those that have one for each slot or address.
    fn written(&self) -> Vec<(&'static str, usize)> {
        let (slots, configs) = self.slots.used();
        let (interfaces, interfaces_more) = self.interfaces_used();
        let used = |table: &dyn AnyTable| match table.name() {
            map::INTERFACES => Some(interfaces),
            map::INTERFACES_MORE => Some(interfaces_more),
            map::SLOTS => Some(slots),
            map::CONFIGS => Some(configs),
            map::EPOCHS | map::ETHERNET_SOURCES | map::POD_ADDRESSES => None,
            _ => Some(table.used()),
        };
        self.maps.tables().into_iter().filter_map(|table| Some((table.name(), used(table)?))).collect()
    }

    fn flow_counts(&mut self) -> Result<Vec<u64>, Error> {
        if let Some((counted, counts)) = &self.flow_counts
            && counted.elapsed() < FLOW_COUNTS_AGE
        {
            return Ok(counts.clone());
        }
        let counts: Vec<u64> =
            self.maps.flows().iter().map(|table| table.walk(Walk::Count)).collect::<Result<_, _>>()?;
        self.flow_counts = Some((Instant::now(), counts.clone()));
        Ok(counts)
    }

    /// The counters of one slot, also just after its release.
    ///
    /// # Errors
    /// The kernel refused to read.
    pub fn counters_of(&self, slot: u32) -> Result<BTreeMap<CounterKey, Counter>, Error> {
        let mut counters = BTreeMap::new();
        self.read_slot(slot, &mut counters)?;
        Ok(counters)
    }

    /// How many flows each rule has allowed since the datapath was loaded.
    ///
    /// # Errors
    /// The kernel refused to read.
    pub fn rules(&self) -> Result<BTreeMap<u32, u64>, Error> {
        let counts = sys::per_cpu_counts(self.maps.rules(), self.cpus);
        counts.map_err(|source| Error::Table { action: "read", table: map::RULES, source })
    }

    /// Makes room in the table of rules: these are no more.
    ///
    /// # Errors
    /// The kernel refused something; calling again goes on.
    pub fn forget_rules(&self, rules: &[u32]) -> Result<(), Error> {
        let forget = |rule: &u32| sys::map_delete_batch(self.maps.rules(), std::slice::from_ref(rule));
        let failed = |(_, source)| Error::Table { action: "remove from", table: map::RULES, source };
        rules.iter().try_for_each(|rule| forget(rule).map_err(failed))
    }

    /// Hands over the events since the last call, and the programs' own messages to the `log` crate. The programs
    /// wake nobody up: this is to be called from time to time. Returns how many events there were.
    pub fn drain_events(&mut self, mut handle: impl FnMut(&FlowEvent)) -> usize {
        let mut events = 0;
        while let Some(record) = self.events.next() {
            if record.len() == size_of::<FlowEvent>() {
                // SAFETY: as long as the event, and every bit pattern is one; records are aligned to 8 bytes, but
                // reading need not rely on it.
                let mut event = unsafe { record.as_ptr().cast::<FlowEvent>().read_unaligned() };
                if u32::from(event.set) != self.set {
                    // A rule of another start, whose ids mean others here.
                    event.rule = VERDICT_NONE;
                }
                handle(&event);
                events += 1;
            }
        }
        if let Some(messages) = &mut self.messages {
            messages.flush();
        }
        events
    }

    /// What the programs had no room for since the datapath was loaded for the first time.
    ///
    /// # Errors
    /// The kernel refused to read.
    pub fn lost(&self) -> Result<Lost, Error> {
        let entries = map::capacity::EVENTS_LOST;
        let values: Vec<u64> = per_cpu(self.maps.events_lost(), map::EVENTS_LOST, 0, entries, self.cpus)?;
        let at = |index: u32| values.iter().skip(index as usize * self.cpus).take(self.cpus).sum();
        Ok(Lost { denied: at(lost::DENIED), allowed: at(lost::ALLOWED), rules: at(lost::RULES) })
    }

    /// What the exit hooks have seen since the datapath was loaded.
    ///
    /// # Errors
    /// The kernel refused to read.
    pub fn exits(&self) -> Result<Exits, Error> {
        let values: Vec<u64> = per_cpu(self.maps.exits(), map::EXITS, 0, map::capacity::EXITS, self.cpus)?;
        let at = |index: u32| values.iter().skip(index as usize * self.cpus).take(self.cpus).sum();
        Ok(Exits {
            allowed: at(exits::ALLOWED),
            denied: at(exits::DENIED),
            untagged: at(exits::UNTAGGED),
            others_tag: at(exits::OTHERS_TAG),
        })
    }
}

fn sum(values: &[Counter]) -> Counter {
    values.iter().fold(Counter::default(), |sum, value| Counter {
        packets: sum.packets + value.packets,
        bytes: sum.bytes + value.bytes,
    })
}
