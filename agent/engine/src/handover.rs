//! What the CNI plugin tells the agent of a pod, as it is sent and kept.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podgate_host::binding::{Handover, PodId};
use podgate_policy::model::ObjectKey;
use serde::{Deserialize, Serialize};

/// A pod on its interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// The pod.
    #[serde(flatten)]
    pub pod: PodRecord,
    /// The index of the host's end of its veth.
    pub ifindex: u32,
    /// The addresses it was given.
    pub addresses: BTreeSet<IpAddr>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty where it is not known.
    pub uid: String,
}

impl From<&PodId> for PodRecord {
    fn from(pod: &PodId) -> Self {
        let ObjectKey { namespace, name } = &pod.key;
        Self { namespace: namespace.to_string(), name: name.to_string(), uid: pod.uid.to_string() }
    }
}

impl From<&PodRecord> for PodId {
    fn from(pod: &PodRecord) -> Self {
        Self { key: ObjectKey::new(&*pod.namespace, &*pod.name), uid: pod.uid.as_str().into() }
    }
}

impl From<&Handover> for HandedOver {
    fn from(handover: &Handover) -> Self {
        Self { pod: (&handover.pod).into(), ifindex: handover.ifindex, addresses: handover.addresses.clone() }
    }
}

impl From<&HandedOver> for Handover {
    fn from(handed: &HandedOver) -> Self {
        Self { ifindex: handed.ifindex, pod: (&handed.pod).into(), addresses: handed.addresses.clone() }
    }
}
