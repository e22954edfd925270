//! What the kernel remembers of translated flows.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::family::Family;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::service::Transport;

/// The backend that the node chose for each client of an address, also for those that it never answered.
pub type Landings = BTreeMap<SocketAddr, SocketAddr>;

impl Node {
    /// Where clients of an address landed, as far as the kernel remembers: two minutes for TCP, half a minute for UDP unless
    /// [`Node::remember_datagrams`] was called.
    ///
    /// # Errors
    /// When `conntrack` fails.
    pub fn landings(&self, transport: Transport, to: SocketAddr) -> Result<Landings> {
        let (family, address, port) = (Family::of(to.ip()).conntrack(), to.ip().to_string(), to.port().to_string());
        let filter = ["-f", family, "-p", transport.lower(), "--orig-dst", &address, "--orig-port-dst", &port];
        let listed = self.output("conntrack", &[&["-L"][..], &filter].concat())?;
        Ok(listed.lines().filter_map(landing).collect())
    }

    /// Lets the kernel remember flows of UDP for ten minutes.
    ///
    /// # Errors
    /// When the kernel tracks no connections.
    pub fn remember_datagrams(&self) -> Result<()> {
        let keys = ["netfilter/nf_conntrack_udp_timeout", "netfilter/nf_conntrack_udp_timeout_stream"];
        keys.into_iter().try_for_each(|key| self.set(key, "600"))
    }
}

/// Client and backend of a line of `conntrack -L`: the source of the first direction and that of the second.
fn landing(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let values = |key: &'static str| line.split_whitespace().filter_map(move |word| word.strip_prefix(key));
    let mut ends = values("src=").zip(values("sport=")).map(|(address, port)| -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
    });
    Some((ends.next()??, ends.next()??))
}

/// Deletes the flows of UDP that were translated to a backend.
pub(super) fn forget(node: &Node, backend: SocketAddr) -> Result<()> {
    let (family, address, port) = (Family::of(backend.ip()).conntrack(), backend.ip().to_string(), backend.port());
    let arguments = ["-D", "-f", family, "-p", "udp", "--reply-src", &address, "--reply-port-src", &port.to_string()];
    match node.output("conntrack", &arguments) {
        Err(Error::Command { output, .. }) if output.contains("0 flow entries") => Ok(()),
        outcome => outcome.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_client_and_backend() {
        let line = "udp      17 29 src=10.244.1.2 dst=10.96.0.1 sport=20000 dport=80 [UNREPLIED] src=10.244.1.3 \
                    dst=10.244.1.2 sport=8080 dport=20000 mark=0 use=1";
        let socket = |text: &str| text.parse::<SocketAddr>().expect("it is a socket address");
        assert_eq!(landing(line), Some((socket("10.244.1.2:20000"), socket("10.244.1.3:8080"))));
    }
}
