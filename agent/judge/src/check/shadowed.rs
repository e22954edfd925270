//! Rules beside others that allow everything to the same pods.

use std::collections::BTreeSet;

use podgate_policy::evaluate::{RuleRef, isolating};
use podgate_policy::model::{self, Direction, Peers, Pod, Policy, Ports};

use crate::check::known::{Known, all_rules};
use crate::check::{Field, Finding, Rule, Severity};

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let restricting: Vec<_> = all_rules(policy).filter(|(.., rule)| !allows_all(rule)).collect();
    let mut findings = Vec::new();
    for direction in Direction::ALL {
        let rules = || restricting.iter().filter(|(its, ..)| *its == direction);
        if rules().next().is_none() {
            continue;
        }
        if let Some(by) = shadowing(known, policy, direction) {
            findings.extend(rules().map(|(_, index, _)| finding(policy, &by, direction, *index)));
        }
    }
    findings
}

fn finding(policy: &Policy, by: &BTreeSet<RuleRef>, direction: Direction, index: usize) -> Finding {
    let rules: Vec<_> = by.iter().map(ToString::to_string).collect();
    Finding {
        object: policy.into(),
        yaml: None,
        field: Field::Rule(direction, index),
        rule: Rule::RuleShadowed,
        severity: Severity::Warning,
        why: format!("the rule has no effect: {} allows all {direction} of the same pods", rules.join(", ")),
        instead: "remove the rule that allows everything, if this one is meant to restrict; else remove this one"
            .to_owned(),
    }
}

/// The rules that allow everything, one for each selected pod; `None` if some pod has none. Without pods, the policy's own.
fn shadowing(known: &Known<'_>, policy: &Policy, direction: Direction) -> Option<BTreeSet<RuleRef>> {
    if let Some(own) = allow_all(policy, direction) {
        return Some(BTreeSet::from([own]));
    }
    let of_pod = |pod: &Pod| {
        let mut sound = isolating(known.cluster, pod, direction).into_iter();
        sound.find_map(|policy| allow_all(policy, direction))
    };
    let rules: Option<BTreeSet<_>> = known.selected(policy).into_iter().map(of_pod).collect();
    rules.filter(|rules| !rules.is_empty())
}

/// The first rule of a policy that allows everything.
fn allow_all(policy: &Policy, direction: Direction) -> Option<RuleRef> {
    let mut rules = all_rules(policy).filter(|(its, ..)| *its == direction);
    let (_, index, _) = rules.find(|(.., rule)| allows_all(rule))?;
    Some(RuleRef { policy: policy.key.clone().into(), direction, index })
}

fn allows_all(rule: &model::Rule) -> bool {
    rule.peers == Peers::Any && rule.ports == Ports::Any
}
