//! What podgate keeps of Kubernetes objects: small, validated types. Nothing here can hold an invalid policy; the
//! conversion from the API's types, with its errors, happens in the source crate.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Labels of a pod or namespace. They are shared as a whole, and their strings are, since thousands of pods carry the
/// same ones; to change them copies them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Arc<BTreeMap<Arc<str>, Arc<str>>>);

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether somebody else has the same copy of them.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Deref for Labels {
    type Target = BTreeMap<Arc<str>, Arc<str>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Labels {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(labels: I) -> Self {
        Self(Arc::new(labels.into_iter().collect()))
    }
}

impl<const N: usize> From<[(Arc<str>, Arc<str>); N]> for Labels {
    fn from(labels: [(Arc<str>, Arc<str>); N]) -> Self {
        labels.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a Arc<str>, &'a Arc<str>);
    type IntoIter = btree_map::Iter<'a, Arc<str>, Arc<str>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Namespace and name of an object. Ordered, so that everything iterates in one order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The object's namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// The key of the object with this namespace and name.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A protocol that NetworkPolicy can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, the default of a port without `protocol`.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The direction a rule or verdict is about, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Into the pod.
    Ingress,
    /// Out of the pod.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// In lower case, as the fields of a policy are named.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, `kubernetes.io/metadata.name` included (the source adds it where a file leaves it out, as the API
    /// server does).
    pub labels: Labels,
    /// Whether all its policies are in audit mode.
    pub audit: bool,
}

/// Where a pod is in its life, as far as policy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Pending, running (init containers and termination included) or unknown: subject and peer.
    Active,
    /// Succeeded or Failed: neither, and its address may belong to another pod already.
    Finished,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its UID, for a static pod the one by which its node knows it; empty in files that leave it out.
    pub uid: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// What it is a replica of, if anything.
    pub workload: Option<Workload>,
    /// The node it is bound to, if any.
    pub node: Option<Arc<str>>,
    /// Whether it lives in the node's network namespace: never a subject, and as a peer not its node's address.
    pub host_network: bool,
    /// Whether it counts at all.
    pub phase: Phase,
    /// Whether its deletion has begun (`metadata.deletionTimestamp`). It runs on for a while, or is only a record of what ran
    /// on a node that is gone: its addresses may be another's already, whose they are then.
    pub terminating: bool,
    /// Every address of `status.podIPs` (`status.podIP` where that list is absent).
    pub addresses: Vec<IpAddr>,
    /// Ports of containers, then of restartable init containers.
    pub ports: Vec<ContainerPort>,
}

impl Pod {
    /// Whether policies can select this pod and peers can match it: active and not on the host's network.
    #[must_use]
    pub fn is_networked(&self) -> bool {
        self.phase == Phase::Active && !self.host_network
    }
}

/// What controls pods: a Deployment, a StatefulSet, a Job. Verdicts never depend on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name, in the namespace of its pods.
    pub name: Arc<str>,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number, 1 to 65535.
    pub number: u16,
    /// `hostPort`, where declared.
    pub host_port: Option<u16>,
}

/// A NetworkPolicy, normalised: defaults of `policyTypes` and `protocol` applied, blocks masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The pods of its namespace that it selects.
    pub pod_selector: Selector,
    /// What it says about packets into them.
    pub ingress: Isolation,
    /// What it says about packets out of them.
    pub egress: Isolation,
    /// Whether it is in audit mode by itself; see [`crate::evaluate::in_force`].
    pub audit: bool,
}

impl Policy {
    /// What it says about a direction.
    #[must_use]
    pub fn isolation(&self, direction: Direction) -> &Isolation {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// Whether policies are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// What they deny is dropped.
    Enforced,
    /// What they deny passes, and is reported.
    Audited,
}

/// What one policy says about one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing: the direction is not among its `policyTypes`.
    Unaffected,
    /// The pods are isolated; only what one of these rules allows passes. Without rules: nothing.
    Restricted(Vec<Rule>),
}

/// One rule of `ingress` or `egress`: peers and ports must both match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `from` or `to`.
    pub peers: Peers,
    /// `ports`.
    pub ports: Ports,
}

/// The peers of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Absent or empty: every address.
    Any,
    /// Any of these, at least one.
    Listed(Vec<Peer>),
}

/// One element of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods by labels.
    Pods {
        /// The namespaces they may be in.
        namespaces: Namespaces,
        /// Which pods there; an absent `podSelector` is the selector that matches all.
        pods: Selector,
    },
    /// Addresses by block.
    Block(IpBlock),
}

/// The namespaces of a peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespaces {
    /// `namespaceSelector` absent: the policy's own.
    Own,
    /// Those with matching labels.
    Matching(Selector),
}

/// `ipBlock`, masked and normalised: `except` sorted, without duplicates, each of `cidr`'s family and inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpBlock {
    /// `cidr`, host bits cleared.
    pub cidr: IpNet,
    /// `except`, host bits cleared.
    pub except: Vec<IpNet>,
}

impl IpBlock {
    /// Whether an address is in the block and in none of its [exceptions](Self::exceptions).
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.cidr.contains(&address) && !self.exceptions().any(|except| except.contains(&address))
    }

    /// The prefixes in `cidr` that are not in the block: its exceptions, and of a block of all addresses what is [`BEYOND`] them.
    pub fn exceptions(&self) -> impl Iterator<Item = IpNet> {
        let family = usize::from(matches!(self.cidr, IpNet::V6(_)));
        let beyond = if self.cidr.prefix_len() == 0 { &BEYOND[family][..] } else { &[] };
        self.except.iter().chain(beyond).copied()
    }

    /// `cidr` and what of it is not in the block.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        std::iter::once(self.cidr).chain(self.exceptions())
    }
}

/// Addresses that stand for nodes on a link and not for one of a network: on a bridge they may be any pod's, whatever blocks
/// other addresses of it are in. They are those without a value, groups (RFC 5771, RFC 4291), everybody on the link (RFC 919),
/// and IPv6 link-local ones (RFC 4291); by family.
pub const BEYOND: [[IpNet; 3]; 2] = [
    [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32)),
    ],
    [
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
    ],
];

/// The ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Absent or empty: every port of every protocol, and protocols without ports.
    Any,
    /// Any of these, at least one.
    Listed(Vec<PortMatch>),
}

/// One element of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMatch {
    /// The protocol.
    pub protocol: Protocol,
    /// Which of its ports.
    pub port: PortSpec,
}

/// Which ports of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortSpec {
    /// `port` absent: all of them.
    All,
    /// `port` to `endPort`, both inclusive; one port where they are equal.
    Range {
        /// First port, at least 1.
        first: u16,
        /// Last port, at least `first`.
        last: u16,
    },
    /// The container port of this name on the destination pod.
    Named(Arc<str>),
}

/// A label selector: all requirements must hold. Sorted and without duplicates, so equal selectors compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What must hold of it.
    pub operator: Operator,
}

/// What must hold of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Its value is one of these (sorted, at least one). `matchLabels` is this with one value.
    In(Vec<Arc<str>>),
    /// It is missing, or its value is none of these (sorted, at least one).
    NotIn(Vec<Arc<str>>),
    /// It is there.
    Exists,
    /// It is missing.
    DoesNotExist,
}

impl Operator {
    /// The values that it names.
    #[must_use]
    pub fn values(&self) -> &[Arc<str>] {
        match self {
            Self::In(values) | Self::NotIn(values) => values,
            Self::Exists | Self::DoesNotExist => &[],
        }
    }
}

impl Selector {
    /// The selector with these requirements, in any order; without any it matches everything.
    #[must_use]
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        for requirement in &mut requirements {
            if let Operator::In(values) | Operator::NotIn(values) = &mut requirement.operator {
                values.sort();
                values.dedup();
            }
        }
        requirements.sort();
        requirements.dedup();
        Self { requirements }
    }

    /// The requirements, sorted.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// How many requirements and values it has.
    pub(crate) fn weight(&self) -> usize {
        self.requirements.iter().map(|requirement| 1 + requirement.operator.values().len()).sum()
    }

    /// Whether labels fulfil every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// Whether labels fulfil this requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.binary_search(value).is_ok()),
            Operator::NotIn(values) => value.is_none_or(|value| values.binary_search(value).is_err()),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}
