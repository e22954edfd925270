//! What [`Bindings`](super::Bindings) takes in and gives out.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podgate_policy::model::{ObjectKey, Pod};

use super::Unclaimed;

/// A pod as an incarnation: a pod deleted and made anew under the same name is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodId {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its UID; empty where the source has none.
    pub uid: Arc<str>,
}

impl PodId {
    /// The identity of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self { key: pod.key.clone(), uid: pod.uid.clone() }
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

/// What bindings need to know of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// `spec.podCIDRs`; empty where the cluster does not use them.
    pub pod_cidrs: Vec<IpNet>,
    /// The node's own addresses, from its status. A veth that carries one is the node's uplink, not a pod's.
    pub addresses: BTreeSet<IpAddr>,
}

/// A pod and the interface it is enforced on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The host's end of the pod's veth.
    pub ifindex: u32,
    /// The pod.
    pub pod: PodId,
    /// The id of the pod's network namespace, relative to the host's; negative while it goes away.
    pub netns_id: i32,
    /// The pod's addresses according to its status: what it may send from, whatever its interfaces carry.
    pub addresses: BTreeSet<IpAddr>,
}

/// What to do about an interface. To be carried out in order: whatever is unbound comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Enforce the pod on the interface from now on. The interface may be isolated, or enforced for another pod, and stays
    /// so until the pod's policies are in force.
    Bind(Binding),
    /// Isolate the interface until its pod is known, or note what has changed about one that is. It may be enforced for a
    /// pod that is elsewhere.
    Isolate(Unclaimed),
    /// The interface is gone, or looks like a pod's no longer; nobody was bound to it.
    Abandon {
        /// The interface.
        ifindex: u32,
    },
    /// The pod stays on its interface; its addresses or its namespace's id have changed.
    Update(Binding),
    /// The interface is gone.
    Unbind {
        /// The interface.
        ifindex: u32,
        /// The pod that was bound to it.
        pod: PodId,
    },
}

/// Something about pods and veths of this node that a user should see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// A pod of this node has addresses but no veth, so it is not enforced.
    PodWithoutVeth {
        /// The pod.
        pod: PodId,
        /// Why it has none.
        cause: NoVeth,
    },
    /// A veth looks like a pod's but is no known pod's, so it is not enforced.
    VethWithoutPod {
        /// The veth.
        ifindex: u32,
        /// Its name.
        name: String,
        /// The addresses that make it look like a pod's.
        addresses: BTreeSet<IpAddr>,
    },
    /// A pod has more veths than the one it is enforced on.
    ExtraVeth {
        /// The pod.
        pod: PodId,
        /// The veth that is not enforced.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// An address of a pod shows in a namespace that is not that pod's. Nothing is bound because of it.
    AddressElsewhere {
        /// The pod whose address it is.
        pod: PodId,
        /// The address.
        address: IpAddr,
        /// The veth that leads into the other namespace.
        ifindex: u32,
        /// The pod that veth is bound to, if any.
        holder: Option<PodId>,
    },
    /// Duplicate address detection failed for a pod's address: some neighbour answered for it.
    DuplicateAddress {
        /// The pod.
        pod: PodId,
        /// The address.
        address: IpAddr,
    },
}

/// Why a pod has no veth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoVeth {
    /// No veth leads into a namespace that was given one of its addresses.
    NotFound,
    /// The veth that does is the node's uplink or the way to the API server, which is never enforced on.
    Excluded {
        /// That veth.
        ifindex: u32,
    },
    /// The veth that does has come after the pod's status, and other pods have no veth yet: it is isolated for a while,
    /// until a status tells whose it is.
    Doubtful {
        /// That veth.
        ifindex: u32,
    },
    /// The veth that does is bound to another pod.
    Taken {
        /// That veth.
        ifindex: u32,
        /// The pod it is bound to.
        by: PodId,
    },
}
