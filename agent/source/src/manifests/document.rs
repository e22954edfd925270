//! The objects of a document: itself, or the items of a list.

use serde_json::Value;

use super::foreign::ForeignPolicy;
use super::template::Template;
use super::tree::{ITEMS, Tree};
use crate::convert::{Raw, push_index, quote};
use crate::object::Kind;
use crate::problem::ProblemKind;

/// One object of a document.
pub(super) enum Found {
    /// An object that podgate reads.
    Known(Kind, Tree),
    /// An object of another kind that makes pods.
    Workload(Template),
    /// A policy of another kind.
    Policy(ForeignPolicy),
    /// An object of another kind.
    Foreign(String),
    /// Something that is no object.
    NoObject(NoObject),
}

/// Something that is no object.
pub(super) struct NoObject {
    /// The field that is wrong, if one is meant.
    pub(super) field: Option<String>,
    /// What sort of mistake it is.
    pub(super) kind: ProblemKind,
    /// What is wrong and what is expected.
    pub(super) message: String,
    /// Whether it may be what is left of an object.
    pub(super) doubtful: bool,
}

impl NoObject {
    fn new(field: Option<&str>, kind: ProblemKind, message: &str) -> Self {
        Self { field: field.map(str::to_owned), kind, message: message.to_owned(), doubtful: true }
    }
}

impl Tree {
    pub(super) fn raw(&self) -> Raw<'_> {
        Raw { value: &self.value, repeated: &self.repeated }
    }
}

/// The objects of a document, lists taken apart. A document that is null has none, as for kubectl; in a list null stands for
/// an object that was taken before.
pub(super) fn objects(tree: Tree) -> Vec<Found> {
    let mut found = vec![];
    collect(tree, None, &mut found);
    found
}

/// `item_kind` is what the items of the surrounding list are where they don't say it themselves. The depth of lists in lists is
/// that of the document, which is limited.
fn collect(mut tree: Tree, item_kind: Option<(&str, &str)>, found: &mut Vec<Found>) {
    if tree.value.is_null() {
        return;
    }
    let Some(fields) = tree.value.as_object_mut() else {
        let message = "no Kubernetes object: expected a mapping with apiVersion, kind and metadata";
        // A list is nothing that an object is damaged to; a word may be the rest of one.
        let doubtful = !tree.value.is_array();
        found.push(Found::NoObject(NoObject { doubtful, ..NoObject::new(None, ProblemKind::Syntax, message) }));
        return;
    };
    if let Some((kind, api_version)) = item_kind {
        fields.entry("kind").or_insert_with(|| kind.into());
        fields.entry("apiVersion").or_insert_with(|| api_version.into());
    }
    let Some(kind) = fields.get("kind").and_then(Value::as_str).filter(|kind| !kind.is_empty()).map(str::to_owned)
    else {
        let doubtful = ["apiVersion", "kind", "metadata", "spec"].into_iter().any(|field| fields.contains_key(field));
        let message = "missing: expected the object's kind, such as NetworkPolicy";
        found.push(Found::NoObject(NoObject { doubtful, ..NoObject::new(Some("kind"), ProblemKind::Schema, message) }));
        return;
    };
    // The conversion compares it with the right one, and names it if it differs.
    let api_version = fields.entry("apiVersion").or_insert_with(|| "".into()).as_str().unwrap_or_default().to_owned();
    match (kind.strip_suffix("List"), fields.contains_key(ITEMS), recognise(&kind, &api_version)) {
        (_, _, Some(known)) => found.push(Found::Known(known, tree)),
        (Some(item_kind), true, None) => collect_items(tree, (item_kind, &api_version), found),
        _ => {
            let policy = ForeignPolicy::of(&kind, &api_version, &tree.value);
            found.push(match policy.map(Found::Policy) {
                Some(policy) => policy,
                None => match Template::of(&kind, &api_version, tree) {
                    Some(template) => Found::Workload(template),
                    None => Found::Foreign(format!("{} {}", quote(&api_version), quote(&kind))),
                },
            });
        }
    }
}

fn collect_items(mut tree: Tree, item_kind: (&str, &str), found: &mut Vec<Found>) {
    let items = match tree.value[ITEMS].take() {
        Value::Array(items) => items,
        Value::Null => vec![],
        _ => {
            let message = "not a list: expected a list of objects";
            found.push(Found::NoObject(NoObject::new(Some(ITEMS), ProblemKind::Schema, message)));
            return;
        }
    };
    // A plain List says nothing of its items.
    let item_kind = Some(item_kind).filter(|(kind, _)| !kind.is_empty());
    for (index, value) in items.into_iter().enumerate() {
        let mut prefix = ITEMS.to_owned();
        push_index(&mut prefix, index);
        prefix.push('.');
        let repeated = tree.repeated.iter().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect();
        collect(Tree { value, repeated }, item_kind, found);
    }
    if tree.repeated.iter().any(|path| path == ITEMS) {
        let message = "the key is given twice: keep one";
        found.push(Found::NoObject(NoObject::new(Some(ITEMS), ProblemKind::Syntax, message)));
    }
}

/// The kind that an object is, or is meant to be: a wrong version or the wrong case is a mistake to report, not another kind.
fn recognise(kind: &str, api_version: &str) -> Option<Kind> {
    let group = |api_version: &str| api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let meant = Kind::ALL.into_iter().find(|known| kind.eq_ignore_ascii_case(known.as_str()))?;
    let given = group(api_version);
    let same = given == group(meant.api_version());
    // The group NetworkPolicy had first, and the lack of one; and those in which somebody may look for the other.
    let former = meant == Kind::NetworkPolicy && matches!(given.as_str(), "extensions" | "");
    let near = meant == Kind::ClusterNetworkPolicy
        && matches!(given.as_str(), "" | "networking.k8s.io" | "policy.networking.x-k8s.io");
    (same || former || near || api_version.is_empty()).then_some(meant)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kinds(value: Value) -> Vec<String> {
        let name = |found| match found {
            Found::Known(kind, tree) => format!("{kind} {}", tree.value["metadata"]["name"].as_str().unwrap_or("?")),
            Found::Workload(template) => format!("workload {}", template.kind),
            Found::Policy(_) => "policy of another kind".to_owned(),
            Found::Foreign(name) => format!("foreign {name}"),
            Found::NoObject(found) => format!("none {}", found.field.unwrap_or_default()),
        };
        objects(Tree { value, repeated: vec![] }).into_iter().map(name).collect()
    }

    #[test]
    fn lists_are_taken_apart() {
        let pod = |name| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        let inner = json!({"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "c"}}]});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod("a"), null, pod("b"), inner, 7, {}]});
        assert_eq!(kinds(list), ["Pod a", "Pod b", "Pod c", "none ", "none kind"]);
        assert_eq!(kinds(json!({"apiVersion": "v1", "kind": "List", "items": {}})), ["none items"]);
    }

    #[test]
    fn what_may_be_the_rest_of_an_object_is_doubtful_and_what_is_plainly_none_is_not() {
        let doubtful = |value| match objects(Tree { value, repeated: vec![] }).pop() {
            Some(Found::NoObject(found)) => Some(found.doubtful),
            Some(Found::Known(..) | Found::Workload(_) | Found::Policy(_) | Found::Foreign(_)) | None => None,
        };
        for (value, expected) in [
            (json!(null), None),
            (json!({"replicas": 2}), Some(false)),
            (json!({}), Some(false)),
            (json!([{"op": "add"}]), Some(false)),
            (json!("apiVersio"), Some(true)),
            (json!({"apiVersion": "networking.k8s.io/v1", "spec": {}}), Some(true)),
            (json!({"kind": "", "metadata": {}}), Some(true)),
        ] {
            assert_eq!(doubtful(value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn kinds_of_other_groups_are_foreign() {
        for (api_version, kind) in
            [("serving.knative.dev/v1", "Service"), ("apps/v1", "Deployment"), ("v1", "ConfigMap")]
        {
            let found = kinds(json!({"apiVersion": api_version, "kind": kind}));
            assert_eq!(found, [format!("foreign \"{api_version}\" \"{kind}\"")]);
        }
        assert_eq!(
            kinds(json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy"})),
            ["policy of another kind"]
        );
    }

    #[test]
    fn a_policy_with_a_wrong_version_or_case_is_still_meant_as_one() {
        for (api_version, kind) in [
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("networking.k8s.io/v1beta1", "NetworkPolicy"),
            ("extensions/v1beta1", "NetworkPolicy"),
            ("v1", "NetworkPolicy"),
            ("", "NetworkPolicy"),
            ("networking.k8s.io/v1", "networkpolicy"),
        ] {
            assert_eq!(
                kinds(json!({"apiVersion": api_version, "kind": kind})),
                ["NetworkPolicy ?"],
                "{api_version} {kind}"
            );
        }
    }
}
