//! The policy that stands in for an invalid one.

use std::borrow::Cow;

use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use podgate_policy::model::{Isolation, ObjectKey, Policy};
use serde_json::Value;

use super::decode::decode_part;
use super::path::Path;
use super::policy::Affected;
use super::report::Report;
use super::{Raw, Scope, selector};
use crate::problem::Effect;

/// The policy without its rules. What can't be read with certainty is taken at its widest: all pods, both directions.
pub(super) fn fallback(raw: Raw<'_>, scope: &mut Scope<'_>) -> Policy {
    let key = key(raw.value, scope);
    // Its own report: what is wrong has been said already.
    let mut scope = scope.with_report(Report::new(Effect::Isolated));
    let spec = certain_spec(raw, &mut scope);
    let pod_selector = spec
        .as_ref()
        .and_then(|spec| spec.pod_selector.as_ref())
        .map(|from| selector::selector(from, &Path::Root, &mut scope))
        .filter(|_| scope.report.is_clean())
        .unwrap_or_default();
    let affected = spec.map_or(Affected::BOTH, |spec| {
        let mut scope = scope.with_report(Report::new(Effect::Isolated));
        let affected = Affected::read(&spec, &mut scope);
        if scope.report.is_clean() { affected } else { Affected::BOTH }
    });
    let isolation = |affected| if affected { Isolation::Restricted(vec![]) } else { Isolation::Unaffected };
    // In force whatever its annotations say, which may be as wrong as the rest.
    Policy { key, pod_selector, ingress: isolation(affected.ingress), egress: isolation(affected.egress), audit: false }
}

/// The parts of the spec outside its rules, if nothing casts doubt on them.
fn certain_spec(raw: Raw<'_>, scope: &mut Scope<'_>) -> Option<NetworkPolicySpec> {
    let doubtful = |path: &String| path == "spec" || (path.starts_with("spec.") && !path.contains('['));
    if raw.repeated.iter().any(doubtful) {
        return None;
    }
    let mut spec = raw.value.get("spec")?.clone();
    // Only whether there are egress rules matters here, not what is in them.
    let fields = spec.as_object_mut()?;
    fields.remove("ingress");
    let has_egress =
        fields.remove("egress").is_some_and(|rules| rules.as_array().is_none_or(|rules| !rules.is_empty()));
    let (mut spec, unknown): (NetworkPolicySpec, _) = decode_part(Cow::Owned(spec), &mut scope.report)?;
    spec.egress = has_egress.then(|| vec![Default::default()]);
    (scope.report.is_clean() && unknown.is_empty()).then_some(spec)
}

fn key(value: &Value, scope: &mut Scope<'_>) -> ObjectKey {
    // A number without quotes is meant as the name that it would be with them.
    let text = |field: &str| match &value["metadata"][field] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let namespace =
        text("namespace").or_else(|| scope.origin.default_namespace().map(str::to_owned)).unwrap_or_default();
    let name = text("name").unwrap_or_else(|| scope.unnamed.to_owned());
    ObjectKey { namespace: scope.strings.share(&namespace), name: name.into() }
}

#[cfg(test)]
mod tests {
    use podgate_policy::model::Selector;
    use serde_json::json;

    use crate::convert::{Parsed, policy};

    use super::*;

    fn stand_in(spec: Value, repeated: &[&str]) -> Policy {
        let value = json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
        let repeated: Vec<_> = repeated.iter().map(ToString::to_string).collect();
        match policy(Raw { value: &value, repeated: &repeated }) {
            Parsed::Invalid { fallback, .. } => fallback,
            Parsed::Valid(policy) => panic!("{policy:?} should be invalid"),
        }
    }

    fn selects_all(policy: &Policy) -> bool {
        policy.pod_selector == Selector::default()
    }

    const NO_RULES: Isolation = Isolation::Restricted(vec![]);

    #[test]
    fn mistake_in_a_rule_keeps_selector_and_directions_and_drops_every_rule() {
        let spec = json!({
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{}, {"ports": [{"port": 0}]}],
        });
        let policy = stand_in(spec, &[]);
        assert_eq!(policy.key, ObjectKey::new("shop", "p"));
        assert!(!selects_all(&policy));
        assert_eq!((policy.ingress, policy.egress), (NO_RULES, Isolation::Unaffected));
    }

    #[test]
    fn egress_rules_affect_egress_even_if_they_are_broken() {
        let policy = stand_in(json!({"podSelector": {}, "egress": [{"to": [{}]}]}), &[]);
        assert_eq!((policy.ingress, policy.egress), (NO_RULES, NO_RULES));
    }

    #[test]
    fn egress_only_policy_stands_in_for_egress_only() {
        let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{}]}]});
        let policy = stand_in(spec, &[]);
        assert_eq!((policy.ingress, policy.egress), (Isolation::Unaffected, NO_RULES));
    }

    #[test]
    fn unusable_selector_isolates_the_whole_namespace() {
        for selector in [
            json!({"matchLabels": {"app": 1}}),
            json!({"matchLabels": {"a b": "c"}}),
            json!({"matchLabel": {"app": "web"}}),
            json!({"matchExpressions": [{"key": "app", "operator": "Is", "values": ["web"]}]}),
            json!("app=web"),
        ] {
            let policy = stand_in(json!({"podSelector": selector, "policyTypes": ["Ingress"]}), &[]);
            assert!(selects_all(&policy), "{selector}");
            assert_eq!(policy.ingress, NO_RULES, "{selector}");
        }
    }

    #[test]
    fn mistyped_field_of_the_spec_leaves_nothing_certain() {
        for spec in [
            json!({"podSelctor": {"matchLabels": {"app": "web"}}, "ingress": []}),
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyType": ["Egress"]}),
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Both"]}),
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": "Egress"}),
            json!(["podSelector"]),
        ] {
            let policy = stand_in(spec.clone(), &[]);
            assert_eq!((policy.ingress, policy.egress), (NO_RULES, NO_RULES), "{spec}");
        }
    }

    #[test]
    fn selector_given_twice_is_no_selector() {
        let spec = json!({"podSelector": {"matchLabels": {"app": "web"}}});
        assert!(selects_all(&stand_in(spec.clone(), &["spec.podSelector"])));
        assert!(selects_all(&stand_in(spec.clone(), &["spec.podSelector.matchLabels"])));
        assert!(!selects_all(&stand_in(spec, &["spec.ingress[0].from"])));
    }

    #[test]
    fn namespace_that_looks_like_a_number_is_isolated_under_its_name() {
        let value = json!({"metadata": {"name": "p", "namespace": 7}, "spec": {"podSelector": {}}});
        let Parsed::Invalid { fallback, .. } = policy(Raw::new(&value)) else { panic!("should be invalid") };
        assert_eq!(fallback.key, ObjectKey::new("7", "p"));
    }

    #[test]
    fn policy_without_a_name_isolates_under_a_name_of_its_own() {
        let value = json!({"metadata": {"namespace": "shop"}, "spec": {"podSelector": {}}});
        let Parsed::Invalid { fallback, issues } = policy(Raw::new(&value)) else { panic!("should be invalid") };
        assert_eq!(fallback.key.namespace.as_ref(), "shop");
        assert!(!fallback.key.name.is_empty());
        assert_eq!(issues[0].field.as_deref(), Some("metadata.name"));
    }
}
