//! Flows, one by one: who asked whom for what, what became of it, and by which policies.
//!
//! ```text
//! programs ──► ring buffer ──► engine: describe ──► Feed: the last ones ──► admin socket ──► podgate flows
//! ```
//!
//! They are samples: the programs report so many a second and count the rest. What they count exactly is in the metrics.

mod connections;
mod describe;
mod feed;
mod filter;
mod text;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use connections::{Connection, Connections, Part};
pub use describe::{Facts, describe, timestamp};
pub use feed::Feed;
pub use filter::{Filter, Who};
pub(crate) use text::mark;
pub use text::render;

/// What stands in a line of `podgate flows -o json`. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// A flow.
    Flow(Box<Flow>),
    /// Flows that are missing before this line.
    Lost(Lost),
}

/// A packet that was dropped, or that was allowed to open a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// When it was judged: RFC 3339, UTC.
    pub time: String,
    /// The node that judged it.
    pub node: String,
    /// `allowed`, `denied` or `would_deny`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// `ingress` or `egress`, seen from `pod`.
    pub direction: String,
    /// The pod whose policies judged it, as namespace/name.
    pub pod: Option<String>,
    /// The sender.
    pub source: End,
    /// The receiver.
    pub destination: End,
    /// TCP, UDP, SCTP, ICMP, ICMPv6, a protocol number, or empty for what is not IP.
    pub protocol: String,
    /// TCP's flags, ICMP's type and code.
    pub detail: String,
    /// Bytes from the Ethernet header on.
    pub length: u32,
    /// The policies that isolate the pod in this direction, as namespace/name.
    pub policies: Vec<String>,
    /// The rule that allows or denies it, or would.
    pub rule: Option<Rule>,
    /// What the packet is to its connection.
    #[serde(default)]
    pub connection: Connection,
    /// Whether it goes to the end that opened the connection.
    #[serde(default)]
    pub reply: bool,
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its address, where the packet was understood as IP.
    pub address: Option<IpAddr>,
    /// Its port, for protocols with ports.
    pub port: Option<u16>,
    /// Who has this address.
    pub kind: EndKind,
    /// The pod or Service as namespace/name, or the node.
    pub name: Option<String>,
}

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// A pod.
    Pod,
    /// A Service.
    Service,
    /// A node.
    Node,
    /// Nobody whom the cluster's objects name.
    Other,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The policy, as namespace/name; a ClusterNetworkPolicy as its name.
    pub policy: String,
    /// Whether it is one of its `ingress` or `egress` rules.
    pub direction: String,
    /// Its index among them, from 0.
    pub index: usize,
}

/// Flows that were not reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When that was noticed: RFC 3339, UTC.
    pub time: String,
    /// The node.
    pub node: String,
    /// Denials that the programs did not report, for the rate limit or for a full ring.
    pub denied: u64,
    /// Allowed flows that they did not report.
    pub allowed: u64,
    /// Lines that were overwritten before this reader took them.
    pub unread: u64,
}

impl Line {
    /// When it was: RFC 3339, UTC.
    pub fn time(&self) -> &str {
        match self {
            Self::Flow(flow) => &flow.time,
            Self::Lost(lost) => &lost.time,
        }
    }

    /// The node that it is from.
    pub fn node(&self) -> &str {
        match self {
            Self::Flow(flow) => &flow.node,
            Self::Lost(lost) => &lost.node,
        }
    }
}
