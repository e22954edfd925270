//! Port classes: which ports of a protocol are in the same ranges.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use crate::id::{Sequence, id};
use crate::tables::rows::RowNumber;

id! {
    /// Names a port class, whether it has a place in the kernel's tables or not. Given out by [`PortClasses`], never
    /// again.
    pub(crate) struct PortClassNumber(u32);
}

impl PortClassNumber {
    /// The ports in no range.
    pub(crate) const NONE: Self = Self(0);
}

/// First and last port.
pub(crate) type Span = (u16, u16);

/// More ranges without rows than this, and than a quarter of the others, are let go.
const UNUSED: usize = 4;

/// The ranges of one protocol and the classes that they divide its ports into.
#[derive(Debug)]
pub(crate) struct PortClasses {
    ranges: BTreeMap<Span, Range>,
    /// First port of each stretch of ports with one class, up to the next stretch. Port 0 is always there.
    stretches: BTreeMap<u16, PortClassNumber>,
    classes: BTreeMap<PortClassNumber, Class>,
    ids: HashMap<Vec<Span>, PortClassNumber>,
    unused: BTreeSet<Span>,
    /// Ranges that no plan has written yet.
    fresh: BTreeSet<Span>,
    empty: BTreeSet<PortClassNumber>,
    sequence: Sequence<PortClassNumber>,
    /// No plan has written a later class.
    written: PortClassNumber,
}

#[derive(Debug, Default)]
struct Range {
    rows: BTreeSet<RowNumber>,
    classes: BTreeSet<PortClassNumber>,
}

/// A port class.
#[derive(Debug)]
pub(crate) struct Class {
    /// The ranges that its ports are in, sorted.
    pub(crate) ranges: Vec<Span>,
    /// Whether the rows that were there when it was made, or later, say something of it.
    pub(crate) filled: bool,
    stretches: u32,
}

/// What a change of ranges did.
#[derive(Debug, Default)]
pub(crate) struct Reshaped {
    /// Classes that are new.
    pub(crate) made: BTreeSet<PortClassNumber>,
    /// Ports whose class may be another now.
    pub(crate) ports: Vec<Span>,
}

impl PortClasses {
    /// All ports in no range.
    pub(crate) fn new() -> Self {
        let none = Class { ranges: Vec::new(), filled: false, stretches: 1 };
        Self {
            ranges: BTreeMap::new(),
            stretches: BTreeMap::from([(0, PortClassNumber::NONE)]),
            classes: BTreeMap::from([(PortClassNumber::NONE, none)]),
            ids: HashMap::from([(Vec::new(), PortClassNumber::NONE)]),
            unused: BTreeSet::new(),
            fresh: BTreeSet::new(),
            empty: BTreeSet::new(),
            sequence: Sequence::default(),
            written: PortClassNumber::NONE,
        }
    }

    /// Notes that a row has a range.
    pub(crate) fn add_row(&mut self, range: Span, row: RowNumber, reshaped: &mut Reshaped) {
        if let Entry::Vacant(entry) = self.ranges.entry(range) {
            entry.insert(Range::default());
            self.fresh.insert(range);
            self.reshape(range, reshaped, |ranges| {
                let at = ranges.partition_point(|other| *other < range);
                ranges.insert(at, range);
            });
        }
        self.unused.remove(&range);
        self.ranges.entry(range).or_default().rows.insert(row);
    }

    /// Notes that a row with a range is gone. The range stays until [`Self::remove_range`].
    pub(crate) fn remove_row(&mut self, range: Span, row: RowNumber) {
        let Some(state) = self.ranges.get_mut(&range) else { return };
        state.rows.remove(&row);
        if state.rows.is_empty() {
            self.unused.insert(range);
        }
    }

    /// Whether so many ranges have no rows that it is time to let go of them.
    pub(crate) fn crowded(&self) -> bool {
        self.unused.len() > UNUSED && self.unused.len() > self.ranges.len() / 4
    }

    /// Ranges without rows.
    pub(crate) fn unused(&self) -> Vec<Span> {
        self.unused.iter().copied().collect()
    }

    /// How many classes more there are for a while when a range goes.
    pub(crate) fn cost_of_removal(&self, range: Span) -> usize {
        let others = |class| {
            let ranges = self.classes.get(&class).into_iter().flat_map(|class: &Class| &class.ranges);
            ranges.copied().filter(|other| *other != range).collect::<Vec<_>>()
        };
        self.classes_of(range).filter(|&class| !self.ids.contains_key(&others(class))).count()
    }

    /// Ranges without rows that no plan has written.
    pub(crate) fn pointless(&self) -> Vec<Span> {
        self.unused.intersection(&self.fresh).copied().collect()
    }

    /// Notes that a plan has written every range and class.
    pub(crate) fn mark_written(&mut self) {
        self.fresh.clear();
        self.written = self.classes.keys().next_back().copied().unwrap_or(PortClassNumber::NONE);
    }

    /// Classes that no port has any more and that no plan has written: as ranges come one by one, each divides the classes
    /// of those before it.
    pub(crate) fn passing(&self) -> Vec<PortClassNumber> {
        self.empty.range((Bound::Excluded(self.written), Bound::Unbounded)).copied().collect()
    }

    /// Lets go of a range without rows.
    pub(crate) fn remove_range(&mut self, range: Span, reshaped: &mut Reshaped) {
        self.reshape(range, reshaped, |ranges| ranges.retain(|other| *other != range));
        self.ranges.remove(&range);
        self.unused.remove(&range);
        self.fresh.remove(&range);
    }

    /// A class, about which rows are to say something from now on.
    pub(crate) fn fill(&mut self, id: PortClassNumber) -> Option<&Class> {
        let class = self.classes.get_mut(&id)?;
        class.filled = true;
        Some(class)
    }

    /// A class.
    pub(crate) fn get(&self, id: PortClassNumber) -> Option<&Class> {
        self.classes.get(&id)
    }

    /// The classes of a range's ports.
    pub(crate) fn classes_of(&self, range: Span) -> impl Iterator<Item = PortClassNumber> {
        self.ranges.get(&range).into_iter().flat_map(|state| &state.classes).copied()
    }

    /// The rows that have a range.
    pub(crate) fn rows_with(&self, range: Span) -> impl Iterator<Item = RowNumber> {
        self.ranges.get(&range).into_iter().flat_map(|state| &state.rows).copied()
    }

    /// The rows that have one of the ranges of a class.
    pub(crate) fn rows_of(&self, class: &Class) -> BTreeSet<RowNumber> {
        class.ranges.iter().flat_map(|&range| self.rows_with(range)).collect()
    }

    /// The stretches of ports with one class that make up a span: first port, last port, class.
    pub(crate) fn stretches_in(&self, (first, last): Span) -> Vec<(u16, u16, PortClassNumber)> {
        let start = self.stretches.range(..=first).next_back().map_or(0, |(&start, _)| start);
        let within: Vec<_> = self.stretches.range(start..=last).map(|(&start, &class)| (start, class)).collect();
        let ends = within.iter().skip(1).map(|&(next, _)| next - 1).chain([last]);
        within.iter().zip(ends).map(|(&(start, class), end)| (start.max(first), end, class)).collect()
    }

    /// The classes that no port has any more.
    pub(crate) fn empty(&self) -> &BTreeSet<PortClassNumber> {
        &self.empty
    }

    /// Removes a class that no port has.
    pub(crate) fn remove(&mut self, id: PortClassNumber) -> Option<Class> {
        self.empty.remove(&id);
        let class = self.classes.remove(&id)?;
        self.ids.remove(&class.ranges);
        for range in &class.ranges {
            if let Some(state) = self.ranges.get_mut(range) {
                state.classes.remove(&id);
            }
        }
        Some(class)
    }

    /// How many classes some port has, the one in no range left out.
    pub(crate) fn len(&self) -> usize {
        self.classes.len() - 1 - self.empty.len()
    }

    /// Changes the ranges that the ports of a span are in.
    fn reshape(&mut self, (first, last): Span, reshaped: &mut Reshaped, change: impl Fn(&mut Vec<Span>)) {
        self.split(first);
        if let Some(after) = last.checked_add(1) {
            self.split(after);
        }
        let inside: Vec<_> = self.stretches.range(first..=last).map(|(&start, &class)| (start, class)).collect();
        for (start, before) in inside {
            let mut ranges = self.classes[&before].ranges.clone();
            change(&mut ranges);
            let class = self.class(ranges, reshaped);
            self.stretches.insert(start, class);
            self.count(class, 1);
            self.count(before, -1);
        }
        self.join(first, last);
        reshaped.ports.push((first, last));
    }

    fn split(&mut self, at: u16) {
        let Some((&start, &class)) = self.stretches.range(..=at).next_back() else { return };
        if start != at {
            self.stretches.insert(at, class);
            self.count(class, 1);
        }
    }

    /// Joins neighbouring stretches of one class in and around a span.
    fn join(&mut self, first: u16, last: u16) {
        let end = last.saturating_add(1);
        let starts: Vec<_> = self.stretches.range(first..=end).map(|(&start, &class)| (start, class)).collect();
        let mut before = self.stretches.range(..first).next_back().map(|(_, &class)| class);
        for (start, class) in starts {
            if before == Some(class) {
                self.stretches.remove(&start);
                self.count(class, -1);
            }
            before = Some(class);
        }
    }

    /// The class of the ports in these ranges. One that no port had is as good as new: the ranges and rows of its time
    /// may be gone.
    fn class(&mut self, ranges: Vec<Span>, reshaped: &mut Reshaped) -> PortClassNumber {
        let known = self.ids.get(&ranges).copied();
        if let Some(id) = known.filter(|id| !self.empty.contains(id)) {
            return id;
        }
        let id = known.unwrap_or_else(|| self.sequence.take());
        for range in &ranges {
            if let Some(state) = self.ranges.get_mut(range) {
                state.classes.insert(id);
            }
        }
        self.ids.insert(ranges.clone(), id);
        self.classes.entry(id).or_insert(Class { ranges, filled: false, stretches: 0 });
        reshaped.made.insert(id);
        id
    }

    fn count(&mut self, id: PortClassNumber, change: i32) {
        let Some(class) = self.classes.get_mut(&id) else { return };
        class.stretches = class.stretches.saturating_add_signed(change);
        if class.stretches > 0 || id == PortClassNumber::NONE {
            self.empty.remove(&id);
        } else {
            self.empty.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id as _;

    fn row(number: u32) -> RowNumber {
        RowNumber::numbered(number).unwrap()
    }

    /// The ranges of each stretch from port 0 on.
    fn stretches(classes: &PortClasses) -> Vec<(u16, u16, Vec<Span>)> {
        let all = classes.stretches_in((0, u16::MAX)).into_iter();
        all.map(|(first, last, class)| (first, last, classes.classes[&class].ranges.clone())).collect()
    }

    fn with(ranges: &[Span]) -> PortClasses {
        let mut classes = PortClasses::new();
        for (&range, number) in ranges.iter().zip(1..) {
            classes.add_row(range, row(number), &mut Reshaped::default());
        }
        classes
    }

    #[test]
    fn ports_in_the_same_ranges_share_a_class() {
        let classes = with(&[(10, 20), (15, 30), (17, 17), (65535, 65535)]);
        let (a, b, c, last) = ((10, 20), (15, 30), (17, 17), (65535, 65535));
        let expected = vec![
            (0, 9, vec![]),
            (10, 14, vec![a]),
            (15, 16, vec![a, b]),
            (17, 17, vec![a, b, c]),
            (18, 20, vec![a, b]),
            (21, 30, vec![b]),
            (31, 65534, vec![]),
            (65535, 65535, vec![last]),
        ];
        assert_eq!((stretches(&classes), classes.len()), (expected, 5));
    }

    #[test]
    fn removing_ranges_joins_what_they_divided() {
        let mut classes = with(&[(10, 20), (15, 30), (1, 65535)]);
        for (range, number) in [((15, 30), 2), ((10, 20), 1)] {
            classes.remove_row(range, row(number));
            classes.remove_range(range, &mut Reshaped::default());
        }
        assert_eq!(stretches(&classes), [(0, 0, vec![]), (1, 65535, vec![(1, 65535)])]);
        assert_eq!(classes.len(), 1);
    }
}
