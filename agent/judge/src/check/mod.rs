//! What is probably not meant in a set of policies: each finding with the object and field, why, and what to write instead.
//!
//! The findings are about the state that is given. Where that says nothing of pods, nothing is said of what selects them
//! ([`Unjudged`]): files often hold policies alone. Namespaces that every cluster has but whose pods are not given
//! (`kube-system` above all) are taken to hold whatever is asked for.

mod api_server;
mod blocks;
mod clients;
mod dns;
mod empty;
mod finding;
mod guards;
mod half;
mod ignore;
mod isolation;
mod known;
mod named_ports;
mod near;
mod one_sided;
mod peers;
mod service_ports;
mod shadowed;
mod subjects;
mod types;

use std::fmt;

use podgate_policy::cluster::{Cluster, Written};
use podgate_policy::cluster_policy::ClusterPeer;

use crate::groups::cluster_peers;

pub use finding::{Field, Finding, Part, Rule, Severity, Subject};
use ignore::Ignored;
use known::Known;

/// What can't be judged from the given state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unjudged {
    /// There are no pods: what policies and peers select, and DNS.
    Pods,
    /// There are no namespaces: what namespace selectors match.
    Namespaces,
    /// There are no nodes: what `nodes` of a ClusterNetworkPolicy match.
    Nodes,
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pods => "there are no pods in the input: nothing is said of what selects them, named ports, and DNS",
            Self::Namespaces => "there are no Namespaces in the input: nothing is said of namespace selectors",
            Self::Nodes => "there are no Nodes in the input: nodes of a ClusterNetworkPolicy match nothing here",
        })
    }
}

/// What is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The findings, by object and field.
    pub findings: Vec<Finding>,
    /// Those that an annotation of their policy says are meant so, with the reason.
    pub ignored: Vec<(Finding, String)>,
}

/// Everything that is found in policies, by policy and field, but for what their annotations ignore.
#[must_use]
pub fn check(cluster: &Cluster, written: &Written) -> Vec<Finding> {
    checked(&Known::new(cluster, written)).findings
}

/// The same, with what is ignored and with the pods that no policy isolates.
#[must_use]
pub fn check_all(cluster: &Cluster, written: &Written) -> Checked {
    let known = Known::new(cluster, written);
    let mut all = checked(&known);
    all.findings.extend(isolation::findings(&known));
    all
}

fn checked(known: &Known<'_>) -> Checked {
    let mut findings: Vec<_> = dns::findings(known);
    for policy in known.policies() {
        findings.extend(ignore::findings(known, policy));
        findings.extend(empty::finding(known, policy));
        findings.extend(types::findings(known, policy));
        findings.extend(subjects::finding(known, policy));
        findings.extend(peers::findings(known, policy));
        findings.extend(named_ports::findings(known, policy));
        findings.extend(service_ports::findings(known, policy));
        findings.extend(blocks::findings(known, policy));
        findings.extend(clients::findings(known, policy));
        findings.extend(shadowed::findings(known, policy));
        findings.extend(one_sided::findings(known, policy));
    }
    findings.extend(guards::findings(known));
    for policy in known.cluster.cluster_policies.iter() {
        findings.extend(ignore::findings_of_guard(known, &policy.name));
    }
    findings.sort();
    let by_annotation = Ignored::new(known);
    let mut checked = Checked::default();
    for finding in findings {
        match by_annotation.reason(&finding) {
            Some(reason) => checked.ignored.push((finding, reason.to_owned())),
            None => checked.findings.push(finding),
        }
    }
    checked
}

/// What [`check`] can't judge in this state, sorted.
#[must_use]
pub fn unjudged(cluster: &Cluster, written: &Written) -> Vec<Unjudged> {
    let pods = cluster.pods.is_empty().then_some(Unjudged::Pods);
    let namespaces = (!written.namespaces).then_some(Unjudged::Namespaces);
    let peers = cluster.cluster_policies.iter().flat_map(|policy| cluster_peers(policy));
    let mut nodes = peers.filter(|peer| cluster.nodes.is_empty() && matches!(peer, ClusterPeer::Nodes(_)));
    let nodes = nodes.next().map(|_| Unjudged::Nodes);
    pods.into_iter().chain(namespaces).chain(nodes).collect()
}
