//! Where rows and port classes stand in the kernel's arrays.

use std::collections::BTreeMap;

use crate::id::{PortClassId, RowId};
use crate::model::Protocol;
use crate::op::{Entry, Op};
use crate::tables::Limits;
use crate::tables::ids::Ids;
use crate::tables::ports::{PortClassNumber, PortClasses};
use crate::tables::rows::{RowNumber, Rows};

/// The kernel's ids of rows and port classes, and its classes of ports.
#[derive(Debug)]
pub(crate) struct Places {
    row_ids: Ids<RowId>,
    rows: BTreeMap<RowNumber, RowId>,
    class_ids: [Ids<PortClassId>; 3],
    classes: [BTreeMap<PortClassNumber, PortClassId>; 3],
    ports: Vec<[PortClassId; 3]>,
}

impl Places {
    /// Empty arrays.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            row_ids: Ids::new(limits.rows),
            rows: BTreeMap::new(),
            class_ids: std::array::from_fn(|_| Ids::new(limits.port_classes.min(1 << 16))),
            classes: Default::default(),
            ports: vec![[PortClassId::NONE; 3]; 1 << 16],
        }
    }

    /// The place of a row.
    pub(crate) fn row(&mut self, row: RowNumber) -> RowId {
        if row == RowNumber::NONE {
            return RowId::NONE;
        }
        let ids = &mut self.row_ids;
        *self.rows.entry(row).or_insert_with(|| ids.take().expect("no plan is written that does not fit"))
    }

    /// The place of a row that has one; else [`RowId::NONE`].
    pub(crate) fn row_at(&self, row: RowNumber) -> RowId {
        self.rows.get(&row).copied().unwrap_or(RowId::NONE)
    }

    /// Frees the place of a row.
    pub(crate) fn free_row(&mut self, row: RowNumber) -> RowId {
        let Some(place) = self.rows.remove(&row) else { return RowId::NONE };
        self.row_ids.give_back(place);
        place
    }

    /// The place of a port class.
    pub(crate) fn class(&mut self, protocol: Protocol, class: PortClassNumber) -> PortClassId {
        if class == PortClassNumber::NONE {
            return PortClassId::NONE;
        }
        let ids = &mut self.class_ids[protocol as usize];
        let place = self.classes[protocol as usize].entry(class);
        *place.or_insert_with(|| ids.take().expect("no plan is written that does not fit"))
    }

    /// The place of a port class that has one; else [`PortClassId::NONE`].
    pub(crate) fn class_at(&self, protocol: Protocol, class: PortClassNumber) -> PortClassId {
        self.classes[protocol as usize].get(&class).copied().unwrap_or(PortClassId::NONE)
    }

    /// Frees the place of a port class, if it has one.
    pub(crate) fn free_class(&mut self, protocol: Protocol, class: PortClassNumber) -> bool {
        let place = self.classes[protocol as usize].remove(&class);
        if let Some(place) = place {
            self.class_ids[protocol as usize].give_back(place);
        }
        place.is_some()
    }

    /// How many port classes of a protocol need a place: those that some port has, and those that the kernel knows.
    pub(crate) fn classes_needed(&self, protocol: Protocol, classes: &PortClasses) -> usize {
        let leaving = classes.empty().iter().filter(|class| self.classes[protocol as usize].contains_key(class));
        classes.len() + leaving.count()
    }

    /// What was given back can be given out again.
    pub(crate) fn thaw(&mut self) {
        self.row_ids.thaw();
        self.class_ids.iter_mut().for_each(Ids::thaw);
    }

    /// Writes the ports whose class is another than the kernel's.
    pub(crate) fn write_ports(&mut self, rows: &mut Rows, ops: &mut Vec<Op>) {
        let mut changed = Vec::new();
        rows.classes.iter_mut().for_each(PortClasses::mark_written);
        for (protocol, span) in std::mem::take(&mut rows.reshaped) {
            for (first, last, class) in rows.classes[protocol as usize].stretches_in(span) {
                let place = self.class(protocol, class);
                for port in first..=last {
                    let known = &mut self.ports[usize::from(port)][protocol as usize];
                    if std::mem::replace(known, place) != place {
                        changed.push(port);
                    }
                }
            }
        }
        changed.sort_unstable();
        changed.dedup();
        ops.extend(
            changed.into_iter().map(|port| Op::Write(Entry::Port { port, classes: self.ports[usize::from(port)] })),
        );
    }

    /// The classes of every port that is in some range.
    pub(crate) fn held_ports(&self) -> impl Iterator<Item = (u16, [PortClassId; 3])> {
        let ports = (0..=u16::MAX).zip(&self.ports);
        ports.filter(|(_, classes)| **classes != [PortClassId::NONE; 3]).map(|(port, classes)| (port, *classes))
    }
}
