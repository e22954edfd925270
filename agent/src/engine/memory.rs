//! Which pod each interface is enforced for and with which addresses, kept in a file for the agent that comes after this
//! one, and for the CNI plugin while there is none.
//!
//! What a pod's namespace shows proves nothing once the pod runs, so an agent that restarts can't learn it from there.
//! The file lives as long as the interfaces do: until the node is booted again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::handover::{HandedOver, PodRecord};

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enforced {
    /// By ifindex.
    pub(crate) interfaces: BTreeMap<u32, Interface>,
    /// What CNI has said of interfaces that are there.
    pub(crate) handed_over: Vec<HandedOver>,
}

/// An interface that is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interface {
    /// For this pod.
    pub(crate) pod: PodRecord,
    /// With these addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
}

impl Enforced {
    /// The addresses by ifindex.
    pub(crate) fn addresses(&self) -> BTreeMap<u32, BTreeSet<IpAddr>> {
        self.interfaces.iter().map(|(&ifindex, interface)| (ifindex, interface.addresses.clone())).collect()
    }

    /// The interface that a pod had last.
    pub(crate) fn interface_of(&self, pod: &PodRecord) -> Option<u32> {
        self.interfaces.iter().rfind(|(_, interface)| interface.pod == *pod).map(|(&ifindex, _)| ifindex)
    }

    /// Notes what CNI says of an interface.
    pub(crate) fn hand_over(&mut self, handed: HandedOver) {
        self.handed_over.retain(|other| other.ifindex != handed.ifindex);
        self.handed_over.push(handed);
    }
}

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
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Enforced::default()),
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

    fn pod(name: &str) -> PodRecord {
        PodRecord { namespace: "shop".to_owned(), name: name.to_owned(), uid: "u-1".to_owned() }
    }

    fn enforced() -> Enforced {
        let addresses = BTreeSet::from(["10.0.0.1", "fd00::1"].map(|address| address.parse().unwrap()));
        let interface = |name| Interface { pod: pod(name), addresses: addresses.clone() };
        let handed = HandedOver { pod: pod("web"), ifindex: 9, addresses: addresses.clone() };
        Enforced { interfaces: [(7, interface("web")), (8, interface("api"))].into(), handed_over: vec![handed] }
    }

    #[test]
    fn what_is_kept_is_recalled() {
        let directory = TempDir::new().unwrap();
        let memory = Memory::new(&directory.path().join("bindings.json"));
        assert_eq!(memory.recall().unwrap(), Enforced::default());
        memory.keep(&enforced()).unwrap();
        assert_eq!(memory.recall().unwrap(), enforced());
    }

    #[test]
    fn a_pod_leads_to_its_interface() {
        let found = ["web", "db"].map(|name| enforced().interface_of(&pod(name)));
        assert_eq!(found, [Some(7), None]);
        let other = PodRecord { uid: "u-2".to_owned(), ..pod("web") };
        assert_eq!(enforced().interface_of(&other), None);
    }

    #[test]
    fn an_interface_is_handed_over_to_the_last_pod_alone() {
        let mut enforced = enforced();
        let again = HandedOver { pod: pod("db"), ifindex: 9, addresses: BTreeSet::new() };
        enforced.hand_over(again.clone());
        assert_eq!(enforced.handed_over, [again]);
    }

    #[test]
    fn a_file_that_holds_something_else_is_an_error() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("bindings.json");
        fs::write(&path, "[1, 2").unwrap();
        assert!(Memory::new(&path).recall().is_err());
    }
}
