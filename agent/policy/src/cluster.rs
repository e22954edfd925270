//! The state of a cluster that verdicts depend on, and what its authors wrote beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster_policy::ClusterPolicies;
use crate::model::{Direction, Namespace, ObjectKey, Pod, Policy};
use crate::services::{EndpointSlice, Node, Service};

/// Every object that policy depends on. A pod whose namespace is unknown is in a namespace without labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Namespaces by name.
    pub namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    /// Pods of all nodes.
    pub pods: BTreeMap<ObjectKey, Arc<Pod>>,
    /// NetworkPolicies.
    pub policies: BTreeMap<ObjectKey, Arc<Policy>>,
    /// ClusterNetworkPolicies. The evaluator judges by them; the compiler does not know them yet.
    pub cluster_policies: ClusterPolicies,
    /// Services. Policies never name them; they tell where a connection to a Service ends.
    pub services: BTreeMap<ObjectKey, Arc<Service>>,
    /// EndpointSlices.
    pub endpoint_slices: BTreeMap<ObjectKey, Arc<EndpointSlice>>,
    /// Nodes by name.
    pub nodes: BTreeMap<Arc<str>, Arc<Node>>,
    /// Whether all policies are in audit mode, whatever they and their namespaces say.
    pub audit: bool,
}

/// What was written beside what the cluster's state holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Policies that are no more than stand-ins for invalid ones: nothing is found in these.
    pub unsound: BTreeSet<ObjectKey>,
    /// ClusterNetworkPolicies of which a part is not what was written, by name.
    pub unsound_cluster: BTreeSet<Arc<str>>,
    /// Directions in which a policy has rules that its `policyTypes` leaves out.
    pub ineffective: BTreeSet<(ObjectKey, Direction)>,
    /// Peers of Accept rules of ClusterNetworkPolicies that select pods by labels and leave namespaceSelector out: name,
    /// direction, indexes of the rule and of the peer.
    pub unscoped: BTreeSet<(Arc<str>, Direction, usize, usize)>,
    /// Whether the namespaces are known with their labels; if not, nothing is said of namespace selectors.
    pub namespaces: bool,
    /// Policies without a `spec`, or with an empty one.
    pub empty: BTreeSet<ObjectKey>,
    /// The text of the annotation [`IGNORE`] of policies.
    pub ignored: BTreeMap<ObjectKey, String>,
    /// The same of ClusterNetworkPolicies, by name.
    pub ignored_cluster: BTreeMap<Arc<str>, String>,
    /// Services that clients outside the cluster reach by a node or a load balancer, as their type says.
    pub exposed: BTreeSet<ObjectKey>,
}

/// The annotation of a policy that says which findings of `podgate check` are meant so, and why.
pub const IGNORE: &str = "podgate.io/check-ignore";
