//! Entries that the kernel is to have, and what of that is still to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::backoff::Backoff;
use super::command::Outcome;

/// What changes, by key: `None` for an entry that is to go.
pub(super) type Changes<K, V> = BTreeMap<K, Option<V>>;

/// The entries that the kernel has, and what is to change about them.
#[derive(Debug)]
pub(super) struct Reconciled<K, V> {
    held: BTreeMap<K, V>,
    /// Entries of which a change that failed has left open what the kernel has.
    doubtful: BTreeSet<K>,
    /// Worked out when something else is wanted, which is seldom, and not whenever the engine looks for work.
    pending: Changes<K, V>,
    backoff: Backoff,
}

impl<K, V> Default for Reconciled<K, V> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), doubtful: BTreeSet::new(), pending: Changes::new(), backoff: Backoff::default() }
    }
}

impl<K: Copy + Ord, V: Clone + PartialEq> Reconciled<K, V> {
    /// Takes in what the kernel is to have.
    pub(super) fn want(&mut self, wanted: &BTreeMap<K, V>) {
        let known = self.held.keys().chain(&self.doubtful);
        let gone = known.filter(|key| !wanted.contains_key(key)).map(|&key| (key, None));
        let differs = |key: &K, value: &V| self.doubtful.contains(key) || self.held.get(key) != Some(value);
        let put = wanted.iter().filter(|(key, value)| differs(key, value));
        self.pending = gone.chain(put.map(|(&key, value)| (key, Some(value.clone())))).collect();
    }

    /// What to change now.
    pub(super) fn next(&self, now: Instant) -> Option<Changes<K, V>> {
        (!self.pending.is_empty() && self.backoff.is_over(now)).then(|| self.pending.clone())
    }

    /// Notes that the changes that [`Self::next`] told were made.
    fn done(&mut self, changes: Changes<K, V>) {
        self.pending.clear();
        self.doubtful.clear();
        for (key, value) in changes {
            match value {
                Some(value) => drop(self.held.insert(key, value)),
                None => drop(self.held.remove(&key)),
            }
        }
        self.backoff.succeed();
    }

    /// Notes that they could not be made, or not all.
    fn failed(&mut self, now: Instant) {
        self.doubtful.extend(self.pending.keys());
        self.backoff.fail(now);
    }

    /// Takes in how the changes that [`Self::next`] told ended.
    pub(super) fn report(&mut self, changes: Changes<K, V>, outcome: &Outcome, now: Instant) {
        match outcome {
            Outcome::Done | Outcome::Provisional | Outcome::Repaired | Outcome::Gone => self.done(changes),
            Outcome::Failed { .. } => self.failed(now),
        }
    }

    /// When to try again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.backoff.deadline(now)
    }

    /// What the kernel has.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.held.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_that_failed_may_have_left_is_put_right_whatever_is_wanted_then() {
        let now = Instant::now();
        let mut held = Reconciled::default();
        held.want(&[(1, 'a'), (2, 'b')].into());
        held.failed(now);
        held.want(&[(2, 'b'), (3, 'c')].into());
        let expected = Changes::from([(1, None), (2, Some('b')), (3, Some('c'))]);
        let told = held.next(held.deadline(now).unwrap()).unwrap();
        assert_eq!(told, expected);
        held.done(told);
        held.want(&[(2, 'b')].into());
        assert_eq!(held.next(now), Some([(3, None)].into()));
        assert_eq!(held.values().collect::<Vec<_>>(), [&'b', &'c']);
    }
}
