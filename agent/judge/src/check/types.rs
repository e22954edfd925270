//! Rules of directions that `policyTypes` leaves out.

use podgate_policy::model::{Direction, Policy};

use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity};

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let is_left_out = |direction: &Direction| known.written.ineffective.contains(&(policy.key.clone(), *direction));
    Direction::ALL.into_iter().filter(is_left_out).map(|direction| finding(policy, direction)).collect()
}

fn finding(policy: &Policy, direction: Direction) -> Finding {
    let name = match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    };
    Finding {
        object: policy.into(),
        yaml: None,
        field: Field::PolicyTypes,
        rule: Rule::RulesWithoutType,
        severity: Severity::Error,
        why: format!(
            "the policy has {direction} rules, but policyTypes leaves {name} out, so they neither isolate nor allow"
        ),
        instead: format!("add {name} to policyTypes, or remove spec.{direction}"),
    }
}
