//! The world outside of the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

use crate::error::Result;
use crate::lab::Shared;
use crate::namespace::Namespace;

/// A host outside of the cluster that also routes between the nodes. It has two addresses of each family, in different
/// networks, for policies that speak of address blocks.
#[derive(Clone, Debug)]
pub struct Outside {
    namespace: Namespace,
}

impl Outside {
    /// The address that it uses by default, in 198.51.100.0/24.
    pub const IP4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));
    /// Another address, in 203.0.113.0/24.
    pub const OTHER_IP4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
    /// The address that it uses by default, in 2001:db8:100::/64.
    pub const IP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10));
    /// Another address, in 2001:db8:203::/64.
    pub const OTHER_IP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0, 0, 0, 0, 0x10));

    pub(crate) fn create(shared: &Shared) -> Result<Self> {
        let namespace = shared.namespace("outside")?;
        namespace.set("ipv4/ip_forward", "1")?;
        namespace.set("ipv6/conf/all/forwarding", "1")?;
        namespace.ip(&[Self::IP4, Self::OTHER_IP4].map(|address| format!("addr add {address} dev lo")))?;
        // Without nodad the address would be tentative for a moment, in which no route may have it as its source.
        namespace.ip(&[Self::IP6, Self::OTHER_IP6].map(|address| format!("addr add {address} dev lo nodad")))?;
        Ok(Self { namespace })
    }
}

impl Deref for Outside {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
