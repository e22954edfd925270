//! The host's devices, addresses and veths, followed by netlink.

mod view;

pub use view::{Device, HostView, Unsupported, UnsupportedReason, Veth};

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

/// What to watch for beside links and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Addresses of the API servers, as the agent reaches them. The devices towards them are never enforced on.
    pub api_servers: Vec<IpAddr>,
}

/// Follows the host until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    views: watch::Receiver<Arc<HostView>>,
    hears_namespaces: bool,
}

impl Watcher {
    /// The newest view; wakes its readers when the host has changed. The first one is there from the start.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<HostView>> {
        self.views.clone()
    }

    /// Whether new addresses in pods' namespaces are heard at once. Without CAP_NET_BROADCAST they are looked up
    /// for a while after each change of a veth instead.
    #[must_use]
    pub fn hears_namespaces(&self) -> bool {
        self.hears_namespaces
    }
}
