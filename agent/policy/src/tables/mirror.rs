//! The kernel's tables, changed by operations one at a time: what a plan is tried on without a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::evaluate::Traffic;
use crate::id::{ClassId, GroupId, PolicyId, PortClassId, RowId};
use crate::model::{Direction, Protocol};
use crate::op::{EndpointPolicies, EndpointPolicy, Entry, Key, Op, RowHeader, Saying};
use crate::tables::Table;

/// What the tables say of a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The endpoint is not judged in this direction.
    Open,
    /// This is said of it.
    By(Saying),
}

impl Judgement {
    /// Whether the flow passes.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        match self {
            Self::Open => true,
            Self::By(says) => says.is_allowed(),
        }
    }
}

/// Where an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In this group.
    Group(GroupId),
    /// In no group, and in this class by the longest block around it; [`ClassId::NONE`] where there is none.
    Class(ClassId),
}

/// The contents of the kernel's tables, looked up as the programs do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    pub(crate) endpoints: BTreeMap<u32, EndpointPolicies>,
    pub(crate) addresses: BTreeMap<IpAddr, GroupId>,
    pub(crate) groups: BTreeMap<GroupId, ClassId>,
    pub(crate) blocks: BTreeMap<IpNet, ClassId>,
    pub(crate) class_rows: BTreeMap<(PolicyId, ClassId), RowId>,
    pub(crate) rows: BTreeMap<RowId, RowHeader>,
    pub(crate) row_ports: BTreeMap<(RowId, Protocol, PortClassId), Saying>,
    pub(crate) ports: BTreeMap<u16, [PortClassId; 3]>,
}

impl Mirror {
    /// Does what an operation says. Invalidations and waits change no table.
    pub fn apply(&mut self, op: &Op) {
        match *op {
            Op::Write(entry) => self.write(entry),
            Op::Delete(key) => self.delete(key),
            Op::Switch { slot, policies } => drop(self.endpoints.insert(slot, policies)),
            Op::Invalidate { .. } | Op::InvalidateAll | Op::Grace => {}
        }
    }

    fn write(&mut self, entry: Entry) {
        match entry {
            Entry::Row { row, header } => drop(self.rows.insert(row, header)),
            Entry::RowPort { row, protocol, port_class, says } => {
                self.row_ports.insert((row, protocol, port_class), says);
            }
            Entry::Port { port, classes } => drop(self.ports.insert(port, classes)),
            Entry::ClassRow { policy, class, row } => drop(self.class_rows.insert((policy, class), row)),
            Entry::Group { group, class } => drop(self.groups.insert(group, class)),
            Entry::Address { address, group } => drop(self.addresses.insert(address, group)),
            Entry::Block { block, class } => drop(self.blocks.insert(block, class)),
        }
    }

    fn delete(&mut self, key: Key) {
        match key {
            Key::Row { row } => drop(self.rows.remove(&row)),
            Key::RowPort { row, protocol, port_class } => drop(self.row_ports.remove(&(row, protocol, port_class))),
            Key::ClassRow { policy, class } => drop(self.class_rows.remove(&(policy, class))),
            Key::Address { address } => drop(self.addresses.remove(&address)),
            Key::Block { block } => drop(self.blocks.remove(&block)),
        }
    }

    /// Forgets an endpoint, as the datapath does when its slot is released.
    pub fn release(&mut self, slot: u32) {
        self.endpoints.remove(&slot);
    }

    /// Judges a new flow of the endpoint in a slot: `remote` is the other end's address. An endpoint that was never
    /// switched is open.
    #[must_use]
    pub fn judge(&self, slot: u32, direction: Direction, remote: IpAddr, traffic: Traffic) -> Judgement {
        let policy = self.policy(slot, direction);
        let class = self.class(self.place(remote));
        let Some(row) = self.row(policy, class) else { return Judgement::Open };
        Judgement::By(match (self.says(row, self.port(traffic)), policy) {
            (Saying::Denied(rule), EndpointPolicy::Audited { .. }) => Saying::WouldDeny(rule),
            (says, _) => says,
        })
    }

    /// First look: the policy of an endpoint.
    #[must_use]
    pub fn policy(&self, slot: u32, direction: Direction) -> EndpointPolicy {
        let policies = self.endpoints.get(&slot).copied().unwrap_or_default();
        match direction {
            Direction::Ingress => policies.ingress,
            Direction::Egress => policies.egress,
        }
    }

    /// Second look: where an address stands.
    #[must_use]
    pub fn place(&self, address: IpAddr) -> Place {
        match self.addresses.get(&address) {
            Some(&group) => Place::Group(group),
            None => Place::Class(self.longest_block(address).unwrap_or(ClassId::NONE)),
        }
    }

    /// Third look: the class of what stands there.
    #[must_use]
    pub fn class(&self, place: Place) -> ClassId {
        match place {
            Place::Group(group) => self.groups.get(&group).copied().unwrap_or(ClassId::NONE),
            Place::Class(class) => class,
        }
    }

    /// Fourth look: the row of a policy for a class; `None`: the endpoint is open.
    #[must_use]
    pub fn row(&self, policy: EndpointPolicy, class: ClassId) -> Option<RowId> {
        match policy {
            EndpointPolicy::Open => None,
            EndpointPolicy::Isolated { policy, default_row } | EndpointPolicy::Audited { policy, default_row } => {
                Some(self.class_rows.get(&(policy, class)).copied().unwrap_or(default_row))
            }
        }
    }

    /// Fifth look: the protocol and the class of the port.
    #[must_use]
    pub fn port(&self, traffic: Traffic) -> Option<(Protocol, PortClassId)> {
        let Traffic::Port { protocol, number } = traffic else { return None };
        Some((protocol, self.ports.get(&number).map_or(PortClassId::NONE, |classes| classes[protocol as usize])))
    }

    /// Last look: what a row says.
    #[must_use]
    pub fn says(&self, row: RowId, port: Option<(Protocol, PortClassId)>) -> Saying {
        let header = self.rows.get(&row).copied().unwrap_or_default();
        let Some((protocol, class)) = port.filter(|_| !header.is_uniform()) else { return header.portless };
        let by_class = self.row_ports.get(&(row, protocol, class)).filter(|_| header.by_port[protocol as usize]);
        by_class.copied().unwrap_or(header.protocols[protocol as usize])
    }

    /// How many entries of a table are taken; of an array, up to the last.
    #[must_use]
    pub fn used(&self, table: Table) -> usize {
        let length = |last: Option<u32>| last.map_or(0, |last| last as usize + 1);
        match table {
            Table::Addresses4 => self.addresses.keys().filter(|address| address.is_ipv4()).count(),
            Table::Addresses6 => self.addresses.keys().filter(|address| address.is_ipv6()).count(),
            Table::Groups => length(self.groups.keys().next_back().map(|group| group.raw())),
            Table::Blocks4 => self.blocks.keys().filter(|block| block.network().is_ipv4()).count(),
            Table::Blocks6 => self.blocks.keys().filter(|block| block.network().is_ipv6()).count(),
            Table::ClassRows => self.class_rows.len(),
            Table::Rows => length(self.rows.keys().next_back().map(|row| row.raw())),
            Table::RowPorts => self.row_ports.len(),
            Table::Steps => 0,
            Table::PortClasses => length(self.ports.values().flatten().max().map(|class| class.raw().into())),
        }
    }

    /// Without what no packet can meet: groups that no address is in, and ports in no class.
    #[must_use]
    pub fn tidied(&self) -> Self {
        let used: BTreeSet<_> = self.addresses.values().copied().collect();
        let mut tidied = self.clone();
        tidied.groups.retain(|group, _| used.contains(group));
        tidied.ports.retain(|_, classes| *classes != [PortClassId::NONE; 3]);
        tidied
    }

    fn longest_block(&self, address: IpAddr) -> Option<ClassId> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().find_map(|length| {
            let block = IpNet::new(address, length).ok()?.trunc();
            self.blocks.get(&block).copied()
        })
    }
}
