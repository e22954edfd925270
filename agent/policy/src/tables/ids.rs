//! Ids of the kernel's arrays.

use std::collections::BTreeSet;

use crate::id::Id;

/// Gives out ids from 1 on. An id that is given back is not given out again before [`Self::thaw`], since a program may
/// still be about to follow it.
#[derive(Debug)]
pub(crate) struct Ids<I> {
    capacity: u32,
    next: u32,
    free: BTreeSet<I>,
    frozen: BTreeSet<I>,
}

impl<I: Id> Ids<I> {
    /// Ids of an array with this many entries; entry 0 is never given out.
    pub(crate) fn new(capacity: u32) -> Self {
        Self { capacity, next: 1, free: BTreeSet::new(), frozen: BTreeSet::new() }
    }

    /// The smallest id that can be had.
    pub(crate) fn take(&mut self) -> Option<I> {
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        let id = I::numbered(self.next).filter(|_| self.next < self.capacity)?;
        self.next += 1;
        Some(id)
    }

    /// Gives an id back.
    pub(crate) fn give_back(&mut self, id: I) {
        self.frozen.insert(id);
    }

    /// Makes what was given back available: a grace period has begun after the last reference to it went.
    pub(crate) fn thaw(&mut self) {
        self.free.append(&mut self.frozen);
    }

    /// Whether some ids wait for a thaw and few others are left.
    pub(crate) fn wants_thaw(&self) -> bool {
        let available = self.free.len() + (self.capacity - self.next.min(self.capacity)) as usize;
        !self.frozen.is_empty() && available <= (self.capacity / 4) as usize
    }

    /// Whether some ids wait for a thaw.
    pub(crate) fn has_frozen(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Ids that can't be given out now.
    pub(crate) fn used(&self) -> usize {
        (self.next - 1) as usize - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RowId;

    #[test]
    fn an_id_is_given_out_again_only_after_a_thaw() {
        let [first, second] = [1, 2].map(RowId::from_raw);
        let mut ids = Ids::new(3);
        assert_eq!((ids.take(), ids.take(), ids.take()), (Some(first), Some(second), None));
        ids.give_back(first);
        assert_eq!((ids.take(), ids.used(), ids.wants_thaw()), (None, 2, true));
        ids.thaw();
        assert_eq!((ids.used(), ids.take(), ids.take()), (1, Some(first), None));
    }
}
