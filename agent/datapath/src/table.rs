//! A map that user space alone writes: its descriptor, and what it holds.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::Pod;
use ipnet::{Ipv4Net, Ipv6Net};
use podgate_common::{Block4, Block6};

use crate::audit::{Audit, Audited, Key};
use crate::{Error, sys};

/// A key of the longest-prefix tries, as the kernel's `struct bpf_lpm_trie_key` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub(crate) struct BlockKey<A> {
    prefix: u32,
    address: A,
}

// SAFETY: two fields whose alignment is four and whose sizes are multiples of it: no padding.
unsafe impl Pod for BlockKey<Block4> {}
// SAFETY: as above.
unsafe impl Pod for BlockKey<Block6> {}

impl From<Ipv4Net> for BlockKey<Block4> {
    fn from(block: Ipv4Net) -> Self {
        Self { prefix: block.prefix_len().into(), address: Block4::from_octets(block.network().octets()) }
    }
}

impl From<Ipv6Net> for BlockKey<Block6> {
    fn from(block: Ipv6Net) -> Self {
        Self { prefix: block.prefix_len().into(), address: Block6::from_octets(block.network().octets()) }
    }
}

/// A write that ended early: how many entries it dealt with, and why it went no further.
pub(crate) type Partial = (usize, Error);

/// A map and what it holds.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    pub(crate) name: &'static str,
    pub(crate) map: OwnedFd,
    /// What was written and not cleared.
    pub(crate) entries: BTreeMap<K, V>,
    /// Whether entries were written or removed since the comparison last began to go through them.
    pub(crate) written: bool,
    /// How far the comparison with the kernel's map is.
    pub(crate) audit: Audit<K>,
    /// Entries to be written, and keys of those to be removed.
    staged: Vec<(K, Option<V>)>,
}

/// A table whose types do not matter.
pub(crate) trait AnyTable {
    /// The map's name.
    fn name(&self) -> &'static str;

    /// How many keys hold something.
    fn used(&self) -> usize;

    /// See [`Table::audit`].
    fn audit(&mut self) -> Result<Audited, Error>;

    /// See [`Table::audit_steps`].
    fn audit_steps(&self) -> usize;

    /// Does what is staged.
    fn flush(&mut self) -> Result<(), Partial>;
}

impl<K: Key, V: Pod + Default + PartialEq> AnyTable for Table<K, V> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn used(&self) -> usize {
        self.entries.len()
    }

    fn audit(&mut self) -> Result<Audited, Error> {
        self.audit()
    }

    fn audit_steps(&self) -> usize {
        self.audit_steps()
    }

    fn flush(&mut self) -> Result<(), Partial> {
        let mut start = 0;
        for run in mem::take(&mut self.staged).chunk_by(|(_, a), (_, b)| a.is_some() == b.is_some()) {
            let keys: Vec<K> = run.iter().map(|&(key, _)| key).collect();
            let values: Vec<V> = run.iter().filter_map(|&(_, value)| value).collect();
            let outcome = match self.audit {
                _ if !values.is_empty() => self.put(&keys, &values),
                // No entry of an array can be removed: the default is what means nothing there.
                Audit::Array { .. } => self.clear(&keys),
                Audit::Ours(_) | Audit::Theirs { .. } => self.delete(&keys),
            };
            outcome.map_err(|(done, error)| (start + done, error))?;
            start += run.len();
        }
        Ok(())
    }
}

impl<V: Pod + Default> Table<u32, V> {
    /// An array of so many entries, all of them the default.
    pub(crate) fn array(name: &'static str, map: OwnedFd, size: u32) -> Self {
        Self {
            name,
            map,
            entries: BTreeMap::new(),
            written: false,
            audit: Audit::Array { next: 0, size },
            staged: Vec::new(),
        }
    }

    /// Writes one entry; the default is what means nothing there.
    pub(crate) fn set(&mut self, index: u32, value: V) -> Result<(), Error>
    where
        V: PartialEq,
    {
        if value == V::default() {
            return self.clear(&[index]).map_err(|(_, error)| error);
        }
        self.put_one(index, value)
    }

    /// So many values of an array, from an index on.
    pub(crate) fn read_array(&self, first: u32, count: u32) -> Result<Vec<V>, Error> {
        let mut values = vec![V::default(); count as usize];
        let read = sys::array_lookup_batch(self.map.as_fd(), first, count, &mut values);
        read.map(|()| values).map_err(|source| self.error("read", source))
    }
}

impl<K: Pod + Ord, V: Pod + Default> Table<K, V> {
    /// A hash or trie that is empty.
    pub(crate) fn hash(name: &'static str, map: OwnedFd) -> Self {
        Self { name, map, entries: BTreeMap::new(), written: false, audit: Audit::Ours(None), staged: Vec::new() }
    }

    /// The kernel's map.
    #[cfg(test)]
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// What the kernel has under a key.
    #[cfg(test)]
    pub(crate) fn read(&self, key: &K) -> Option<V> {
        sys::map_lookup(self.map.as_fd(), key).unwrap()
    }

    /// How many keys hold something.
    pub(crate) fn used(&self) -> usize {
        self.entries.len()
    }

    /// Notes an entry to be written by [`AnyTable::flush`].
    pub(crate) fn stage(&mut self, key: K, value: V) {
        self.staged.push((key, Some(value)));
    }

    /// Notes an entry to be removed by [`AnyTable::flush`].
    pub(crate) fn stage_removal(&mut self, key: K) {
        self.staged.push((key, None));
    }

    /// Writes entries in order.
    pub(crate) fn put(&mut self, keys: &[K], values: &[V]) -> Result<(), Partial> {
        self.written = true;
        let result = sys::map_update_batch(self.map.as_fd(), keys, values);
        let done = result.as_ref().map_or_else(|&(done, _)| done, |()| keys.len());
        self.entries.extend(keys.iter().copied().zip(values.iter().copied()).take(done));
        result.map_err(|(done, source)| (done, self.error("write to", source)))
    }

    /// Writes one entry.
    pub(crate) fn put_one(&mut self, key: K, value: V) -> Result<(), Error> {
        self.written = true;
        sys::map_update(self.map.as_fd(), &key, &value).map_err(|source| self.error("write to", source))?;
        self.entries.insert(key, value);
        Ok(())
    }

    /// Overwrites entries of an array with the value that means nothing.
    pub(crate) fn clear(&mut self, keys: &[K]) -> Result<(), Partial> {
        let result = self.put(keys, &vec![V::default(); keys.len()]);
        let done = result.as_ref().map_or_else(|&(done, _)| done, |()| keys.len());
        self.forget(&keys[..done]);
        result
    }

    /// Removes entries in order. One that is not there is as good as removed.
    pub(crate) fn delete(&mut self, keys: &[K]) -> Result<(), Partial> {
        self.written = true;
        let mut done = 0;
        while done < keys.len() {
            match sys::map_delete_batch(self.map.as_fd(), &keys[done..]) {
                Ok(()) => done = keys.len(),
                Err((more, error)) if error.raw_os_error() == Some(libc::ENOENT) => done += more + 1,
                Err((more, source)) => {
                    self.forget(&keys[..done + more]);
                    return Err((done + more, self.error("delete from", source)));
                }
            }
        }
        self.forget(keys);
        Ok(())
    }

    fn forget(&mut self, keys: &[K]) {
        for key in keys {
            self.entries.remove(key);
        }
    }

    pub(crate) fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::Table { action, table: self.name, source }
    }
}
