//! What the agent does about ClusterNetworkPolicies, in one place.

use podgate_policy::cluster_policy::{Action, ClusterPeer, ClusterPolicy, ClusterRule, Matches};
use podgate_policy::model::Direction;
use serde::Serialize;

use crate::convert::{Converted, Issue, Outcome};
use crate::object::Object;
use crate::problem::{Effect, Origin, Problem, ProblemKind};

/// What the agent is to do about ClusterNetworkPolicies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterPolicies {
    /// Enforce them, where there are any.
    Auto,
    /// Only count them, and say that they are not enforced.
    #[default]
    Off,
}

impl ClusterPolicies {
    /// Whether they are enforced. Where they are not, each that is read is a problem of the kind
    /// [`ProblemKind::NotEnforced`].
    #[must_use]
    pub const fn are_enforced(self) -> bool {
        matches!(self, Self::Auto)
    }

    /// The problem that a policy is which is not enforced.
    pub(crate) fn not_enforced(origin: Origin, object: String) -> Problem {
        let message = "--cluster-policies=off; podgate's offline commands judge by this policy".to_owned();
        let (kind, effect) = (ProblemKind::NotEnforced, Effect::NotEnforced);
        Problem { origin, object: Some(object), field: None, kind, message, effect }
    }
}

/// What is known of the ClusterNetworkPolicies that there are, enforced or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KnownClusterPolicies {
    /// What the agent is to do about them.
    pub setting: ClusterPolicies,
    /// Whether the API server has the kind; `None`: that is not known, or there is no server.
    pub served: Option<bool>,
    /// How many there are. A change of this alone does not wake who waits for a change of the status.
    pub objects: usize,
    /// Why they could not be counted the last time, where they are only counted.
    pub error: Option<String>,
}

impl KnownClusterPolicies {
    /// Those of a source that has just begun.
    pub(crate) fn new(setting: ClusterPolicies) -> Self {
        Self { setting, ..Self::default() }
    }
}

/// Closes the rules by which only the offline commands can judge: the agent watches no nodes but its own.
pub(crate) fn close_what_the_agent_cannot_judge(converted: &mut Converted) {
    let Outcome::Good(Object::ClusterPolicy(policy)) = &mut converted.outcome else { return };
    let mut closed = ClusterPolicy::clone(policy);
    for direction in Direction::ALL {
        let (rules, list) = match direction {
            Direction::Ingress => (&mut closed.ingress, "from"),
            Direction::Egress => (&mut closed.egress, "to"),
        };
        for (index, rule) in rules.iter_mut().enumerate() {
            let Some(peer) = first_of_nodes(rule) else { continue };
            let field = Some(format!("spec.{direction}[{index}].{list}[{peer}].nodes"));
            let message = "the agent watches no nodes but its own".to_owned();
            converted.issues.push(Issue { field, kind: ProblemKind::Invalid, message, effect: close(rule) });
        }
    }
    *policy = closed.into();
}

fn first_of_nodes(rule: &ClusterRule) -> Option<usize> {
    let Matches::Some { peers, .. } = &rule.matches else { return None };
    peers.iter().position(|peer| matches!(peer, ClusterPeer::Nodes(_)))
}

/// Makes of a rule what one is that is not understood.
fn close(rule: &mut ClusterRule) -> Effect {
    if rule.action == Action::Accept {
        rule.matches = Matches::Nothing;
        return Effect::RuleMatchesNothing;
    }
    (rule.action, rule.matches) = (Action::Deny, Matches::Everything);
    Effect::RuleDeniesAll
}
