//! From what the tables shall say to the operations that make them say it, in an order that never lets a packet be
//! judged by a mixture.

use crate::cluster::Cluster;
use crate::compile::Changes;
use crate::evaluate::RuleRef;
use crate::model::Direction;
use crate::op::{Op, RuleId};
use crate::tables::{Limits, Mirror, Table, Usage};

/// What to do to the kernel's tables, and what they have no room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, in this order.
    pub ops: Vec<Op>,
    /// Everything that is enforced more strictly than its policies say for want of room, this plan applied. Empty:
    /// everything fits.
    pub unfit: Vec<Unfit>,
    /// Whether this plan makes room that the next may use: then plan again, with whatever changes there are or none,
    /// as soon as this plan is applied.
    pub again: bool,
}

/// Something that a table has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfit {
    /// What it is.
    pub subject: Subject,
    /// The table.
    pub table: Table,
    /// How many entries would have been needed.
    pub needed: u32,
    /// How many there are.
    pub capacity: u32,
}

/// What a table has no room for, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The policies of an endpoint in a direction: it is isolated and nothing is allowed.
    Endpoint {
        /// The endpoint's slot.
        slot: u32,
        /// The direction.
        direction: Direction,
    },
    /// So many addresses of pods: no rule that selects pods allows them.
    Addresses(usize),
}

/// Compiler and tables together: takes changes of the cluster, gives plans. Pure; every plan must be applied, whole
/// and in order, before the next one is.
#[derive(Debug)]
pub struct Planner {
    limits: Limits,
}

impl Planner {
    /// A planner for empty tables with this much room.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Plans what the changes ask for. The first update must name every object and endpoint; `cluster` is the state
    /// after the changes.
    pub fn update(&mut self, cluster: &Cluster, changes: &Changes) -> Plan {
        let _ = (cluster, changes);
        Plan::default()
    }

    /// The rule with an id, also for a while after it is gone.
    #[must_use]
    pub fn rule(&self, _id: RuleId) -> Option<&RuleRef> {
        None
    }

    /// How full each table is, in the order of [`Table::ALL`].
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        Table::ALL.map(|table| Usage { table, used: 0, capacity: self.limits.of(table) }).to_vec()
    }

    /// What the kernel's tables hold once every plan is applied.
    #[must_use]
    pub fn mirror(&self) -> Mirror {
        Mirror::default()
    }
}
