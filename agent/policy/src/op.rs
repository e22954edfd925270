//! Changes of the kernel's tables, as plain data. The order of a plan's operations is part of its meaning: applied one
//! by one, no step allows what both the old and the new policy deny, or denies what both allow.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::Protocol;

/// The id of a rule in the tables; leads back to policy, direction and index in user space. Never 0.
pub type RuleId = u32;

/// One change of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes the header of a row: the rules that name no port.
    PutRow {
        /// The row, never 0.
        row: u32,
        /// Its header.
        header: RowHeader,
    },
    /// Writes what a row says of a port class.
    PutRowPort {
        /// The row.
        row: u32,
        /// The protocol.
        protocol: Protocol,
        /// The class among this protocol's ports, never 0.
        port_class: u16,
        /// The rule that allows it.
        rule: RuleId,
    },
    /// Writes the classes of a port number, for all protocols in one store.
    PutPort {
        /// The port number.
        port: u16,
        /// Class for TCP, UDP and SCTP; 0: in no rule.
        classes: [u16; 3],
    },
    /// Writes which row a policy has for a class of peers.
    PutClassRow {
        /// The policy id.
        policy: u32,
        /// The class, never 0.
        class: u32,
        /// The row.
        row: u32,
    },
    /// Writes the class of a group.
    PutGroup {
        /// The group, never 0.
        group: u32,
        /// Its class.
        class: u32,
    },
    /// Writes the group of an address.
    PutAddress {
        /// The address.
        address: IpAddr,
        /// Its group.
        group: u32,
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
        class: u32,
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
        row: u32,
    },
    /// Removes what a row says of a port class.
    DeleteRowPort {
        /// The row.
        row: u32,
        /// The protocol.
        protocol: Protocol,
        /// The class.
        port_class: u16,
    },
    /// Removes a policy's row for a class.
    DeleteClassRow {
        /// The policy id.
        policy: u32,
        /// The class.
        class: u32,
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
    pub const NOTHING: Self = Self::Isolated { policy: 1, default_row: 0 };
}

/// The policy of an endpoint in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointPolicy {
    /// Not isolated: everything passes.
    #[default]
    Open,
    /// Isolated: what the rows of this policy id allow passes.
    Isolated {
        /// The policy id, never 0.
        policy: u32,
        /// The row of classes without a row of their own; 0: they are allowed nothing.
        default_row: u32,
    },
    /// Isolated by policies in audit mode alone: what these rows do not allow passes all the same, and is reported.
    Audited {
        /// As in [`Self::Isolated`].
        policy: u32,
        /// As in [`Self::Isolated`].
        default_row: u32,
    },
}
