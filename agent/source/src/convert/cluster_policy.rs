//! ClusterNetworkPolicies, checked as the API server checks them (`policy.networking.k8s.io/v1alpha2`).
//!
//! Read without types of the API's, so that every field is seen. What can't be understood outside the rules leaves the
//! policy out, loudly: whom it is about is not known then. A rule that can't be understood fails closed in its place, as a
//! whole, and the other rules stand.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use podgate_policy::cluster_policy::{ClusterPolicy, ClusterRule, PodSelection, Tier};
use podgate_policy::model::{Direction, Selector};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::decode::{as_kind, decode_part};
use super::path::{Path, quote};
use super::report::{Issue, Report};
use super::{Raw, Scope, cluster_rule, meta, selector, syntax};
use crate::object::Kind;
use crate::problem::Effect;

/// So many rules there may be in a direction.
const MAX_RULES: usize = 25;
const HIGHEST_PRIORITY: u16 = 1000;

/// The policy, unless it has to be left out, and everything that is wrong with it.
pub(super) fn cluster_policy(raw: Raw<'_>, mut scope: Scope<'_>) -> (Option<ClusterPolicy>, Vec<Issue>) {
    as_kind(Kind::ClusterNetworkPolicy, raw.value, &mut scope.report);
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let object = fields(raw.value, &known, &Path::Root, &mut scope);
    let (name, audit) = metadata(raw, &mut scope);
    for field in raw.repeated.iter().filter(|field| !is_of_rule(field) && !is_of_metadata(field)) {
        scope.report.repeated(field.clone());
    }
    let spec = object.and_then(|object| {
        let path = Path::Root.field("spec");
        match field(object, "spec") {
            Some(value) => spec(name, audit, value, raw.repeated, &mut scope),
            None => {
                scope.report.invalid(&path, "missing: expected tier, priority, subject and rules");
                None
            }
        }
    });
    let policy = spec.filter(|policy| !policy.name.is_empty() && !scope.report.has_effect());
    if policy.is_none() {
        scope.report.all_have(Effect::LeftOut);
    }
    (policy, scope.report.finish())
}

/// Whether a path is that of a rule or of something in it.
fn is_of_rule(path: &str) -> bool {
    ["spec.ingress[", "spec.egress["].into_iter().any(|rules| path.starts_with(rules))
}

/// Whether a path is that of something that does not say which policy it is.
fn is_of_metadata(path: &str) -> bool {
    path.starts_with("metadata.") && path != "metadata.name"
}

/// The name, and whether the policy is in audit mode. What is wrong beside the name changes nothing of what the policy
/// means.
fn metadata(raw: Raw<'_>, scope: &mut Scope<'_>) -> (Arc<str>, bool) {
    #[derive(Default, Deserialize)]
    struct Envelope {
        metadata: Option<ObjectMeta>,
    }
    let mut part = scope.with_report(Report::new(Effect::Used));
    for field in raw.repeated.iter().filter(|field| is_of_metadata(field)) {
        part.report.repeated(field.clone());
    }
    let value = json!({"metadata": raw.value.get("metadata").cloned().unwrap_or_default()});
    let (envelope, unknown): (Envelope, _) = decode_part(Cow::Owned(value), &mut part.report).unwrap_or_default();
    for field in unknown {
        part.report.unknown(field, "unknown field".to_owned());
    }
    let metadata = envelope.metadata.unwrap_or_default();
    if let Some(namespace) = metadata.namespace.as_deref().filter(|text| !text.is_empty()) {
        let message = format!("{}: expected none, since the kind is cluster-scoped", quote(namespace));
        part.report.questionable(&Path::Root.field("metadata").field("namespace"), message);
    }
    meta::labels(&metadata, &mut part);
    meta::check_annotations(&metadata, &mut part);
    let audit = meta::audit(&metadata, &mut part);
    let report = part.report;
    scope.report.absorb(&Path::Root, report);
    let has_name = metadata.name.as_deref().is_some_and(|name| !name.is_empty());
    let name = meta::name(&metadata, syntax::dns_subdomain, scope);
    // Without a name of its own there is nothing to call it by, and its report has that already.
    (if has_name { name } else { "".into() }, audit)
}

fn spec(
    name: Arc<str>,
    audit: bool,
    value: &Value,
    repeated: &[String],
    scope: &mut Scope<'_>,
) -> Option<ClusterPolicy> {
    let path = Path::Root.field("spec");
    let spec = fields(value, &["tier", "priority", "subject", "ingress", "egress"], &path, scope)?;
    let tier = tier(field(spec, "tier"), &path.field("tier"), scope);
    let priority = priority(field(spec, "priority"), &path.field("priority"), scope);
    let subject = subject(field(spec, "subject"), &path.field("subject"), scope);
    let mut rules = |direction: Direction| {
        let path = path.field(direction.as_str());
        rules(direction, field(spec, direction.as_str()), repeated, &path, scope)
    };
    let (ingress, egress) = (rules(Direction::Ingress), rules(Direction::Egress));
    Some(ClusterPolicy { name, tier: tier?, priority: priority?, subject: subject?, ingress, egress, audit })
}

fn tier(value: Option<&Value>, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<Tier> {
    let tier = value.and_then(|value| Tier::ALL.into_iter().find(|tier| value.as_str() == Some(tier.as_str())));
    if tier.is_none() {
        scope.report.invalid(path, format!("{}: expected Admin or Baseline", given(value)));
    }
    tier
}

fn priority(value: Option<&Value>, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<u16> {
    let number = value.and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
    let priority = number.filter(|number| *number <= HIGHEST_PRIORITY);
    if priority.is_none() {
        scope.report.invalid(path, format!("{}: expected 0 to {HIGHEST_PRIORITY}", given(value)));
    }
    priority
}

fn subject(value: Option<&Value>, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<PodSelection> {
    let Some(value) = value else {
        scope.report.invalid(path, "missing: expected namespaces or pods");
        return None;
    };
    let subject = fields(value, &["namespaces", "pods"], path, scope)?;
    match (field(subject, "namespaces"), field(subject, "pods")) {
        (Some(namespaces), None) => Some(of_namespaces(namespaces, &path.field("namespaces"), scope)),
        (None, Some(pods)) => of_pods(pods, &path.field("pods"), scope),
        _ => {
            scope.report.invalid(path, "expected exactly one of namespaces, pods");
            None
        }
    }
}

/// All pods of the selected namespaces.
pub(super) fn of_namespaces(value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> PodSelection {
    PodSelection { namespaces: selector(value, path, scope), pods: Selector::default() }
}

/// The selected pods, of all namespaces where none are selected.
pub(super) fn of_pods(value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<PodSelection> {
    let both = fields(value, &["namespaceSelector", "podSelector"], path, scope)?;
    let namespaces = field(both, "namespaceSelector");
    let namespaces = namespaces.map(|value| selector(value, &path.field("namespaceSelector"), scope));
    let path = path.field("podSelector");
    let Some(pods) = field(both, "podSelector") else {
        scope.report.invalid(&path, "missing: expected a selector, which may be empty");
        return None;
    };
    Some(PodSelection { namespaces: namespaces.unwrap_or_default(), pods: selector(pods, &path, scope) })
}

/// A label selector; whatever is wrong with it is reported, and then it must not be used.
pub(super) fn selector(value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> Selector {
    let mut part = scope.with_report(scope.report.same());
    let decoded: Option<(LabelSelector, _)> = decode_part(Cow::Borrowed(value), &mut part.report);
    let (decoded, unknown) = decoded.unwrap_or_default();
    for field in unknown {
        part.report.unknown(field, "unknown field: expected one of matchLabels, matchExpressions".to_owned());
    }
    let selector = selector::selector(&decoded, &Path::Root, &mut part);
    let report = part.report;
    scope.report.absorb(path, report);
    selector
}

/// Peers of Accept rules that select pods by labels and say nothing of their namespace.
pub(super) fn unscoped(object: &Value) -> Vec<(Direction, usize, usize)> {
    let mut found = vec![];
    for (direction, peers) in [(Direction::Ingress, "from"), (Direction::Egress, "to")] {
        let rules = object["spec"][direction.as_str()].as_array().into_iter().flatten().enumerate();
        for (rule, value) in rules.filter(|(_, rule)| rule["action"] == "Accept") {
            for (peer, value) in value[peers].as_array().into_iter().flatten().enumerate() {
                let selects = value["pods"]["podSelector"].as_object().is_some_and(|selector| !selector.is_empty());
                if selects && value["pods"]["namespaceSelector"].is_null() {
                    found.push((direction, rule, peer));
                }
            }
        }
    }
    found
}

fn rules(
    direction: Direction,
    value: Option<&Value>,
    repeated: &[String],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Vec<ClusterRule> {
    let Some(value) = value else { return vec![] };
    let Some(rules) = value.as_array() else {
        scope.report.unreadable(path.to_string(), "not a list: expected a list of rules".to_owned());
        return vec![];
    };
    if rules.len() > MAX_RULES {
        scope.report.questionable(path, format!("{} rules: expected at most {MAX_RULES}", rules.len()));
    }
    let rule = |(index, rule)| cluster_rule::rule(direction, rule, repeated, &path.index(index), scope);
    rules.iter().enumerate().map(rule).collect()
}

/// The entries of a mapping, and a report of those that are not known.
pub(super) fn fields<'v>(
    value: &'v Value,
    known: &[&str],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Option<&'v Map<String, Value>> {
    let Some(fields) = value.as_object() else {
        let message = format!("not a mapping: expected {}", known.join(", "));
        scope.report.unreadable(path.to_string(), message);
        return None;
    };
    for field in fields.keys().filter(|field| !known.contains(&field.as_str())) {
        let message = format!("unknown field: expected one of {}", known.join(", "));
        let mut at = path.to_string();
        super::push_field(&mut at, field);
        scope.report.unknown(at, message);
    }
    Some(fields)
}

/// An entry of a mapping; null is none.
pub(super) fn field<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// What is given, for a message that says what is expected instead.
pub(super) fn given(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(Value::String(text)) => quote(text),
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(Value::Object(_)) => "a mapping".to_owned(),
        Some(plain) => plain.to_string(),
    }
}
