//! One state from many files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use podgate_policy::model::{Labels, Namespace};

use super::file::Item;
use crate::convert::NAME_LABEL;
use crate::object::{Object, ObjectRef};
use crate::problem::{Effect, Origin, Problem, ProblemKind};

/// The objects of files in the given order, and what is defined more than once. Of two definitions the first counts.
///
/// Namespaces that objects are in but no file defines exist with the label that the API server gives every namespace: there they
/// would have to exist too.
pub(super) fn merge<'a>(
    files: impl IntoIterator<Item = (&'a Path, &'a [Item])>,
) -> (BTreeMap<ObjectRef, Object>, Vec<Problem>) {
    let mut merged: BTreeMap<ObjectRef, (Origin, &Object)> = BTreeMap::new();
    let mut problems = vec![];
    for (path, items) in files {
        for Item { document, object, .. } in items {
            let origin = Origin::File { path: path.into(), document: Some(*document) };
            match merged.get(&object.reference()) {
                None => drop(merged.insert(object.reference(), (origin, object))),
                Some((first, known)) if !is_harmless(known, object) => problems.push(duplicate(first, origin, object)),
                Some(_) => {}
            }
        }
    }
    let mut objects: BTreeMap<_, _> =
        merged.into_iter().map(|(reference, (_, object))| (reference, object.clone())).collect();
    add_namespaces(&mut objects);
    (objects, problems)
}

/// Many a set of files repeats the namespace in each.
fn is_harmless(one: &Object, other: &Object) -> bool {
    matches!(one, Object::Namespace(_)) && one == other
}

fn duplicate(first: &Origin, origin: Origin, object: &Object) -> Problem {
    Problem {
        origin,
        object: Some(object.reference().to_string()),
        field: None,
        kind: ProblemKind::Duplicate,
        message: format!("defined already in {first}, which counts: expected one definition"),
        effect: Effect::LeftOut,
    }
}

fn add_namespaces(objects: &mut BTreeMap<ObjectRef, Object>) {
    let names: Vec<_> = objects.keys().filter_map(namespace_of).cloned().collect();
    for name in names {
        let implied = || Object::Namespace(implied(&name).into());
        objects.entry(ObjectRef::Namespace(name.clone())).or_insert_with(implied);
    }
}

/// A namespace that no file defines.
pub(super) fn implied(name: &Arc<str>) -> Namespace {
    let labels = Labels::from([(NAME_LABEL.into(), name.clone())]);
    Namespace { name: name.clone(), labels, audit: false }
}

fn namespace_of(reference: &ObjectRef) -> Option<&Arc<str>> {
    match reference {
        ObjectRef::Pod(key) | ObjectRef::Policy(key) | ObjectRef::Service(key) | ObjectRef::EndpointSlice(key) => {
            Some(&key.namespace)
        }
        ObjectRef::Namespace(_) | ObjectRef::Node(_) | ObjectRef::ClusterPolicy(_) => None,
    }
}
