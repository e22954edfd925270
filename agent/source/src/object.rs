//! What a source hands on: changes of objects.

use std::fmt;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::ClusterPolicy;
use podgate_policy::model::{Namespace, ObjectKey, Pod, Policy};
use podgate_policy::services::{EndpointSlice, Node, Service};
use serde::Serialize;

/// The kinds of objects that podgate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy, a kind that not every cluster has.
    ClusterNetworkPolicy,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::NetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::Service,
        Self::EndpointSlice,
    ];

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    /// The `apiVersion` in which podgate reads it.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Node | Self::Pod | Self::Service => "v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::ClusterNetworkPolicy => "policy.networking.k8s.io/v1alpha2",
            Self::EndpointSlice => "discovery.k8s.io/v1",
        }
    }

    /// Whether its objects are in no namespace.
    #[must_use]
    pub const fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::Namespace | Self::Node | Self::ClusterNetworkPolicy)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object, shared so that the source and the cluster's state hold it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A node.
    Node(Arc<Node>),
    /// A pod of any node.
    Pod(Arc<Pod>),
    /// A NetworkPolicy, or the policy that stands in for an invalid one.
    Policy(Arc<Policy>),
    /// A ClusterNetworkPolicy.
    ClusterPolicy(Arc<ClusterPolicy>),
    /// A Service.
    Service(Arc<Service>),
    /// A part of a Service's endpoints.
    EndpointSlice(Arc<EndpointSlice>),
}

impl Object {
    /// Which object it is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        match self {
            Self::Namespace(namespace) => ObjectRef::Namespace(namespace.name.clone()),
            Self::Node(node) => ObjectRef::Node(node.name.clone()),
            Self::Pod(pod) => ObjectRef::Pod(pod.key.clone()),
            Self::Policy(policy) => ObjectRef::Policy(policy.key.clone()),
            Self::ClusterPolicy(policy) => ObjectRef::ClusterPolicy(policy.name.clone()),
            Self::Service(service) => ObjectRef::Service(service.key.clone()),
            Self::EndpointSlice(slice) => ObjectRef::EndpointSlice(slice.key.clone()),
        }
    }
}

/// Which object: kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectRef {
    /// The namespace of this name.
    Namespace(Arc<str>),
    /// The node of this name.
    Node(Arc<str>),
    /// The pod of this key.
    Pod(ObjectKey),
    /// The NetworkPolicy of this key.
    Policy(ObjectKey),
    /// The ClusterNetworkPolicy of this name.
    ClusterPolicy(Arc<str>),
    /// The Service of this key.
    Service(ObjectKey),
    /// The EndpointSlice of this key.
    EndpointSlice(ObjectKey),
}

impl ObjectRef {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Policy(_) => Kind::NetworkPolicy,
            Self::ClusterPolicy(_) => Kind::ClusterNetworkPolicy,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Namespace(name) | Self::Node(name) | Self::ClusterPolicy(name) => write!(f, "{kind} {name}"),
            Self::Pod(key) | Self::Policy(key) | Self::Service(key) | Self::EndpointSlice(key) => {
                write!(f, "{kind} {key}")
            }
        }
    }
}

/// One change of the cluster's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object is new, or differs from what was sent before.
    Apply(Object),
    /// The object, sent before, is gone.
    Delete(ObjectRef),
}

impl Change {
    /// Makes the change in a cluster's state; whether that state differs now.
    pub fn apply_to(self, cluster: &mut Cluster) -> bool {
        match self {
            Self::Apply(object) => insert(cluster, object),
            Self::Delete(reference) => remove(cluster, &reference),
        }
    }
}

fn insert(cluster: &mut Cluster, object: Object) -> bool {
    match object {
        Object::Namespace(new) => cluster.namespaces.insert(new.name.clone(), new.clone()).as_ref() != Some(&new),
        Object::Pod(new) => cluster.pods.insert(new.key.clone(), new.clone()).as_ref() != Some(&new),
        Object::Policy(new) => cluster.policies.insert(new.key.clone(), new.clone()).as_ref() != Some(&new),
        Object::ClusterPolicy(new) => cluster.cluster_policies.insert(new.clone()).as_ref() != Some(&new),
        Object::Service(new) => cluster.services.insert(new.key.clone(), new.clone()).as_ref() != Some(&new),
        Object::EndpointSlice(new) => {
            cluster.endpoint_slices.insert(new.key.clone(), new.clone()).as_ref() != Some(&new)
        }
        Object::Node(new) => cluster.nodes.insert(new.name.clone(), new.clone()).as_ref() != Some(&new),
    }
}

fn remove(cluster: &mut Cluster, reference: &ObjectRef) -> bool {
    match reference {
        ObjectRef::Namespace(name) => cluster.namespaces.remove(name).is_some(),
        ObjectRef::Pod(key) => cluster.pods.remove(key).is_some(),
        ObjectRef::Policy(key) => cluster.policies.remove(key).is_some(),
        ObjectRef::ClusterPolicy(name) => cluster.cluster_policies.remove(name).is_some(),
        ObjectRef::Service(key) => cluster.services.remove(key).is_some(),
        ObjectRef::EndpointSlice(key) => cluster.endpoint_slices.remove(key).is_some(),
        ObjectRef::Node(name) => cluster.nodes.remove(name).is_some(),
    }
}

/// Changes that belong together: state between two of them was never the cluster's. At most one per object.
pub type Update = Vec<Change>;
