//! The comparison of tables with what the kernel really has, a little at a time.

use std::io;
use std::ops::Bound;
use std::os::fd::AsFd as _;

use aya::Pod;
use podgate_common::{
    Addr4, Addr6, BackendKey, Block4, Block6, ClassRowKey, FrontendKey4, FrontendKey6, OwnAddressKey, RowPortKey,
};

use crate::sys::{self, Cursor};
use crate::table::{AnyTable, BlockKey, Table};
use crate::{Datapath, Error};

/// Entries that are looked up one by one at a time, which takes half a millisecond.
const STEP: usize = 1024;
/// Entries of an array that are read at once.
const READ: u32 = 4096;

/// How far the comparison of a table is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audit<K> {
    /// What it should hold is looked for, behind this key.
    Ours(Option<K>),
    /// What it does hold is gone through.
    Theirs {
        /// How far.
        cursor: Cursor,
        /// How many of the entries were there so far that should be.
        seen: usize,
    },
    /// An array is read.
    Array {
        /// The next index.
        next: u32,
        /// How many entries it has.
        size: u32,
    },
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Entries that were missing, wrong or not podgate's, and are right now.
    pub repaired: u64,
    /// Whether every table has been compared once more.
    pub over: bool,
}

/// A key of a table.
pub(crate) trait Key: Pod + Ord {
    /// The key of an array's entry; `None`: it is no array's.
    fn at(_index: u32) -> Option<Self> {
        None
    }
}

impl Key for u32 {
    fn at(index: u32) -> Option<Self> {
        Some(index)
    }
}

impl Key for Addr4 {}
impl Key for Addr6 {}
impl Key for BlockKey<Block4> {}
impl Key for BlockKey<Block6> {}
impl Key for ClassRowKey {}
impl Key for RowPortKey {}
impl Key for FrontendKey4 {}
impl Key for FrontendKey6 {}
impl Key for BackendKey {}
impl Key for OwnAddressKey {}

impl<K: Key, V: Pod + Default + PartialEq> Table<K, V> {
    /// Compares the next entries, and puts right what is wrong; `over` says that the table has been gone through.
    pub(crate) fn audit(&mut self) -> Result<Audited, Error> {
        let audited = match self.audit {
            Audit::Array { next, size } => self.read_on(next, size),
            Audit::Ours(behind) => self.look_for_ours(behind),
            Audit::Theirs { cursor, seen } => self.go_through_theirs(cursor, seen),
        };
        audited.map_err(|error| self.error("compare", error))
    }

    /// How many calls it takes to go through it.
    pub(crate) fn audit_steps(&self) -> usize {
        match self.audit {
            Audit::Array { size, .. } => size.div_ceil(READ) as usize,
            Audit::Ours(_) | Audit::Theirs { .. } => 2 + self.used() / STEP + self.used() / sys::CHUNK,
        }
    }

    fn read_on(&mut self, next: u32, size: u32) -> io::Result<Audited> {
        let count = READ.min(size - next);
        let mut values = vec![V::default(); count as usize];
        sys::array_lookup_batch(self.map.as_fd(), next, count, &mut values)?;
        let mut repaired = 0;
        for (key, found) in (next..).map_while(K::at).zip(values) {
            let wanted = self.entries.get(&key).copied().unwrap_or_default();
            if found != wanted {
                sys::map_update(self.map.as_fd(), &key, &wanted)?;
                repaired += 1;
            }
        }
        let over = next + count == size;
        self.audit = Audit::Array { next: if over { 0 } else { next + count }, size };
        Ok(Audited { repaired, over })
    }

    fn look_for_ours(&mut self, behind: Option<K>) -> io::Result<Audited> {
        let start = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut last, mut repaired) = (None, 0);
        for (key, wanted) in self.entries.range((start, Bound::Unbounded)).take(STEP) {
            if sys::map_lookup(self.map.as_fd(), key)?.as_ref() != Some(wanted) {
                sys::map_update(self.map.as_fd(), key, wanted)?;
                repaired += 1;
            }
            last = Some(*key);
        }
        self.audit = match last {
            Some(last) => Audit::Ours(Some(last)),
            None => {
                self.written = false;
                Audit::Theirs { cursor: Cursor::default(), seen: 0 }
            }
        };
        Ok(Audited { repaired, over: false })
    }

    fn go_through_theirs(&mut self, mut cursor: Cursor, seen: usize) -> io::Result<Audited> {
        let (keys, over) = sys::hash_keys::<K>(self.map.as_fd(), &mut cursor, size_of::<V>())?;
        let count = keys.len();
        let strange: Vec<K> = keys.into_iter().filter(|key| !self.entries.contains_key(key)).collect();
        let seen = seen + count - strange.len();
        for key in &strange {
            match sys::map_delete_batch(self.map.as_fd(), &[*key]) {
                Err((_, error)) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
                _ => {}
            }
        }
        self.audit = if over { Audit::Ours(None) } else { Audit::Theirs { cursor, seen } };
        let missing = if over { self.restore_missing(seen)? } else { 0 };
        Ok(Audited { repaired: (strange.len() + missing) as u64, over })
    }

    /// Writes every entry once more if some were not seen. A trie does not tell when it is asked for one: it answers
    /// with a shorter prefix.
    fn restore_missing(&mut self, seen: usize) -> io::Result<usize> {
        let missing = self.entries.len().saturating_sub(seen);
        if missing == 0 || self.written {
            return Ok(0);
        }
        for (key, value) in &self.entries {
            sys::map_update(self.map.as_fd(), key, value)?;
        }
        Ok(missing)
    }
}

impl Datapath {
    /// Compares the next entries of the tables that user space alone writes with what the kernel has, and puts right
    /// what somebody else has changed. Takes less than a millisecond or two.
    ///
    /// # Errors
    /// The kernel refused to read or write.
    pub fn audit(&mut self) -> Result<Audited, Error> {
        let tables = self.maps.tables_mut();
        let (count, at) = (tables.len(), self.audited);
        let audited = tables.into_iter().nth(at).map_or(Ok(Audited::default()), AnyTable::audit)?;
        self.audited = (at + usize::from(audited.over)) % count;
        Ok(Audited { over: audited.over && self.audited == 0, ..audited })
    }

    /// How many calls of [`Self::audit`] compare everything once, as full as the tables are now.
    pub fn audit_steps(&self) -> usize {
        self.maps.tables().iter().map(|table| table.audit_steps()).sum()
    }
}
