//! Pods whose object is gone and whose interface is not: deleted by force while they run, or a static pod whose mirror was
//! deleted. They stay subjects of policy, as they were known last, for as long as they have the
//! interface. They are no peers: nobody else knows them any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use podgate_host::binding::PodId;
use podgate_policy::compile::Endpoint;
use podgate_policy::model::{ObjectKey, Pod};
use podgate_source::{Change, Object, ObjectRef};

use super::memory::Interface;
use super::stale::Derived;
use super::state::State;

/// The pods that have an interface and no object.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeSet<PodId>);

impl Departed {
    /// Whether a pod has no object.
    pub(super) fn contains(&self, pod: &PodId) -> bool {
        self.0.contains(pod)
    }

    /// The pods, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PodId> {
        self.0.iter()
    }
}

impl State {
    /// A change as it is to be taken in: what becomes of a pod's object does not end the pod.
    pub(super) fn as_lived(&mut self, change: Change) -> Change {
        match change {
            Change::Delete(ObjectRef::Pod(key)) => match self.running(&key) {
                Some(pod) => self.depart(&pod),
                None => Change::Delete(ObjectRef::Pod(key)),
            },
            Change::Apply(Object::Pod(pod)) => match self.running(&pod.key) {
                Some(running) if running.uid != pod.uid => {
                    self.rename(&running);
                    Change::Apply(Object::Pod(pod))
                }
                _ => {
                    self.departed.0.remove(&PodId::of(&pod));
                    Change::Apply(Object::Pod(self.without_lost(pod)))
                }
            },
            change => change,
        }
    }

    /// The pod under a name, if it has an interface of this node.
    fn running(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        // Only pods of this node are bound, and to leave it makes bindings stale.
        if !self.local.contains(key) && !self.stale.has(Derived::Bindings) {
            return None;
        }
        let pod = self.cluster.pods.get(key)?;
        let id = PodId::of(pod);
        self.bindings.bound().values().any(|binding| binding.pod == id).then(|| Arc::clone(pod))
    }

    fn depart(&mut self, pod: &Pod) -> Change {
        self.departed.0.insert(PodId::of(pod));
        self.end_lease(&pod.key);
        Change::Apply(Object::Pod(Arc::new(Pod { addresses: Vec::new(), terminating: true, ..pod.clone() })))
    }

    /// Gives a pod whose object is gone another name, which no object can have: its own is another pod's by now.
    fn rename(&mut self, pod: &Pod) {
        let id = PodId::of(pod);
        let key = ObjectKey::new(&*pod.key.namespace, format!("{} (uid {})", pod.key.name, pod.uid));
        let renamed = Pod { key: key.clone(), addresses: Vec::new(), terminating: true, ..pod.clone() };
        self.end_lease(&pod.key);
        self.departed.0.remove(&id);
        self.departed.0.insert(PodId::of(&renamed));
        self.bindings.rename(&id, &key);
        self.take_change(Change::Apply(Object::Pod(Arc::new(renamed))));
        for (slot, planned) in self.endpoints.rename(&id, &key) {
            if planned {
                self.planning.changes.bound.push(Endpoint { slot, pod: key.clone() });
            }
        }
    }

    /// Goes on with the pods that the agent before this one enforced and that have no object any more.
    pub(super) fn recall_departed(&mut self) {
        let known = |pod: &Pod| self.cluster.pods.get(&pod.key).is_some_and(|known| known.uid == pod.uid);
        let former = self.former.values().filter_map(|interface: &Interface| interface.departed(self.node()));
        let departed: Vec<Pod> = former.filter(|pod| !known(pod)).collect();
        for pod in departed {
            if self.cluster.pods.contains_key(&pod.key) {
                self.rename(&pod);
            } else {
                self.departed.0.insert(PodId::of(&pod));
                self.take_change(Change::Apply(Object::Pod(Arc::new(pod))));
            }
        }
    }

    /// Forgets the pods without object that have no interface any more.
    pub(super) fn forget_departed(&mut self) {
        let bound: BTreeSet<&PodId> = self.bindings.bound().values().map(|binding| &binding.pod).collect();
        let gone: Vec<PodId> = self.departed.0.iter().filter(|pod| !bound.contains(pod)).cloned().collect();
        for pod in gone {
            self.departed.0.remove(&pod);
            self.take_change(Change::Delete(ObjectRef::Pod(pod.key)));
        }
    }

    /// A terminating pod that has lost its interface has no address any more, whatever its status says.
    fn without_lost(&self, pod: Arc<Pod>) -> Arc<Pod> {
        let lost = pod.terminating && self.bindings.has_lost(&PodId::of(&pod));
        if lost && !pod.addresses.is_empty() {
            Arc::new(Pod { addresses: Vec::new(), ..Pod::clone(&pod) })
        } else {
            pod
        }
    }

    /// Takes the addresses from a terminating pod that has lost its interface.
    pub(super) fn lose_addresses(&mut self, key: &ObjectKey) {
        let Some(pod) = self.cluster.pods.get(key).filter(|pod| pod.terminating).cloned() else { return };
        let without = self.without_lost(Arc::clone(&pod));
        if without != pod {
            self.take_change(Change::Apply(Object::Pod(without)));
        }
    }
}
