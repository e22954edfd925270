//! The order in which the tables are written.

use crate::compile::Held;
use crate::id::PolicyId;
use crate::model::Protocol;
use crate::op::{Entry, Key, Op};
use crate::tables::Tables;
use crate::tables::image::Put;
use crate::tables::ports::PortClassNumber;

/// More classes that nothing has than this, and than a quarter of the others, are removed.
const IDLE_CLASSES: usize = 8;

impl Tables {
    /// Writes what is staged. Until an endpoint is switched, nothing that is written changes what it is allowed, save
    /// that pods become what they now are:
    ///
    /// 1. endpoints that are refused what they have and that denies something: what follows is for whoever is not;
    /// 2. rows and their ports, classes of ports, rows of policies by class: nothing refers to the new ones yet, and to
    ///    the old ones in the old way;
    /// 3. blocks, groups, addresses: their new classes differ from the old in what policies in force can't see, or
    ///    because pods or namespaces did change;
    /// 4. endpoints, each in one store;
    /// 5. when no program runs that saw it otherwise, what nothing refers to is deleted.
    ///
    /// Returns whether that makes room that was not there before.
    pub(crate) fn write(&mut self, ops: &mut Vec<Op>) -> bool {
        self.write_refused(ops);
        self.write_rows(ops);
        let start = ops.len();
        self.peers.write(&mut self.policies, ops);
        let unblocked = ops[start..].iter().any(|op| matches!(op, Op::Delete(Key::Block { .. })));
        let switched = self.write_endpoints(ops);
        self.clean(switched, ops) || unblocked
    }

    /// Deletes what nothing has, things that may be wanted again included. Only between plans, when the kernel holds
    /// what is wanted.
    pub(crate) fn make_room(&mut self, ops: &mut Vec<Op>) {
        self.clean(true, ops);
        self.prune_ranges(true);
    }

    fn write_rows(&mut self, ops: &mut Vec<Op>) {
        let rows = &mut self.policies.rows;
        for Put { key, value, .. } in rows.headers.puts() {
            ops.push(Op::Write(Entry::Row { row: self.places.row(key), header: value }));
        }
        for Put { key: (row, protocol, class), value, .. } in rows.row_ports.puts() {
            let port_class = self.places.class(protocol, class);
            ops.push(Op::Write(Entry::RowPort { row: self.places.row(row), protocol, port_class, says: value }));
        }
        self.places.write_ports(rows, ops);
        for Put { key: (policy, class), value, .. } in self.policies.class_rows.puts() {
            ops.push(Op::Write(Entry::ClassRow { policy, class, row: self.places.row(value) }));
        }
    }

    /// Switches directions to the policy that allows nothing, where that is wanted in place of one that relies on what is
    /// about to be left out.
    fn write_refused(&mut self, ops: &mut Vec<Op>) {
        for (slot, held, wanted) in self.endpoints.differing() {
            let is_refused = |held: Held, wanted: Held| {
                held.is_some_and(|(id, _)| self.policies.is_shifting(id))
                    && wanted.is_some_and(|(id, _)| id == PolicyId::NOTHING)
            };
            let pairs: [(Held, Held); 2] = std::array::from_fn(|side| (held[side], wanted[side]));
            if pairs.iter().any(|&(held, wanted)| is_refused(held, wanted)) {
                let now = pairs.map(|(held, wanted)| if is_refused(held, wanted) { wanted } else { held });
                ops.push(Op::Switch { slot, policies: self.endpoint_policies(now) });
            }
        }
    }

    fn write_endpoints(&mut self, ops: &mut Vec<Op>) -> bool {
        let puts = self.endpoints.puts();
        for Put { key, before, value } in &puts {
            for (spec, _) in before.iter().flatten().flatten() {
                self.policies.count_kernel(*spec, -1);
            }
            for (spec, _) in value.iter().flatten() {
                self.policies.count_kernel(*spec, 1);
            }
            ops.push(Op::Switch { slot: *key, policies: self.endpoint_policies(*value) });
        }
        !puts.is_empty()
    }

    fn clean(&mut self, thorough: bool, ops: &mut Vec<Op>) -> bool {
        let idle = self.policies.idle_classes();
        let crowded = idle > IDLE_CLASSES && idle > self.policies.class_count() / 4;
        self.policies.collect(thorough || crowded);
        let emptied = self.remove_empty_port_classes();
        let deletions = self.deletions();
        let freed = emptied.into_iter().filter(|&(protocol, class)| self.places.free_class(protocol, class)).count();
        let needed = freed > 0 || !deletions.is_empty() || self.peers.wants_thaw();
        if needed {
            ops.push(Op::Grace);
            ops.extend(deletions);
            self.places.thaw();
            self.peers.thaw();
        }
        needed
    }

    fn remove_empty_port_classes(&mut self) -> Vec<(Protocol, PortClassNumber)> {
        let rows = &mut self.policies.rows;
        let empty = |protocol| rows.classes[protocol as usize].empty().iter().map(move |&class| (protocol, class));
        let gone: Vec<_> = Protocol::ALL.into_iter().flat_map(empty).collect();
        for &(protocol, class) in &gone {
            rows.remove_class(protocol, class);
        }
        gone
    }

    fn deletions(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        for ((policy, class), _) in self.policies.class_rows.deletes() {
            ops.push(Op::Delete(Key::ClassRow { policy, class }));
        }
        for ((row, protocol, class), _) in self.policies.rows.row_ports.deletes() {
            let port_class = self.places.class_at(protocol, class);
            ops.push(Op::Delete(Key::RowPort { row: self.places.row_at(row), protocol, port_class }));
        }
        for (row, _) in self.policies.rows.headers.deletes() {
            ops.push(Op::Delete(Key::Row { row: self.places.free_row(row) }));
        }
        ops
    }
}
