//! Why a query has no answer.

use std::fmt;
use std::sync::Arc;

use crate::evaluate::SharedAddress;
use crate::explain::Participant;
use crate::model::{ObjectKey, Protocol};

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainError {
    /// There is no such pod.
    NoSuchPod(ObjectKey),
    /// The pod has finished: it sends and receives nothing, and its address may be another's.
    Finished(ObjectKey),
    /// The address belongs to several pods.
    SharedAddress(SharedAddress),
    /// The destination pod has no container port with this name and protocol.
    NameNotServed {
        /// The destination.
        pod: ObjectKey,
        /// The protocol asked for.
        protocol: Protocol,
        /// The name asked for.
        name: Arc<str>,
    },
    /// A port name was asked for at a destination that is no pod.
    NameOutsidePods {
        /// The destination.
        to: Participant,
        /// The name asked for.
        name: Arc<str>,
    },
    /// One end has only IPv4 addresses, the other only IPv6 addresses.
    NoCommonFamily {
        /// The source.
        from: Participant,
        /// The destination.
        to: Participant,
    },
    /// The answer depends on something that is not known.
    Undecidable(Unknown),
}

/// What an answer depends on and is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The node of this pod: the other end may be a process of the same node, or a pod of it.
    Node(ObjectKey),
    /// The address of this pod: a block may contain it.
    Address(ObjectKey),
}

impl fmt::Display for ExplainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPod(pod) => write!(f, "there is no pod {pod}: check namespace and name"),
            Self::Finished(pod) => write!(f, "pod {pod} has finished: it sends and receives nothing"),
            Self::SharedAddress(shared) => shared.fmt(f),
            Self::NameNotServed { pod, protocol, name } => {
                write!(f, "pod {pod} has no {protocol} container port named {name}: ask for a number")
            }
            Self::NameOutsidePods { to, name } => {
                write!(
                    f,
                    "port {name} is a name, and no pod's container ports tell its number at {to}: ask for a number"
                )
            }
            Self::NoCommonFamily { from, to } => {
                write!(f, "{from} and {to} have no address family in common: no packet can go between them")
            }
            Self::Undecidable(unknown) => write!(f, "undecidable: {unknown}"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(pod) => write!(
                f,
                "the node of {pod} is not known (spec.nodeName), and traffic within a node passes while other traffic \
                 between these two is denied"
            ),
            Self::Address(pod) => {
                write!(f, "pod {pod} has no address yet (status.podIPs), and an ipBlock may contain it")
            }
        }
    }
}

impl std::error::Error for ExplainError {}
