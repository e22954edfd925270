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

use podgate_host::binding::{PodId, Remembered};
use podgate_policy::model::{ContainerPort, Phase, Pod, Protocol};
use serde::{Deserialize, Serialize};

use crate::handover::{HandedOver, PodRecord};

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// By ifindex.
    pub interfaces: BTreeMap<u32, Interface>,
    /// What CNI has said of interfaces that are there.
    pub handed_over: Vec<HandedOver>,
    /// Interfaces that are isolated and were never a pod's, as far as is known.
    #[serde(default)]
    pub isolated: BTreeSet<u32>,
}

/// An interface that is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// For this pod.
    pub pod: PodRecord,
    /// With these addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether it is certain that it is this pod's.
    #[serde(default)]
    pub firm: bool,
    /// What policies know the pod by: its object may be deleted before it ends.
    #[serde(default)]
    pub object: Option<PodObject>,
}

/// What policies know a pod by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodObject {
    labels: BTreeMap<String, String>,
    ports: Vec<PortRecord>,
}

/// A container port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PortRecord {
    name: Option<String>,
    protocol: String,
    number: u16,
}

impl From<&Pod> for PodObject {
    fn from(pod: &Pod) -> Self {
        let port = |port: &ContainerPort| PortRecord {
            name: port.name.as_ref().map(ToString::to_string),
            protocol: port.protocol.as_str().to_owned(),
            number: port.number,
        };
        let label = |(key, value): (&std::sync::Arc<str>, &std::sync::Arc<str>)| (key.to_string(), value.to_string());
        Self { labels: pod.labels.iter().map(label).collect(), ports: pod.ports.iter().map(port).collect() }
    }
}

impl Interface {
    /// The pod as a subject of policies, of which nothing else is known any more; `None`: what policies know it by was not
    /// kept.
    pub fn departed(&self, node: &str) -> Option<Pod> {
        let object = self.object.as_ref()?;
        let protocol = |name: &str| Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == name);
        let port = |port: &PortRecord| {
            Some(ContainerPort {
                name: port.name.as_deref().map(Into::into),
                protocol: protocol(&port.protocol)?,
                number: port.number,
                host_port: None,
            })
        };
        let id = PodId::from(&self.pod);
        Some(Pod {
            key: id.key,
            uid: id.uid,
            labels: object.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            workload: None,
            node: Some(node.into()),
            host_network: false,
            phase: Phase::Active,
            terminating: true,
            addresses: Vec::new(),
            ports: object.ports.iter().filter_map(port).collect(),
        })
    }
}

impl From<&Interface> for Remembered {
    fn from(interface: &Interface) -> Self {
        let Interface { pod, addresses, firm, .. } = interface;
        Self { pod: Some(pod.into()), addresses: addresses.clone(), firm: *firm }
    }
}

impl Enforced {
    /// The interface that a pod had last.
    pub fn interface_of(&self, pod: &PodRecord) -> Option<u32> {
        self.interfaces.iter().rfind(|(_, interface)| interface.pod == *pod).map(|(&ifindex, _)| ifindex)
    }

    /// Notes what CNI says of an interface.
    pub fn hand_over(&mut self, handed: HandedOver) {
        self.handed_over.retain(|other| other.ifindex != handed.ifindex);
        self.handed_over.push(handed);
    }
}

/// The file.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
}

impl Memory {
    /// The file at a path; it need not exist.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What the agent before this one left; `None` if there is no file.
    ///
    /// # Errors
    /// The file can't be read or holds something else.
    pub fn recall(&self) -> io::Result<Option<Enforced>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces what is kept; a reader sees the old or the new, whole.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep(&self, enforced: &Enforced) -> io::Result<()> {
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
        let object = PodObject {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ports: vec![PortRecord { name: Some("http".to_owned()), protocol: "TCP".to_owned(), number: 80 }],
        };
        let interface =
            |name| Interface { pod: pod(name), addresses: addresses.clone(), firm: true, object: Some(object.clone()) };
        let handed = HandedOver { pod: pod("web"), ifindex: 9, addresses: addresses.clone(), mac: Some([2; 6]) };
        let interfaces = [(7, interface("web")), (8, interface("api"))].into();
        Enforced { interfaces, handed_over: vec![handed], isolated: [11].into() }
    }

    #[test]
    fn what_is_kept_is_recalled() {
        let directory = TempDir::new().unwrap();
        let memory = Memory::new(&directory.path().join("bindings.json"));
        assert_eq!(memory.recall().unwrap(), None);
        memory.keep(&enforced()).unwrap();
        assert_eq!(memory.recall().unwrap(), Some(enforced()));
    }

    #[test]
    fn what_a_former_version_kept_is_recalled() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("bindings.json");
        let text = r#"{"interfaces":{"7":{"pod":{"namespace":"shop","name":"web","uid":"u-1"},"addresses":["10.0.0.1"]}},"handed_over":[]}"#;
        fs::write(&path, text).unwrap();
        let addresses = ["10.0.0.1".parse().unwrap()].into();
        let interface = Interface { pod: pod("web"), addresses, firm: false, object: None };
        let expected = Enforced { interfaces: [(7, interface)].into(), ..Enforced::default() };
        assert_eq!(Memory::new(&path).recall().unwrap(), Some(expected));
    }

    #[test]
    fn a_pod_is_known_by_what_is_kept_of_it() {
        let pod = enforced().interfaces[&7].departed("node-a").unwrap();
        assert_eq!(PodObject::from(&pod), enforced().interfaces[&7].object.clone().unwrap());
        assert_eq!((pod.is_networked(), pod.addresses.len(), &*pod.uid), (true, 0, "u-1"));
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
        let again = HandedOver { pod: pod("db"), ifindex: 9, addresses: BTreeSet::new(), mac: None };
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
