//! The binary interface between podgate's agent and its eBPF programs: map names, capacities, keys, values and codes.
//!
//! Everything here is `no_std` and `repr(C)` without padding, so that a value has one byte representation and a map key
//! compares by bytes. Sizes and offsets are asserted at compile time; a change of any of them is a change of
//! [`ABI_VERSION`]. Addresses and ports that come from packets stay in network byte order behind [`Addr4`], [`Addr6`] and
//! [`NetPort`]; everything else is in host order.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

mod address;
mod endpoint;
mod event;
mod flow;
pub mod map;
mod policy;
mod reason;
mod service;
mod tag;

pub use address::{Addr4, Addr6, Block4, Block6, EPOCHS, NetPort, epoch_index4, epoch_index6};
pub use endpoint::{
    Counter, EndpointConfig, EthernetSource, InterfaceSlot, OwnAddressKey, PodAddresses, Resident, SlotWord,
    ethernet_index, flags,
};
pub use event::{FlowEvent, lost};
pub use flow::{
    EXCESS_GROUPS, Flow, FlowKey, FlowKey4, FlowKey6, FlowPorts, FragmentKey, FragmentKey4, FragmentKey6,
    FragmentPorts, Holder, Share, Stamp, excess_group, excess_place, place, share_index, state,
};
pub use policy::{
    ClassRowKey, PortClasses, Row, RowPortKey, VERDICT_AUDITED, VERDICT_DEFERRED, VERDICT_ITSELF, VERDICT_NONE,
    VERDICT_RULE_AUDITED, VERDICT_UNDECIDED, deferring, exits, word,
};
pub use reason::{Reason, Verdict, budget_index, counter_index};
pub use service::{Asked, Backend4, Backend6, BackendKey, Frontend, FrontendKey4, FrontendKey6, MAX_BACKENDS};
pub use tag::Tag;

/// The version of everything in this crate. Programs and tables of two versions can be at work side by side, each with
/// its own; what they share has a version of its own, [`map::KEPT_VERSION`].
pub const ABI_VERSION: u32 = if cfg!(feature = "other-abi") { 1011 } else { 11 };

/// The way a packet goes, seen from the pod, in NetworkPolicy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Into the pod: judged by ingress rules, seen at the TC egress hook of the host-side veth.
    Ingress = 0,
    /// Out of the pod: judged by egress rules, seen at the TC ingress hook of the host-side veth.
    Egress = 1,
}

impl Direction {
    /// Both directions, in the order of their codes.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// The value of the `direction` label of metrics and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// IP protocol numbers that NetworkPolicy or the datapath tell apart.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// Declares that a type may cross the boundary to the kernel: no padding, so no undefined byte in it.
macro_rules! shared {
    ($($type:ty: $size:literal, align $align:literal;)*) => {$(
        const _: () = assert!(size_of::<$type>() == $size, concat!("size of ", stringify!($type)));
        const _: () = assert!(align_of::<$type>() == $align, concat!("alignment of ", stringify!($type)));
        #[cfg(feature = "user")]
        // SAFETY: repr(C), Copy, every bit pattern is valid, and the size asserted above is the sum of its fields'.
        unsafe impl aya::Pod for $type {}
    )*};
}

shared! {
    Addr4: 4, align 4;
    Addr6: 16, align 4;
    NetPort: 2, align 2;
    SlotWord: 8, align 8;
    EthernetSource: 8, align 8;
    InterfaceSlot: 8, align 8;
    EndpointConfig: 64, align 4;
    Resident: 48, align 4;
    PodAddresses: 20, align 4;
    OwnAddressKey: 20, align 4;
    Counter: 16, align 8;
    FlowKey4: 12, align 4;
    FlowKey6: 24, align 4;
    FlowPorts: 4, align 4;
    Stamp: 8, align 8;
    Flow: 24, align 8;
    FragmentKey4: 16, align 4;
    FragmentKey6: 40, align 4;
    FragmentPorts: 12, align 4;
    Share: 24, align 8;
    Row: 16, align 4;
    RowPortKey: 8, align 4;
    ClassRowKey: 8, align 4;
    PortClasses: 8, align 8;
    FlowEvent: 72, align 8;
    FrontendKey4: 8, align 4;
    FrontendKey6: 20, align 4;
    Frontend: 8, align 4;
    BackendKey: 8, align 4;
    Backend4: 8, align 4;
    Backend6: 20, align 4;
}

#[cfg(test)]
mod tests;
