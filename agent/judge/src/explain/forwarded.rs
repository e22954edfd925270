//! An answer about a destination that stands for others.

use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::model::{ObjectKey, Protocol};

use crate::explain::{Explanation, Note, Participant};

/// The answer about a Service, or about a `hostPort`: the verdict of each backend. A connection ends at one of them, which the
/// client can't choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Who sends.
    pub from: Participant,
    /// What the client speaks to.
    pub entry: Entry,
    /// The verdict of each backend, pods first, at least one.
    pub backends: Vec<Explanation>,
    /// What else to know about the answer.
    pub notes: Vec<Note>,
}

/// What the verdicts of all backends come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every connection passes.
    Allowed,
    /// None does.
    Denied,
    /// Those pass that end at a backend which is allowed.
    Partly,
}

/// Something that leads to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A Service.
    Service(ServiceEntry),
    /// A `hostPort` of a pod at its node.
    HostPort {
        /// The node's address that was asked for.
        address: IpAddr,
        /// The protocol.
        protocol: Protocol,
        /// The port at the node.
        port: u16,
    },
}

/// A Service, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The Service.
    pub service: ObjectKey,
    /// By what the client reaches it.
    pub way: Way,
    /// Its port; `None`: a headless one was asked for what is no port of its own.
    pub port: Option<EntryPort>,
}

/// The port of a Service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPort {
    /// Its protocol.
    pub protocol: Protocol,
    /// The number that clients use.
    pub number: u16,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
}

/// By what a client reaches a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// These ClusterIPs, as the Service's DNS name has them; none in files that leave them out.
    ClusterIps(Vec<IpAddr>),
    /// This external IP.
    ExternalIp(IpAddr),
    /// This IP of its load balancer.
    LoadBalancerIp(IpAddr),
    /// Its node port at a node.
    NodePort {
        /// The node's address.
        address: IpAddr,
        /// The node.
        node: Arc<str>,
        /// The port there.
        port: u16,
    },
    /// The addresses of its backends: it is headless.
    Backends,
}

impl Forwarded {
    /// What the verdicts of all backends come to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let paths = || self.backends.iter().flat_map(|backend| &backend.paths);
        let allowed = paths().filter(|path| path.verdict.is_allowed()).count();
        match allowed {
            0 => Outcome::Denied,
            all if all == paths().count() => Outcome::Allowed,
            _ => Outcome::Partly,
        }
    }

    /// How many backends are allowed, whichever of their addresses is used.
    #[must_use]
    pub fn allowed(&self) -> usize {
        self.backends.iter().filter(|backend| backend.is_allowed()).count()
    }
}
