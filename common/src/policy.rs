//! Compiled policy: classes, port classes and rows. docs/how-it-works.md explains how they fit together.

/// "No rule": the value of a field that would otherwise hold a rule's id.
pub const VERDICT_NONE: u32 = 0;

/// In place of a rule's id: the exit hook finds the rule, by the address that the packet really goes to.
pub const VERDICT_DEFERRED: u32 = u32::MAX;

/// In place of a rule's id: the pod reaches itself and nobody else through a Service, which takes no rule.
pub const VERDICT_ITSELF: u32 = u32::MAX - 1;

/// In place of a rule's id: no rule allows it, and the policies that isolate this direction are in audit mode.
pub const VERDICT_AUDITED: u32 = u32::MAX - 2;

/// In place of a rule's id: a rule in audit mode would deny it.
pub const VERDICT_RULE_AUDITED: u32 = u32::MAX - 3;

/// In place of a rule's id: policies judge this direction, and none of them has a say about it.
pub const VERDICT_UNDECIDED: u32 = u32::MAX - 4;

/// What a row says of a packet, in one word: a rule and what becomes of the packet by it. 0: no rule allows it, and it is
/// dropped.
pub mod word {
    /// The bits of the rule's id; 0: by no rule.
    pub const RULE: u32 = (1 << 29) - 1;
    /// In a [`super::Row`]: there is more to say by protocol ([`super::Row::any`]) or by port (its other fields).
    pub const MORE: u32 = 1 << 29;
    /// It passes, and the rule, which is in audit mode, would deny it.
    pub const AUDITED: u32 = 1 << 30;
    /// It passes, by the rule.
    pub const ALLOWED: u32 = 1 << 31;
}

/// Bits of the values of [`crate::map::DEFERRING4`] and [`crate::map::DEFERRING6`].
pub mod deferring {
    /// This host owns the address: egress to it is judged at the exit hook, unless a frontend says otherwise.
    pub const HOST: u32 = 1 << 0;
    /// The address is a Service's: egress to it is judged at the exit hook.
    pub const SERVICE: u32 = 1 << 1;
    /// The address is a Service's: egress to those of its ports that are among the frontends is judged by their backends,
    /// where it leaves the pod.
    pub const FRONTENDS: u32 = 1 << 2;
    /// With [`FRONTENDS`]: not all of its ports had room there. What is missing is denied.
    pub const SHORT: u32 = 1 << 3;
}

/// Indexes of [`crate::map::EXITS`].
pub mod exits {
    /// Deferred packets that were judged and went on.
    pub const ALLOWED: u32 = 0;
    /// Deferred packets that were judged and dropped.
    pub const DENIED: u32 = 1;
    /// Packets of pods that came without a tag.
    pub const UNTAGGED: u32 = 2;
    /// Packets of pods that came with a tag of another start's tables, which says nothing here.
    pub const OTHERS_TAG: u32 = 3;
}

/// A key of [`crate::map::CLASS_ROWS`]: which row a policy has for the peers of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct ClassRowKey {
    /// The policy id of [`crate::EndpointConfig::policy`].
    pub policy: u32,
    /// The class of the other end's address; never 0, whose row is the default row.
    pub class: u32,
}

/// A value of [`crate::map::ROWS`]: what a row says without looking at the port, as [`word`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Row {
    /// Of packets without ports; without [`word::MORE`] of every packet.
    pub any: u32,
    /// Of TCP ports; with [`word::MORE`] of those about which [`crate::map::ROW_PORTS`] says nothing.
    pub tcp: u32,
    /// The same of UDP ports.
    pub udp: u32,
    /// The same of SCTP ports.
    pub sctp: u32,
}

/// A key of [`crate::map::ROW_PORTS`], whose values are [`word`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct RowPortKey {
    /// The row.
    pub row: u32,
    /// The class of the destination port among this protocol's, from [`PortClasses`]; never 0.
    pub port_class: u16,
    /// The IP protocol.
    pub protocol: u16,
}

/// A value of [`crate::map::PORTS`]: the class of a port by protocol. 0: the port is in no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct PortClasses {
    /// Class of the TCP port.
    pub tcp: u16,
    /// Class of the UDP port.
    pub udp: u16,
    /// Class of the SCTP port.
    pub sctp: u16,
    /// Zero.
    pub reserved: u16,
}
