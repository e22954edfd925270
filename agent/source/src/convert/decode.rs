//! From untyped values to the API's types, with the path of whatever doesn't fit.

use std::borrow::Cow;

use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path as ErrorPath, Segment};

use super::path::quote;
use super::report::Report;
use crate::object::Kind;

/// What to do about fields that the API doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownFields {
    /// Report them: a typing error, or something newer, which in a policy would change the meaning.
    Report,
    /// Pass over them.
    Ignore,
}

/// Reads an object as an API type. Whatever has a wrong type is reported and then taken as absent; none if even that doesn't
/// help.
pub(super) fn decode<T: DeserializeOwned>(
    kind: Kind,
    value: &Value,
    unknown: UnknownFields,
    report: &mut Report,
) -> Option<T> {
    let value = as_kind(kind, value, report);
    // What fits, as nearly everything does, is read without noting where in it one is.
    if unknown == UnknownFields::Ignore
        && let Ok(decoded) = T::deserialize(&*value)
    {
        return Some(decoded);
    }
    decode_part(value, report).map(|(decoded, fields)| {
        if unknown == UnknownFields::Report {
            report_unknown(kind, fields, report);
        }
        decoded
    })
}

/// Reads a part of an object, and names the fields that it doesn't have, as [`decode`] does.
pub(super) fn decode_part<T: DeserializeOwned>(value: Cow<'_, Value>, report: &mut Report) -> Option<(T, Vec<String>)> {
    /// A value with more type errors than this is not meant to be this type.
    const MAX_TYPE_ERRORS: usize = 20;
    let mut value = value;
    for _ in 0..MAX_TYPE_ERRORS {
        match attempt(&value) {
            Ok(decoded) => return Some(decoded),
            Err(error) => {
                report.unreadable(render(error.path()), plain_words(&error.inner().to_string()));
                blank_out(value.to_mut(), error.path())?;
            }
        }
    }
    None
}

/// The object with its right kind and version, which are reported if they differ. Lists leave them out.
pub(super) fn as_kind<'v>(kind: Kind, value: &'v Value, report: &mut Report) -> Cow<'v, Value> {
    let mut value = Cow::Borrowed(value);
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.as_str())] {
        let given = value.get(field).filter(|given| given.as_str() != Some(expected)).cloned();
        let Some(given) = given else { continue };
        let message = match given.as_str() {
            Some("") => format!("missing: expected {expected}"),
            Some(given) => format!("{}: expected {expected}", quote(given)),
            None => format!("no text: expected {expected}"),
        };
        report.mistaken(field, message);
        value.to_mut()[field] = expected.into();
    }
    value
}

type Attempt<T> = Result<(T, Vec<String>), serde_path_to_error::Error<serde_json::Error>>;

fn attempt<T: DeserializeOwned>(value: &Value) -> Attempt<T> {
    let mut unknown = vec![];
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    let decoded = serde_ignored::deserialize(deserializer, |path| unknown.push(render_ignored(&path)));
    match decoded {
        Ok(decoded) => Ok((decoded, unknown)),
        Err(error) => Err(serde_path_to_error::Error::new(track.path(), error)),
    }
}

fn report_unknown(kind: Kind, fields: Vec<String>, report: &mut Report) {
    // Servers of 1.24 to 1.27 gave policies a status, which is no part of their meaning.
    for field in fields.into_iter().filter(|field| field != "status") {
        let known = if kind == Kind::NetworkPolicy { siblings(&field) } else { None };
        let message = match known {
            Some(expected) => format!("unknown field: expected one of {expected}"),
            None => "unknown field".to_owned(),
        };
        report.unknown(field, message);
    }
}

/// The fields that may stand where this one of a NetworkPolicy does not belong.
fn siblings(field: &str) -> Option<&'static str> {
    let (parent, _) = field.rsplit_once('.').unwrap_or(("", field));
    let parent = parent.rsplit('.').next().unwrap_or(parent);
    let parent = parent.split('[').next().unwrap_or(parent);
    Some(match parent {
        "" => "apiVersion, kind, metadata, spec",
        "spec" => "podSelector, policyTypes, ingress, egress",
        "ingress" => "from, ports",
        "egress" => "to, ports",
        "from" | "to" => "podSelector, namespaceSelector, ipBlock",
        "ports" => "protocol, port, endPort",
        "ipBlock" => "cidr, except",
        "podSelector" | "namespaceSelector" => "matchLabels, matchExpressions",
        "matchExpressions" => "key, operator, values",
        _ => return None,
    })
}

/// serde's words for types, in those of the API.
fn plain_words(message: &str) -> String {
    message.replace("IntOrString", "a number or a string")
}

/// Takes away what can't be read: an entry of a mapping, or, since other items keep their numbers, an item of a list made null and
/// the list itself if that can't be read either. None if there is nothing to take away.
fn blank_out(value: &mut Value, path: &ErrorPath) -> Option<()> {
    let segments: Vec<_> = path.iter().collect();
    for depth in (0..segments.len()).rev() {
        let parent = segments[..depth].iter().try_fold(&mut *value, |place, segment| descend(place, segment));
        let taken = match (parent, segments[depth]) {
            (Some(Value::Object(fields)), Segment::Map { key }) => fields.remove(key).is_some(),
            (Some(Value::Array(items)), Segment::Seq { index }) => {
                items.get_mut(*index).is_some_and(|item| !item.take().is_null())
            }
            _ => false,
        };
        if taken {
            return Some(());
        }
    }
    None
}

fn descend<'v>(place: &'v mut Value, segment: &&Segment) -> Option<&'v mut Value> {
    match segment {
        Segment::Map { key } => place.get_mut(key),
        Segment::Seq { index } => place.get_mut(*index),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn render(path: &ErrorPath) -> String {
    let mut text = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Map { key } => push_field(&mut text, key),
            Segment::Seq { index } => push_index(&mut text, *index),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

fn render_ignored(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            render_ignored(parent)
        }
        Path::Seq { parent, index } => {
            let mut text = render_ignored(parent);
            push_index(&mut text, *index);
            text
        }
        Path::Map { parent, key } => {
            let mut text = render_ignored(parent);
            push_field(&mut text, key);
            text
        }
    }
}

/// Appends a field to a path; keys that are no plain names are quoted.
pub(crate) fn push_field(path: &mut String, key: &str) {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !plain || key.len() > 100 {
        path.push('[');
        path.push_str(&quote(key));
        path.push(']');
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Appends an index to a path.
pub(crate) fn push_index(path: &mut String, index: usize) {
    path.push('[');
    path.push_str(&index.to_string());
    path.push(']');
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use serde_json::json;

    use super::*;
    use crate::problem::Effect;

    fn mistakes(value: &Value) -> Vec<(String, String)> {
        let mut report = Report::new(Effect::Isolated);
        decode::<NetworkPolicy>(Kind::NetworkPolicy, value, UnknownFields::Report, &mut report);
        report.finish().into_iter().map(|issue| (issue.field.unwrap_or_default(), issue.message)).collect()
    }

    #[test]
    fn every_value_of_a_wrong_type_is_named() {
        let value = json!({"spec": {
            "ingress": [{"from": {}}, {"ports": [{"port": true}, {"port": 99_999_999_999_u64}]}],
            "policyTypes": "Ingress",
        }});
        let mut mistakes = mistakes(&value);
        mistakes.sort();
        assert_eq!(
            mistakes,
            [
                ("spec.ingress[0].from", "invalid type: map, expected a sequence"),
                ("spec.ingress[1].ports[0].port", "invalid type: boolean `true`, expected a number or a string"),
                ("spec.ingress[1].ports[1].port", "invalid value: integer `99999999999`, expected a 32-bit integer"),
                ("spec.policyTypes", "invalid type: string \"Ingress\", expected a sequence"),
            ]
            .map(|(field, message)| (field.to_owned(), message.to_owned()))
        );
    }

    #[test]
    fn a_mistyped_field_is_named_with_the_fields_that_belong_there() {
        let value =
            json!({"spec": {"ingress": [{"form": []}, {"from": [{"ipBlock": {"cidr": "::/0", "excpet": []}}]}]}});
        assert_eq!(
            mistakes(&value),
            [
                ("spec.ingress[0].form", "unknown field: expected one of from, ports"),
                ("spec.ingress[1].from[0].ipBlock.excpet", "unknown field: expected one of cidr, except"),
            ]
            .map(|(field, message)| (field.to_owned(), message.to_owned()))
        );
    }

    #[test]
    fn null_in_a_list_is_no_rule() {
        let value = json!({"spec": {"ingress": [null]}});
        let mut report = Report::new(Effect::Isolated);
        decode::<NetworkPolicy>(Kind::NetworkPolicy, &value, UnknownFields::Report, &mut report);
        assert_eq!(report.finish()[0].field.as_deref(), Some("spec.ingress[0]"));
    }
}
