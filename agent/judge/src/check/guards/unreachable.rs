//! Rules that are never asked about anything that they match, since an earlier one of their tier matches it all.

use podgate_policy::cluster_policy::{ClusterPolicy, ClusterRule, Matches};
use podgate_policy::evaluate::cluster_mode;
use podgate_policy::model::{Direction, Mode};

use crate::check::guards::{coverage, sound};
use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity, Subject};

pub(super) fn findings(known: &Known<'_>, policy: &ClusterPolicy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for direction in Direction::ALL {
        let before = earlier(known, policy, direction);
        for (index, rule) in policy.rules(direction).iter().enumerate() {
            if rule.matches == Matches::Nothing {
                continue;
            }
            let own = policy.rules(direction)[..index].iter().enumerate();
            let own = own.map(|(index, rule)| (policy, index, rule));
            let by = before.iter().copied().chain(own).find(|(_, _, earlier)| coverage::covers(earlier, rule));
            findings.extend(by.map(|by| finding(policy, direction, index, by)));
        }
    }
    findings
}

/// The rules of policies in force that are asked before, about whatever pods this policy selects.
fn earlier<'c>(
    known: &Known<'c>,
    policy: &ClusterPolicy,
    direction: Direction,
) -> Vec<(&'c ClusterPolicy, usize, &'c ClusterRule)> {
    let policies = sound(known).take_while(|earlier| earlier.name != policy.name);
    let in_force = policies.filter(|earlier| {
        let is_enforced = cluster_mode(known.cluster, earlier) == Mode::Enforced;
        is_enforced && earlier.tier == policy.tier && coverage::covers_selection(&earlier.subject, &policy.subject)
    });
    let rules = in_force.flat_map(move |policy| {
        policy.rules(direction).iter().enumerate().map(move |(index, rule)| (&**policy, index, rule))
    });
    rules.collect()
}

fn finding(
    policy: &ClusterPolicy,
    direction: Direction,
    index: usize,
    (by, earlier, rule): (&ClusterPolicy, usize, &ClusterRule),
) -> Finding {
    let whose = if by.name == policy.name { String::new() } else { format!("{} ", by.name) };
    Finding {
        object: Subject::ClusterPolicy(policy.name.clone()),
        field: Field::Rule(direction, index),
        rule: Rule::RuleUnreachable,
        severity: Severity::Warning,
        why: format!(
            "the rule has no effect: {whose}{direction}[{earlier}] ({}) is asked before and matches everything that it does",
            rule.action
        ),
        instead: "move the rule before that one, or remove it".to_owned(),
        yaml: None,
    }
}
