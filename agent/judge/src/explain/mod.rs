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
//! - A Service is none of policy's business: each of its backends is judged by its own address and target port, and so is
//!   the pod behind a `hostPort`. What a *node port* or `hostPort` leads to is judged only from where it is rewritten,
//!   which is on that node: for a pod of another node it is that node's address.
//! - kube-proxy gives what comes through a node port, an external IP or a load balancer's IP the address of its node, unless
//!   `externalTrafficPolicy` is `Local`; the backends' policies then see that address and no pod.

mod destination;
mod error;
mod forward;
mod forwarded;
mod notes;
mod render;
mod resolve;
mod side;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Identity, Party, SharedAddress, Traffic, Verdict};
use podgate_policy::model::{ObjectKey, Protocol};

pub use error::{ExplainError, Lack, Unknown};
pub use forwarded::{Entry, EntryPort, Forwarded, Outcome, ServiceEntry, Way};
pub(crate) use render::{listed, words};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Where the packet comes from.
    pub from: End,
    /// Where it goes.
    pub to: Destination,
    /// What it carries.
    pub asked: Asked,
}

/// Where a packet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A pod, with every address it has.
    Pod(ObjectKey),
    /// An address, or the pod that has it.
    Address(IpAddr),
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A pod, at every address it has.
    Pod(ObjectKey),
    /// A Service, at the addresses that clients use.
    Service(ObjectKey),
    /// The pod or the Service of this name, whichever there is.
    Named(ObjectKey),
    /// An address: a Service's, if its port is the Service's too; a pod's; or just an address.
    Address(IpAddr),
}

/// What is asked for at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A port by number.
    Number(Protocol, u16),
    /// A port by name: a container port of the destination pod, or a port of the Service.
    Name(Protocol, Arc<str>),
    /// ICMP or another protocol without ports.
    Other,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The destination is reached as it is.
    Direct(Explanation),
    /// The destination stands for others.
    Forwarded(Forwarded),
}

impl Answer {
    /// Whether the packet passes, wherever it ends.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Direct(explanation) => explanation.is_allowed(),
            Self::Forwarded(forwarded) => forwarded.outcome() == Outcome::Allowed,
        }
    }

    /// Whether the packet is dropped, wherever it ends. Neither this nor [`Self::is_allowed`]: it depends.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Direct(explanation) => explanation.paths.iter().all(|path| !path.verdict.is_allowed()),
            Self::Forwarded(forwarded) => forwarded.outcome() == Outcome::Denied,
        }
    }
}

/// The verdict on a packet between two ends.
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
    /// The denied source is an address of the pod's own node: what the node forwards is judged by the address, but what its
    /// own processes send to the pod passes.
    OwnNodeAddress {
        /// The address.
        address: IpAddr,
        /// The node.
        node: Arc<str>,
    },
    /// An address of one of the ends belongs to other pods too. The other end's node can't tell them apart, so a rule
    /// allows only what it allows for all of them.
    SharedAddress(SharedAddress),
    /// An address of one of the ends, a pod that is terminating, is another pod's by now: rules see that one.
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The terminating pod.
        of: ObjectKey,
        /// The pod whose it is.
        by: ObjectKey,
    },
    /// What is asked for leads to pods, but only on its own node, which is not the source's: policies judge the node's
    /// address, and what the node forwards from there is the node's.
    OtherNodesPort {
        /// The address.
        address: IpAddr,
        /// Its node.
        node: Arc<str>,
        /// What it leads to.
        to: Entry,
    },
    /// A backend is denied, and its port is another than this one of the Service, which no policy is asked about.
    OwnPorts(EntryPort),
    /// kube-proxy gives the packet an address of this node as its source, and the backends' policies judge that.
    SourceRewritten(Arc<str>),
    /// There is no EndpointSlice of this Service: its backends are the pods that it selects.
    Derived(ObjectKey),
    /// These Services have the same address and port. kube-proxy may choose any of them; then the backends are theirs.
    Contested(Vec<ObjectKey>),
}

/// Who one end of a query turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Participant {
    /// A pod of the pod network.
    Pod(ObjectKey),
    /// A host-network pod: its node's process.
    Host(ObjectKey),
    /// An address that is no pod's.
    Address(IpAddr),
}

impl Participant {
    /// Who a party is that uses an address.
    pub(crate) fn of(party: Party<'_>, address: IpAddr) -> Self {
        match party.identity {
            Identity::Pod(pod) => Self::Pod(pod.key.clone()),
            Identity::Host(pod) => Self::Host(pod.key.clone()),
            Identity::Outside => Self::Address(address),
        }
    }

    /// The pod of the pod network that it is, if it is one.
    pub(crate) fn pod(&self) -> Option<&ObjectKey> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Host(_) | Self::Address(_) => None,
        }
    }
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
    /// The source address that the destination sees, where it is another: kube-proxy has rewritten it.
    pub seen_as: Option<IpAddr>,
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
/// A pod, Service or port that does not exist, a Service without backends, ends that cannot talk at all, or an answer that
/// depends on what is not known.
pub fn explain(cluster: &Cluster, query: &Query) -> Result<Answer, ExplainError> {
    resolve::answer(cluster, query)
}
