//! What a source has handed on, and what differs since.

use std::collections::BTreeMap;

use crate::object::{Change, Kind, Object, ObjectRef, Update};

/// The state of all objects, and what it was when the last update was taken where that differs.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<ObjectRef, Object>,
    counts: BTreeMap<Kind, usize>,
    before: BTreeMap<ObjectRef, Option<Object>>,
}

impl Store {
    pub(crate) fn get(&self, reference: &ObjectRef) -> Option<&Object> {
        self.objects.get(reference)
    }

    pub(crate) fn apply(&mut self, object: Object) {
        let reference = object.reference();
        let before = self.objects.insert(reference.clone(), object);
        if before.is_none() {
            *self.counts.entry(reference.kind()).or_default() += 1;
        }
        self.before.entry(reference).or_insert(before);
    }

    pub(crate) fn delete(&mut self, reference: &ObjectRef) {
        if let Some(before) = self.objects.remove(reference) {
            self.counts.entry(reference.kind()).and_modify(|count| *count -= 1);
            self.before.entry(reference.clone()).or_insert(Some(before));
        }
    }

    /// Makes these the only objects of the kinds that `concerned` names.
    pub(crate) fn replace(&mut self, concerned: impl Fn(Kind) -> bool, objects: BTreeMap<ObjectRef, Object>) {
        let gone = |reference: &&ObjectRef| concerned(reference.kind()) && !objects.contains_key(*reference);
        let gone: Vec<_> = self.objects.keys().filter(gone).cloned().collect();
        for reference in &gone {
            self.delete(reference);
        }
        for object in objects.into_values() {
            self.apply(object);
        }
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// What turns the state at the last call into the present one.
    pub(crate) fn take_update(&mut self) -> Update {
        let before = std::mem::take(&mut self.before);
        before.into_iter().filter_map(|(reference, before)| self.change(reference, before.as_ref())).collect()
    }

    fn change(&self, reference: ObjectRef, before: Option<&Object>) -> Option<Change> {
        match (before, self.objects.get(&reference)) {
            (_, Some(now)) if before != Some(now) => Some(Change::Apply(now.clone())),
            (Some(_), None) => Some(Change::Delete(reference)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use podgate_policy::model::{Labels, Namespace};

    use super::*;

    fn namespace(name: &str, tier: &str) -> Object {
        let labels = Labels::from([("tier".into(), tier.into())]);
        Object::Namespace(Arc::new(Namespace { name: name.into(), labels, audit: false }))
    }

    fn reference(name: &str) -> ObjectRef {
        ObjectRef::Namespace(name.into())
    }

    fn by_reference(objects: impl IntoIterator<Item = Object>) -> BTreeMap<ObjectRef, Object> {
        objects.into_iter().map(|object| (object.reference(), object)).collect()
    }

    #[test]
    fn only_differences_since_the_last_update_are_in_the_next() {
        let mut store = Store::default();
        store.apply(namespace("a", "1"));
        store.apply(namespace("b", "1"));
        assert_eq!(store.take_update(), [Change::Apply(namespace("a", "1")), Change::Apply(namespace("b", "1"))]);

        store.apply(namespace("a", "1"));
        store.apply(namespace("b", "2"));
        assert_eq!(store.take_update(), [Change::Apply(namespace("b", "2"))]);
        assert_eq!(store.take_update(), []);
    }

    #[test]
    fn changes_that_cancel_out_are_no_change() {
        let mut store = Store::default();
        store.apply(namespace("a", "1"));
        store.take_update();
        store.apply(namespace("a", "2"));
        store.apply(namespace("a", "1"));
        store.apply(namespace("b", "1"));
        store.delete(&reference("b"));
        assert_eq!(store.take_update(), []);
    }

    #[test]
    fn object_that_is_made_again_is_applied_once() {
        let mut store = Store::default();
        store.apply(namespace("a", "1"));
        store.take_update();
        store.delete(&reference("a"));
        store.apply(namespace("a", "2"));
        assert_eq!(store.take_update(), [Change::Apply(namespace("a", "2"))]);
    }

    #[test]
    fn replacement_deletes_what_is_not_in_it() {
        let mut store = Store::default();
        store.replace(|_| true, by_reference([namespace("a", "1"), namespace("b", "1"), namespace("c", "1")]));
        store.take_update();
        store.replace(|_| true, by_reference([namespace("b", "1"), namespace("c", "2"), namespace("d", "1")]));
        assert_eq!(
            store.take_update(),
            [Change::Delete(reference("a")), Change::Apply(namespace("c", "2")), Change::Apply(namespace("d", "1")),]
        );
    }

    #[test]
    fn replacement_of_one_kind_leaves_the_others_alone() {
        let mut store = Store::default();
        store.apply(namespace("a", "1"));
        store.take_update();
        store.replace(|kind| kind == Kind::Pod, BTreeMap::new());
        assert_eq!(store.take_update(), []);
    }
}
