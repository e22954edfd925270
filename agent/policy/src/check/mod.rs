//! What is probably not meant in a set of policies: each finding with the object and field, why, and what to write instead.
//!
//! The findings are about the state that is given. Where that says nothing of pods, nothing is said of what selects them
//! ([`Unjudged`]): files often hold policies alone. Namespaces that every cluster has but whose pods are not given
//! (`kube-system` above all) are taken to hold whatever is asked for.

mod blocks;
mod dns;
mod finding;
mod known;
mod named_ports;
mod near;
mod peers;
mod shadowed;
mod subjects;
mod types;

use std::collections::BTreeSet;
use std::fmt;

pub use finding::{Field, Finding, Part, Rule, Severity};

use crate::cluster::Cluster;
use crate::model::{Direction, ObjectKey};
use known::Known;

/// What was written beside what the cluster's state holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Policies that are no more than stand-ins for invalid ones: nothing is found in these.
    pub unsound: BTreeSet<ObjectKey>,
    /// Directions in which a policy has rules that its `policyTypes` leaves out.
    pub ineffective: BTreeSet<(ObjectKey, Direction)>,
    /// Whether the namespaces are known with their labels; if not, nothing is said of namespace selectors.
    pub namespaces: bool,
}

/// What can't be judged from the given state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unjudged {
    /// There are no pods: what policies and peers select, and DNS.
    Pods,
    /// There are no namespaces: what namespace selectors match.
    Namespaces,
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pods => "there are no pods in the input: nothing is said of what selects them, named ports, and DNS",
            Self::Namespaces => "there are no Namespaces in the input: nothing is said of namespace selectors",
        })
    }
}

/// Everything that is found, by policy and field.
#[must_use]
pub fn check(cluster: &Cluster, written: &Written) -> Vec<Finding> {
    let known = Known::new(cluster, written);
    let mut findings: Vec<_> = dns::findings(&known);
    for policy in known.policies() {
        findings.extend(types::findings(&known, policy));
        findings.extend(subjects::finding(&known, policy));
        findings.extend(peers::findings(&known, policy));
        findings.extend(named_ports::findings(&known, policy));
        findings.extend(blocks::findings(&known, policy));
        findings.extend(shadowed::findings(&known, policy));
    }
    findings.sort();
    findings
}

/// What [`check`] can't judge in this state, sorted.
#[must_use]
pub fn unjudged(cluster: &Cluster, written: &Written) -> Vec<Unjudged> {
    let pods = cluster.pods.is_empty().then_some(Unjudged::Pods);
    let namespaces = (!written.namespaces).then_some(Unjudged::Namespaces);
    pods.into_iter().chain(namespaces).collect()
}
