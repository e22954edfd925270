//! NetworkPolicies, checked as the API server checks them.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicySpec,
};
use podgate_policy::model::{Direction, Isolation, ObjectKey, Policy, Rule};
use serde_json::Value;

use super::decode::{UnknownFields, decode};
use super::fallback::fallback;
use super::path::{Path, quote};
use super::report::Issue;
use super::{Raw, Scope, meta, rule, selector};
use crate::object::Kind;

/// What became of a NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// It is valid.
    Valid(Policy),
    /// It isn't.
    Invalid {
        /// What to enforce unless an earlier, valid version is known: the policy without any of its rules. It isolates the pods
        /// it selects, or all of the namespace where its selector can't be read, in the directions it names, or in both where
        /// those can't be read.
        fallback: Policy,
        /// What is wrong with it: at least one thing.
        issues: Vec<Issue>,
    },
}

pub(super) fn policy(raw: Raw<'_>, mut scope: Scope<'_>) -> Parsed {
    let decoded: Option<NetworkPolicy> =
        decode(Kind::NetworkPolicy, raw.value, UnknownFields::Report, &mut scope.report);
    let valid = decoded.map(|decoded| {
        let key = meta::namespaced(&decoded.metadata, &mut scope);
        meta::labels(&decoded.metadata, &mut scope);
        meta::check_annotations(&decoded.metadata, &mut scope);
        let audit = meta::audit(&decoded.metadata, &mut scope);
        Policy { audit, ..spec(key, &decoded.spec.unwrap_or_default(), &mut scope) }
    });
    match valid {
        Some(policy) if scope.report.is_clean() => Parsed::Valid(policy),
        _ => Parsed::Invalid { fallback: fallback(raw, &mut scope), issues: scope.report.finish() },
    }
}

fn spec(key: ObjectKey, from: &NetworkPolicySpec, scope: &mut Scope<'_>) -> Policy {
    let path = Path::Root.field("spec");
    let pod_selector = from
        .pod_selector
        .as_ref()
        .map(|selector| selector::selector(selector, &path.field("podSelector"), scope))
        .unwrap_or_default();
    let affected = Affected::read(from, scope);
    let ingress = ingress_rules(from.ingress.as_deref().unwrap_or_default(), &path.field("ingress"), scope);
    let egress = egress_rules(from.egress.as_deref().unwrap_or_default(), &path.field("egress"), scope);
    let isolation = |affected, rules| if affected { Isolation::Restricted(rules) } else { Isolation::Unaffected };
    Policy {
        key,
        pod_selector,
        ingress: isolation(affected.ingress, ingress),
        egress: isolation(affected.egress, egress),
        audit: false,
    }
}

fn ingress_rules(rules: &[NetworkPolicyIngressRule], path: &Path<'_>, scope: &mut Scope<'_>) -> Vec<Rule> {
    let convert = |(index, from): (usize, &NetworkPolicyIngressRule)| {
        let peers = from.from.as_deref().unwrap_or_default();
        rule::rule(Direction::Ingress, peers, from.ports.as_deref().unwrap_or_default(), &path.index(index), scope)
    };
    rules.iter().enumerate().map(convert).collect()
}

fn egress_rules(rules: &[NetworkPolicyEgressRule], path: &Path<'_>, scope: &mut Scope<'_>) -> Vec<Rule> {
    let convert = |(index, from): (usize, &NetworkPolicyEgressRule)| {
        let peers = from.to.as_deref().unwrap_or_default();
        rule::rule(Direction::Egress, peers, from.ports.as_deref().unwrap_or_default(), &path.index(index), scope)
    };
    rules.iter().enumerate().map(convert).collect()
}

/// Whether a policy says nothing: it has no spec, or one without any field.
pub(super) fn is_empty(policy: &Value) -> bool {
    match &policy["spec"] {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

/// The directions in which a policy has rules that its `policyTypes` leaves out.
pub(super) fn ineffective_rules(policy: &Value) -> Vec<Direction> {
    let spec = &policy["spec"];
    let types = spec["policyTypes"].as_array().filter(|types| !types.is_empty());
    let has_rules = |direction: &Direction| spec[direction.as_str()].as_array().is_some_and(|rules| !rules.is_empty());
    let is_left_out = |direction: &Direction| {
        let named = |types: &Vec<Value>| {
            types.iter().filter_map(Value::as_str).any(|name| direction.as_str().eq_ignore_ascii_case(name))
        };
        types.is_some_and(|types| !named(types))
    };
    Direction::ALL.into_iter().filter(|direction| has_rules(direction) && is_left_out(direction)).collect()
}

/// The directions that a policy says anything about.
pub(super) struct Affected {
    pub(super) ingress: bool,
    pub(super) egress: bool,
}

impl Affected {
    /// Both.
    pub(super) const BOTH: Self = Self { ingress: true, egress: true };

    /// As `policyTypes` says; where that is absent or empty: ingress, and egress if there are egress rules.
    pub(super) fn read(from: &NetworkPolicySpec, scope: &mut Scope<'_>) -> Self {
        let types = from.policy_types.as_deref().unwrap_or_default();
        if types.is_empty() {
            return Self { ingress: true, egress: from.egress.as_ref().is_some_and(|rules| !rules.is_empty()) };
        }
        let spec = Path::Root.field("spec");
        let path = spec.field("policyTypes");
        if types.len() > 2 {
            scope.report.invalid(&path, format!("{} policy types: expected at most two", types.len()));
        }
        for (index, unknown) in
            types.iter().enumerate().filter(|(_, name)| !matches!(name.as_str(), "Ingress" | "Egress"))
        {
            let message = format!("{} is not a policy type: expected Ingress or Egress", quote(unknown));
            scope.report.invalid(&path.index(index), message);
        }
        let names = |name| types.iter().any(|listed| listed == name);
        Self { ingress: names("Ingress"), egress: names("Egress") }
    }
}
