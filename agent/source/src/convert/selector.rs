//! Label selectors.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use podgate_policy::model::{Operator, Requirement, Selector};

use super::Scope;
use super::path::{Path, quote};
use super::syntax;

/// The selector; whatever is wrong with it is reported, and then it must not be used.
pub(super) fn selector(from: &LabelSelector, path: &Path<'_>, scope: &mut Scope<'_>) -> Selector {
    let labels = from.match_labels.iter().flatten();
    let mut requirements: Vec<_> = labels.map(|(key, value)| match_label(key, value, path, scope)).collect();
    let path = path.field("matchExpressions");
    for (index, expression) in from.match_expressions.iter().flatten().enumerate() {
        requirements.extend(match_expression(expression, &path.index(index), scope));
    }
    Selector::new(requirements)
}

fn match_label(key: &str, value: &str, path: &Path<'_>, scope: &mut Scope<'_>) -> Requirement {
    let labels = path.field("matchLabels");
    let path = labels.key(key);
    scope.check(&path, syntax::label_key(key));
    scope.check(&path, syntax::label_value(value));
    Requirement { key: scope.strings.share(key), operator: Operator::In(vec![scope.strings.share(value)]) }
}

fn match_expression(from: &LabelSelectorRequirement, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<Requirement> {
    scope.check(&path.field("key"), syntax::label_key(&from.key));
    let values = from.values.as_deref().unwrap_or_default();
    let at_values = path.field("values");
    for (index, value) in values.iter().enumerate() {
        scope.check(&at_values.index(index), syntax::label_value(value));
    }
    match (from.operator.as_str(), values.is_empty()) {
        ("In" | "NotIn", true) => {
            scope.report.invalid(&at_values, format!("missing: {} needs at least one value", from.operator));
        }
        ("Exists" | "DoesNotExist", false) => {
            scope.report.invalid(&at_values, format!("not allowed: {} takes no values", from.operator));
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
        (unknown, _) => {
            let message = format!("{} is not an operator: expected In, NotIn, Exists or DoesNotExist", quote(unknown));
            scope.report.invalid(&path.field("operator"), message);
        }
    }
    let values = || values.iter().map(|value| value.as_str().into()).collect();
    let operator = match from.operator.as_str() {
        "In" => Operator::In(values()),
        "NotIn" => Operator::NotIn(values()),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    Some(Requirement { key: scope.strings.share(&from.key), operator })
}
