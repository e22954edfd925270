//! What the programs tell about packets they dropped.

use crate::NetPort;

/// A record of [`crate::map::EVENTS`]: a sample of the dropped packets. Never a basis for counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropEvent {
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
    /// Zero.
    pub reserved: [u8; 11],
}
