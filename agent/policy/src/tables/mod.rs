//! The kernel's tables as user space knows them: which ids mean what, and how much room there is.

mod ids;
mod image;
mod mirror;
mod peers;
mod places;
mod policies;
mod ports;
mod rows;
mod sayings;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use mirror::{Judgement, Mirror, Place};

use crate::compile::{AskId, Desired, Held, Spec, SpecId, Want, Wants};
use crate::model::{Mode, Protocol};
use crate::op::{EndpointPolicies, EndpointPolicy};
use image::Image;
use peers::Peers;
use places::Places;
use policies::Policies;

/// A table of the kernel that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Addresses of pods, IPv4.
    Addresses4,
    /// Addresses of pods, IPv6.
    Addresses6,
    /// Groups of pods.
    Groups,
    /// Blocks and exceptions, IPv4.
    Blocks4,
    /// Blocks and exceptions, IPv6.
    Blocks6,
    /// Rows of policies by class.
    ClassRows,
    /// Rows.
    Rows,
    /// Rules of rows by port class.
    RowPorts,
    /// Port classes of one protocol.
    PortClasses,
    /// None of the kernel's: the steps that it takes to work out what is allowed to an endpoint.
    Steps,
}

/// At least so many steps are taken: a tenth of a second's worth.
const STEPS: u32 = 500_000;

impl Table {
    /// All of the kernel's.
    pub const ALL: [Self; 9] = [
        Self::Addresses4,
        Self::Addresses6,
        Self::Groups,
        Self::Blocks4,
        Self::Blocks6,
        Self::ClassRows,
        Self::Rows,
        Self::RowPorts,
        Self::PortClasses,
    ];

    /// The value of the `table` label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Addresses4 => "addresses4",
            Self::Addresses6 => "addresses6",
            Self::Groups => "groups",
            Self::Blocks4 => "blocks4",
            Self::Blocks6 => "blocks6",
            Self::ClassRows => "class_rows",
            Self::Rows => "rows",
            Self::RowPorts => "row_ports",
            Self::PortClasses => "port_classes",
            Self::Steps => "steps",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many entries each table of the kernel has room for. Arrays count their index 0, which is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Addresses of pods, IPv4.
    pub addresses4: u32,
    /// Addresses of pods, IPv6.
    pub addresses6: u32,
    /// Groups, an array.
    pub groups: u32,
    /// Blocks and exceptions, IPv4.
    pub blocks4: u32,
    /// Blocks and exceptions, IPv6.
    pub blocks6: u32,
    /// Rows of policies by class.
    pub class_rows: u32,
    /// Rows, an array.
    pub rows: u32,
    /// Rules of rows by port class.
    pub row_ports: u32,
    /// Port classes of each protocol, at most 65,536, an index 0 included.
    pub port_classes: u32,
}

impl Limits {
    /// The same room in every table.
    #[must_use]
    pub const fn each(room: u32) -> Self {
        Self {
            addresses4: room,
            addresses6: room,
            groups: room,
            blocks4: room,
            blocks6: room,
            class_rows: room,
            rows: room,
            row_ports: room,
            port_classes: room,
        }
    }

    /// The room in a table.
    #[must_use]
    pub const fn of(&self, table: Table) -> u32 {
        match table {
            Table::Addresses4 => self.addresses4,
            Table::Addresses6 => self.addresses6,
            Table::Groups => self.groups,
            Table::Blocks4 => self.blocks4,
            Table::Blocks6 => self.blocks6,
            Table::ClassRows => self.class_rows,
            Table::Rows => self.rows,
            Table::RowPorts => self.row_ports,
            Table::PortClasses => self.port_classes,
            Table::Steps => self.steps(),
        }
    }

    /// So many that what fits into tables of this size is worked out, unless much of it overlaps.
    const fn steps(&self) -> u32 {
        let asked = self.row_ports.saturating_mul(4);
        if asked > STEPS { asked } else { STEPS }
    }
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The table.
    pub table: Table,
    /// Entries in use.
    pub used: u32,
    /// Entries it has room for.
    pub capacity: u32,
}

/// A table that is asked for more than it has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// The table.
    pub(crate) table: Table,
    /// Entries asked for.
    pub(crate) needed: u32,
}

/// What the kernel's tables hold and what they shall hold. What is wanted is staged first, and written as operations
/// once it fits.
#[derive(Debug)]
pub(crate) struct Tables {
    limits: Limits,
    /// What is held by slot and direction.
    endpoints: Image<u32, [Held; 2]>,
    policies: Policies,
    peers: Peers,
    places: Places,
}

impl Tables {
    /// Empty tables with this much room.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            endpoints: Image::default(),
            policies: Policies::new(),
            peers: Peers::new(&limits),
            places: Places::new(&limits),
        }
    }

    /// Takes what is wanted.
    pub(crate) fn stage(&mut self, desired: Desired) {
        if !desired.wants.is_empty() {
            self.prune_ranges(false);
        }
        for &slot in &desired.released {
            self.forget(slot);
        }
        for (slot, wants) in desired.wants {
            self.stage_endpoint(slot, &wants);
        }
        self.peers.stage(desired.peers, &mut self.policies);
        self.policies.rows.settle(self.limits.row_ports as usize);
    }

    /// The first table that is asked for too much, if any.
    pub(crate) fn overflow(&self) -> Option<Overflow> {
        let full = |&table: &Table| {
            let needed = self.used(table);
            (needed > self.limits.of(table) as usize).then(|| Overflow { table, needed: count(needed) })
        };
        // Of addresses and groups, what has no room is left out when it is staged.
        let tables =
            [Table::Blocks4, Table::Blocks6, Table::ClassRows, Table::Rows, Table::RowPorts, Table::PortClasses];
        tables.iter().find_map(full)
    }

    /// How many entries of a table a policy needs, roughly.
    pub(crate) fn weight(&self, spec: SpecId, table: Table) -> usize {
        let rows = || self.policies.rows_of(spec).into_iter().map(|row| self.policies.rows.weight(row));
        match table {
            Table::ClassRows => self.policies.class_rows_of(spec),
            Table::Rows => self.policies.rows_of(spec).len(),
            Table::RowPorts => rows().map(|(ports, _)| ports).sum(),
            Table::PortClasses => rows().map(|(_, ranges)| ranges).sum(),
            _ => 0,
        }
    }

    /// Whether an endpoint in the kernel has a policy.
    pub(crate) fn is_in_kernel(&self, spec: SpecId) -> bool {
        self.policies.is_in_kernel(spec)
    }

    /// Whether an endpoint in the kernel is judged by an ask.
    pub(crate) fn in_force(&self, ask: AskId) -> bool {
        self.policies.in_force(ask)
    }

    /// Makes as little as possible of a policy that nothing is to have.
    pub(crate) fn abandon(&mut self, spec: SpecId) {
        self.policies.abandon(spec);
    }

    /// The same for all policies that are about to go: between now and then they may allow less than they did. Those that
    /// may then allow more stay whole. Returns whether that made room.
    pub(crate) fn abandon_leaving(&mut self) -> bool {
        let before = self.policies.class_rows.len();
        for spec in self.policies.leaving() {
            if !self.policies.is_shifting(spec) {
                self.policies.abandon(spec);
            }
        }
        self.tidy();
        self.policies.class_rows.len() < before
    }

    /// Drops what was prepared for policies that nothing is to have after all.
    pub(crate) fn tidy(&mut self) {
        for protocol in Protocol::ALL {
            for range in self.policies.rows.classes[protocol as usize].pointless() {
                self.policies.rows.remove_range(protocol, range);
            }
        }
        self.policies.rows.settle(self.limits.row_ports as usize);
    }

    /// Whether there are more groups than room.
    pub(crate) fn lacks_groups(&self) -> bool {
        self.peers.lacks_places()
    }

    /// How many addresses are left out, by the table that has no room for them.
    pub(crate) fn left_out(&self) -> BTreeMap<Table, usize> {
        self.peers.left_out()
    }

    /// Entries in use, an array's entry 0 included.
    pub(crate) fn used(&self, table: Table) -> usize {
        match table {
            Table::ClassRows => self.policies.class_rows.len(),
            Table::Rows => self.policies.rows.headers.len() + 1,
            Table::RowPorts => self.policies.rows.row_ports.len(),
            Table::PortClasses => {
                Protocol::ALL.map(|protocol| self.port_classes(protocol)).into_iter().max().unwrap_or(0)
            }
            Table::Groups => self.peers.used(table) + 1,
            _ => self.peers.used(table),
        }
    }

    /// How full each table is, in the order of [`Table::ALL`].
    pub(crate) fn usage(&self) -> Vec<Usage> {
        let usage = |table| Usage { table, used: count(self.used(table)), capacity: self.limits.of(table) };
        Table::ALL.map(usage).to_vec()
    }

    /// What the kernel holds.
    pub(crate) fn mirror(&self) -> Mirror {
        let (rows, places) = (&self.policies.rows, &self.places);
        let row_port =
            |((row, protocol, class), rule)| ((places.row_at(row), protocol, places.class_at(protocol, class)), rule);
        Mirror {
            endpoints: self.endpoints.held().map(|(slot, specs)| (slot, self.endpoint_policies(specs))).collect(),
            addresses: self.peers.held_addresses().collect(),
            groups: self.peers.held_groups().collect(),
            blocks: self.peers.held_blocks().collect(),
            class_rows: self.policies.class_rows.held().map(|(key, row)| (key, places.row_at(row))).collect(),
            rows: rows.headers.held().map(|(row, header)| (places.row_at(row), header)).collect(),
            row_ports: rows.row_ports.held().map(row_port).collect(),
            ports: places.held_ports().collect(),
        }
    }

    /// Lets go of ranges that no row has, as far as there is room for the port classes that this makes.
    fn prune_ranges(&mut self, thorough: bool) {
        for protocol in Protocol::ALL {
            let classes = &self.policies.rows.classes[protocol as usize];
            let unused = if thorough || classes.crowded() { classes.unused() } else { Vec::new() };
            for range in unused {
                let more = self.policies.rows.classes[protocol as usize].cost_of_removal(range);
                if self.port_classes(protocol) + more <= self.limits.port_classes as usize {
                    self.policies.rows.remove_range(protocol, range);
                }
            }
        }
    }

    fn port_classes(&self, protocol: Protocol) -> usize {
        self.places.classes_needed(protocol, &self.policies.rows.classes[protocol as usize]) + 1
    }

    /// Takes a slot for empty.
    fn forget(&mut self, slot: u32) {
        let (kernel, wanted) = (self.endpoints.kernel(slot), self.endpoints.wanted(slot));
        self.endpoints.forget(slot);
        for (spec, _) in kernel.into_iter().flatten().flatten() {
            self.policies.count_kernel(spec, -1);
        }
        for (spec, _) in wanted.into_iter().flatten().flatten() {
            self.policies.release(spec);
        }
    }

    fn stage_endpoint(&mut self, slot: u32, wants: &Wants) {
        let before = self.endpoints.wanted(slot);
        let specs = wants.each_ref().map(|want| match want {
            Want::Open => None,
            Want::Judged(spec, mode) => Some((self.hold(spec), *mode)),
        });
        self.endpoints.set(slot, specs);
        for (spec, _) in before.into_iter().flatten().flatten() {
            self.policies.release(spec);
        }
    }

    fn hold(&mut self, spec: &Arc<Spec>) -> SpecId {
        self.policies.hold(spec);
        spec.id
    }

    fn endpoint_policies(&self, held: [Held; 2]) -> EndpointPolicies {
        let default_row = |policy| self.places.row_at(self.policies.default_row(policy));
        let [ingress, egress] = held.map(|held| match held {
            None => EndpointPolicy::Open,
            Some((policy, Mode::Enforced)) => EndpointPolicy::Isolated { policy, default_row: default_row(policy) },
            Some((policy, Mode::Audited)) => EndpointPolicy::Audited { policy, default_row: default_row(policy) },
        });
        EndpointPolicies { ingress, egress }
    }
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
