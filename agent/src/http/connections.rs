//! Which connections a listener keeps open. Pure: sources come in, what is to be closed goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// Connections that are open at once.
const ALL: usize = 64;

/// Connections of one source that are open at once.
const OF_ONE: usize = 8;

/// Who opened a connection: an address, or the /64 that an IPv6 address is in, since who has one has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    /// The source that an address belongs to.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
            address => address,
        })
    }
}

/// The open connections. Nobody is refused: a source that has too many loses its own oldest connection, and where there
/// are too many in all, the source with the most does.
#[derive(Debug)]
pub(super) struct Connections<Id> {
    open: BTreeMap<u64, (Source, Id)>,
    by_source: BTreeMap<Source, BTreeSet<u64>>,
    last: u64,
}

impl<Id> Default for Connections<Id> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), by_source: BTreeMap::new(), last: 0 }
    }
}

impl<Id> Connections<Id> {
    /// The number that the next connection gets.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Takes in a connection. Returns the one that is to be closed for it.
    pub(super) fn open(&mut self, source: Source, id: Id) -> Option<Id> {
        let evicted = self.victim(source).and_then(|number| self.close(number));
        self.last += 1;
        self.open.insert(self.last, (source, id));
        self.by_source.entry(source).or_default().insert(self.last);
        evicted
    }

    /// Forgets a connection.
    pub(super) fn close(&mut self, number: u64) -> Option<Id> {
        let (source, id) = self.open.remove(&number)?;
        if let Some(numbers) = self.by_source.get_mut(&source) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(id)
    }

    /// The connection to close before one more is opened, if any.
    fn victim(&self, source: Source) -> Option<u64> {
        let own = self.by_source.get(&source);
        let full = self.open.len() >= ALL;
        let most = || self.by_source.values().rev().max_by_key(|numbers| numbers.len());
        let from = own.filter(|numbers| numbers.len() >= OF_ONE).or_else(|| full.then(most).flatten())?;
        from.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    /// Opens as many connections of a source; returns the numbers of those that were closed for them.
    fn open(connections: &mut Connections<u64>, source: Source, count: usize) -> Vec<u64> {
        (0..count).filter_map(|_| connections.open(source, connections.next())).collect()
    }

    #[test]
    fn a_source_with_too_many_connections_loses_its_own_oldest() {
        let mut connections = Connections::default();
        assert_eq!(open(&mut connections, source("10.0.0.9"), 1), Vec::<u64>::new());
        assert_eq!(open(&mut connections, source("10.0.0.1"), OF_ONE + 2), [2, 3]);
        assert_eq!(open(&mut connections, source("10.0.0.2"), 1), Vec::<u64>::new(), "others lose nothing");
    }

    #[test]
    fn where_all_are_taken_the_source_with_the_most_makes_room() {
        let mut connections = Connections::default();
        for host in 0..ALL - 3 {
            open(&mut connections, source(&format!("10.0.1.{host}")), 1);
        }
        assert_eq!(open(&mut connections, source("10.0.0.1"), 3), Vec::<u64>::new());
        assert_eq!(open(&mut connections, source("10.0.0.2"), 1), [(ALL - 2) as u64]);
        connections.close(1);
        assert_eq!(open(&mut connections, source("10.0.0.3"), 1), Vec::<u64>::new(), "there is room again");
    }

    #[test]
    fn where_all_have_one_the_oldest_makes_room() {
        let mut connections = Connections::default();
        for host in 0..ALL {
            open(&mut connections, source(&format!("10.0.{host}.1")), 1);
        }
        assert_eq!(open(&mut connections, source("10.1.0.1"), 1), [1]);
    }

    #[test]
    fn addresses_that_one_host_can_have_are_one_source() {
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_eq!(source("fd00::1"), source("fd00::ffff:1:2:3"));
        assert_ne!(source("fd00::1"), source("fd00:0:0:1::1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }
}
