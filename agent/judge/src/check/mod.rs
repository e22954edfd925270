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

use std::fmt;

use podgate_policy::cluster::{Cluster, Written};

pub use finding::{Field, Finding, Part, Rule, Severity};
use known::Known;

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
