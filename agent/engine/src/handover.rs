//! What the CNI plugin tells the agent of a pod, as it is sent and kept.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podgate_host::binding::{Handover, PodId};
use podgate_host::netlink::Mac;
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
    /// The Ethernet address that its interface had then; `None`: that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
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
        let Handover { ifindex, pod, addresses, mac } = handover;
        Self { pod: pod.into(), ifindex: *ifindex, addresses: addresses.clone(), mac: *mac }
    }
}

impl From<&HandedOver> for Handover {
    fn from(handed: &HandedOver) -> Self {
        let HandedOver { pod, ifindex, addresses, mac } = handed;
        Self { ifindex: *ifindex, pod: pod.into(), addresses: addresses.clone(), mac: *mac }
    }
}
