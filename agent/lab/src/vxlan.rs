//! Tunnels between nodes, as overlay networks have them.

use std::net::IpAddr;

use crate::error::Result;
use crate::lab::Lab;
use crate::node::{Node, UPLINK};

/// The name of the tunnel's device on both nodes.
pub const TUNNEL: &str = "vxlan1";
/// What the tunnel's headers take at most, over IPv4.
const HEADERS: u32 = 50;

impl Lab {
    /// Sends what goes between the pods of two nodes through a VXLAN tunnel between the nodes' IPv4 addresses, which
    /// leaves the pods' MTU alone.
    ///
    /// # Errors
    /// When the kernel has no VXLAN, or one of the nodes has a tunnel.
    pub fn tunnel(&self, one: &Node, two: &Node) -> Result<()> {
        for node in [one, two] {
            let mtu = 1500 + HEADERS;
            node.ip(&[format!("link set {UPLINK} mtu {mtu}")])?;
            self.outside().ip(&[format!("link set node{} mtu {mtu}", node.number())])?;
        }
        tunnel_end(one, two)?;
        tunnel_end(two, one)
    }
}

fn tunnel_end(near: &Node, far: &Node) -> Result<()> {
    let (local, remote): (IpAddr, IpAddr) = (near.ip4(), far.ip4());
    let (from, to) = (near.number(), far.number());
    let [far4, far6] = far.pod_cidrs();
    near.ip(&[
        format!("link add {TUNNEL} type vxlan id 1 local {local} remote {remote} dstport 8472 dev {UPLINK}"),
        format!("addr add 10.255.0.{from}/24 dev {TUNNEL}"),
        format!("addr add fd00:10:255::{from}/64 dev {TUNNEL} nodad"),
        format!("link set {TUNNEL} mtu 1500 up"),
        format!("route add {far4} via 10.255.0.{to} dev {TUNNEL}"),
        format!("route add {far6} via fd00:10:255::{to} dev {TUNNEL}"),
    ])
}
