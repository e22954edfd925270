//! A cluster with endpoints that changes step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::ClusterPolicy;
use podgate_policy::compile::{Changes, Endpoint};
use podgate_policy::model::{Namespace, ObjectKey, Pod, Policy};

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Namespace(Namespace),
    NoNamespace(&'static str),
    Pod(Pod),
    NoPod(ObjectKey),
    Policy(Policy),
    NoPolicy(ObjectKey),
    ClusterPolicy(ClusterPolicy),
    NoClusterPolicy(Arc<str>),
    Bind(u32, ObjectKey),
    Release(u32),
}

/// The state of everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) endpoints: BTreeMap<u32, ObjectKey>,
}

impl World {
    /// Makes the changes and says what they were.
    pub(crate) fn apply(&mut self, edits: &[Edit]) -> Changes {
        let before = self.endpoints.clone();
        let mut changes = Changes::default();
        for edit in edits {
            self.edit(edit, &mut changes);
        }
        // A slot passes from one pod to another in its place, or is given back first: here by its number.
        let is_released = |slot: &&u32| match self.endpoints.get(slot) {
            None => true,
            Some(now) => **slot % 2 == 1 && before.get(slot) != Some(now),
        };
        changes.released.extend(before.keys().filter(is_released));
        let bound = self.endpoints.iter().filter(|(slot, pod)| before.get(slot) != Some(pod));
        changes.bound = bound.map(|(&slot, pod)| Endpoint { slot, pod: pod.clone() }).collect();
        changes
    }

    fn edit(&mut self, edit: &Edit, changes: &mut Changes) {
        match edit {
            Edit::Namespace(namespace) => {
                self.cluster.namespaces.insert(namespace.name.clone(), Arc::new(namespace.clone()));
                changes.namespaces.insert(namespace.name.clone());
            }
            Edit::NoNamespace(name) => {
                self.cluster.namespaces.remove(*name);
                changes.namespaces.insert(Arc::from(*name));
            }
            Edit::Pod(pod) => {
                self.cluster.pods.insert(pod.key.clone(), Arc::new(pod.clone()));
                changes.pods.insert(pod.key.clone());
            }
            Edit::NoPod(key) => {
                self.cluster.pods.remove(key);
                changes.pods.insert(key.clone());
            }
            Edit::Policy(policy) => {
                self.cluster.policies.insert(policy.key.clone(), Arc::new(policy.clone()));
                changes.policies.insert(policy.key.clone());
            }
            Edit::NoPolicy(key) => {
                self.cluster.policies.remove(key);
                changes.policies.insert(key.clone());
            }
            Edit::ClusterPolicy(policy) => {
                self.cluster.cluster_policies.insert(Arc::new(policy.clone()));
                changes.cluster_policies.insert(policy.name.clone());
            }
            Edit::NoClusterPolicy(name) => {
                self.cluster.cluster_policies.remove(name);
                changes.cluster_policies.insert(name.clone());
            }
            Edit::Bind(slot, pod) => drop(self.endpoints.insert(*slot, pod.clone())),
            Edit::Release(slot) => drop(self.endpoints.remove(slot)),
        }
    }

    /// Everything there is, as a first update has to name it.
    pub(crate) fn everything(&self) -> Changes {
        Changes {
            pods: self.cluster.pods.keys().cloned().collect(),
            namespaces: self.cluster.namespaces.keys().cloned().collect(),
            policies: self.cluster.policies.keys().cloned().collect(),
            cluster_policies: self.cluster.cluster_policies.names().cloned().collect(),
            released: BTreeSet::new(),
            bound: self.endpoints.iter().map(|(&slot, pod)| Endpoint { slot, pod: pod.clone() }).collect(),
        }
    }

    /// Every object, endpoints left out: nothing that changed.
    pub(crate) fn objects(&self) -> Changes {
        Changes { bound: Vec::new(), ..self.everything() }
    }
}
