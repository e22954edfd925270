//! Whether a node is as podgate needs it: what `podgate doctor` looks at.
//!
//! ```text
//! gather: files, kernel, netlink, agent, API ──► Facts ──► examine (pure): one Check each ──► text, JSON
//! ```
//!
//! Nothing is changed. What can't be seen from where it runs is said, never taken for well.

mod agent;
mod cluster;
mod facts;
mod gather;
mod network;
mod node;
mod text;

use serde::{Deserialize, Serialize};

pub(crate) use cluster::{Cluster, examine_cluster};
use facts::Facts;
pub(crate) use gather::{Question, gather};
pub(crate) use text::render;

/// What was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    /// A stable name.
    pub(crate) name: String,
    /// Whether it is as it should be.
    pub(crate) state: State,
    /// What was found, or why nothing was.
    pub(crate) finding: String,
    /// What to do.
    pub(crate) remedy: Option<String>,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It is.
    Ok,
    /// It could not be looked at.
    NotChecked,
    /// podgate works, with a difference.
    Warning,
    /// podgate does not work as it should.
    Fault,
}

impl State {
    /// As people read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotChecked => "not checked",
            Self::Warning => "warning",
            Self::Fault => "FAULT",
        }
    }
}

impl Check {
    fn ok(name: &str, finding: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: State::Ok, finding: finding.into(), remedy: None }
    }

    fn not_checked(name: &str, why: impl Into<String>) -> Self {
        Self { state: State::NotChecked, ..Self::ok(name, why) }
    }

    fn warning(name: &str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warning, remedy: Some(remedy.into()), ..Self::ok(name, finding) }
    }

    fn fault(name: &str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Fault, ..Self::warning(name, finding, remedy) }
    }
}

/// Looks at all facts of a node.
pub(crate) fn examine(facts: &Facts) -> Vec<Check> {
    vec![
        node::kernel(facts),
        node::bpf(facts),
        node::capabilities(facts),
        node::file_system(facts),
        node::pins(facts),
        node::clock(facts),
        network::other_enforcer(facts),
        network::pod_interfaces(facts),
        network::namespaces(facts),
        network::cni_plugin(facts),
        network::kube_proxy(facts),
        network::settings(facts),
        agent::answers(facts),
        agent::version(facts),
        agent::api(facts),
        agent::node_name(facts),
    ]
}

#[cfg(test)]
mod tests;
