//! Network namespaces wired by real CNI plugins, for podgate's tests, demo and benchmarks. Needs root and `ip`.
//!
//! ```no_run
//! use podgate_lab::{Lab, Probe, Seen, Wiring};
//!
//! # fn main() -> podgate_lab::Result<()> {
//! let lab = Lab::new("example")?;
//! let node = lab.node("node-1")?;
//! let client = node.pod("shop/client", Wiring::Ptp)?;
//! let server = node.pod("shop/server", Wiring::Bridge)?;
//! let _echo = server.serve_tcp(8080)?;
//! assert_eq!(client.probe(Probe::tcp(server.ip4(), 8080)), Seen::Answered);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!              outside (router and host: 198.51.100.10, 203.0.113.10, …)
//!             │ 172.18.1.0/24         │ 172.18.2.0/24
//!      node "node-1"             node "node-2"        eth0 is the uplink and the default route
//!       │   │   │                 │
//!      pod pod pod               pod                  10.244.N.0/24, fd00:10:244:N::/64
//! ```
//!
//! Labs don't see each other, so all of them use the same addresses and run in parallel.

mod agent;
mod bound;
mod capability;
mod chain;
mod cni;
mod command;
mod connection;
mod error;
mod foreign;
mod http;
mod lab;
mod link;
mod load;
mod manifest;
mod metrics;
mod namespace;
mod node;
mod outside;
mod pod;
mod probe;
mod proxy;
mod remains;
mod routed;
mod server;
mod service;
mod service_manifest;
mod stop;
mod vxlan;
mod wiring;

pub use agent::{Agent, RunningAgent};
pub use capability::Capability;
pub use chain::{Chain, Started};
pub use cni::plugins;
pub use connection::{Connection, End};
pub use error::{Error, Result};
pub use foreign::{Answer, ChainPosition, ForeignLink, Hook, add_foreign_filter};
pub use http::Response;
pub use lab::{Lab, kept, kept_under, remove, sweep};
pub use link::LinkSocket;
pub use load::{Attempt, Counter, Counts, Fate, Load, Received};
pub use manifest::{Manifests, PodManifest};
pub use metrics::{Metrics, Series};
pub use namespace::Namespace;
pub use node::{Node, UPLINK};
pub use outside::Outside;
pub use pod::{Interface, Pod, PodName};
pub use probe::{PATIENCE, Probe, Seen};
pub use proxy::{Landings, Proxy, ProxyMode};
pub use server::{Server, serve_here};
pub use service::{Service, ServicePort, Transport};
pub use vxlan::TUNNEL;
pub use wiring::{Addresses, Wiring};
