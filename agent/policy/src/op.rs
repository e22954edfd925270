//! Changes of the kernel's tables, as plain data. The order of a plan's operations is part of its meaning: applied one
//! by one, no step allows what both the old and the new policy deny, or denies what both allow.

use std::mem::discriminant;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::{ClassId, GroupId, PolicyId, PortClassId, RowId, RuleId};
use crate::model::Protocol;

/// One change of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes an entry of a table, over the one with its key.
    Write(Entry),
    /// Removes an entry. Afterwards it is as if it had never been there.
    Delete(Key),
    /// Makes every flow with this remote address be judged again: an allow may have been taken from it.
    Invalidate {
        /// The remote address.
        address: IpAddr,
    },
    /// Makes every flow with any remote address be judged again.
    InvalidateAll,
    /// Gives an endpoint its new policies in one store, under a new generation.
    Switch {
        /// The endpoint's slot, never 0.
        slot: u32,
        /// Its policies.
        policies: EndpointPolicies,
    },
    /// Waits until no program runs that has read what stands before this point. Ids whose entries are deleted after
    /// this point may be reused by the next plan.
    Grace,
}

/// An entry of a table that plans are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The header of a row: what it says without looking at the port.
    Row {
        /// The row, never 0.
        row: RowId,
        /// Its header.
        header: RowHeader,
    },
    /// What a row says of a port class.
    RowPort {
        /// The row.
        row: RowId,
        /// The protocol.
        protocol: Protocol,
        /// The class among this protocol's ports, never 0.
        port_class: PortClassId,
        /// What it says.
        says: Saying,
    },
    /// The classes of a port number, for all protocols in one store.
    Port {
        /// The port number.
        port: u16,
        /// Class for TCP, UDP and SCTP.
        classes: [PortClassId; 3],
    },
    /// Which row a policy has for a class of peers.
    ClassRow {
        /// The policy id.
        policy: PolicyId,
        /// The class, never 0.
        class: ClassId,
        /// The row.
        row: RowId,
    },
    /// The class of a group.
    Group {
        /// The group.
        group: GroupId,
        /// Its class.
        class: ClassId,
    },
    /// The group of an address.
    Address {
        /// The address.
        address: IpAddr,
        /// Its group.
        group: GroupId,
    },
    /// The class of the addresses of a block that no longer prefix and no group covers.
    Block {
        /// The block.
        block: IpNet,
        /// The class.
        class: ClassId,
    },
}

/// By what an entry is found that may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// That of [`Entry::Row`].
    Row {
        /// The row.
        row: RowId,
    },
    /// That of [`Entry::RowPort`].
    RowPort {
        /// The row.
        row: RowId,
        /// The protocol.
        protocol: Protocol,
        /// The class.
        port_class: PortClassId,
    },
    /// That of [`Entry::ClassRow`].
    ClassRow {
        /// The policy id.
        policy: PolicyId,
        /// The class.
        class: ClassId,
    },
    /// That of [`Entry::Address`]: it is as any other address of the blocks that contain it.
    Address {
        /// The address.
        address: IpAddr,
    },
    /// That of [`Entry::Block`].
    Block {
        /// The block.
        block: IpNet,
    },
}

impl Op {
    /// Whether two operations do the same to entries of the same table, so that one call may do both.
    #[must_use]
    pub fn goes_with(&self, other: &Self) -> bool {
        let same = match (self, other) {
            (Self::Write(entry), Self::Write(other)) => discriminant(entry) == discriminant(other),
            (Self::Delete(key), Self::Delete(other)) => discriminant(key) == discriminant(other),
            _ => discriminant(self) == discriminant(other),
        };
        same && self.is_ipv6() == other.is_ipv6()
    }

    /// Whether it is about a table of IPv6.
    fn is_ipv6(&self) -> bool {
        match self {
            Self::Write(Entry::Address { address, .. }) | Self::Delete(Key::Address { address }) => address.is_ipv6(),
            Self::Write(Entry::Block { block, .. }) | Self::Delete(Key::Block { block }) => block.addr().is_ipv6(),
            _ => false,
        }
    }
}

/// What a row says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Saying {
    /// It is dropped: this rule denies it, or no rule allows it.
    Denied(Option<RuleId>),
    /// It passes: this rule allows it, or no policy has a say.
    Allowed(Option<RuleId>),
    /// It passes: this rule would deny it, or no rule would allow it, if policies were not in audit mode.
    WouldDeny(Option<RuleId>),
}

impl Saying {
    /// Whether the packet passes.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        !matches!(self, Self::Denied(_))
    }
}

/// Of a row that is not there, or empty: nothing passes.
impl Default for Saying {
    fn default() -> Self {
        Self::Denied(None)
    }
}

/// What a row says without looking at the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowHeader {
    /// Of packets without ports.
    pub portless: Saying,
    /// Of ports of TCP, UDP, SCTP, in the order of [`Protocol::ALL`], about which the row says nothing by port class.
    pub protocols: [Saying; 3],
    /// Whether it says something by port class, of each of these protocols.
    pub by_port: [bool; 3],
}

impl RowHeader {
    /// Of a row that says the same of every packet.
    #[must_use]
    pub const fn uniform(says: Saying) -> Self {
        Self { portless: says, protocols: [says; 3], by_port: [false; 3] }
    }

    /// Whether it says the same of every packet.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        *self == Self::uniform(self.portless)
    }
}

/// The policies of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointPolicies {
    /// For packets into the pod.
    pub ingress: EndpointPolicy,
    /// For packets out of the pod.
    pub egress: EndpointPolicy,
}

impl EndpointPolicies {
    /// Isolated in both directions and allowed nothing. The policy that this names is always there and has no rows.
    pub const NOTHING: Self = Self { ingress: EndpointPolicy::NOTHING, egress: EndpointPolicy::NOTHING };
}

impl EndpointPolicy {
    /// Isolated and allowed nothing.
    pub const NOTHING: Self = Self::Isolated { policy: PolicyId::NOTHING, default_row: RowId::NONE };
}

/// The policy of an endpoint in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointPolicy {
    /// No policy can deny anything: everything passes.
    #[default]
    Open,
    /// Policies judge it: what the rows of this policy id allow passes.
    Isolated {
        /// The policy id.
        policy: PolicyId,
        /// The row of classes without a row of their own.
        default_row: RowId,
    },
    /// Only policies in audit mode deny something: what these rows do not allow passes all the same, and is reported.
    Audited {
        /// As in [`Self::Isolated`].
        policy: PolicyId,
        /// As in [`Self::Isolated`].
        default_row: RowId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_of_one_table_and_one_way_go_together_and_their_order_is_kept() {
        let address = |address: &str| -> IpAddr { address.parse().unwrap() };
        let write = |it: &str| Op::Write(Entry::Address { address: address(it), group: GroupId::from_raw(1) });
        let ops = [
            write("10.0.0.1"),
            write("10.0.0.2"),
            write("fd00::1"),
            Op::Grace,
            write("10.0.0.3"),
            Op::Delete(Key::Address { address: address("10.0.0.3") }),
            Op::Delete(Key::Row { row: RowId::from_raw(1) }),
            Op::Delete(Key::Row { row: RowId::from_raw(2) }),
        ];
        let runs: Vec<usize> = ops.chunk_by(Op::goes_with).map(<[Op]>::len).collect();
        assert_eq!(runs, [2, 1, 1, 1, 1, 2]);
    }
}
