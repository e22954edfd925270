//! What is found, and where.

use std::fmt;
use std::sync::Arc;

use podgate_policy::cluster::IGNORE;
use podgate_policy::model::{Direction, ObjectKey, Policy};

/// Something that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The object.
    pub object: Subject,
    /// Where in it.
    pub field: Field,
    /// What sort of finding it is.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: one sentence, without a full stop.
    pub why: String,
    /// What to write instead: one sentence, without a full stop.
    pub instead: String,
    /// What to add, as YAML, where that can be written down.
    pub yaml: Option<String>,
}

/// Whose finding it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A NetworkPolicy's.
    Policy(ObjectKey),
    /// A ClusterNetworkPolicy's, by name.
    ClusterPolicy(Arc<str>),
    /// A namespace's, because of its pods.
    Namespace(Arc<str>),
}

impl From<&Policy> for Subject {
    fn from(policy: &Policy) -> Self {
        Self::Policy(policy.key.clone())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(key) => key.fmt(f),
            Self::ClusterPolicy(name) | Self::Namespace(name) => f.write_str(name),
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It may well be meant.
    Note,
    /// It is hardly meant.
    Warning,
    /// It can't be meant.
    Error,
}

impl Severity {
    /// All of them, the least bad first.
    pub const ALL: [Self; 3] = [Self::Note, Self::Warning, Self::Error];

    /// In lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The sorts of findings. Their names don't change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A policy that selects no pod.
    PolicySelectsNothing,
    /// A peer that matches no pod.
    PeerMatchesNothing,
    /// A label that nobody has, and somebody has almost.
    LabelTypo,
    /// Pods whose egress is restricted, DNS excluded.
    EgressWithoutDns,
    /// A named port that no pod concerned serves.
    PortNotServed,
    /// A block of addresses of pods, which come and go.
    BlockOfPods,
    /// A block of addresses of Services, which policies never see.
    BlockOfServices,
    /// A rule that allows nothing more, beside one that allows everything.
    RuleShadowed,
    /// Rules of a direction that `policyTypes` leaves out.
    RulesWithoutType,
    /// An allow that has no effect, since the other end does not allow the same.
    OneSided,
    /// The port of a Service where the port of its pods is needed.
    ServicePort,
    /// A policy without a spec, which isolates every pod of its namespace.
    EmptySpec,
    /// A block of the address that the API server has as a Service.
    ApiServerBlock,
    /// Blocks of clients that come with the address of a node.
    MasqueradedClients,
    /// Pods that no policy isolates.
    NotIsolated,
    /// An annotation that is to ignore findings and does not.
    IgnoreWithoutEffect,
    /// Policies of other kinds, which podgate does not enforce.
    ForeignPolicy,
    /// Policies that the commands judge by and the agent enforces only if it is told to.
    NotEnforced,
    /// Two ClusterNetworkPolicies of one tier and priority that do different things with the same packets.
    PriorityTie,
    /// A rule of a ClusterNetworkPolicy behind one of its tier that matches everything it does.
    RuleUnreachable,
    /// A rule of a ClusterNetworkPolicy that denies pods the cluster's DNS.
    DeniesDns,
    /// A rule of a ClusterNetworkPolicy that denies pods the API server.
    DeniesApiServer,
    /// A Deny of all networks of one family alone.
    OneFamilyOnly,
    /// A Deny of networks that have pods in them.
    NetworksCoverPods,
    /// An Accept of pods by labels without a namespaceSelector.
    AcceptOpensEveryNamespace,
    /// An AdminNetworkPolicy or BaselineAdminNetworkPolicy, which is a ClusterNetworkPolicy today.
    ClusterPolicyV1alpha1,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::PolicySelectsNothing,
        Self::PeerMatchesNothing,
        Self::LabelTypo,
        Self::EgressWithoutDns,
        Self::PortNotServed,
        Self::BlockOfPods,
        Self::BlockOfServices,
        Self::RuleShadowed,
        Self::RulesWithoutType,
        Self::OneSided,
        Self::ServicePort,
        Self::EmptySpec,
        Self::ApiServerBlock,
        Self::MasqueradedClients,
        Self::NotIsolated,
        Self::IgnoreWithoutEffect,
        Self::ForeignPolicy,
        Self::NotEnforced,
        Self::PriorityTie,
        Self::RuleUnreachable,
        Self::DeniesDns,
        Self::DeniesApiServer,
        Self::OneFamilyOnly,
        Self::NetworksCoverPods,
        Self::AcceptOpensEveryNamespace,
        Self::ClusterPolicyV1alpha1,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PolicySelectsNothing => "policy-selects-nothing",
            Self::PeerMatchesNothing => "peer-matches-nothing",
            Self::LabelTypo => "label-typo",
            Self::EgressWithoutDns => "egress-without-dns",
            Self::PortNotServed => "port-not-served",
            Self::BlockOfPods => "block-of-pods",
            Self::BlockOfServices => "block-of-services",
            Self::RuleShadowed => "rule-shadowed",
            Self::RulesWithoutType => "rules-without-type",
            Self::OneSided => "one-sided",
            Self::ServicePort => "service-port",
            Self::EmptySpec => "empty-spec",
            Self::ApiServerBlock => "api-server-by-service-ip",
            Self::MasqueradedClients => "clients-masqueraded",
            Self::NotIsolated => "not-isolated",
            Self::IgnoreWithoutEffect => "ignore-without-effect",
            Self::ForeignPolicy => "foreign-policy",
            Self::NotEnforced => "not-enforced",
            Self::PriorityTie => "priority-tie",
            Self::RuleUnreachable => "rule-unreachable",
            Self::DeniesDns => "denies-dns",
            Self::DeniesApiServer => "denies-api-server",
            Self::OneFamilyOnly => "one-family-only",
            Self::NetworksCoverPods => "networks-cover-pods",
            Self::AcceptOpensEveryNamespace => "accept-opens-every-namespace",
            Self::ClusterPolicyV1alpha1 => "cluster-policy-v1alpha1",
        }
    }

    /// The rule of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// How bad its findings are at worst.
    #[must_use]
    pub const fn worst(self) -> Severity {
        match self {
            Self::RulesWithoutType => Severity::Error,
            Self::NotIsolated | Self::ClusterPolicyV1alpha1 => Severity::Note,
            Self::PolicySelectsNothing
            | Self::PeerMatchesNothing
            | Self::LabelTypo
            | Self::EgressWithoutDns
            | Self::PortNotServed
            | Self::BlockOfPods
            | Self::BlockOfServices
            | Self::RuleShadowed
            | Self::OneSided
            | Self::ServicePort
            | Self::EmptySpec
            | Self::ApiServerBlock
            | Self::MasqueradedClients
            | Self::IgnoreWithoutEffect
            | Self::ForeignPolicy
            | Self::NotEnforced
            | Self::PriorityTie
            | Self::RuleUnreachable
            | Self::DeniesDns
            | Self::DeniesApiServer
            | Self::OneFamilyOnly
            | Self::NetworksCoverPods
            | Self::AcceptOpensEveryNamespace => Severity::Warning,
        }
    }

    /// What it finds, in one sentence.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::PolicySelectsNothing => "The policy selects no pod, so it protects nothing.",
            Self::PeerMatchesNothing => "The peer matches no pod, so it allows nothing.",
            Self::LabelTypo => {
                "The selector asks for a label that nobody has, and that differs little from one that somebody has."
            }
            Self::EgressWithoutDns => {
                "Egress of the pods is restricted, and no rule lets them reach the cluster's DNS."
            }
            Self::PortNotServed => {
                "No pod concerned has a container port of this name and protocol, so it allows nothing."
            }
            Self::BlockOfPods => "The ipBlock is made of pod addresses, which change when pods are made anew.",
            Self::BlockOfServices => {
                "The ipBlock is made of Services' addresses, which are rewritten before policies see a packet."
            }
            Self::RuleShadowed => "Another rule allows everything to the same pods, so this one has no effect.",
            Self::RulesWithoutType => "policyTypes leaves out the direction of these rules, so they have no effect.",
            Self::OneSided => "What the rule allows is denied at the other end, so nothing passes.",
            Self::ServicePort => {
                "The rule names the port of a Service, and policies judge the port of the pods behind it."
            }
            Self::EmptySpec => "The policy has no spec, or an empty one, so it denies all ingress of its namespace.",
            Self::ApiServerBlock => {
                "The ipBlock is the API server's ClusterIP, which is rewritten before policies see a packet."
            }
            Self::MasqueradedClients => {
                "The ipBlock names clients of a Service whose connections come with the address of a node."
            }
            Self::NotIsolated => "No policy isolates the pods in either direction, so everybody reaches them.",
            Self::IgnoreWithoutEffect => {
                "The annotation podgate.io/check-ignore names no finding, or gives no reason, so it ignores nothing."
            }
            Self::ForeignPolicy => "podgate does not enforce policies of this kind.",
            Self::PriorityTie => "Two policies of one tier and priority do different things with the same packets.",
            Self::RuleUnreachable => {
                "An earlier rule of the tier matches everything that this one does, so it has no effect."
            }
            Self::DeniesDns => "The rule denies pods the cluster's DNS.",
            Self::DeniesApiServer => "The rule denies pods the API server.",
            Self::OneFamilyOnly => "The rule denies all addresses of one family, and the other passes.",
            Self::NetworksCoverPods => "The networks of the rule hold addresses of pods, which it denies too.",
            Self::AcceptOpensEveryNamespace => {
                "Without namespaceSelector the rule accepts pods with these labels of every namespace."
            }
            Self::ClusterPolicyV1alpha1 => "The policy is of v1alpha1, and can be written as a ClusterNetworkPolicy.",
            Self::NotEnforced => {
                "The offline commands judge by policies of this kind, and podgate's agent enforces them with --cluster-policies=auto."
            }
        }
    }
}

/// A field of an object, in the order of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The object's name: the object as a whole.
    Name,
    /// The annotation that says what to ignore.
    Ignore,
    /// `spec`.
    Spec,
    /// `spec.podSelector`.
    PodSelector,
    /// `spec.policyTypes`.
    PolicyTypes,
    /// `spec.priority`.
    Priority,
    /// All rules of a direction.
    Rules(Direction),
    /// A rule, by its index.
    Rule(Direction, usize),
    /// A part of a peer, by the rule's index and its own.
    Peer(Direction, usize, usize, Part),
    /// A port, by the rule's index and its own.
    Port(Direction, usize, usize),
}

/// A part of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `namespaceSelector`.
    NamespaceSelector,
    /// `podSelector`.
    PodSelector,
    /// `ipBlock.cidr`.
    Cidr,
    /// `pods` of a ClusterNetworkPolicy.
    Pods,
    /// `networks` of a ClusterNetworkPolicy.
    Networks,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("metadata.name"),
            Self::Ignore => write!(f, "metadata.annotations[\"{IGNORE}\"]"),
            Self::Spec => f.write_str("spec"),
            Self::PodSelector => f.write_str("spec.podSelector"),
            Self::PolicyTypes => f.write_str("spec.policyTypes"),
            Self::Priority => f.write_str("spec.priority"),
            Self::Rules(direction) => write!(f, "spec.{direction}"),
            Self::Rule(direction, rule) => write!(f, "spec.{direction}[{rule}]"),
            Self::Peer(direction, rule, peer, part) => {
                let peers = match direction {
                    Direction::Ingress => "from",
                    Direction::Egress => "to",
                };
                write!(f, "spec.{direction}[{rule}].{peers}[{peer}].{part}")
            }
            Self::Port(direction, rule, port) => write!(f, "spec.{direction}[{rule}].ports[{port}].port"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NamespaceSelector => "namespaceSelector",
            Self::PodSelector => "podSelector",
            Self::Cidr => "ipBlock.cidr",
            Self::Pods => "pods",
            Self::Networks => "networks",
        })
    }
}
