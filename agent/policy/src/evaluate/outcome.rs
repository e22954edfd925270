//! Verdicts, with everything that led to them.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::evaluate::tier_outcome::TierVerdict;
use crate::model::{Direction, ObjectKey, Peer, PortMatch, Requirement};

/// What both ends' policies say of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the source's policies say.
    pub egress: DirectionVerdict,
    /// What the destination's policies say.
    pub ingress: DirectionVerdict,
}

impl Verdict {
    /// Whether the packet passes: both directions must let it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.egress.is_allowed() && self.ingress.is_allowed()
    }

    /// What is said of a direction.
    #[must_use]
    pub fn direction(&self, direction: Direction) -> &DirectionVerdict {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// What is said of a packet in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectionVerdict {
    /// No policy has a say: it passes.
    Open(Open),
    /// Rules of ClusterNetworkPolicies were asked, before NetworkPolicies or after them.
    ByTiers(Box<TierVerdict>),
    /// The pod is isolated and a rule allows the packet.
    Allowed {
        /// The policies that isolate the pod, by key, at least one.
        isolated_by: Vec<ObjectKey>,
        /// Every rule that allows the packet, by policy and index, at least one. The first is the answer.
        by: Vec<Allow>,
    },
    /// The pod is isolated and no rule allows the packet.
    Denied {
        /// Every policy that isolates the pod, by key, at least one, with what each of its rules lacks.
        by: Vec<Refusal>,
    },
    /// No rule allows the packet, and it passes all the same: the policies that isolate the pod are in audit mode.
    WouldDeny {
        /// As in [`Self::Denied`].
        by: Vec<Refusal>,
    },
}

impl DirectionVerdict {
    /// Whether the packet passes this direction.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Open(_) | Self::Allowed { .. } | Self::WouldDeny { .. } => true,
            Self::Denied { .. } => false,
            Self::ByTiers(tiers) => tiers.is_allowed(),
        }
    }

    /// Whether the packet passes only because policies are in audit mode.
    #[must_use]
    pub fn would_deny(&self) -> bool {
        match self {
            Self::Open(_) | Self::Allowed { .. } | Self::Denied { .. } => false,
            Self::WouldDeny { .. } => true,
            Self::ByTiers(tiers) => tiers.would_deny(),
        }
    }

    /// The NetworkPolicies that isolate the pod in this direction, by key, as far as they were asked.
    #[must_use]
    pub fn isolated_by(&self) -> Vec<&ObjectKey> {
        match self {
            Self::Open(_) => Vec::new(),
            Self::ByTiers(tiers) => tiers.network_policy.as_ref().map(Self::isolated_by).unwrap_or_default(),
            Self::Allowed { isolated_by, .. } => isolated_by.iter().collect(),
            Self::Denied { by } | Self::WouldDeny { by } => by.iter().map(|refusal| &refusal.policy).collect(),
        }
    }
}

/// Why no policy has a say in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// No policy isolates the pod in this direction.
    NoPolicy,
    /// The end is no subject of policy: an address outside the pod network, or a host-network pod.
    NotSubject,
    /// Both ends are the same pod.
    SamePod,
    /// One end is a pod, the other a host-network pod of the same node.
    OwnNode,
}

/// A policy of either kind, as it is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyRef {
    /// A NetworkPolicy.
    NetworkPolicy(ObjectKey),
    /// A ClusterNetworkPolicy, by name.
    Cluster(Arc<str>),
}

impl PolicyRef {
    /// The NetworkPolicy that it is.
    #[must_use]
    pub const fn network_policy(&self) -> Option<&ObjectKey> {
        match self {
            Self::NetworkPolicy(key) => Some(key),
            Self::Cluster(_) => None,
        }
    }
}

impl From<ObjectKey> for PolicyRef {
    fn from(key: ObjectKey) -> Self {
        Self::NetworkPolicy(key)
    }
}

/// A name with a slash is a NetworkPolicy's.
impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkPolicy(key) => key.fmt(f),
            Self::Cluster(name) => f.write_str(name),
        }
    }
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// The policy.
    pub policy: PolicyRef,
    /// Whether it is one of its `ingress` or `egress` rules.
    pub direction: Direction,
    /// Its index among them, from 0.
    pub index: usize,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.policy, self.direction, self.index)
    }
}

/// A rule that allows the packet, with the elements that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// The rule.
    pub rule: RuleRef,
    /// Which element of `from` or `to` matched first.
    pub peer: Element,
    /// Which element of `ports` matched first.
    pub port: Element,
}

/// What of a list matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The list is absent or empty and so matches everything.
    Any,
    /// The element with this index, from 0.
    Index(usize),
}

/// A policy that isolates a pod and does not allow the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The policy.
    pub policy: ObjectKey,
    /// Each of its rules in this direction; empty where it has none.
    pub rules: Vec<RuleMiss>,
}

/// Why a rule does not allow the packet: at least one of its lists misses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMiss {
    /// The rule's index among the policy's rules of this direction, from 0.
    pub index: usize,
    /// How `from` or `to` answers.
    pub peers: ListOutcome<PeerMiss>,
    /// How `ports` answers.
    pub ports: ListOutcome<PortMiss>,
}

/// How a list of a rule answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListOutcome<Miss> {
    /// It matches by this element.
    Matches(Element),
    /// None of its elements matches, each for its own reason.
    Misses(Vec<Miss>),
}

impl<Miss> ListOutcome<Miss> {
    /// Asks the elements in order up to the first that matches. `mismatch`: why one does not, if it does not.
    pub(super) fn ask<T, Why>(
        elements: &[T],
        mismatch: impl Fn(&T) -> Option<Why>,
        miss: impl Fn(usize, &T, Why) -> Miss,
    ) -> Self {
        let mut misses = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            match mismatch(element) {
                None => return Self::Matches(Element::Index(index)),
                Some(why) => misses.push(miss(index, element, why)),
            }
        }
        Self::Misses(misses)
    }

    /// Whether the list matches.
    #[must_use]
    pub fn is_match(&self) -> bool {
        matches!(self, Self::Matches(_))
    }
}

/// Why an element of `from` or `to` does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMiss {
    /// The element's index, from 0.
    pub index: usize,
    /// The element.
    pub peer: Peer,
    /// What it lacks.
    pub why: PeerMismatch,
}

/// Why a peer does not match the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMismatch {
    /// It selects pods, and the other end's address is no pod's.
    NotAPod,
    /// It selects pods, and the other end is a host-network pod, which no selector matches.
    HostNetwork,
    /// It selects other pods: at least one of the two does not fit.
    Selectors {
        /// Whether the pod's namespace fits.
        namespace: NamespaceFit,
        /// What `podSelector` asks and the pod's labels don't fulfil.
        labels: Vec<Unmet>,
    },
    /// It selects pods, and the other end's address is also, or only, this pod's, which it does not select.
    OtherOwner(ObjectKey),
    /// It is a block, and the other end's address is not in it.
    OutsideBlock,
    /// It is a block, and this one of its exceptions contains the other end's address.
    Excepted(IpNet),
    /// It is a block, or selects nodes, and the other end's address is not known.
    NoAddress,
    /// It selects nodes, and the other end is a pod of the pod network, which is none, or has an address that is no
    /// known node's.
    NotANode,
    /// It selects other nodes than this one, whose address it is: its labels don't fulfil these requirements, at least one.
    OtherNode {
        /// The node.
        node: Arc<str>,
        /// What its labels lack.
        labels: Vec<Unmet>,
    },
}

/// Whether a pod's namespace is one a peer selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceFit {
    /// It is.
    Fits,
    /// Without `namespaceSelector`, only the policy's own namespace counts, and the pod is in this one.
    NotOwn(Arc<str>),
    /// The namespace's labels don't fulfil these requirements of `namespaceSelector`, at least one.
    Unmet(Vec<Unmet>),
}

/// A requirement of a selector that labels don't fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The requirement.
    pub requirement: Requirement,
    /// The value under its key, if any.
    pub found: Option<Arc<str>>,
}

/// Why an element of `ports` does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMiss {
    /// The element's index, from 0.
    pub index: usize,
    /// The element.
    pub port: PortMatch,
    /// What it lacks.
    pub why: PortMismatch,
}

/// Why a port does not match the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMismatch {
    /// The packet's protocol has no ports.
    Portless,
    /// It is for another protocol.
    Protocol,
    /// It is for other numbers.
    Number,
    /// Its name means these numbers on the destination pod, sorted, at least one; the packet's is another.
    NamedNumbers(Vec<u16>),
    /// The destination pod has no container port with its name and protocol.
    NameNotServed,
    /// It is a name, and the destination is no pod that could resolve it.
    NameOutsidePods,
}
