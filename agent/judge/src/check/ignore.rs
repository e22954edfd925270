//! What an annotation of a policy says is meant so: lines of `FINDING: REASON`.

use std::collections::BTreeMap;
use std::sync::Arc;

use podgate_policy::model::{ObjectKey, Policy};

use crate::check::known::Known;
use crate::check::near::nearest;
use crate::check::{Field, Finding, Rule, Severity, Subject};

/// The reasons for which findings of policies are ignored.
pub(super) struct Ignored<'c> {
    policies: BTreeMap<(&'c ObjectKey, Rule), &'c str>,
    /// Of ClusterNetworkPolicies, by name.
    guards: BTreeMap<(&'c str, Rule), &'c str>,
}

impl<'c> Ignored<'c> {
    pub(super) fn new(known: &Known<'c>) -> Self {
        let of_policies = known.written.ignored.iter();
        let of_guards = known.written.ignored_cluster.iter().map(|(name, text)| (&**name, text));
        Self { policies: sound(of_policies), guards: sound(of_guards) }
    }

    /// Why a finding is ignored, if it is.
    pub(super) fn reason(&self, finding: &Finding) -> Option<&'c str> {
        match &finding.object {
            Subject::Policy(policy) => self.policies.get(&(policy, finding.rule)).copied(),
            Subject::ClusterPolicy(name) => self.guards.get(&(name, finding.rule)).copied(),
            Subject::Namespace(_) => None,
        }
    }
}

/// The reasons of the lines that ignore something, by policy and finding.
fn sound<'c, K: Copy + Ord + 'c>(texts: impl Iterator<Item = (K, &'c String)>) -> BTreeMap<(K, Rule), &'c str> {
    let lines = texts.flat_map(|(policy, text)| lines(text).map(move |line| (policy, line)));
    lines.filter_map(|(policy, line)| parsed(line).ok().map(|(rule, reason)| ((policy, rule), reason))).collect()
}

/// Lines that ignore nothing.
pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    without_effect(known.written.ignored.get(&policy.key), &policy.into())
}

/// The same of a ClusterNetworkPolicy.
pub(super) fn findings_of_guard(known: &Known<'_>, name: &Arc<str>) -> Vec<Finding> {
    without_effect(known.written.ignored_cluster.get(name), &Subject::ClusterPolicy(name.clone()))
}

fn without_effect(text: Option<&String>, object: &Subject) -> Vec<Finding> {
    let wrong = text.into_iter().flat_map(|text| lines(text)).filter_map(|line| parsed(line).err());
    let finding = |(why, instead)| Finding {
        object: object.clone(),
        field: Field::Ignore,
        rule: Rule::IgnoreWithoutEffect,
        severity: Severity::Warning,
        why,
        instead,
        yaml: None,
    };
    wrong.map(finding).collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// A finding and the reason, or what is wrong and what to write.
fn parsed(line: &str) -> Result<(Rule, &str), (String, String)> {
    let (name, reason) = line.split_once(':').unwrap_or((line, ""));
    let (name, reason) = (name.trim(), reason.trim());
    let Some(rule) = Rule::named(name) else {
        let names = Rule::ALL.map(Rule::name);
        let instead = match nearest(name, names) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "write a line of NAME: REASON for each finding, the name as check prints it".to_owned(),
        };
        return Err((format!("{name:?} is not the name of a finding, so nothing is ignored by it"), instead));
    };
    if reason.is_empty() {
        return Err((format!("{name} is not ignored, since no reason is given"), format!("write {name}: REASON")));
    }
    Ok((rule, reason))
}
