//! The walk through the tiers: ClusterNetworkPolicies of the Admin tier, NetworkPolicies, those of the Baseline tier.
//!
//! Written straight from the API's text. A rule of Admin that matches decides (Accept, Deny) or ends its tier (Pass).
//! NetworkPolicies in force decide where one isolates the pod in this direction, whatever they say. Else a rule of
//! Baseline that matches decides. What nobody decides passes.

use crate::cluster::Cluster;
use crate::cluster_policy::{Action, ClusterPolicy, Tier};
use crate::evaluate::{
    AskedRule, Decision, DirectionVerdict, Party, PolicyRef, RuleRef, TierVerdict, Traffic, cluster_rule,
};
use crate::model::{Direction, Mode, Pod};

/// The ClusterNetworkPolicies that judge packets of a pod in a direction, in order, in audit mode or not. None for a pod
/// that is no subject of policy, none that says nothing about the direction.
#[must_use]
pub fn guarding<'c>(cluster: &'c Cluster, pod: &Pod, direction: Direction) -> Vec<&'c ClusterPolicy> {
    let guards = |policy: &&ClusterPolicy| {
        !policy.rules(direction).is_empty() && cluster_rule::selects(cluster, &policy.subject, pod)
    };
    cluster.cluster_policies.iter().map(|policy| &**policy).filter(guards).collect()
}

/// Whether a ClusterNetworkPolicy is in audit mode: by itself, or with all policies.
#[must_use]
pub fn cluster_mode(cluster: &Cluster, policy: &ClusterPolicy) -> Mode {
    if cluster.audit || policy.audit { Mode::Audited } else { Mode::Enforced }
}

/// What rules are asked about: the other end as one of those whose address it may be.
pub(super) struct Question<'c> {
    pub(super) cluster: &'c Cluster,
    pub(super) direction: Direction,
    pub(super) subject: &'c Pod,
    pub(super) other: Party<'c>,
    pub(super) traffic: Traffic,
}

/// Judges by all tiers. What NetworkPolicies say is the same for everybody who may be at the other end.
pub(super) fn walk(
    question: &Question<'_>,
    policies: &[&ClusterPolicy],
    network_policies: &dyn Fn() -> NetworkPolicies,
) -> TierVerdict {
    let admin = question.ask(policies, Tier::Admin);
    if let Some(decision) = admin.decision(Tier::Admin) {
        return TierVerdict { admin: admin.rules, network_policy: None, baseline: Vec::new(), decision };
    }
    let NetworkPolicies { verdict, decide } = network_policies();
    let network_policy = Some(verdict);
    if decide {
        let decision = Decision::NetworkPolicy;
        return TierVerdict { admin: admin.rules, network_policy, baseline: Vec::new(), decision };
    }
    let baseline = question.ask(policies, Tier::Baseline);
    let decision = baseline.decision(Tier::Baseline).unwrap_or(Decision::Nobody);
    TierVerdict { admin: admin.rules, network_policy, baseline: baseline.rules, decision }
}

/// What NetworkPolicies say of a packet.
#[derive(Clone)]
pub(super) struct NetworkPolicies {
    pub(super) verdict: DirectionVerdict,
    /// Whether one in force isolates the pod. Those in audit mode leave the decision to Baseline.
    pub(super) decide: bool,
}

/// The rules of a tier that were asked, and what the last of them does if it ends the tier.
struct Asked {
    rules: Vec<AskedRule>,
    action: Option<Action>,
}

impl Asked {
    /// What the tier decides, if it does.
    fn decision(&self, tier: Tier) -> Option<Decision> {
        match self.action? {
            Action::Accept => Some(Decision::Accepted(tier)),
            Action::Deny => Some(Decision::Denied(tier)),
            Action::Pass => None,
        }
    }
}

impl Question<'_> {
    fn ask(&self, policies: &[&ClusterPolicy], tier: Tier) -> Asked {
        let mut asked = Asked { rules: Vec::new(), action: None };
        for policy in policies.iter().filter(|policy| policy.tier == tier) {
            let mode = cluster_mode(self.cluster, policy);
            let matched = self.ask_policy(policy, mode, &mut asked.rules);
            if mode == Mode::Enforced && matched.is_some() {
                return Asked { action: matched, ..asked };
            }
        }
        asked
    }

    /// Asks the rules of a policy up to the first that matches, and gives its action.
    fn ask_policy(&self, policy: &ClusterPolicy, mode: Mode, asked: &mut Vec<AskedRule>) -> Option<Action> {
        for (index, rule) in policy.rules(self.direction).iter().enumerate() {
            let answer = cluster_rule::answer(self.cluster, rule, &self.other, self.server(), self.traffic);
            let is_match = answer.is_match();
            let reference =
                RuleRef { policy: PolicyRef::Cluster(policy.name.clone()), direction: self.direction, index };
            let (name, action) = (rule.name.clone(), rule.action);
            asked.push(AskedRule { rule: reference, name, action, mode, answer });
            if is_match {
                return Some(action);
            }
        }
        None
    }

    /// The pod whose container ports named ports mean: the destination, if that is a pod.
    fn server(&self) -> Option<&Pod> {
        match self.direction {
            Direction::Ingress => Some(self.subject),
            Direction::Egress => self.other.pod(),
        }
    }
}
