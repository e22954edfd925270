//! What the engine takes in: changes of objects, what the host looks like, how the source is doing.

use std::sync::Arc;

use podgate_host::binding::NodeFacts;
use podgate_host::netlink::HostView;
use podgate_policy::model::{ObjectKey, Pod};
use podgate_policy::services::{EndpointSlice, Node, Service};
use podgate_source::{Change, Object, ObjectRef, SourceStatus, Update};

use super::stale::Derived;
use super::state::State;

impl State {
    /// Takes in changes of objects. The first update is complete.
    pub fn take_update(&mut self, update: Update) {
        for change in update {
            let change = match self.as_lived(change) {
                Change::Apply(Object::Pod(pod)) => Change::Apply(Object::Pod(self.with_lease(pod))),
                change => change,
            };
            self.take_change(change);
        }
        if !self.synced {
            self.synced = true;
            self.stale.mark(Derived::Bindings);
            self.stale.mark(Derived::Deferral);
            self.recall_departed();
        }
    }

    /// Takes in what the host looks like now.
    pub fn take_view(&mut self, view: Arc<HostView>) {
        self.view = Some(view);
        self.stale.mark(Derived::Bindings);
        self.stale.mark(Derived::Guards);
        self.stale.mark(Derived::Deferral);
        self.stale.mark(Derived::Neighbours);
    }

    /// Takes in how the source is doing.
    pub fn take_source_status(&mut self, status: SourceStatus) {
        self.source = Some(status);
    }

    pub(super) fn take_change(&mut self, change: Change) {
        let reference = match &change {
            Change::Apply(object) => object.reference(),
            Change::Delete(reference) => reference.clone(),
        };
        match (&change, reference) {
            (Change::Apply(Object::Pod(pod)), _) => self.take_pod(&pod.key, Some(pod)),
            (Change::Apply(Object::Node(node)), _) => self.take_node(&node.name, Some(node)),
            (_, ObjectRef::Pod(key)) => self.take_pod(&key, None),
            (_, ObjectRef::Node(name)) => self.take_node(&name, None),
            (_, ObjectRef::Namespace(name)) => {
                self.doubt_attribution(&name);
                self.planning.changes.namespaces.insert(name);
            }
            (_, ObjectRef::Policy(key)) => {
                self.doubt_attribution(&key.namespace);
                self.planning.changes.policies.insert(key);
            }
            (_, ObjectRef::ClusterPolicy(name)) => drop(self.planning.changes.cluster_policies.insert(name)),
            (Change::Apply(Object::Service(service)), _) => self.take_service(&service.key, Some(service)),
            (_, ObjectRef::Service(key)) => self.take_service(&key, None),
            (Change::Apply(Object::EndpointSlice(slice)), _) => self.take_slice(&slice.key, Some(slice)),
            (_, ObjectRef::EndpointSlice(key)) => self.take_slice(&key, None),
        }
        change.apply_to(&mut self.cluster);
    }

    /// A pod is new, changed or gone.
    fn take_pod(&mut self, key: &ObjectKey, pod: Option<&Pod>) {
        let former = self.cluster.pods.get(key).map(|former| &**former);
        self.names.set_pod(former, pod);
        let differs = |(former, pod): (&Pod, &Pod)| (&former.labels, &former.ports) != (&pod.labels, &pod.ports);
        self.stale.mark_if(self.local.contains(key) && former.zip(pod).is_some_and(differs), Derived::Enforced);
        let was_local = self.local.remove(key);
        let is_local = pod.is_some_and(|pod| pod.node.as_ref() == Some(&self.config.node));
        if is_local {
            self.local.insert(key.clone());
        }
        self.stale.mark_if(was_local || is_local, Derived::Bindings);
        if was_local || is_local {
            self.doubt_attribution(&key.namespace);
        }
        self.planning.changes.pods.insert(key.clone());
        let former = self.cluster.pods.get(key).map(|former| &**former);
        self.services.set_pod(key, former, pod, &mut self.stale);
    }

    /// Other policies may isolate this node's pods of a namespace: a policy selects pods of its own namespace alone.
    pub(super) fn doubt_attribution(&mut self, namespace: &Arc<str>) {
        self.attribution.doubt(namespace);
        self.stale.mark(Derived::Attribution);
    }

    /// A Service is new, changed or gone.
    fn take_service(&mut self, key: &ObjectKey, service: Option<&Service>) {
        let former = self.cluster.services.get(key).map(|former| &**former);
        self.names.set_service(former, service);
        self.services.set_service(former, service, &mut self.stale);
    }

    /// An EndpointSlice is new, changed or gone.
    fn take_slice(&mut self, key: &ObjectKey, slice: Option<&EndpointSlice>) {
        let former = self.cluster.endpoint_slices.get(key).map(|former| &**former);
        self.services.set_slice(former, slice, &mut self.stale);
    }

    /// A node is new, changed or gone.
    fn take_node(&mut self, name: &Arc<str>, node: Option<&Node>) {
        self.names.set_node(name, node);
        if *name == self.config.node {
            self.own_node = node.map(facts).unwrap_or_default();
            self.stale.mark(Derived::Bindings);
        }
    }
}

/// What bindings need to know of this node.
fn facts(node: &Node) -> NodeFacts {
    NodeFacts { pod_cidrs: node.pod_cidrs.clone(), addresses: node.addresses.iter().copied().collect() }
}
