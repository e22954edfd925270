//! What the agent tells of ClusterNetworkPolicies.

use serde::{Deserialize, Serialize};

/// The ClusterNetworkPolicies that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPoliciesStatus {
    /// Whether they are enforced.
    pub enforcement: ClusterEnforcement,
    /// Whether the API server has the kind; none: that is not known, or there is no server.
    pub served: Option<bool>,
    /// How many there are.
    pub objects: usize,
    /// Why they can't be counted, where they are only counted.
    pub error: Option<String>,
}

/// Whether ClusterNetworkPolicies are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterEnforcement {
    /// They are.
    Enforced,
    /// They are only counted, as `--cluster-policies=off` asks.
    #[default]
    Off,
}

impl ClusterEnforcement {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Enforced, Self::Off];

    /// In lower case, for labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Off => "off",
        }
    }
}
