//! Applies a plan: one call per stretch of operations that go to one table, their order kept.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use podgate_common::{
    Addr4, Addr6, ClassRowKey, EPOCHS, PortClasses, Row, RowPortKey, VERDICT_NONE, epoch_index4, epoch_index6, protocol,
};
use podgate_policy::id::{PortClassId, RowId, RuleId};
use podgate_policy::model::Protocol;
use podgate_policy::op::{Op, RowHeader};

use crate::runs::{OpKind, runs};
use crate::table::{BlockKey, Partial, Table};
use crate::{ApplyError, Datapath};

impl Datapath {
    /// Applies operations in order. Each is in force when the next begins, as far as a packet can tell; the last is
    /// when this returns.
    ///
    /// # Errors
    /// An operation failed: those before it are in force, and the caller may go on from there.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), ApplyError> {
        for (kind, range) in runs(ops) {
            let start = range.start;
            self.apply_run(kind, &ops[range]).map_err(|(done, source)| ApplyError {
                applied: start + done,
                op: ops[start + done].clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Applies operations of one kind.
    fn apply_run(&mut self, kind: OpKind, ops: &[Op]) -> Result<(), Partial> {
        let maps = &mut self.maps;
        match kind {
            OpKind::PutRow => put(&mut maps.rows, ops, row),
            OpKind::PutRowPort => put(&mut maps.row_ports, ops, row_port),
            OpKind::PutPort => put(&mut maps.ports, ops, port),
            OpKind::PutClassRow => put(&mut maps.class_rows, ops, class_row),
            OpKind::PutGroup => put(&mut maps.groups, ops, group),
            OpKind::PutAddress4 => put(&mut maps.addresses4, ops, address4),
            OpKind::PutAddress6 => put(&mut maps.addresses6, ops, address6),
            OpKind::PutBlock4 => put(&mut maps.blocks4, ops, block4),
            OpKind::PutBlock6 => put(&mut maps.blocks6, ops, block6),
            OpKind::DeleteRow => maps.rows.clear(&keys(ops, row)),
            OpKind::DeleteRowPort => maps.row_ports.delete(&keys(ops, row_port)),
            OpKind::DeleteClassRow => maps.class_rows.delete(&keys(ops, class_row)),
            OpKind::DeleteAddress4 => maps.addresses4.delete(&keys(ops, address4)),
            OpKind::DeleteAddress6 => maps.addresses6.delete(&keys(ops, address6)),
            OpKind::DeleteBlock4 => maps.blocks4.delete(&keys(ops, block4)),
            OpKind::DeleteBlock6 => maps.blocks6.delete(&keys(ops, block6)),
            OpKind::Invalidate => self.invalidate(ops.iter().filter_map(invalidated).collect()),
            OpKind::InvalidateAll => self.bump((0..EPOCHS).collect()),
            OpKind::Switch => self.switch_all(ops),
            OpKind::Grace => self.wait().map_err(|error| (0, error)),
        }
    }

    /// Makes flows with these remote addresses be judged again, and those to the frontends that lead there.
    fn invalidate(&mut self, addresses: Vec<IpAddr>) -> Result<(), Partial> {
        let leading = addresses.iter().flat_map(|&address| self.sets.leading_to(address));
        let all: BTreeSet<IpAddr> = leading.chain(addresses.iter().copied()).collect();
        self.bump(all.iter().copied().map(epoch_of).collect())?;
        self.sets.raised(&all);
        Ok(())
    }

    /// Counts epochs up. Nobody else writes them, so the kernel's values are the mirror's.
    pub(crate) fn bump(&mut self, mut indexes: Vec<u32>) -> Result<(), Partial> {
        indexes.sort_unstable();
        indexes.dedup();
        for &index in &indexes {
            let epoch = &mut self.epochs[index as usize];
            *epoch = epoch.wrapping_add(1);
        }
        let values: Vec<u32> = indexes.iter().map(|&index| self.epochs[index as usize]).collect();
        // One more count does no harm, so a failure begins again at the first.
        self.maps.epochs.put(&indexes, &values).map_err(|(_, error)| (0, error))
    }

    fn switch_all(&mut self, ops: &[Op]) -> Result<(), Partial> {
        for (done, op) in ops.iter().enumerate() {
            if let Op::Switch { slot, policies } = op {
                self.switch(*slot, *policies).map_err(|error| (done, error))?;
            }
        }
        Ok(())
    }
}

/// Writes the entries of operations of one kind.
fn put<K: aya::Pod + Ord, V: aya::Pod + Default>(
    table: &mut Table<K, V>,
    ops: &[Op],
    entry: fn(&Op) -> Option<(K, V)>,
) -> Result<(), Partial> {
    let (keys, values): (Vec<K>, Vec<V>) = ops.iter().filter_map(entry).unzip();
    table.put(&keys, &values)
}

/// The keys of operations of one kind.
fn keys<K, V>(ops: &[Op], entry: fn(&Op) -> Option<(K, V)>) -> Vec<K> {
    ops.iter().filter_map(entry).map(|(key, _)| key).collect()
}

fn row(op: &Op) -> Option<(u32, Row)> {
    match *op {
        Op::PutRow { row, header: RowHeader { any, protocols: [tcp, udp, sctp] } } => {
            let [any, tcp, udp, sctp] = [any, tcp, udp, sctp].map(|rule| rule.map_or(VERDICT_NONE, RuleId::raw));
            Some((row.raw(), Row { any, tcp, udp, sctp }))
        }
        Op::DeleteRow { row } => Some((row.raw(), Row::default())),
        _ => None,
    }
}

fn row_port(op: &Op) -> Option<(RowPortKey, u32)> {
    let (row, protocol, port_class, rule) = match *op {
        Op::PutRowPort { row, protocol, port_class, rule } => (row, protocol, port_class, rule.raw()),
        Op::DeleteRowPort { row, protocol, port_class } => (row, protocol, port_class, VERDICT_NONE),
        _ => return None,
    };
    let key = RowPortKey { row: row.raw(), port_class: port_class.raw(), protocol: protocol_number(protocol) };
    Some((key, rule))
}

/// A protocol as packets name it.
pub(crate) fn protocol_number(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tcp => protocol::TCP.into(),
        Protocol::Udp => protocol::UDP.into(),
        Protocol::Sctp => protocol::SCTP.into(),
    }
}

fn port(op: &Op) -> Option<(u32, PortClasses)> {
    match *op {
        Op::PutPort { port, classes } => {
            let [tcp, udp, sctp] = classes.map(PortClassId::raw);
            Some((port.into(), PortClasses { tcp, udp, sctp, reserved: 0 }))
        }
        _ => None,
    }
}

fn class_row(op: &Op) -> Option<(ClassRowKey, u32)> {
    let (policy, class, row) = match *op {
        Op::PutClassRow { policy, class, row } => (policy, class, row),
        Op::DeleteClassRow { policy, class } => (policy, class, RowId::NONE),
        _ => return None,
    };
    Some((ClassRowKey { policy: policy.raw(), class: class.raw() }, row.raw()))
}

fn group(op: &Op) -> Option<(u32, u32)> {
    match *op {
        Op::PutGroup { group, class } => Some((group.raw(), class.raw())),
        _ => None,
    }
}

fn address(op: &Op) -> Option<(IpAddr, u32)> {
    match *op {
        Op::PutAddress { address, group } => Some((address, group.raw())),
        Op::DeleteAddress { address } => Some((address, 0)),
        _ => None,
    }
}

fn address4(op: &Op) -> Option<(Addr4, u32)> {
    match address(op)? {
        (IpAddr::V4(address), group) => Some((Addr4::from_octets(address.octets()), group)),
        (IpAddr::V6(_), _) => None,
    }
}

fn address6(op: &Op) -> Option<(Addr6, u32)> {
    match address(op)? {
        (IpAddr::V6(address), group) => Some((Addr6::from_octets(address.octets()), group)),
        (IpAddr::V4(_), _) => None,
    }
}

fn block(op: &Op) -> Option<(IpNet, u32)> {
    match *op {
        Op::PutBlock { block, class } => Some((block, class.raw())),
        Op::DeleteBlock { block } => Some((block, 0)),
        _ => None,
    }
}

fn block4(op: &Op) -> Option<(BlockKey<Addr4>, u32)> {
    match block(op)? {
        (IpNet::V4(block), class) => Some((block.into(), class)),
        (IpNet::V6(_), _) => None,
    }
}

fn block6(op: &Op) -> Option<(BlockKey<Addr6>, u32)> {
    match block(op)? {
        (IpNet::V6(block), class) => Some((block.into(), class)),
        (IpNet::V4(_), _) => None,
    }
}

fn invalidated(op: &Op) -> Option<IpAddr> {
    match *op {
        Op::Invalidate { address } => Some(address),
        _ => None,
    }
}

/// The epoch that flows with a remote address carry.
pub(crate) fn epoch_of(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => epoch_index4(Addr4::from_octets(address.octets())),
        IpAddr::V6(address) => epoch_index6(Addr6::from_octets(address.octets())),
    }
}
