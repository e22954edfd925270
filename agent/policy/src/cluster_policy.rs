//! ClusterNetworkPolicies (`policy.networking.k8s.io`): small, validated types, as [`crate::model`] has them of
//! NetworkPolicies, and the order in which they are asked.
//!
//! A rule that can't be understood is none that is left out: what it matches is a value ([`Matches`]), chosen where it
//! was read, so that nobody behind that can forget it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{Direction, Protocol, Selector};

/// When a policy is asked: before NetworkPolicies, or where none of them isolates the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before NetworkPolicies.
    Admin,
    /// After NetworkPolicies, where none isolates the pod.
    Baseline,
}

impl Tier {
    /// Both, in the order in which they are asked.
    pub const ALL: [Self; 2] = [Self::Admin, Self::Baseline];

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::Baseline => "Baseline",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// Its place among those of its tier, 0 to 1000; the lower is asked first.
    pub priority: u16,
    /// The pods whose packets it judges.
    pub subject: PodSelection,
    /// What it says about packets into them, in order. Empty: nothing.
    pub ingress: Vec<ClusterRule>,
    /// What it says about packets out of them, in order. Empty: nothing.
    pub egress: Vec<ClusterRule>,
    /// Whether it is in audit mode by itself.
    pub audit: bool,
}

impl ClusterPolicy {
    /// Its rules of a direction, in order.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[ClusterRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// Pods by the labels of their namespace and their own; both must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodSelection {
    /// `namespaces`, or `pods.namespaceSelector`, which matches all where it is absent.
    pub namespaces: Selector,
    /// `pods.podSelector`; all pods, of `namespaces`.
    pub pods: Selector,
}

/// One rule of `ingress` or `egress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRule {
    /// `name`, which means nothing; shown wherever the rule is named.
    pub name: Option<Arc<str>>,
    /// What becomes of packets that it matches; [`Action::Deny`] where the rule [fails closed](Matches::Everything).
    pub action: Action,
    /// Which packets it matches.
    pub matches: Matches,
}

/// What becomes of packets that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// They pass, whatever else there is.
    Accept,
    /// They are dropped, whatever else there is.
    Deny,
    /// The rest of the tier is not asked.
    Pass,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Accept, Self::Deny, Self::Pass];

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "Accept",
            Self::Deny => "Deny",
            Self::Pass => "Pass",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which packets a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matches {
    /// None: an Accept of which a part isn't understood.
    Nothing,
    /// Every one: a Deny or Pass of which a part isn't understood denies everything from its place on.
    Everything,
    /// Those to or from one of these peers that carry one of these protocols.
    Some {
        /// `from` or `to`, at least one.
        peers: Vec<ClusterPeer>,
        /// `protocols`.
        protocols: Protocols,
    },
}

/// One element of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPeer {
    /// `namespaces` or `pods`: pods of the pod network.
    Pods(PodSelection),
    /// `networks`: addresses in any of these blocks, host bits cleared; sorted, at least one.
    Networks(Vec<IpNet>),
    /// `nodes`: addresses of nodes with matching labels.
    Nodes(Selector),
}

/// The protocols of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// Absent: every one, those without ports included.
    Any,
    /// Any of these, at least one.
    Listed(Vec<ProtocolMatch>),
}

/// One element of `protocols`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolMatch {
    /// `tcp`, `udp` or `sctp`: ports of that protocol.
    Range {
        /// The protocol.
        protocol: Protocol,
        /// First port, at least 1.
        first: u16,
        /// Last port, at least `first`.
        last: u16,
    },
    /// `destinationNamedPort`: the container ports of this name on the destination pod, of whatever protocol.
    Named(Arc<str>),
}

/// Where a policy stands among all: by tier, by priority, and where both are equal by name.
type Place = (Tier, u16, Arc<str>);

/// ClusterNetworkPolicies in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPolicies {
    ordered: BTreeMap<Place, Arc<ClusterPolicy>>,
    places: BTreeMap<Arc<str>, Place>,
}

impl ClusterPolicies {
    /// Adds a policy in its place, and gives the one that had its name.
    pub fn insert(&mut self, policy: Arc<ClusterPolicy>) -> Option<Arc<ClusterPolicy>> {
        let former = self.remove(&policy.name);
        let place = (policy.tier, policy.priority, policy.name.clone());
        self.places.insert(policy.name.clone(), place.clone());
        self.ordered.insert(place, policy);
        former
    }

    /// Removes the policy of this name, and gives it.
    pub fn remove(&mut self, name: &str) -> Option<Arc<ClusterPolicy>> {
        self.ordered.remove(&self.places.remove(name)?)
    }

    /// The policy of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ClusterPolicy>> {
        self.ordered.get(self.places.get(name)?)
    }

    /// All of them, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ClusterPolicy>> {
        self.ordered.values()
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.places.keys()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ordered.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, tier: Tier, priority: u16) -> Arc<ClusterPolicy> {
        let subject = PodSelection::default();
        let (ingress, egress) = (vec![], vec![]);
        Arc::new(ClusterPolicy { name: name.into(), tier, priority, subject, ingress, egress, audit: false })
    }

    fn order(policies: &ClusterPolicies) -> Vec<&str> {
        policies.iter().map(|policy| &*policy.name).collect()
    }

    #[test]
    fn they_are_asked_by_tier_then_by_priority_as_a_number_then_by_name() {
        let mut policies = ClusterPolicies::default();
        for (name, tier, priority) in
            [("z", Tier::Baseline, 0), ("b", Tier::Admin, 10), ("a", Tier::Admin, 10), ("c", Tier::Admin, 9)]
        {
            assert_eq!(policies.insert(policy(name, tier, priority)), None);
        }
        assert_eq!(order(&policies), ["c", "a", "b", "z"]);
        assert_eq!(policies.len(), 4);
    }

    #[test]
    fn a_policy_that_moves_is_in_its_new_place_alone() {
        let mut policies = ClusterPolicies::default();
        let first = policy("a", Tier::Admin, 1);
        policies.insert(first.clone());
        policies.insert(policy("b", Tier::Admin, 2));
        assert_eq!(policies.insert(policy("a", Tier::Baseline, 1)), Some(first));
        assert_eq!(order(&policies), ["b", "a"]);
        assert_eq!(policies.get("a").map(|policy| policy.tier), Some(Tier::Baseline));
        assert!(policies.remove("a").is_some());
        assert_eq!((policies.remove("a"), order(&policies)), (None, vec!["b"]));
    }
}
