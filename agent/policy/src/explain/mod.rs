//! The answer to "would this packet pass, and why": a plain structure, and clear text made of it.
//!
//! What it says of the ends that are not just a pod or an address:
//!
//! - An address that belongs to one pod of the pod network is that pod; any other is judged as an address.
//! - A host-network pod is its node's process. Between it and a pod of the same node everything passes; to a pod of
//!   another node it is the address it uses, which only blocks match. Where it is unknown on which node an end is, and
//!   the verdict depends on it, the question is undecidable.
//! - A pod without an address yet is judged by its labels; undecidable where a block could decide.
//! - Two dual-stack pods have several pairs of addresses, and a named port several numbers: each is a path with its own
//!   verdict, and the answer is "allowed" if all of them are.

mod error;
mod render;
mod resolve;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use error::{ExplainError, Unknown};

use crate::cluster::Cluster;
use crate::evaluate::{SharedAddress, Traffic, Verdict};
use crate::model::{ObjectKey, Protocol};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Where the packet comes from.
    pub from: End,
    /// Where it goes.
    pub to: End,
    /// What it carries.
    pub service: Service,
}

/// One end of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A pod, with every address it has.
    Pod(ObjectKey),
    /// An address, or the pod that has it.
    Address(IpAddr),
}

/// What is asked for at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// A port by number.
    Number(Protocol, u16),
    /// A container port of the destination pod by name.
    Name(Protocol, Arc<str>),
    /// ICMP or another protocol without ports.
    Other,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Who sends.
    pub from: Participant,
    /// Who is sent to.
    pub to: Participant,
    /// The verdict of each pair of addresses and port number, in the order of the pods' addresses; at least one.
    pub paths: Vec<Path>,
    /// What else to know about the answer.
    pub notes: Vec<Note>,
}

/// What the policies don't say, and a reader of the answer should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The denied address is that of the pod's own node, as its host-network pods tell: what the node forwards is
    /// judged by the address, but what its own processes send to the pod, or receive from it, passes.
    OwnNodeAddress {
        /// The address.
        address: IpAddr,
        /// The node.
        node: Arc<str>,
    },
    /// An address of one of the ends belongs to other pods too. The other end's node can't tell them apart and allows
    /// only what is allowed for all of them; the answer speaks of the pod that was asked about.
    SharedAddress(SharedAddress),
}

/// Who one end of a query turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Participant {
    /// A pod of the pod network.
    Pod(ObjectKey),
    /// A host-network pod: its node's process.
    Host(ObjectKey),
    /// An address that is no pod's.
    Address(IpAddr),
}

impl fmt::Display for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) | Self::Host(pod) => pod.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// One way in which the packet can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The source address; `None`: the pod has none yet.
    pub from: Option<IpAddr>,
    /// The destination address; `None`: the pod has none yet.
    pub to: Option<IpAddr>,
    /// What it carries.
    pub traffic: Traffic,
    /// What the policies say.
    pub verdict: Verdict,
}

impl Explanation {
    /// Whether the packet passes on every path.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.paths.iter().all(|path| path.verdict.is_allowed())
    }

    /// The path that decides: the first one denied, else the first.
    ///
    /// # Panics
    /// If `paths` is empty, which [`explain`] never returns.
    #[must_use]
    pub fn deciding(&self) -> &Path {
        self.paths.iter().find(|path| !path.verdict.is_allowed()).unwrap_or(&self.paths[0])
    }
}

/// Answers a query.
///
/// # Errors
/// A pod or port name that does not exist, ends that cannot talk at all, or an answer that depends on what is not
/// known.
pub fn explain(cluster: &Cluster, query: &Query) -> Result<Explanation, ExplainError> {
    resolve::answer(cluster, query)
}
