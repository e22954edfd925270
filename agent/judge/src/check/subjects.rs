//! Policies that select nothing.

use podgate_policy::model::{Labels, Policy};

use crate::check::known::Known;
use crate::check::near::{nearest, slips};
use crate::check::peers::{names, slip_finding, values_there};
use crate::check::{Field, Finding, Rule, Severity};
use crate::explain::words;

pub(super) fn finding(known: &Known<'_>, policy: &Policy) -> Option<Finding> {
    if !known.has_pods() {
        return None;
    }
    let own = &*policy.key.namespace;
    let here: Vec<_> = known.labels_in(own).into_iter().collect();
    let slips = slips(&policy.pod_selector, &here, known.all_labels());
    if !slips.is_empty() {
        return Some(slip_finding(policy, Field::PodSelector, &slips, &format!("pod of namespace {own}")));
    }
    if !known.selected(policy).is_empty() || known.is_hidden(own) {
        return None;
    }
    let here: Vec<&Labels> = known.pods_in(own).iter().map(|pod| &pod.labels).collect();
    let (severity, why, instead) = words(known, policy, &here);
    let rule = Rule::PolicySelectsNothing;
    Some(Finding { object: policy.into(), yaml: None, field: Field::PodSelector, rule, severity, why, instead })
}

fn words(known: &Known<'_>, policy: &Policy, here: &[&Labels]) -> (Severity, String, String) {
    let own = &*policy.key.namespace;
    let selector = words::selector(&policy.pod_selector);
    let on_host = known.host_pods(&[own], &policy.pod_selector);
    if !on_host.is_empty() {
        let why = format!("the policy selects only host-network pods ({}), which no policy isolates", names(&on_host));
        // One that selects every pod is there for those to come.
        let severity = if policy.pod_selector.requirements().is_empty() { Severity::Note } else { Severity::Warning };
        return (severity, why, "protect these by other means: they are processes of their node".to_owned());
    }
    if here.is_empty() {
        return empty_namespace(known, own);
    }
    let why = format!("no pod of namespace {own} has {selector}");
    let instead = match values_there(&policy.pod_selector, here) {
        Some(values) => format!("use labels of the pods that are meant: there, {values}"),
        None => "use labels of the pods that are meant".to_owned(),
    };
    (Severity::Warning, why, instead)
}

fn empty_namespace(known: &Known<'_>, own: &str) -> (Severity, String, String) {
    let inhabited = known.all_namespaces().keys().map(|name| &**name).filter(|name| !known.pods_in(name).is_empty());
    match nearest(own, inhabited) {
        Some(meant) => (
            Severity::Warning,
            format!("there are no pods in namespace {own}"),
            format!("did you mean namespace {meant}?"),
        ),
        None => (
            Severity::Note,
            format!("there are no pods in namespace {own}"),
            "move the policy to the namespace of the pods it is meant for, unless they are yet to come".to_owned(),
        ),
    }
}
