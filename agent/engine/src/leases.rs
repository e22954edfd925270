//! Addresses of pods whose status has none yet: those that CNI gave them. Until the kubelet tells, they make the pod a peer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use podgate_host::binding::Binding;
use podgate_policy::model::{ObjectKey, Pod};
use podgate_source::{Change, Object};

use super::state::State;

/// The pods that have addresses by CNI alone.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeSet<ObjectKey>);

impl State {
    /// Gives a pod that is bound the addresses of its binding, if its status has none.
    pub(super) fn lease(&mut self, binding: &Binding) {
        let key = &binding.pod.key;
        if self.departed.contains(&binding.pod) {
            return;
        }
        let without = self.cluster.pods.get(key).filter(|pod| pod.addresses.is_empty());
        let Some(pod) = without.filter(|_| !binding.addresses.is_empty()).map(|pod| with_addresses(pod, binding))
        else {
            return;
        };
        self.leases.0.insert(key.clone());
        self.take_change(Change::Apply(Object::Pod(pod)));
    }

    /// Notes that a lease has ended elsewhere.
    pub(super) fn end_lease(&mut self, key: &ObjectKey) {
        self.leases.0.remove(key);
    }

    /// Takes a leased address back: whoever has the address next is another.
    pub(super) fn revoke_lease(&mut self, key: &ObjectKey) {
        if !self.leases.0.remove(key) {
            return;
        }
        if let Some(pod) = self.cluster.pods.get(key) {
            let pod = Arc::new(Pod { addresses: Vec::new(), ..Pod::clone(pod) });
            self.take_change(Change::Apply(Object::Pod(pod)));
        }
    }

    /// A pod as its source has it, or with its leased addresses if that has none.
    pub(super) fn with_lease(&mut self, pod: Arc<Pod>) -> Arc<Pod> {
        if !self.leases.0.contains(&pod.key) {
            return pod;
        }
        let bound = self.bindings.bound().values().find(|binding| binding.pod.key == pod.key);
        match bound.filter(|binding| pod.addresses.is_empty() && binding.pod.uid == pod.uid) {
            Some(binding) => with_addresses(&pod, binding),
            None => {
                self.leases.0.remove(&pod.key);
                pod
            }
        }
    }
}

fn with_addresses(pod: &Pod, binding: &Binding) -> Arc<Pod> {
    let addresses: Vec<IpAddr> = binding.addresses.iter().copied().collect();
    Arc::new(Pod { addresses, ..pod.clone() })
}
