//! Policies of one tier and priority of which either may decide.

use podgate_policy::cluster_policy::{ClusterPolicy, Matches};
use podgate_policy::evaluate::selects;
use podgate_policy::model::{Direction, Pod};

use crate::check::guards::{coverage, sound};
use crate::check::known::Known;
use crate::check::{Field, Finding, Rule, Severity, Subject};

/// One for each pair, at the one that is asked second.
pub(super) fn findings(known: &Known<'_>) -> Vec<Finding> {
    let policies: Vec<_> = sound(known).collect();
    let mut findings = Vec::new();
    for (index, first) in policies.iter().enumerate() {
        let place = |policy: &ClusterPolicy| (policy.tier, policy.priority);
        let tied = policies[index + 1..].iter().take_while(|second| place(second) == place(first));
        findings.extend(tied.filter_map(|second| finding(known, first, second)));
    }
    findings
}

fn finding(known: &Known<'_>, first: &ClusterPolicy, second: &ClusterPolicy) -> Option<Finding> {
    let selects_both = |pods: &Vec<&Pod>| {
        pods.first().is_some_and(|pod| {
            selects(known.cluster, &first.subject, pod) && selects(known.cluster, &second.subject, pod)
        })
    };
    // Without pods nothing is said of what selects them, but for selectors that ask for the same.
    let overlap = first.subject == second.subject || known.groups().iter().any(selects_both);
    let (direction, one, other) = Direction::ALL.into_iter().filter(|_| overlap).find_map(|direction| {
        let rules = second.rules(direction).iter().enumerate();
        let mut pairs =
            first.rules(direction).iter().enumerate().flat_map(|one| rules.clone().map(move |it| (one, it)));
        let contradict = pairs.find(|((_, one), (_, other))| {
            one.action != other.action && one.matches != Matches::Nothing && coverage::overlap(known, one, other)
        });
        contradict.map(|((one, _), (other, _))| (direction, one, other))
    })?;
    let (tier, priority) = (first.tier, first.priority);
    Some(Finding {
        object: Subject::ClusterPolicy(second.name.clone()),
        field: Field::Priority,
        rule: Rule::PriorityTie,
        severity: Severity::Warning,
        why: format!(
            "{} has the same tier and priority ({tier}, {priority}), and its {direction}[{one}] and {direction}[{other}] here do \
             different things with the same packets: the API leaves open which of them decides",
            first.name
        ),
        instead: format!(
            "give one of them another priority; podgate asks {} first, since its name sorts first",
            first.name
        ),
        yaml: None,
    })
}
