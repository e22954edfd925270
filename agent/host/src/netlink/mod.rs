//! The host's devices and addresses and the veths of its pods, followed by netlink alone: no container runtime is
//! asked, and no name means anything.
//!
//! ```text
//!  host's socket: links, addresses, routes, rules, namespace ids ─┐
//!                                                                 ├─► Inventory ──► HostView, published on change
//!  NETLINK_LISTEN_ALL_NSID socket: addresses in pods' namespaces ─┘     │  ▲
//!                                                        what is stale  ▼  │ answers
//!                                                                      Asker
//! ```
//!
//! A veth carries the id of the namespace its peer is in (IFLA_LINK_NETNSID; the kernel makes one up when it first
//! tells of the veth). The addresses there are read by that id (IFA_TARGET_NETNSID), and the second socket hears of
//! changes to them at once. Nothing is polled. A thread of its own does it, for the kernel answers under a lock that
//! the removal of other network namespaces can hold for a while.
//!
//! Capabilities: CAP_NET_ADMIN, to read addresses of other namespaces; CAP_NET_BROADCAST, to hear them. Without the
//! latter, a namespace is read again at growing intervals for 20 seconds after each change of its veth.
//!
//! Beside all that, `conntrack` asks which connections the host tracks.

mod addresses;
pub mod conntrack;
mod follow;
mod inventory;
mod message;
mod read;
mod request;
mod rereads;
mod sandbox;
mod socket;
#[cfg(test)]
mod tests;
mod view;

pub use sandbox::{HostEnd, host_end, ifindexes};
pub use view::{Device, HostView, Mac, Unsupported, UnsupportedReason, Veth};

use std::io::{self, PipeWriter};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use tokio::sync::watch;

use follow::Follower;

/// How to watch the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Addresses of the API servers, as the agent reaches them. The devices towards them are never enforced on.
    pub api_servers: Vec<IpAddr>,
    /// Bytes of messages that the kernel may queue for each socket. When they don't suffice, everything is read anew.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { api_servers: Vec::new(), queue: 4 << 20 }
    }
}

/// Why the host's network can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket could not be opened or read.
    #[error("netlink can't be used: {0}; podgate needs a Linux kernel with NETLINK_ROUTE sockets (5.0 or later)")]
    Socket(io::Error),
    /// The kernel refused to tell something.
    #[error("reading {subject} by netlink failed: {error}{}", hint(error))]
    Request {
        /// What was asked for.
        subject: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The thread that follows the host could not be started.
    #[error("can't start a thread: {0}; raise the limit of processes")]
    Thread(io::Error),
}

impl Error {
    fn is(&self, errno: Errno) -> bool {
        matches!(self, Self::Request { error, .. } if error.raw_os_error() == Some(errno as i32))
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; podgate needs the capability NET_ADMIN",
        _ => "",
    }
}

/// Follows the host until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    views: watch::Receiver<Arc<HostView>>,
    hears_namespaces: bool,
    /// Closed when the watcher is dropped, which ends the thread.
    _stop: PipeWriter,
}

impl Watcher {
    /// The newest view; wakes its readers when the host has changed. The first one is there from the start.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<HostView>> {
        self.views.clone()
    }

    /// Whether new addresses in pods' namespaces are heard at once, for which CAP_NET_BROADCAST is needed.
    #[must_use]
    pub fn hears_namespaces(&self) -> bool {
        self.hears_namespaces
    }
}

/// Watches the network namespace of the calling thread.
///
/// # Errors
/// If the host can't be read now. Later errors are logged, and reading is tried again.
pub fn watch(options: Options) -> Result<Watcher, Error> {
    let follower = Follower::new(options)?;
    let (stopped, stop) = io::pipe().map_err(Error::Socket)?;
    let watcher = Watcher { views: follower.views(), hears_namespaces: follower.hears_namespaces(), _stop: stop };
    thread::Builder::new().name("netlink".to_owned()).spawn(move || follower.run(&stopped)).map_err(Error::Thread)?;
    Ok(watcher)
}
