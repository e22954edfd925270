//! Field selectors, as the API server has them: `path=value` and `path!=value`, joined by commas.

use serde_json::{Value, json};

use super::Changed;

/// Which objects somebody asks for.
pub(super) struct Selector(Vec<Term>);

struct Term {
    /// A JSON pointer.
    field: String,
    value: String,
    equal: bool,
}

impl Selector {
    pub(super) fn new(text: &str) -> Self {
        Self(text.split(',').filter(|term| !term.is_empty()).map(Term::new).collect())
    }

    pub(super) fn takes(&self, object: &Value) -> bool {
        self.0.iter().all(|term| term.takes(object))
    }

    /// What somebody who asked for these objects is told of a change. An object that is no longer among them is gone for
    /// him, as it last was.
    pub(super) fn event(&self, changed: &Changed) -> Option<Value> {
        let taken = |object: &Option<Value>| object.clone().filter(|object| self.takes(object));
        let (kind, mut object) = match (taken(&changed.before), taken(&changed.after)) {
            (None, None) => return None,
            (None, Some(object)) => ("ADDED", object),
            (Some(_), Some(object)) => ("MODIFIED", object),
            (Some(object), None) => ("DELETED", object),
        };
        object["metadata"]["resourceVersion"] = changed.version.to_string().into();
        Some(json!({"type": kind, "object": object}))
    }
}

impl Term {
    fn new(text: &str) -> Self {
        let (field, value) = text.split_once('=').expect("a term");
        let (field, equal) = field.strip_suffix('!').map_or((field, true), |field| (field, false));
        Self { field: format!("/{}", field.replace('.', "/")), value: value.to_owned(), equal }
    }

    fn takes(&self, object: &Value) -> bool {
        let value = object.pointer(&self.field).and_then(Value::as_str).unwrap_or_default();
        (value == self.value) == self.equal
    }
}
