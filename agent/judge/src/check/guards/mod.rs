//! What is probably not meant in ClusterNetworkPolicies.

mod coverage;
mod denials;
mod networks;
mod ties;
mod unreachable;
mod unscoped;

use std::sync::Arc;

use podgate_policy::cluster_policy::ClusterPolicy;
use podgate_policy::evaluate::{DirectionVerdict, Party, Traffic, judge_among};
use podgate_policy::model::{Direction, Pod};

use crate::check::Finding;
use crate::check::known::Known;

/// Everything that is found in policies that are as they were written.
pub(super) fn findings(known: &Known<'_>) -> Vec<Finding> {
    if known.cluster.cluster_policies.is_empty() {
        return vec![];
    }
    let mut findings = ties::findings(known);
    findings.extend(denials::findings(known));
    for policy in sound(known) {
        findings.extend(unreachable::findings(known, policy));
        findings.extend(networks::findings(known, policy));
        findings.extend(unscoped::findings(known, policy));
    }
    findings
}

/// What all policies say of what a pod sends. Whose an address is, is looked up and not searched for among all pods.
fn verdict<'c>(known: &Known<'c>, pod: &'c Pod, to: &Party<'c>, traffic: Traffic) -> DirectionVerdict {
    judge_among(known.cluster, Direction::Egress, pod, to, || known.everybody(to), traffic)
}

/// Policies that are as they were written, in the order in which they are asked.
fn sound<'c>(known: &Known<'c>) -> impl Iterator<Item = &'c Arc<ClusterPolicy>> {
    let written = known.written;
    known.cluster.cluster_policies.iter().filter(|policy| !written.unsound_cluster.contains(&policy.name))
}
