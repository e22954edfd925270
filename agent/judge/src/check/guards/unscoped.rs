//! Accepts of pods by labels, of whatever namespace.

use podgate_policy::cluster_policy::ClusterPolicy;

use crate::check::known::Known;
use crate::check::{Field, Finding, Part, Rule, Severity, Subject};

pub(super) fn findings(known: &Known<'_>, policy: &ClusterPolicy) -> Vec<Finding> {
    let written = known.written.unscoped.iter().filter(|(name, ..)| *name == policy.name);
    let finding = |(_, direction, rule, peer): &(_, _, usize, usize)| Finding {
        object: Subject::ClusterPolicy(policy.name.clone()),
        field: Field::Peer(*direction, *rule, *peer, Part::Pods),
        rule: Rule::AcceptOpensEveryNamespace,
        severity: Severity::Warning,
        why: "without namespaceSelector the pods of every namespace are accepted that give themselves these labels"
            .to_owned(),
        instead: "add namespaceSelector; an empty one says that every namespace is meant".to_owned(),
        yaml: None,
    };
    written.map(finding).collect()
}
