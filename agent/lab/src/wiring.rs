//! The ways of connecting a pod to its node, and the addresses each of them gives.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a pod's veth is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wiring {
    /// By the CNI plugin `ptp`: routed, the node's end of the veth has the gateway's address.
    Ptp,
    /// By the CNI plugin `bridge`: the node's ends are ports of the bridge `cni0`.
    Bridge,
    /// By the lab itself, as some CNIs do: a routed /32 and /128 with a link-local gateway that the node answers for.
    Routed,
}

impl Wiring {
    /// Every wiring.
    pub const ALL: [Self; 3] = [Self::Ptp, Self::Bridge, Self::Routed];

    fn number(self) -> u8 {
        match self {
            Self::Ptp => 0,
            Self::Bridge => 1,
            Self::Routed => 2,
        }
    }
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ptp => "ptp",
            Self::Bridge => "bridge",
            Self::Routed => "routed",
        })
    }
}

/// A pod's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The IPv4 address.
    pub ip4: Ipv4Addr,
    /// The IPv6 address.
    pub ip6: Ipv6Addr,
}

impl Addresses {
    /// Both addresses, IPv4 first.
    #[must_use]
    pub fn both(&self) -> [IpAddr; 2] {
        [self.ip4.into(), self.ip6.into()]
    }
}

/// The part of the node's pod ranges that a wiring uses: each has its own, as a bridge's range is on its link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subnets {
    node: u8,
    wiring: Wiring,
}

impl Subnets {
    pub(crate) fn of(node: u8, wiring: Wiring) -> Self {
        Self { node, wiring }
    }

    /// Where the IPv4 range begins in the node's, and the length of its prefix: a bridge has room for a hundred pods.
    fn range(&self) -> (u8, u8) {
        match self.wiring {
            Wiring::Ptp => (0, 26),
            Wiring::Routed => (64, 26),
            Wiring::Bridge => (128, 25),
        }
    }

    pub(crate) fn v4(&self) -> String {
        let (start, length) = self.range();
        format!("10.244.{}.{start}/{length}", self.node)
    }

    pub(crate) fn v6(&self) -> String {
        format!("fd00:10:244:{}:{}::/80", self.node, self.wiring.number())
    }

    /// The addresses of the n-th pod, counted from 0; the first of the range is left to the gateway.
    pub(crate) fn nth(&self, n: u8) -> Addresses {
        assert!(n < 60, "a node of a lab has at most 60 pods without a plugin");
        let (start, _) = self.range();
        let ip6 = format!("fd00:10:244:{}:{}::{}", self.node, self.wiring.number(), n + 2);
        Addresses {
            ip4: Ipv4Addr::new(10, 244, self.node, start + n + 2),
            ip6: ip6.parse().expect("the groups are decimal numbers below 256"),
        }
    }
}
