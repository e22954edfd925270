//! Addresses that a node owns beside those of its uplink, and processes of the node behind them.

use std::net::IpAddr;

use crate::command;
use crate::error::Result;
use crate::node::Node;
use crate::proxy::family::Family;
use crate::service::Transport;

impl Node {
    /// Makes addresses the node's own, on a device without any link that is made when it is missing.
    ///
    /// # Errors
    /// When the node has an address already.
    pub fn bind_addresses(&self, device: &str, addresses: &[IpAddr]) -> Result<()> {
        if self.output("ip", &["link", "show", "dev", device]).is_err() {
            // Not every kernel has dummy devices; a bridge without ports is as good.
            self.ip(&[format!("link add {device} type bridge"), format!("link set {device} up")])?;
        }
        let lines = addresses.iter().map(|address| match Family::of(*address) {
            Family::V4 => format!("addr add {address}/32 dev {device}"),
            Family::V6 => format!("addr add {address}/128 dev {device} nodad"),
        });
        self.ip(&lines.collect::<Vec<_>>())
    }

    /// Takes addresses away that [`Node::bind_addresses`] has given.
    ///
    /// # Errors
    /// When the node does not have one of them.
    pub fn unbind_addresses(&self, device: &str, addresses: &[IpAddr]) -> Result<()> {
        let length = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let lines = addresses.iter().map(|address| format!("addr del {address}/{} dev {device}", length(address)));
        self.ip(&lines.collect::<Vec<_>>())
    }

    /// Exempts a port of these addresses from translation, as a node-local DNS does for the address it shares with a
    /// Service: what a process of the node serves there, no proxy sends to a backend.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn keep_from_translation(&self, transport: Transport, addresses: &[IpAddr], port: u16) -> Result<()> {
        let mut script = "add table inet node-local
add chain inet node-local prerouting { type filter hook prerouting priority -300; }
add chain inet node-local output { type filter hook output priority -300; }
"
        .to_owned();
        for address in addresses {
            let (ip, proto) = (Family::of(*address).nft(), transport.lower());
            for (chain, address_end, port_end) in
                [("prerouting", "daddr", "dport"), ("output", "daddr", "dport"), ("output", "saddr", "sport")]
            {
                script += &format!(
                    "add rule inet node-local {chain} {ip} {address_end} {address} {proto} {port_end} {port} notrack\n"
                );
            }
        }
        command::run(self.command("nft").args(["-f", "-"]), &script).map(drop)
    }
}
