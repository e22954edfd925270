//! Pods that no policy isolates.

use podgate_policy::cluster_policy::Action;
use podgate_policy::evaluate::{guarding, isolating};
use podgate_policy::model::{Direction, Pod};

use crate::check::half::{name_of, one_of_each};
use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity, Subject};
use crate::explain::listed;

/// Namespaces of the cluster's own: isolating what is there is not for those who write policies of applications.
const OF_CLUSTER: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

/// Whether some ClusterNetworkPolicy may deny what goes to or comes from a pod.
fn is_guarded(known: &Known<'_>, pod: &Pod) -> bool {
    let denies = |direction| {
        let guards = guarding(known.cluster, pod, direction).into_iter();
        guards.flat_map(|policy| policy.rules(direction)).any(|rule| rule.action == Action::Deny)
    };
    !known.cluster.cluster_policies.is_empty() && Direction::ALL.into_iter().any(denies)
}

/// One for each namespace. Without any policy there is nothing to be said of what policies leave out.
pub(super) fn findings(known: &Known<'_>) -> Vec<Finding> {
    if known.cluster.policies.is_empty() {
        return vec![];
    }
    let namespaces = known.inhabited().filter(|(name, _)| !OF_CLUSTER.contains(name));
    namespaces.filter_map(|(name, pods)| finding(known, name, pods)).collect()
}

fn finding(known: &Known<'_>, namespace: &str, pods: &[&Pod]) -> Option<Finding> {
    let is_open =
        |pod: &&Pod| Direction::ALL.into_iter().all(|direction| isolating(known.cluster, pod, direction).is_empty());
    let open: Vec<_> = pods.iter().copied().filter(is_open).filter(|pod| !is_guarded(known, pod)).collect();
    if open.is_empty() {
        return None;
    }
    let why = if open.len() == pods.len() {
        format!(
            "no policy isolates any pod of namespace {namespace}, so everybody reaches them, and they reach everybody"
        )
    } else {
        let names: Vec<_> = one_of_each(open.into_iter()).into_iter().map(name_of).collect();
        format!("no policy isolates {}, so everybody reaches these, and they reach everybody", listed(&names))
    };
    Some(Finding {
        object: Subject::Namespace(namespace.into()),
        field: Field::Name,
        rule: Rule::NotIsolated,
        severity: Severity::Note,
        why,
        instead:
            "if that is not meant, deny by default: a policy with podSelector: {} and policyTypes: [Ingress, Egress]"
                .to_owned(),
        yaml: None,
    })
}
