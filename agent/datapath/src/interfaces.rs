//! Where an interface's entry stands: in the array at its index modulo the size, or, where that place is another's, in
//! the hash behind it.

use std::collections::{BTreeMap, BTreeSet};

/// Where an interface's entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryLocation {
    /// In [`podgate_common::map::INTERFACES`] at this index.
    Array(u32),
    /// In [`podgate_common::map::INTERFACES_MORE`] under its ifindex.
    More,
}

/// The places in use.
#[derive(Debug)]
pub(crate) struct Interfaces {
    size: u32,
    array: BTreeMap<u32, u32>,
    more: BTreeSet<u32>,
}

impl Interfaces {
    /// No places in use; `size` is the array's, a power of two.
    pub(crate) fn new(size: u32) -> Self {
        debug_assert!(size.is_power_of_two());
        Self { size, array: BTreeMap::new(), more: BTreeSet::new() }
    }

    /// Gives an interface its place, or tells the one it has.
    pub(crate) fn add(&mut self, ifindex: u32) -> EntryLocation {
        let index = ifindex & (self.size - 1);
        if self.more.contains(&ifindex) || *self.array.entry(index).or_insert(ifindex) != ifindex {
            self.more.insert(ifindex);
            return EntryLocation::More;
        }
        EntryLocation::Array(index)
    }

    /// Takes an interface's place from it. The others keep theirs: one in the hash is found there, whoever has, or has
    /// not, its place in the array.
    pub(crate) fn remove(&mut self, ifindex: u32) -> Option<EntryLocation> {
        if self.more.remove(&ifindex) {
            return Some(EntryLocation::More);
        }
        let index = ifindex & (self.size - 1);
        (self.array.get(&index) == Some(&ifindex)).then(|| {
            self.array.remove(&index);
            EntryLocation::Array(index)
        })
    }

    /// How many entries array and hash hold.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.array.len(), self.more.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_collide_in_the_array_go_to_the_hash() {
        let mut interfaces = Interfaces::new(8);
        let places = [3, 11, 19, 4].map(|ifindex| interfaces.add(ifindex));
        assert_eq!(
            places,
            [EntryLocation::Array(3), EntryLocation::More, EntryLocation::More, EntryLocation::Array(4)]
        );
        assert_eq!(interfaces.used(), (2, 2));
    }

    #[test]
    fn an_interface_keeps_its_place_when_another_leaves_or_it_is_added_again() {
        let mut interfaces = Interfaces::new(8);
        interfaces.add(3);
        interfaces.add(11);
        assert_eq!(interfaces.remove(3), Some(EntryLocation::Array(3)));
        assert_eq!(interfaces.add(11), EntryLocation::More);
        assert_eq!(interfaces.add(19), EntryLocation::Array(3));
        assert_eq!(interfaces.remove(11), Some(EntryLocation::More));
        assert_eq!(interfaces.remove(19), Some(EntryLocation::Array(3)));
        assert_eq!(interfaces.used(), (0, 0));
    }

    #[test]
    fn removing_an_interface_without_a_place_touches_no_other() {
        let mut interfaces = Interfaces::new(8);
        interfaces.add(3);
        assert_eq!(interfaces.remove(11), None);
        assert_eq!(interfaces.remove(3), Some(EntryLocation::Array(3)));
    }
}
