//! Which addresses each interface is enforced with, kept in a file for the agent that comes after this one.
//!
//! What a pod's namespace shows proves nothing once the pod runs, so an agent that restarts can't learn it from there.
//! The file lives as long as the interfaces do: until the node is booted again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Addresses by ifindex.
pub(crate) type Enforced = BTreeMap<u32, BTreeSet<IpAddr>>;

/// The file.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
}

impl Memory {
    /// The file at a path; it need not exist.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What the agent before this one left; nothing if there was none.
    ///
    /// # Errors
    /// The file can't be read or holds something else.
    pub(crate) fn recall(&self) -> io::Result<Enforced> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Enforced::new()),
            Err(error) => Err(error),
        }
    }

    /// Replaces what is kept; a reader sees the old or the new, whole.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn keep(&self, enforced: &Enforced) -> io::Result<()> {
        let mut draft = self.path.clone().into_os_string();
        draft.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(enforced)?)?;
        fs::rename(&draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_is_kept_is_recalled() {
        let directory = TempDir::new().unwrap();
        let memory = Memory::new(&directory.path().join("bindings.json"));
        assert_eq!(memory.recall().unwrap(), Enforced::new());
        let addresses = ["10.0.0.1", "fd00::1"].map(|address| address.parse().unwrap());
        let enforced = Enforced::from([(7, BTreeSet::from(addresses))]);
        memory.keep(&enforced).unwrap();
        assert_eq!(memory.recall().unwrap(), enforced);
    }

    #[test]
    fn a_file_that_holds_something_else_is_an_error() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("bindings.json");
        fs::write(&path, "[1, 2").unwrap();
        assert!(Memory::new(&path).recall().is_err());
    }
}
