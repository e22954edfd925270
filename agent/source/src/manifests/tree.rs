//! Values of YAML and JSON, with the keys that were given twice.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::convert::{push_field, push_index};

/// A document.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tree {
    /// Its value; of a key given twice the first.
    pub(super) value: Value,
    /// The paths of keys that were given twice.
    pub(super) repeated: Vec<String>,
}

impl Tree {
    /// So many repeated keys are remembered: enough to be told, and to know that the document is doubtful.
    const MAX_REPEATED: usize = 20;

    /// About so many bytes a document may take in memory: more than 16 MiB of real objects do.
    const MAX_MEMORY: usize = 192 << 20;
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reader = Reader::default();
        let value = DeserializeSeed::deserialize(&mut reader, deserializer)?;
        Ok(Self { value, repeated: reader.repeated })
    }
}

/// Knows where in the document it is, and how much memory the value takes about.
#[derive(Default)]
struct Reader {
    memory: usize,
    path: String,
    repeated: Vec<String>,
}

impl Reader {
    /// Reads a nested value, whose path `extend` appends.
    fn nested<T>(&mut self, extend: impl FnOnce(&mut String), read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        extend(&mut self.path);
        let value = read(self);
        self.path.truncate(length);
        value
    }

    /// Counts a value of about this size beside its own place.
    fn spend<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.memory += size_of::<Value>() + bytes;
        if self.memory > Tree::MAX_MEMORY {
            return Err(E::custom("the document is too large: expected smaller documents"));
        }
        Ok(())
    }

    fn note_repeated(&mut self) {
        if self.repeated.len() < Tree::MAX_REPEATED {
            self.repeated.push(self.path.clone());
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, null, a list or a mapping")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.spend(0)?;
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.spend(value.len())?;
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.spend(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut items = vec![];
        while let Some(item) =
            self.nested(|path| push_index(path, items.len()), |reader| list.next_element_seed(reader))?
        {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        /// A node of the map, which has room for eleven entries from the first on.
        const MAP_NODE: usize = 11 * (size_of::<String>() + size_of::<Value>());
        self.spend(MAP_NODE)?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let repeated = fields.contains_key(&key);
            let value = self.nested(
                |path| push_field(path, &key),
                |reader| {
                    if repeated {
                        reader.note_repeated();
                    }
                    map.next_value_seed(reader)
                },
            )?;
            if !repeated {
                fields.insert(key, value);
            }
        }
        Ok(Value::Object(fields))
    }
}
