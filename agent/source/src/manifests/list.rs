//! Which files of a directory are read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// So many files of a directory are read.
const MAX_FILES: usize = 10_000;

/// The names of a directory's files that are read, sorted: `*.yaml`, `*.yml` and `*.json` directly in it, without hidden ones
/// (editors' and mounts' own).
pub(super) fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = vec![];
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // A directory may have any name. Links are judged by what they lead to when they are read, which may never end.
        if is_manifest(&entry.file_name()) && !entry.file_type()?.is_dir() {
            names.push(entry.file_name());
        }
        if names.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files: expected fewer")));
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a file of this name is read.
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let hidden = name.as_encoded_bytes().starts_with(b".");
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}
