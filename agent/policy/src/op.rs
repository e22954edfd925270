//! Changes of the kernel's tables, as plain data. The order of a plan's operations is part of its meaning: applied one
//! by one, no step allows what both the old and the new policy deny, or denies what both allow.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::{ClassId, GroupId, PolicyId, PortClassId, RowId, RuleId};
use crate::model::Protocol;

/// One change of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes the header of a row: the rules that name no port.
    PutRow {
        /// The row, never 0.
        row: RowId,
        /// Its header.
        header: RowHeader,
    },
    /// Writes what a row says of a port class.
    PutRowPort {
        /// The row.
        row: RowId,
        /// The protocol.
        protocol: Protocol,
        /// The class among this protocol's ports, never 0.
        port_class: PortClassId,
        /// The rule that allows it.
        rule: RuleId,
    },
    /// Writes the classes of a port number, for all protocols in one store.
    PutPort {
        /// The port number.
        port: u16,
        /// Class for TCP, UDP and SCTP.
        classes: [PortClassId; 3],
    },
    /// Writes which row a policy has for a class of peers.
    PutClassRow {
        /// The policy id.
        policy: PolicyId,
        /// The class, never 0.
        class: ClassId,
        /// The row.
        row: RowId,
    },
    /// Writes the class of a group.
    PutGroup {
        /// The group.
        group: GroupId,
        /// Its class.
        class: ClassId,
    },
    /// Writes the group of an address.
    PutAddress {
        /// The address.
        address: IpAddr,
        /// Its group.
        group: GroupId,
    },
    /// Removes an address: it is as any other address of the blocks that contain it.
    DeleteAddress {
        /// The address.
        address: IpAddr,
    },
    /// Writes the class of the addresses of a block that no longer prefix and no group covers.
    PutBlock {
        /// The block.
        block: IpNet,
        /// The class.
        class: ClassId,
    },
    /// Removes a block.
    DeleteBlock {
        /// The block.
        block: IpNet,
    },
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
    /// Removes a row's header.
    DeleteRow {
        /// The row.
        row: RowId,
    },
    /// Removes what a row says of a port class.
    DeleteRowPort {
        /// The row.
        row: RowId,
        /// The protocol.
        protocol: Protocol,
        /// The class.
        port_class: PortClassId,
    },
    /// Removes a policy's row for a class.
    DeleteClassRow {
        /// The policy id.
        policy: PolicyId,
        /// The class.
        class: ClassId,
    },
}

/// The rules of a row that name no port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowHeader {
    /// Allows every packet of every protocol, those without ports included.
    pub any: Option<RuleId>,
    /// Allows every port of TCP, UDP, SCTP, in the order of [`Protocol::ALL`].
    pub protocols: [Option<RuleId>; 3],
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
    /// Not isolated: everything passes.
    #[default]
    Open,
    /// Isolated: what the rows of this policy id allow passes.
    Isolated {
        /// The policy id.
        policy: PolicyId,
        /// The row of classes without a row of their own.
        default_row: RowId,
    },
    /// Isolated by policies in audit mode alone: what these rows do not allow passes all the same, and is reported.
    Audited {
        /// As in [`Self::Isolated`].
        policy: PolicyId,
        /// As in [`Self::Isolated`].
        default_row: RowId,
    },
}
