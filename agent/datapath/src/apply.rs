//! Applies a plan: one call per stretch of operations that go to one table, their order kept.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use podgate_common::{
    Addr4, Addr6, ClassRowKey, EPOCHS, PortClasses, Row, RowPortKey, epoch_index4, epoch_index6, protocol, word,
};
use podgate_policy::id::{ClassId, PolicyId, PortClassId, RowId, RuleId};
use podgate_policy::model::Protocol;
use podgate_policy::op::{Entry, Key, Op, RowHeader, Saying};

use crate::maps::Maps;
use crate::table::{AnyTable, Partial};
use crate::{ApplyError, Datapath};

impl Datapath {
    /// Applies operations in order. Each is in force when the next begins, as far as a packet can tell; the last is
    /// when this returns.
    ///
    /// # Errors
    /// An operation failed: those before it are in force, and the caller may go on from there.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), ApplyError> {
        let mut start = 0;
        for run in ops.chunk_by(Op::goes_with) {
            self.apply_run(run).map_err(|(done, source)| ApplyError {
                applied: start + done,
                op: run[done].clone(),
                source,
            })?;
            start += run.len();
        }
        Ok(())
    }

    /// Applies operations that go together.
    fn apply_run(&mut self, run: &[Op]) -> Result<(), Partial> {
        let mut invalidated = Vec::new();
        for (done, op) in run.iter().enumerate() {
            match *op {
                Op::Write(entry) => self.maps.stage(entry),
                Op::Delete(key) => self.maps.stage_removal(key),
                Op::Invalidate { address } => invalidated.push(address),
                Op::InvalidateAll => self.bump((0..EPOCHS).collect())?,
                Op::Switch { slot, policies } => self.switch(slot, policies).map_err(|error| (done, error))?,
                Op::Grace => self.wait().map_err(|error| (done, error))?,
            }
        }
        self.invalidate(invalidated)?;
        self.maps.flush()
    }

    /// Makes flows with these remote addresses be judged again, and those to the frontends that lead there.
    fn invalidate(&mut self, addresses: Vec<IpAddr>) -> Result<(), Partial> {
        if addresses.is_empty() {
            return Ok(());
        }
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
}

impl Maps {
    /// Notes that an entry is to be written when its table is flushed.
    fn stage(&mut self, entry: Entry) {
        match entry {
            Entry::Row { row, header } => self.rows.stage(row.raw(), row_value(&header)),
            Entry::RowPort { row, protocol, port_class, says } => {
                self.row_ports.stage(row_port(row, protocol, port_class), word_of(says));
            }
            Entry::Port { port, classes } => {
                let [tcp, udp, sctp] = classes.map(PortClassId::raw);
                self.ports.stage(port.into(), PortClasses { tcp, udp, sctp, reserved: 0 });
            }
            Entry::ClassRow { policy, class, row } => self.class_rows.stage(class_row(policy, class), row.raw()),
            Entry::Group { group, class } => self.groups.stage(group.raw(), class.raw()),
            Entry::Address { address: IpAddr::V4(address), group } => {
                self.addresses4.stage(Addr4::from_octets(address.octets()), group.raw());
            }
            Entry::Address { address: IpAddr::V6(address), group } => {
                self.addresses6.stage(Addr6::from_octets(address.octets()), group.raw());
            }
            Entry::Block { block: IpNet::V4(block), class } => self.blocks4.stage(block.into(), class.raw()),
            Entry::Block { block: IpNet::V6(block), class } => self.blocks6.stage(block.into(), class.raw()),
        }
    }

    /// Notes that an entry is to be removed when its table is flushed.
    fn stage_removal(&mut self, key: Key) {
        match key {
            Key::Row { row } => self.rows.stage_removal(row.raw()),
            Key::RowPort { row, protocol, port_class } => {
                self.row_ports.stage_removal(row_port(row, protocol, port_class));
            }
            Key::ClassRow { policy, class } => self.class_rows.stage_removal(class_row(policy, class)),
            Key::Address { address: IpAddr::V4(address) } => {
                self.addresses4.stage_removal(Addr4::from_octets(address.octets()));
            }
            Key::Address { address: IpAddr::V6(address) } => {
                self.addresses6.stage_removal(Addr6::from_octets(address.octets()));
            }
            Key::Block { block: IpNet::V4(block) } => self.blocks4.stage_removal(block.into()),
            Key::Block { block: IpNet::V6(block) } => self.blocks6.stage_removal(block.into()),
        }
    }

    /// Does what is staged, which is of one table.
    fn flush(&mut self) -> Result<(), Partial> {
        self.tables_mut().into_iter().try_for_each(AnyTable::flush)
    }
}

/// A header as the programs read it.
fn row_value(header: &RowHeader) -> Row {
    let more = |more| if more { word::MORE } else { 0 };
    let of = |protocol: Protocol| {
        let index = protocol as usize;
        word_of(header.protocols[index]) | more(header.by_port[index])
    };
    let [tcp, udp, sctp] = Protocol::ALL.map(of);
    Row { any: word_of(header.portless) | more(!header.is_uniform()), tcp, udp, sctp }
}

/// What a row says, in one word. A rule whose number has no room there goes without.
fn word_of(says: Saying) -> u32 {
    let of = |rule: Option<RuleId>| rule.map(RuleId::raw).filter(|&raw| raw <= word::RULE);
    match says {
        Saying::Denied(rule) => of(rule).unwrap_or_default(),
        Saying::Allowed(rule) => word::ALLOWED | of(rule).unwrap_or_default(),
        Saying::WouldDeny(rule) => word::AUDITED | of(rule).unwrap_or_default(),
    }
}

fn row_port(row: RowId, protocol: Protocol, port_class: PortClassId) -> RowPortKey {
    RowPortKey { row: row.raw(), port_class: port_class.raw(), protocol: protocol_number(protocol) }
}

fn class_row(policy: PolicyId, class: ClassId) -> ClassRowKey {
    ClassRowKey { policy: policy.raw(), class: class.raw() }
}

/// A protocol as packets name it.
pub(crate) fn protocol_number(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tcp => protocol::TCP.into(),
        Protocol::Udp => protocol::UDP.into(),
        Protocol::Sctp => protocol::SCTP.into(),
    }
}

/// The epoch that flows with a remote address carry.
pub(crate) fn epoch_of(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => epoch_index4(Addr4::from_octets(address.octets())),
        IpAddr::V6(address) => epoch_index6(Addr6::from_octets(address.octets())),
    }
}
