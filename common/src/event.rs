//! What the programs tell about packets one by one.

use crate::NetPort;

/// A record of [`crate::map::EVENTS`]: a sample of the packets that were dropped and of those that were allowed to open a
/// flow. Never a basis for counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEvent {
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub time: u64,
    /// The endpoint's slot.
    pub slot: u32,
    /// The generation under which the packet was judged: tells which pod had the slot.
    pub generation: u32,
    /// Source address; an IPv4 address stands in the first four bytes.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Source port; 0 where there is none.
    pub source_port: NetPort,
    /// Destination port; for ICMP the type (upper byte of the number) and code.
    pub destination_port: NetPort,
    /// Bytes from the Ethernet header on.
    pub length: u32,
    /// A [`crate::Direction`].
    pub direction: u8,
    /// A [`crate::Reason`].
    pub reason: u8,
    /// 4, 6, or 0 if the packet was not understood as IP.
    pub family: u8,
    /// The IP protocol, where the family is not 0.
    pub protocol: u8,
    /// TCP's flags byte.
    pub tcp_flags: u8,
    /// The set of tables by which it was judged, as in [`crate::Tag::set`]: rules of another start have other ids.
    pub set: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// The rule that allows or denies it, or would; [`crate::VERDICT_NONE`] where none does.
    pub rule: u32,
    /// Zero.
    pub reserved_more: u32,
}

/// Indexes of [`crate::map::EVENTS_LOST`]: what the programs had no room for.
pub mod lost {
    /// Dropped packets, and those that audited policies would have dropped, without an event of their own.
    pub const DENIED: u32 = 0;
    /// Allowed flows without an event of their own.
    pub const ALLOWED: u32 = 1;
    /// Allows and denials by rules that [`crate::map::RULES`] had no room for.
    pub const RULES: u32 = 2;
}
