//! From what the tables shall say to the operations that make them say it, in an order that never lets a packet be
//! judged by a mixture.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::compile::{Changes, Compiler, RuleNews, Spec, SpecId};
use crate::evaluate::RuleRef;
use crate::id::RuleId;
use crate::model::Direction;
use crate::op::Op;
use crate::tables::{Limits, Mirror, Overflow, Table, Tables, Usage};

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
    /// Ids of rules that are new, with their rules.
    pub named: Vec<(RuleId, RuleRef)>,
    /// Ids of rules that are gone for so long that they lead nowhere any more.
    pub forgotten: Vec<RuleId>,
}

/// Something that a table has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfit {
    /// What it is.
    pub subject: Subject,
    /// The table.
    pub table: Table,
    /// How many entries would have been needed, at least: of rows' rules no more are counted than it takes to tell.
    pub needed: u32,
    /// How many there are.
    pub capacity: u32,
}

impl Unfit {
    /// What there is too little of.
    #[must_use]
    pub fn shortage(&self) -> String {
        let Self { table, needed, capacity, .. } = self;
        match table {
            Table::Steps => format!(
                "its policies take {needed} steps to work out and at most {capacity} are taken: let fewer of their \
                 ranges, blocks and selectors overlap"
            ),
            _ => format!("table {table} has {capacity} entries, {needed} are needed"),
        }
    }
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
    /// So many addresses of pods: no rule that selects pods allows them, and endpoints whose policies deny something to pods by
    /// what these are are allowed nothing.
    Addresses(usize),
}

/// What a policy leaves behind in the kernel is gone two plans later; what finds no room by then finds none.
const RETRIES: u32 = 3;

/// Compiler and tables together: takes changes of the cluster, gives plans. Pure; every plan must be applied, whole
/// and in order, before the next one is.
#[derive(Debug)]
pub struct Planner {
    compiler: Compiler,
    tables: Tables,
    limits: Limits,
    /// Specs that found no room, with the table that was full.
    refused: BTreeMap<SpecId, Overflow>,
    /// Whether the last plan made room, and how often in a row that has not helped.
    freed: bool,
    vain: u32,
    /// The least that found no room since the last change.
    least: usize,
}

impl Planner {
    /// A planner for empty tables with this much room.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (compiler, tables) = (Compiler::new(limits.of(Table::Steps).into()), Tables::new(limits));
        Self { compiler, tables, limits, refused: BTreeMap::new(), freed: false, vain: 0, least: 0 }
    }

    /// Plans what the changes ask for. The first update must name every object and endpoint; `cluster` is the state
    /// after the changes.
    pub fn update(&mut self, cluster: &Cluster, changes: &Changes) -> Plan {
        let mut ops = Vec::new();
        if !self.refused.is_empty() || self.is_tight() {
            self.tables.make_room(&mut ops);
        }
        self.stage(cluster, changes);
        while let Some(overflow) = self.tables.overflow() {
            if self.tables.abandon_leaving() {
                continue;
            }
            let Some(victim) = self.victim(overflow.table) else { break };
            self.refuse(victim, overflow);
        }
        self.refuse_blind();
        self.freed = self.tables.write(&mut ops);
        self.plan(ops, *changes == Changes::default())
    }

    /// The rule with an id, also for a while after it is gone.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&RuleRef> {
        self.compiler.rule(id)
    }

    /// How full each table is, in the order of [`Table::ALL`].
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.tables.usage()
    }

    /// What the kernel's tables hold once every plan is applied.
    #[must_use]
    pub fn mirror(&self) -> Mirror {
        self.tables.mirror()
    }

    fn stage(&mut self, cluster: &Cluster, changes: &Changes) {
        let desired = self.compiler.update(cluster, changes, &|ask| self.tables.in_force(ask));
        let regrouped = !desired.wants.is_empty() || !desired.peers.groups.is_empty();
        self.tables.stage(desired);
        if (!self.refused.is_empty() || self.compiler.is_crowded()) && (self.freed || regrouped) {
            self.refused.clear();
            self.tables.stage(self.compiler.reconsider());
        }
        if self.tables.lacks_groups() && (self.freed || regrouped) {
            self.tables.stage(self.compiler.coarsen(&|ask| self.tables.in_force(ask)));
        }
    }

    /// Whether a table is so full that nothing should stand in it for later.
    fn is_tight(&self) -> bool {
        let tight = |table| self.tables.used(table) > (self.limits.of(table) - self.limits.of(table) / 8) as usize;
        [Table::ClassRows, Table::Rows, Table::RowPorts].into_iter().any(tight)
    }

    /// The policy to refuse where a table lacks room: one of the namespace that takes most of it, so that none pays for
    /// another's. There rather one that is not in force yet, then the one that needs most.
    fn victim(&self, table: Table) -> Option<SpecId> {
        let weight = |spec: &Spec| match table {
            Table::Blocks4 | Table::Blocks6 => self.compiler.prefixes(spec),
            _ => self.tables.weight(spec.id, table),
        };
        let holders = self.compiler.holders();
        let mut namespaces: BTreeMap<_, Vec<(usize, SpecId)>> = BTreeMap::new();
        for (weight, id) in
            self.compiler.accepted().map(|spec| (weight(spec), spec.id)).filter(|&(weight, _)| weight > 0)
        {
            namespaces.entry(holders.get(&id)).or_default().push((weight, id));
        }
        let whole = |specs: &Vec<(usize, SpecId)>| specs.iter().map(|(weight, _)| weight).sum::<usize>();
        let most = namespaces.into_values().max_by_key(whole)?;
        most.into_iter().max_by_key(|&(weight, id)| (!self.tables.is_in_kernel(id), weight, id)).map(|(_, id)| id)
    }

    /// Refuses what denies something to pods by what these are, where addresses of pods are left out, which might be theirs.
    fn refuse_blind(&mut self) {
        let Some((table, count)) = self.tables.left_out().into_iter().next() else { return };
        let needed = u32::try_from(self.tables.used(table) + count).unwrap_or(u32::MAX);
        for spec in self.compiler.denying_pods() {
            self.refuse(spec, Overflow { table, needed });
        }
    }

    fn refuse(&mut self, spec: SpecId, overflow: Overflow) {
        self.refused.insert(spec, overflow);
        self.tables.abandon(spec);
        let desired = self.compiler.refuse(spec, &|ask| self.tables.in_force(ask));
        self.tables.stage(desired);
        self.tables.tidy();
    }

    fn plan(&mut self, ops: Vec<Op>, retry: bool) -> Plan {
        let alive = self.compiler.refused();
        self.refused.retain(|spec, _| alive.contains(spec));
        let unfit = self.unfit();
        let count =
            unfit.iter().map(|unfit| if let Subject::Addresses(count) = unfit.subject { count } else { 1 }).sum();
        // By turns one may find no room and the other: only less than ever is a step forward.
        let in_vain = retry && count >= self.least;
        self.vain = if in_vain { self.vain + 1 } else { 0 };
        self.least = if in_vain { self.least } else { count };
        let RuleNews { named, forgotten } = self.compiler.take_rule_news();
        Plan { ops, again: self.freed && !unfit.is_empty() && self.vain < RETRIES, unfit, named, forgotten }
    }

    fn unfit(&self) -> Vec<Unfit> {
        let entry = |subject, table, needed| Unfit { subject, table, needed, capacity: self.limits.of(table) };
        let excess = self.compiler.excess().map(|(spec, steps)| {
            (spec, Overflow { table: Table::Steps, needed: u32::try_from(steps).unwrap_or(u32::MAX) })
        });
        let refused = self.refused.iter().map(|(&spec, &overflow)| (spec, overflow)).chain(excess);
        let endpoints = refused.flat_map(|(spec, overflow)| {
            let users = self.compiler.users(spec).into_iter();
            users.map(move |(slot, direction)| (Subject::Endpoint { slot, direction }, overflow))
        });
        let endpoints = endpoints.map(|(subject, overflow)| entry(subject, overflow.table, overflow.needed));
        let addresses = self.tables.left_out().into_iter().map(|(table, count)| {
            let needed = u32::try_from(self.tables.used(table) + count).unwrap_or(u32::MAX);
            entry(Subject::Addresses(count), table, needed)
        });
        let mut unfit: Vec<_> = endpoints.chain(addresses).collect();
        unfit.sort_unstable();
        unfit
    }
}
