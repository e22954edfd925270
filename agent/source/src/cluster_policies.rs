//! What the agent does about ClusterNetworkPolicies, in one place.

use serde::Serialize;

use crate::problem::{Effect, Origin, Problem, ProblemKind};

/// What the agent is to do about ClusterNetworkPolicies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterPolicies {
    /// Read them, where there are any.
    #[default]
    Auto,
    /// Only count them, and say that they are not enforced.
    Off,
}

impl ClusterPolicies {
    /// Whether those that are read are enforced too. Where they are not, each is a problem of the kind
    /// [`ProblemKind::NotEnforced`].
    #[must_use]
    pub const fn are_enforced(self) -> bool {
        match self {
            Self::Auto | Self::Off => false,
        }
    }

    /// The problem that a policy is which is not enforced.
    pub(crate) fn not_enforced(self, origin: Origin, object: String) -> Problem {
        let why = match self {
            Self::Auto => "the agent enforces NetworkPolicies only",
            Self::Off => "--cluster-policies=off",
        };
        let message = format!("{why}; podgate's offline commands judge by this policy");
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
