//! Values of documents, with the keys that were given twice, and how much memory they take.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::convert::{push_field, push_index};

/// A document, or an object of a list.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tree {
    /// Its value; of a key given twice the last, as for kubectl.
    pub(super) value: Value,
    /// The paths of keys that were given twice.
    pub(super) repeated: Vec<String>,
}

impl Tree {
    /// So many repeated keys are remembered: enough to be told, and to know that the document is doubtful.
    const MAX_REPEATED: usize = 20;
}

/// Takes an object of a list as soon as it is read, so that the whole list need not fit into memory. What is left of it in the
/// list is null.
pub(super) type Take<'a> = &'a mut dyn FnMut(Tree);

/// The list of a document whose objects are taken one by one.
pub(super) const ITEMS: &str = "items";

/// Whether an object says itself what it is, so that it can be taken before its list is known as one.
fn names_itself(value: &Value) -> bool {
    let given = |field: &str| value.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    given("kind") && given("apiVersion")
}

/// The memory that a document takes, about, and its limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// By what is read; given back when an object of a list is taken.
    used: usize,
    /// By what anchors stand for, until the document ends.
    kept: usize,
    limit: usize,
}

impl Memory {
    /// What every document may take.
    const LEAST: usize = 192 << 20;
    /// So many times its text a document may take; more than real objects do.
    const TIMES: usize = 12;

    /// For a document of so many bytes of text.
    pub(super) fn for_text(bytes: usize) -> Self {
        Self { used: 0, kept: 0, limit: bytes.saturating_mul(Self::TIMES).max(Self::LEAST) }
    }

    /// Counts a value with so many bytes of text.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.used += size_of::<Value>() + bytes;
        if self.used + self.kept > self.limit {
            return Err("the document is too large: expected smaller documents".to_owned());
        }
        Ok(())
    }

    /// Counts a mapping, without its values.
    pub(super) fn spend_mapping(&mut self) -> Result<(), String> {
        /// A node of the map, which has room for eleven entries from the first on.
        const MAP_NODE: usize = 11 * (size_of::<String>() + size_of::<Value>());
        self.spend(MAP_NODE)
    }

    /// Counts a value that stays until the document ends.
    pub(super) fn keep_value(&mut self, value: &Value) -> Result<(), String> {
        let before = self.used;
        self.spend_value(value)?;
        self.kept += self.used - before;
        self.used = before;
        Ok(())
    }

    /// Counts a value as a whole.
    pub(super) fn spend_value(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.spend(0),
            Value::String(text) => self.spend(text.len()),
            Value::Array(items) => {
                self.spend(0)?;
                items.iter().try_for_each(|item| self.spend_value(item))
            }
            Value::Object(fields) => {
                self.spend_mapping()?;
                fields.iter().try_for_each(|(key, value)| {
                    self.used += key.len();
                    self.spend_value(value)
                })
            }
        }
    }
}

/// Puts a document together, piece by piece, in the order of its text.
pub(super) struct Builder<'a> {
    /// The collections that are open, the outermost first.
    open: Vec<Collection>,
    /// The document's value once it is complete.
    root: Option<Value>,
    repeated: Vec<String>,
    pub(super) memory: Memory,
    take: Option<Take<'a>>,
}

/// A list or mapping that is not complete, and what there was when it began.
struct Collection {
    content: Content,
    before: Before,
    /// Whether its objects are taken one by one.
    taken: bool,
}

enum Content {
    List {
        items: Vec<Value>,
        /// The index of the next item.
        next: usize,
    },
    Mapping {
        fields: Map<String, Value>,
        /// The key whose value comes next.
        key: Option<String>,
        /// Keys that only a merged mapping has given.
        merged: BTreeSet<String>,
    },
}

#[derive(Clone, Copy)]
struct Before {
    memory: usize,
    repeated: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(memory: Memory, take: Option<Take<'a>>) -> Self {
        Self { open: vec![], root: None, repeated: vec![], memory, take }
    }

    /// How many collections are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether a key comes next.
    pub(super) fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Collection { content: Content::Mapping { key: None, .. }, .. }))
    }

    /// Whether the document's value is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.root.is_some()
    }

    /// Begins a list. Of one that is `kept`, because something refers to it, no object is taken.
    pub(super) fn begin_list(&mut self, kept: bool) -> Result<(), String> {
        let before = self.before();
        self.memory.spend(0)?;
        let at_items = match self.open.as_slice() {
            [Collection { content: Content::Mapping { key: Some(key), .. }, .. }] => key == ITEMS,
            _ => false,
        };
        let taken = at_items && !kept && self.take.is_some();
        self.open.push(Collection { content: Content::List { items: vec![], next: 0 }, before, taken });
        Ok(())
    }

    /// Begins a mapping.
    pub(super) fn begin_mapping(&mut self) -> Result<(), String> {
        let before = self.before();
        self.memory.spend_mapping()?;
        let content = Content::Mapping { fields: Map::new(), key: None, merged: BTreeSet::new() };
        self.open.push(Collection { content, before, taken: false });
        Ok(())
    }

    /// Gives the key whose value comes next.
    pub(super) fn key(&mut self, text: String) {
        self.memory.used += text.len();
        if let Some(Collection { content: Content::Mapping { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(text);
        }
    }

    /// Ends the innermost collection and gives its value, which [`Self::put`] takes.
    pub(super) fn end(&mut self) -> Option<(Value, Ended)> {
        let Collection { content, before, .. } = self.open.pop()?;
        let value = match content {
            Content::List { items, .. } => Value::Array(items),
            Content::Mapping { fields, .. } => Value::Object(fields),
        };
        Some((value, Ended(before)))
    }

    /// Puts a scalar where it belongs.
    pub(super) fn scalar(&mut self, value: Value) -> Result<(), String> {
        let ended = Ended(self.before());
        self.memory.spend(value.as_str().map_or(0, str::len))?;
        self.put(value, ended);
        Ok(())
    }

    /// Puts a value where it belongs: into the innermost collection.
    pub(super) fn put(&mut self, mut value: Value, Ended(before): Ended) {
        if matches!(self.open.last(), Some(Collection { taken: true, .. })) {
            self.name(&mut value);
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Collection { content: Content::List { items, next }, taken, .. }) => {
                let index = *next;
                *next += 1;
                if *taken && names_itself(&value) {
                    // The others keep their numbers.
                    items.push(Value::Null);
                    self.hand_on(value, index, before);
                } else {
                    items.push(value);
                }
            }
            Some(Collection { content: Content::Mapping { fields, key, merged }, .. }) => {
                let Some(key) = key.take() else { return };
                let is_repeated = fields.contains_key(&key) && !merged.remove(&key);
                let path = is_repeated.then(|| key.clone());
                fields.insert(key, value);
                if let Some(key) = path {
                    self.note_repeated(&key);
                }
            }
        }
    }

    /// Merges a mapping, or those of a list, into the innermost mapping. As for kubectl what it gives replaces what stands
    /// before it, and of a list the first counts.
    pub(super) fn merge(&mut self, value: Value) -> Result<(), String> {
        let wrong = || "<< stands for no mapping: expected one, or a list of them".to_owned();
        let mappings = match value {
            Value::Object(fields) => vec![fields],
            Value::Array(items) => {
                let mappings = items.into_iter().rev().map(|item| match item {
                    Value::Object(fields) => Ok(fields),
                    _ => Err(wrong()),
                });
                mappings.collect::<Result<_, _>>()?
            }
            _ => return Err(wrong()),
        };
        if let Some(Collection { content: Content::Mapping { fields, merged, .. }, .. }) = self.open.last_mut() {
            for (key, value) in mappings.into_iter().flatten() {
                if !fields.contains_key(&key) {
                    merged.insert(key.clone());
                }
                fields.insert(key, value);
            }
        }
        Ok(())
    }

    /// The document, once all of it was read.
    pub(super) fn finish(self) -> Tree {
        Tree { value: self.root.unwrap_or_default(), repeated: self.repeated }
    }

    fn before(&self) -> Before {
        Before { memory: self.memory.used, repeated: self.repeated.len() }
    }

    /// Gives an object of the list the kind that it leaves out, where the list has said it by now.
    fn name(&self, item: &mut Value) {
        let Some(Collection { content: Content::Mapping { fields: list, .. }, .. }) = self.open.first() else { return };
        let text = |field: &str| list.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let kind = text("kind").and_then(|kind| kind.strip_suffix("List")).filter(|kind| !kind.is_empty());
        if let (Some(kind), Some(version), Some(item)) = (kind, text("apiVersion"), item.as_object_mut()) {
            item.entry("kind").or_insert_with(|| kind.into());
            item.entry("apiVersion").or_insert_with(|| version.into());
        }
    }

    fn hand_on(&mut self, value: Value, index: usize, before: Before) {
        let mut prefix = ITEMS.to_owned();
        push_index(&mut prefix, index);
        prefix.push('.');
        let repeated = self.repeated.split_off(before.repeated.min(self.repeated.len()));
        let repeated = repeated.iter().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect();
        self.memory.used = before.memory + size_of::<Value>();
        if let Some(take) = &mut self.take {
            take(Tree { value, repeated });
        }
    }

    fn note_repeated(&mut self, key: &str) {
        if self.repeated.len() >= Tree::MAX_REPEATED {
            return;
        }
        let mut path = String::new();
        for Collection { content, .. } in &self.open {
            match content {
                Content::List { next, .. } => push_index(&mut path, *next),
                Content::Mapping { key: Some(key), .. } => push_field(&mut path, key),
                // The innermost, whose key this is.
                Content::Mapping { key: None, .. } => push_field(&mut path, key),
            }
        }
        self.repeated.push(path);
    }
}

/// What there was before a value that is complete.
#[derive(Clone, Copy)]
pub(super) struct Ended(Before);
