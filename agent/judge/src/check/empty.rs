//! Policies without a spec.

use podgate_policy::model::Policy;

use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity};

pub(super) fn finding(known: &Known<'_>, policy: &Policy) -> Option<Finding> {
    let namespace = &policy.key.namespace;
    known.written.empty.contains(&policy.key).then(|| Finding {
        object: policy.into(),
        field: Field::Spec,
        rule: Rule::EmptySpec,
        severity: Severity::Warning,
        why: format!(
            "there is nothing in it, so the policy selects every pod of namespace {namespace} and denies all ingress"
        ),
        instead: "write what is meant: podSelector: {} with policyTypes: [Ingress], if all ingress is to be denied"
            .to_owned(),
        yaml: None,
    })
}
