//! Documents of JSON, one behind the other.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::de::StrRead;

use super::tree::{Builder, Memory, Take, Tree};

/// The values of a text, each of which is a document.
pub(super) struct Values<'t> {
    reader: serde_json::Deserializer<StrRead<'t>>,
    bytes: usize,
    lines_before: u64,
}

impl<'t> Values<'t> {
    /// A text that begins after `lines_before` lines of its file.
    pub(super) fn new(text: &'t str, lines_before: u64) -> Self {
        Self { reader: serde_json::Deserializer::from_str(text), bytes: text.len(), lines_before }
    }

    /// Reads the next value; `None`: there is no other. The error says what is wrong and where.
    pub(super) fn next(&mut self, take: Option<Take<'_>>) -> Option<Result<Tree, String>> {
        if self.reader.end().is_ok() {
            return None;
        }
        let mut builder = Builder::new(Memory::for_text(self.bytes), take);
        let read = Part(&mut builder).deserialize(&mut self.reader);
        Some(match read {
            Ok(()) => Ok(builder.finish()),
            Err(error) => Err(told(&error, self.lines_before)),
        })
    }
}

/// An error with the line of the file.
fn told(error: &serde_json::Error, lines_before: u64) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what} at line {} column {}", error.line() as u64 + lines_before, error.column()),
        None => text,
    }
}

/// A value within a document.
struct Part<'b, 'a>(&'b mut Builder<'a>);

impl Part<'_, '_> {
    fn scalar<E: Error>(self, value: impl Into<Value>) -> Result<(), E> {
        self.0.scalar(value.into()).map_err(E::custom)
    }

    fn end<E: Error>(self) -> Result<(), E> {
        if let Some((value, ended)) = self.0.end() {
            self.0.put(value, ended);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, null, a list or an object")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.begin_list(false).map_err(A::Error::custom)?;
        while list.next_element_seed(Part(&mut *self.0))?.is_some() {}
        self.end()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.begin_mapping().map_err(A::Error::custom)?;
        while let Some(key) = map.next_key::<String>()? {
            self.0.key(key);
            map.next_value_seed(Part(&mut *self.0))?;
        }
        self.end()
    }
}
