//! The plain values of a YAML file that holds no Kubernetes objects.

use std::path::Path;

use serde_json::Value;

use super::open::Unreadable;
use super::{file, split, yaml};

/// A document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its number, counted from 1.
    pub number: usize,
    /// Its value; of a key given twice, the last.
    pub value: Value,
    /// The paths of keys that are given twice.
    pub repeated: Vec<String>,
}

/// Reads the documents of a YAML file (JSON is YAML), under the same limits as manifests.
///
/// # Errors
/// What is wrong with the file, or with its first document that is not YAML.
pub fn values(path: &Path) -> Result<Vec<Document>, String> {
    let text = file::text(path).map_err(Unreadable::message)?;
    let mut documents = vec![];
    for (number, document) in (1..).zip(split::documents(&text)) {
        let tree = yaml::read(document.text, document.lines_before, None)?;
        documents.push(Document { number, value: tree.value, repeated: tree.repeated });
    }
    Ok(documents)
}
