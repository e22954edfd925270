//! Rows: what policies say to classes, each once, and what they say of port classes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::PortRange;
use crate::id::{Sequence, id};
use crate::model::Protocol;
use crate::op::{RowHeader, Saying};
use crate::tables::image::Image;
use crate::tables::ports::{Class, PortClassNumber, PortClasses, Reshaped, Span};

id! {
    /// Names a row, whether it has a place in the kernel's array or not. Given out by [`Rows`], never again.
    pub(crate) struct RowNumber(u32);
}

impl RowNumber {
    /// The row that allows nothing.
    pub(crate) const NONE: Self = Self(0);
}

/// What a row says. Of what says the same there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowKey {
    /// Without looking at the port.
    pub(crate) header: RowHeader,
    /// Of ports about which it says something else, sorted. No port is in two ranges.
    pub(crate) ranges: Vec<(PortRange, Saying)>,
}

impl RowKey {
    /// What it says of a port.
    pub(crate) fn says(&self, protocol: Protocol, port: u16) -> Saying {
        let before = self.ranges.partition_point(|(range, _)| (range.protocol, range.first) <= (protocol, port));
        let range = before.checked_sub(1).map(|last| self.ranges[last]);
        let range = range.filter(|(range, _)| range.protocol == protocol && port <= range.last);
        range.map_or(self.header.protocols[protocol as usize], |(_, says)| says)
    }

    /// Tells what it says of each class that a port of its ranges has.
    fn tell(&self, protocol: Protocol, classes: &PortClasses, tell: &mut impl FnMut(PortClassNumber, Saying)) {
        let start = self.ranges.partition_point(|(range, _)| range.protocol < protocol);
        for &(range, says) in self.ranges[start..].iter().take_while(|(range, _)| range.protocol == protocol) {
            classes.stretches_in(span(range)).into_iter().for_each(|(_, _, class)| tell(class, says));
        }
    }

    /// What it says of the ports of a class, which are in one of its ranges or in none.
    fn says_of(&self, protocol: Protocol, class: &Class) -> Option<Saying> {
        let ranges = class.ranges.iter().map(|&(first, last)| PortRange { protocol, first, last });
        let mut found = ranges.filter_map(|range| self.ranges.binary_search_by(|(other, _)| other.cmp(&range)).ok());
        found.next().map(|at| self.ranges[at].1)
    }
}

/// Rows, with the port classes that their ranges make.
#[derive(Debug)]
pub(crate) struct Rows {
    ids: HashMap<Arc<RowKey>, RowNumber>,
    rows: BTreeMap<RowNumber, Row>,
    idle: BTreeSet<RowNumber>,
    sequence: Sequence<RowNumber>,
    /// Port classes by protocol.
    pub(crate) classes: [PortClasses; 3],
    /// Stretches of ports whose class may be another than the kernel's, with the protocol.
    pub(crate) reshaped: BTreeSet<(Protocol, Span)>,
    /// Headers by row.
    pub(crate) headers: Image<RowNumber, RowHeader>,
    /// What rows say by port class.
    pub(crate) row_ports: Image<(RowNumber, Protocol, PortClassNumber), Saying>,
    /// Port classes that are new since [`Self::settle`].
    new_classes: BTreeSet<(Protocol, PortClassNumber)>,
    /// Rows of which [`Self::row_ports`] does not say everything yet.
    unsettled: BTreeSet<RowNumber>,
}

#[derive(Debug)]
struct Row {
    key: Arc<RowKey>,
    holders: u32,
    ports: BTreeSet<(Protocol, PortClassNumber)>,
}

impl Rows {
    /// No rows, no port classes.
    pub(crate) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            rows: BTreeMap::new(),
            idle: BTreeSet::new(),
            sequence: Sequence::default(),
            classes: std::array::from_fn(|_| PortClasses::new()),
            reshaped: BTreeSet::new(),
            headers: Image::default(),
            row_ports: Image::default(),
            new_classes: BTreeSet::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// The row with a key, held until it is released.
    pub(crate) fn hold(&mut self, key: RowKey) -> RowNumber {
        if key == RowKey::default() {
            return RowNumber::NONE;
        }
        if let Some(&id) = self.ids.get(&key) {
            self.rows.entry(id).and_modify(|row| row.holders += 1);
            self.idle.remove(&id);
            return id;
        }
        let id = self.sequence.take();
        let key = Arc::new(key);
        self.ids.insert(Arc::clone(&key), id);
        self.headers.set(id, key.header);
        self.rows.insert(id, Row { key: Arc::clone(&key), holders: 1, ports: BTreeSet::new() });
        for &(range, _) in &key.ranges {
            self.reshape(range.protocol, |classes, reshaped| classes.add_row(span(range), id, reshaped));
        }
        self.unsettled.insert(id);
        id
    }

    /// Says in rows what they say of port classes, where one of the two is new. Once for all, since ranges that come after
    /// each other make classes that are gone with the next. Ends early where that takes more than twice the room that there
    /// is: whatever else there is, who needs that much has by then more than all that fits.
    pub(crate) fn settle(&mut self, room: usize) {
        self.unsettle();
        while self.row_ports.len() <= room.saturating_mul(2)
            && let Some(id) = self.unsettled.pop_first()
        {
            self.fill_row(id);
        }
    }

    /// Finds the rows that are to say something of the new port classes.
    fn unsettle(&mut self) {
        let mut ranges = BTreeSet::new();
        for (protocol, id) in std::mem::take(&mut self.new_classes) {
            if let Some(class) = self.classes[protocol as usize].fill(id) {
                ranges.extend(class.ranges.iter().map(|&range| (protocol, range)));
            }
        }
        for (protocol, range) in ranges {
            self.unsettled.extend(self.classes[protocol as usize].rows_with(range));
        }
    }

    /// Gives back a hold. A row that the kernel never had is gone at once, another with [`Self::collect`].
    pub(crate) fn release(&mut self, id: RowNumber) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.holders -= 1;
        if row.holders > 0 {
            return;
        }
        if self.headers.kernel(id).is_some() {
            self.idle.insert(id);
        } else {
            self.remove(id);
        }
    }

    /// Removes the rows that nobody holds.
    pub(crate) fn collect(&mut self) {
        for id in std::mem::take(&mut self.idle) {
            self.remove(id);
        }
    }

    /// Lets go of a range that no row has.
    pub(crate) fn remove_range(&mut self, protocol: Protocol, range: Span) {
        self.reshape(protocol, |classes, reshaped| classes.remove_range(range, reshaped));
    }

    /// Removes a port class that no port has.
    pub(crate) fn remove_class(&mut self, protocol: Protocol, id: PortClassNumber) {
        let Some(class) = self.classes[protocol as usize].remove(id).filter(|class| class.filled) else { return };
        for row in self.classes[protocol as usize].rows_of(&class) {
            if let Some(row) = self.rows.get_mut(&row) {
                row.ports.remove(&(protocol, id));
            }
            self.row_ports.unset((row, protocol, id));
        }
    }

    /// How many entries a row has by port class, and how many ranges. A row that is not settled yet counts with one entry for
    /// each range at least: it takes room before it is refused in favour of one that the kernel has.
    pub(crate) fn weight(&self, id: RowNumber) -> (usize, usize) {
        let Some(row) = self.rows.get(&id) else { return (0, 0) };
        let (ports, ranges) = (row.ports.len(), row.key.ranges.len());
        (if self.unsettled.contains(&id) { ports.max(ranges) } else { ports }, ranges)
    }

    fn remove(&mut self, id: RowNumber) {
        let Some(row) = self.rows.remove(&id) else { return };
        self.ids.remove(&row.key);
        self.headers.unset(id);
        for (protocol, class) in row.ports {
            self.row_ports.unset((id, protocol, class));
        }
        for &(range, _) in &row.key.ranges {
            self.classes[range.protocol as usize].remove_row(span(range), id);
        }
    }

    /// Changes port classes.
    fn reshape(&mut self, protocol: Protocol, change: impl FnOnce(&mut PortClasses, &mut Reshaped)) {
        let mut reshaped = Reshaped::default();
        change(&mut self.classes[protocol as usize], &mut reshaped);
        self.reshaped.extend(reshaped.ports.into_iter().map(|span| (protocol, span)));
        self.new_classes.extend(reshaped.made.into_iter().map(|id| (protocol, id)));
        for id in self.classes[protocol as usize].passing() {
            self.new_classes.remove(&(protocol, id));
            self.remove_class(protocol, id);
        }
    }

    fn fill_row(&mut self, id: RowNumber) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let key = Arc::clone(&row.key);
        for protocol in Protocol::ALL {
            let classes = &self.classes[protocol as usize];
            let mut tell = |class: PortClassNumber, says: Saying| {
                if row.ports.insert((protocol, class)) {
                    self.row_ports.set((id, protocol, class), says);
                }
            };
            key.tell(protocol, classes, &mut tell);
            // What ports had until now is asked for until all of them are written.
            for (&id, class) in classes.empty().iter().filter_map(|id| Some((id, classes.get(*id)?))) {
                if let Some(says) = key.says_of(protocol, class) {
                    tell(id, says);
                }
            }
        }
    }
}

fn span(range: PortRange) -> Span {
    (range.first, range.last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RuleId;

    const ROOM: usize = 10_000;

    /// A row with these ranges of TCP ports.
    fn row(ranges: &[Span]) -> RowKey {
        let allowed = Saying::Allowed(RuleId::from_raw(1));
        let range = |&(first, last): &Span| (PortRange { protocol: Protocol::Tcp, first, last }, allowed);
        let header = RowHeader { by_port: [true, false, false], ..RowHeader::default() };
        RowKey { header, ranges: ranges.iter().map(range).collect() }
    }

    /// As many rows, each with one range that is in those of all before it.
    fn nested(count: u16) -> Rows {
        let mut rows = Rows::new();
        for n in 1..=count {
            rows.hold(row(&[(n, u16::MAX - n)]));
        }
        rows
    }

    #[test]
    fn ranges_that_come_one_by_one_leave_no_classes_that_no_port_has() {
        let mut rows = nested(100);
        let classes = &rows.classes[Protocol::Tcp as usize];
        assert_eq!((classes.len(), classes.empty().len(), rows.row_ports.len()), (100, 0, 0));
        rows.settle(ROOM);
        let of_all = (1..=100).sum();
        assert_eq!((rows.row_ports.len(), rows.row_ports.puts().len()), (of_all, of_all));
    }

    #[test]
    fn of_what_does_not_fit_no_more_is_worked_out_than_twice_the_room() {
        let mut rows = nested(100);
        rows.settle(200);
        let begun = rows.row_ports.len();
        assert!((400..=500).contains(&begun), "{begun}");
        rows.settle(ROOM);
        assert_eq!(rows.row_ports.len(), (1..=100).sum::<usize>(), "the rest follows where there is room after all");
    }

    #[test]
    fn a_row_says_the_same_of_a_port_by_number_and_by_class() {
        let says = |raw: u32| Saying::Allowed(RuleId::from_raw(raw));
        let range =
            |&((first, last), raw): &(Span, u32)| (PortRange { protocol: Protocol::Udp, first, last }, says(raw));
        let header = RowHeader { protocols: [Saying::default(), says(9), Saying::default()], ..RowHeader::default() };
        let key = |ranges: &[(Span, u32)]| RowKey { header, ranges: ranges.iter().map(range).collect() };
        let keys = [key(&[((0, 0), 1), ((3, 4), 2), ((5, 9), 1)]), key(&[((1, 65_535), 3)]), key(&[((4, 7), 4)])];
        let mut rows = Rows::new();
        for key in &keys {
            let id = rows.hold(key.clone());
            rows.settle(ROOM);
            for (first, _, class) in rows.classes[Protocol::Udp as usize].stretches_in((0, u16::MAX)) {
                let by_class = rows.row_ports.wanted((id, Protocol::Udp, class)).unwrap_or(header.protocols[1]);
                assert_eq!(by_class, key.says(Protocol::Udp, first), "port {first} of {key:?}");
            }
        }
    }

    #[test]
    fn a_class_that_was_settled_and_not_written_goes_with_what_rows_say_of_it() {
        let mut rows = nested(1);
        rows.settle(ROOM);
        assert_eq!(rows.row_ports.len(), 1);
        rows.hold(row(&[(1, u16::MAX)]));
        rows.settle(ROOM);
        // The second range has the ports of the first and one more: two classes, of which the first row says one.
        assert_eq!((rows.classes[Protocol::Tcp as usize].len(), rows.row_ports.len()), (2, 3));
    }
}
