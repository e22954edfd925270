//! Verdicts in which ClusterNetworkPolicies have a say, with the walk through the tiers that led to them.

use std::sync::Arc;

use crate::cluster_policy::{Action, ClusterPeer, ProtocolMatch, Tier};
use crate::evaluate::{DirectionVerdict, Element, ListOutcome, PeerMismatch, PortMismatch, RuleRef};
use crate::model::Mode;

/// What is said of a packet in one direction of a pod that ClusterNetworkPolicies select.
///
/// The rules of a tier are asked in order until one decides. Those of a policy in audit mode decide nothing; they are
/// asked up to the first that matches, so that it is known what they would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierVerdict {
    /// The rules that were asked of the Admin tier, in order; the last one decides or passes on, unless none matches.
    pub admin: Vec<AskedRule>,
    /// What NetworkPolicies say; `None`: they were not asked, since the Admin tier decides.
    pub network_policy: Option<DirectionVerdict>,
    /// The rules that were asked of the Baseline tier, as in `admin`.
    pub baseline: Vec<AskedRule>,
    /// Who decides.
    pub decision: Decision,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The last of the rules that were asked of this tier accepts.
    Accepted(Tier),
    /// The last of the rules that were asked of this tier denies.
    Denied(Tier),
    /// NetworkPolicies in force: one isolates the pod.
    NetworkPolicy,
    /// Nobody: the packet passes.
    Nobody,
}

impl TierVerdict {
    /// The rules that were asked of a tier.
    #[must_use]
    pub fn asked(&self, tier: Tier) -> &[AskedRule] {
        match tier {
            Tier::Admin => &self.admin,
            Tier::Baseline => &self.baseline,
        }
    }

    /// The rule that decides, and its tier, if one of a ClusterNetworkPolicy does.
    #[must_use]
    pub fn deciding(&self) -> Option<(Tier, &AskedRule)> {
        match self.decision {
            Decision::Accepted(tier) | Decision::Denied(tier) => Some((tier, self.asked(tier).last()?)),
            Decision::NetworkPolicy | Decision::Nobody => None,
        }
    }

    /// Whether the packet passes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        match self.decision {
            Decision::Accepted(_) | Decision::Nobody => true,
            Decision::Denied(_) => false,
            Decision::NetworkPolicy => self.network_policy.as_ref().is_none_or(DirectionVerdict::is_allowed),
        }
    }

    /// Whether the packet passes only because policies are in audit mode.
    #[must_use]
    pub fn would_deny(&self) -> bool {
        let by_network_policies = self.network_policy.as_ref().is_some_and(DirectionVerdict::would_deny);
        self.is_allowed() && (by_network_policies || self.would_be_denied_by().is_some())
    }

    /// The rule in audit mode that would deny what passes: the first of a tier that matches is its Deny.
    #[must_use]
    pub fn would_be_denied_by(&self) -> Option<(Tier, &AskedRule)> {
        let first = |tier| Some((tier, self.asked(tier).iter().find(|asked| asked.answer.is_match())?));
        let denies = |(_, asked): &(Tier, &AskedRule)| asked.mode == Mode::Audited && asked.action == Action::Deny;
        let mut found = Tier::ALL.into_iter().filter_map(first).filter(denies);
        found.next().filter(|_| self.is_allowed())
    }
}

/// A rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedRule {
    /// The rule.
    pub rule: RuleRef,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// What it does with what it matches.
    pub action: Action,
    /// Whether its policy is in force.
    pub mode: Mode,
    /// What it answered.
    pub answer: RuleAnswer,
}

/// What a rule answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAnswer {
    /// It matches.
    Matches {
        /// By this element of `from` or `to`, the first.
        peer: Element,
        /// By this element of `protocols`, the first.
        protocol: Element,
    },
    /// It matches, since it fails closed: a part of it isn't understood.
    MatchesEverything,
    /// It doesn't match, since it fails closed: a part of it isn't understood.
    MatchesNothing,
    /// It doesn't match: at least one of its lists misses the packet.
    Misses {
        /// How `from` or `to` answers.
        peers: ListOutcome<ClusterPeerMiss>,
        /// How `protocols` answers.
        protocols: ListOutcome<ProtocolMiss>,
    },
}

impl RuleAnswer {
    /// Whether the rule matches.
    #[must_use]
    pub const fn is_match(&self) -> bool {
        matches!(self, Self::Matches { .. } | Self::MatchesEverything)
    }
}

/// Why an element of `from` or `to` of a ClusterNetworkPolicy does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPeerMiss {
    /// The element's index, from 0.
    pub index: usize,
    /// The element.
    pub peer: ClusterPeer,
    /// What it lacks.
    pub why: PeerMismatch,
}

/// Why an element of `protocols` does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolMiss {
    /// The element's index, from 0.
    pub index: usize,
    /// The element.
    pub protocol: ProtocolMatch,
    /// What it lacks.
    pub why: PortMismatch,
}
