//! What is found, and where.

use std::fmt;

use podgate_policy::model::{Direction, ObjectKey};

/// Something that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The NetworkPolicy.
    pub policy: ObjectKey,
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
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::PolicySelectsNothing,
        Self::PeerMatchesNothing,
        Self::LabelTypo,
        Self::EgressWithoutDns,
        Self::PortNotServed,
        Self::BlockOfPods,
        Self::BlockOfServices,
        Self::RuleShadowed,
        Self::RulesWithoutType,
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
        }
    }
}

/// A field of a NetworkPolicy, in the order of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `spec.podSelector`.
    PodSelector,
    /// `spec.policyTypes`.
    PolicyTypes,
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
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodSelector => f.write_str("spec.podSelector"),
            Self::PolicyTypes => f.write_str("spec.policyTypes"),
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
        })
    }
}
