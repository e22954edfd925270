//! Names and labels.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use podgate_policy::model::{Labels, ObjectKey};

use super::path::{Path, quote};
use super::{Scope, syntax};

/// Namespace and name of an object that lives in a namespace. What is wrong with them is reported; a missing name becomes
/// the scope's name for unnamed objects.
pub(super) fn namespaced(meta: &ObjectMeta, scope: &mut Scope<'_>) -> ObjectKey {
    let path = Path::Root.field("metadata");
    let namespace = meta.namespace.as_deref().filter(|text| !text.is_empty()).or(scope.origin.default_namespace());
    match namespace {
        Some(namespace) => {
            if let Err(wrong) = syntax::dns_label(namespace) {
                scope.report.questionable(&path.field("namespace"), wrong);
            }
        }
        None => scope.report.invalid(&path.field("namespace"), "missing: expected the object's namespace"),
    }
    let namespace = scope.strings.share(namespace.unwrap_or_default());
    ObjectKey { namespace, name: name(meta, syntax::dns_subdomain, scope) }
}

/// The name of an object, checked for a form.
pub(super) fn name(meta: &ObjectMeta, form: fn(&str) -> Result<(), String>, scope: &mut Scope<'_>) -> Arc<str> {
    let path = Path::Root.field("metadata");
    let path = path.field("name");
    match meta.name.as_deref().filter(|text| !text.is_empty()) {
        Some(name) => {
            if let Err(wrong) = form(name) {
                scope.report.questionable(&path, wrong);
            }
            name.into()
        }
        None => {
            let hint = if meta.generate_name.is_some() { "; generateName makes none outside the API" } else { "" };
            scope.report.invalid(&path, format!("missing: expected the object's name{hint}"));
            scope.unnamed.into()
        }
    }
}

/// The labels. Those that break the rules are reported and kept: an illegal label still says that the pod isn't without labels.
pub(super) fn labels(meta: &ObjectMeta, scope: &mut Scope<'_>) -> Labels {
    let path = Path::Root.field("metadata");
    let path = path.field("labels");
    let mut labels = Labels::new();
    for (key, value) in meta.labels.iter().flatten() {
        for checked in [syntax::label_key(key), syntax::label_value(value)] {
            if let Err(wrong) = checked {
                scope.report.questionable(&path.key(key), wrong);
            }
        }
        labels.insert(scope.strings.share(key), scope.strings.share(value));
    }
    scope.strings.share_labels(labels)
}

/// The annotation that puts a NetworkPolicy, or all policies of a Namespace, into audit mode.
pub(super) const AUDIT: &str = "podgate.io/audit";

/// Whether an object is to be in audit mode. What is neither "true" nor "false" is reported, and is not: a mistake must not
/// open anything.
pub(super) fn audit(meta: &ObjectMeta, scope: &mut Scope<'_>) -> bool {
    match meta.annotations.as_ref().and_then(|annotations| annotations.get(AUDIT)).map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let path = Path::Root.field("metadata");
            let path = path.field("annotations");
            let message = format!("{} is neither \"true\" nor \"false\": nothing is in audit mode by it", quote(other));
            scope.report.questionable(&path.key(AUDIT), message);
            false
        }
    }
}

/// Checks the keys of annotations, which mean nothing here but which the API server would refuse.
pub(super) fn check_annotations(meta: &ObjectMeta, scope: &mut Scope<'_>) {
    let path = Path::Root.field("metadata");
    let path = path.field("annotations");
    for key in meta.annotations.iter().flatten().map(|(key, _)| key) {
        scope.check(&path.key(key), syntax::label_key(&key.to_lowercase()));
    }
}
