//! A table of the kernel: what it holds, and what it shall hold.

use std::collections::BTreeMap;

/// Entries as the kernel has them and as they are wanted, with a note of those that may differ.
#[derive(Debug)]
pub(crate) struct Image<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    touched: Vec<K>,
    wanted: usize,
}

#[derive(Debug)]
struct Entry<V> {
    kernel: Option<V>,
    wanted: Option<V>,
}

/// An entry to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Put<K, V> {
    /// Its key.
    pub(crate) key: K,
    /// What the kernel held so far.
    pub(crate) before: Option<V>,
    /// What it shall hold.
    pub(crate) value: V,
}

impl<K, V> Default for Image<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), touched: Vec::new(), wanted: 0 }
    }
}

impl<K: Ord + Copy, V: PartialEq + Copy> Image<K, V> {
    /// Wants an entry.
    pub(crate) fn set(&mut self, key: K, value: V) {
        let entry = self.entries.entry(key).or_insert(Entry { kernel: None, wanted: None });
        self.wanted += usize::from(entry.wanted.replace(value).is_none());
        if entry.kernel != entry.wanted {
            self.touched.push(key);
        }
    }

    /// Wants no entry.
    pub(crate) fn unset(&mut self, key: K) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.wanted -= usize::from(entry.wanted.take().is_some());
        if entry.kernel.is_some() {
            self.touched.push(key);
        } else {
            self.entries.remove(&key);
        }
    }

    /// Takes an entry for absent from the kernel and not wanted.
    pub(crate) fn forget(&mut self, key: K) {
        let wanted = self.entries.remove(&key).is_some_and(|entry| entry.wanted.is_some());
        self.wanted -= usize::from(wanted);
    }

    /// What the kernel holds under a key.
    pub(crate) fn kernel(&self, key: K) -> Option<V> {
        self.entries.get(&key)?.kernel
    }

    /// What is wanted under a key.
    pub(crate) fn wanted(&self, key: K) -> Option<V> {
        self.entries.get(&key)?.wanted
    }

    /// How many entries the kernel holds between now and the next deletions.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries are wanted, which is how many there will be.
    pub(crate) fn wanted_len(&self) -> usize {
        self.wanted
    }

    /// What the kernel holds and what is wanted in its place, where these may differ.
    pub(crate) fn differing(&self) -> impl Iterator<Item = (K, V, V)> {
        self.touched.iter().filter_map(|&key| Some((key, self.kernel(key)?, self.wanted(key)?)))
    }

    /// The entries to write, ascending. They count as written from now on.
    pub(crate) fn puts(&mut self) -> Vec<Put<K, V>> {
        let mut puts = Vec::new();
        self.sort();
        let entries = &mut self.entries;
        self.touched.retain(|&key| {
            let Some(entry) = entries.get_mut(&key) else { return false };
            let Some(value) = entry.wanted else { return true };
            let before = entry.kernel.replace(value);
            if before != Some(value) {
                puts.push(Put { key, before, value });
            }
            false
        });
        puts
    }

    /// The entries to delete, ascending, with what the kernel holds. They count as deleted from now on. What is left to
    /// write stays so.
    pub(crate) fn deletes(&mut self) -> Vec<(K, V)> {
        let mut deletes = Vec::new();
        self.sort();
        let entries = &mut self.entries;
        self.touched.retain(|&key| {
            let unwanted = entries.get(&key).is_some_and(|entry| entry.wanted.is_none());
            if unwanted && let Some(value) = entries.remove(&key).and_then(|entry| entry.kernel) {
                deletes.push((key, value));
            }
            !unwanted
        });
        // What one large plan took is not kept for the next.
        self.touched.shrink_to_fit();
        deletes
    }

    fn sort(&mut self) {
        self.touched.sort_unstable();
        self.touched.dedup();
    }

    /// What the kernel holds, ascending.
    pub(crate) fn held(&self) -> impl Iterator<Item = (K, V)> {
        self.entries.iter().filter_map(|(&key, entry)| Some((key, entry.kernel?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_written_and_deleted() {
        let put = |key, before, value| Put { key, before, value };
        let mut image = Image::default();
        image.set(1, 'a');
        image.set(2, 'b');
        image.set(3, 'c');
        image.unset(3);
        assert_eq!(image.puts(), [put(1, None, 'a'), put(2, None, 'b')]);
        image.set(1, 'x');
        image.set(1, 'a');
        image.set(2, 'c');
        image.unset(1);
        image.set(4, 'd');
        let puts = vec![put(2, Some('b'), 'c'), put(4, None, 'd')];
        assert_eq!(image.wanted_len(), 2);
        assert_eq!((image.len(), image.puts(), image.deletes()), (3, puts, vec![(1, 'a')]));
        assert_eq!(image.held().collect::<Vec<_>>(), [(2, 'c'), (4, 'd')]);
        assert_eq!((image.puts(), image.deletes()), (vec![], vec![]));
    }
}
