//! Addresses of pods whose status has none yet: those that CNI gave them. Until the kubelet tells, they make the pod a peer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use podgate_datapath::binding::Binding;
use podgate_policy::model::{ObjectKey, Pod};
use podgate_source::{Change, Object};

use super::state::State;

/// The pods that have addresses by CNI alone.
#[derive(Debug, Default)]
pub(super) struct Lent(BTreeSet<ObjectKey>);

impl State {
    /// Lends a pod that is bound the addresses of its binding, if its status has none.
    pub(super) fn lend(&mut self, binding: &Binding) {
        let key = &binding.pod.key;
        if self.departed.contains(&binding.pod) {
            return;
        }
        let without = self.cluster.pods.get(key).filter(|pod| pod.addresses.is_empty());
        let Some(pod) = without.filter(|_| !binding.addresses.is_empty()).map(|pod| with_addresses(pod, binding))
        else {
            return;
        };
        self.lent.0.insert(key.clone());
        self.take_change(Change::Apply(Object::Pod(pod)));
    }

    /// Notes that what a pod was lent is taken back elsewhere.
    pub(super) fn lent_to_nobody(&mut self, key: &ObjectKey) {
        self.lent.0.remove(key);
    }

    /// Takes back what a pod was lent: whoever has the address next is another.
    pub(super) fn take_back(&mut self, key: &ObjectKey) {
        if !self.lent.0.remove(key) {
            return;
        }
        if let Some(pod) = self.cluster.pods.get(key) {
            let pod = Arc::new(Pod { addresses: Vec::new(), ..Pod::clone(pod) });
            self.take_change(Change::Apply(Object::Pod(pod)));
        }
    }

    /// A pod as its source has it, or with what it is lent if that has no addresses.
    pub(super) fn with_lent(&mut self, pod: Arc<Pod>) -> Arc<Pod> {
        let lent = self.lent.0.contains(&pod.key);
        let bound = || self.bindings.bound().values().find(|binding| binding.pod.key == pod.key);
        match bound().filter(|binding| lent && pod.addresses.is_empty() && binding.pod.uid == pod.uid) {
            Some(binding) => with_addresses(&pod, binding),
            None => {
                self.lent.0.remove(&pod.key);
                pod
            }
        }
    }
}

fn with_addresses(pod: &Pod, binding: &Binding) -> Arc<Pod> {
    let addresses: Vec<IpAddr> = binding.addresses.iter().copied().collect();
    Arc::new(Pod { addresses, ..pod.clone() })
}
