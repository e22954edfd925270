//! Ports of Services, and the backends that they lead to.

use crate::{Addr4, Addr6, NetPort};

/// A port of a Service with more backends than this is denied where it is to be judged by all of them.
pub const MAX_BACKENDS: u32 = 128;

macro_rules! frontend_key {
    ($name:ident, $address:ty, $map:literal) => {
        #[doc = concat!("A key of [`crate::map::", $map, "`]: what a client of a Service speaks to.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(C)]
        pub struct $name {
            /// The address.
            pub address: $address,
            /// The port that clients use.
            pub port: NetPort,
            /// The IP protocol.
            pub protocol: u16,
        }
    };
}

frontend_key!(FrontendKey4, Addr4, "FRONTENDS4");
frontend_key!(FrontendKey6, Addr6, "FRONTENDS6");

/// A value of [`crate::map::FRONTENDS4`] and [`crate::map::FRONTENDS6`]: where a port of a Service leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frontend {
    /// The set of its backends, never 0. It is complete before anything names it, and does not change.
    pub set: u32,
    /// How many backends are in the set, with indexes from 0 on; none, or more than
    /// [`MAX_BACKENDS`]: they are not in the tables.
    pub backends: u32,
}

/// A key of [`crate::map::BACKENDS4`] and [`crate::map::BACKENDS6`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct BackendKey {
    /// The set.
    pub set: u32,
    /// The place in it.
    pub index: u32,
}

macro_rules! backend {
    ($name:ident, $address:ty, $map:literal) => {
        #[doc = concat!("A value of [`crate::map::", $map, "`].")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct $name {
            /// Its address.
            pub address: $address,
            /// Its own port.
            pub port: NetPort,
            /// Zero.
            pub reserved: u16,
        }
    };
}

backend!(Backend4, Addr4, "BACKENDS4");
backend!(Backend6, Addr6, "BACKENDS6");

/// A value of [`crate::map::ASKED`]: what the programs ask themselves about egress to an address that defers.
///
/// It is handed over in a map, since a global function takes five words at most, and since a chain of calls has little stack.
/// One CPU asks one question at a time, as nothing interrupts a classifier but what runs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Asked {
    /// What the pod speaks to; an IPv4 address is the first word.
    pub frontend: FrontendKey6,
    /// The policy of the pod's egress.
    pub policy: u32,
    /// The row of that policy for addresses without a class.
    pub default_row: u32,
    /// The pod's slot.
    pub slot: u32,
    /// What is said of the address, bits of [`crate::deferring`].
    pub deferring: u32,
    /// 1: the policies are in audit mode.
    pub audited: u32,
    /// Room for the key of a block: prefix length and address.
    pub block: [u32; 5],
}
