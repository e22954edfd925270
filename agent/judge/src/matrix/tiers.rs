//! What rules of ClusterNetworkPolicies say of parties and ports, asked once each, as [`super::fits`] does for
//! NetworkPolicies. Policies in audit mode decide nothing and are left out.

use std::collections::BTreeMap;
use std::ops::Range;

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::{Action, ClusterPolicy, Matches, Protocols, Tier};
use podgate_policy::evaluate::{Party, Traffic, cluster_mode, cluster_peers_match, guarding, protocols_match};
use podgate_policy::model::{Direction, Mode, Pod};

/// The rules that judge a pod in a direction, as indexes among those of [`Guards`], in the order in which they are asked.
#[derive(Default)]
pub(super) struct Guarded {
    admin: Vec<usize>,
    baseline: Vec<usize>,
}

impl Guarded {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.admin.is_empty() && self.baseline.is_empty()
    }
}

/// Every rule of a ClusterNetworkPolicy that judges somebody.
#[derive(Default)]
pub(super) struct Guards<'c> {
    rules: Vec<GuardRule<'c>>,
    /// Where the rules of a policy in a direction are among `rules`.
    policies: BTreeMap<(&'c str, Direction), Range<usize>>,
}

struct GuardRule<'c> {
    action: Action,
    /// Whether its peers match, by party.
    peers: Vec<bool>,
    protocols: &'c Protocols,
}

impl<'c> Guards<'c> {
    /// The rules that judge a pod in a direction.
    pub(super) fn guarded(
        &mut self,
        cluster: &'c Cluster,
        parties: &[Party<'c>],
        pod: &Pod,
        direction: Direction,
    ) -> Guarded {
        let mut guarded = Guarded::default();
        if cluster.cluster_policies.is_empty() {
            return guarded;
        }
        for policy in guarding(cluster, pod, direction) {
            if cluster_mode(cluster, policy) == Mode::Enforced {
                let rules = self.add(cluster, parties, policy, direction);
                match policy.tier {
                    Tier::Admin => guarded.admin.extend(rules),
                    Tier::Baseline => guarded.baseline.extend(rules),
                }
            }
        }
        guarded
    }

    fn add(
        &mut self,
        cluster: &Cluster,
        parties: &[Party<'_>],
        policy: &'c ClusterPolicy,
        direction: Direction,
    ) -> Range<usize> {
        if let Some(range) = self.policies.get(&(&*policy.name, direction)) {
            return range.clone();
        }
        let first = self.rules.len();
        for rule in policy.rules(direction) {
            let (peers, protocols) = match &rule.matches {
                Matches::Nothing => (vec![false; parties.len()], &Protocols::Any),
                Matches::Everything => (vec![true; parties.len()], &Protocols::Any),
                Matches::Some { peers, protocols } => {
                    let matches = |party| cluster_peers_match(cluster, rule.action, peers, party).is_match();
                    (parties.iter().map(matches).collect(), protocols)
                }
            };
            self.rules.push(GuardRule { action: rule.action, peers, protocols });
        }
        let range = first..self.rules.len();
        self.policies.insert((&policy.name, direction), range.clone());
        range
    }

    /// By rule: whether its protocols match what a pod is sent.
    pub(super) fn matching(&self, server: &Pod, traffic: Traffic) -> Vec<bool> {
        self.rules.iter().map(|rule| protocols_match(rule.protocols, Some(server), traffic).is_match()).collect()
    }

    /// Whether a packet of or to a party passes, given which rules' protocols match. `network_policies`: what those say
    /// that are in force; `None`: they isolate nobody.
    pub(super) fn pass(
        &self,
        guarded: &Guarded,
        matching: &[bool],
        party: usize,
        network_policies: impl FnOnce() -> Option<bool>,
    ) -> bool {
        let first = |rules: &[usize]| {
            let mut actions = rules.iter().filter(|&&rule| matching[rule] && self.rules[rule].peers[party]);
            actions.next().map(|&rule| self.rules[rule].action)
        };
        match first(&guarded.admin) {
            Some(Action::Accept) => return true,
            Some(Action::Deny) => return false,
            Some(Action::Pass) | None => {}
        }
        network_policies().unwrap_or_else(|| first(&guarded.baseline) != Some(Action::Deny))
    }
}
