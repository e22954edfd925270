//! What is odd about pods and veths.

use std::collections::{BTreeMap, BTreeSet};

use podgate_policy::model::Pod;

use super::scene::Scene;
use super::{Anomaly, Binding, NoVeth, PodId};

/// Finds what is odd about a scene in which this is bound.
pub(super) struct Inspection<'a> {
    scene: &'a Scene<'a>,
    /// By ifindex.
    bound: &'a BTreeMap<u32, Binding>,
    /// The same by namespace.
    by_namespace: BTreeMap<i32, &'a Binding>,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, bound: &'a BTreeMap<u32, Binding>) -> Self {
        let by_namespace = bound.values().map(|binding| (binding.netns_id, binding)).filter(|(id, _)| *id >= 0);
        Self { scene, bound, by_namespace: by_namespace.collect() }
    }

    /// Everything odd, sorted.
    pub(super) fn anomalies(&self) -> Vec<Anomaly> {
        let mut all: Vec<Anomaly> = self.without_veth().chain(self.without_pod()).collect();
        for binding in self.bound.values() {
            all.extend(self.extra_veths(binding));
            all.extend(self.elsewhere(binding));
            all.extend(self.duplicates(binding));
        }
        all.sort();
        all
    }

    fn without_veth(&self) -> impl Iterator<Item = Anomaly> {
        let bound: BTreeSet<&PodId> = self.bound.values().map(|binding| &binding.pod).collect();
        // What is left of a terminating pod is a record.
        let listed = |pod: &Pod| !pod.addresses.is_empty() && !pod.terminating;
        let unbound = self.scene.pods.iter().filter(move |(id, pod)| !bound.contains(id) && listed(pod));
        unbound.map(|(id, pod)| Anomaly::PodWithoutVeth { pod: id.clone(), cause: self.no_veth(pod) })
    }

    fn no_veth(&self, pod: &Pod) -> NoVeth {
        let given_to = pod.addresses.iter().filter_map(|address| self.scene.given_to.get(address)).flatten();
        let Some(namespace) = given_to.min() else { return NoVeth::NotFound };
        match self.by_namespace.get(namespace) {
            Some(binding) => NoVeth::Taken { ifindex: binding.ifindex, by: binding.pod.clone() },
            None => {
                let ifindex = self.scene.namespaces[namespace][0].ifindex;
                // Any other namespace would have been bound to the pod.
                if self.scene.is_excluded(ifindex) {
                    NoVeth::Excluded { ifindex }
                } else {
                    NoVeth::Doubtful { ifindex }
                }
            }
        }
    }

    /// The veths that look like pods' but are none's.
    fn without_pod(&self) -> impl Iterator<Item = Anomaly> {
        let free = self.scene.namespaces.iter().filter(|(namespace, _)| !self.by_namespace.contains_key(namespace));
        let veths = free.flat_map(|(_, veths)| veths).filter(|veth| !self.scene.is_excluded(veth.ifindex));
        veths
            .map(|veth| (veth, self.scene.pod_like_addresses(veth)))
            .filter(|(_, addresses)| !addresses.is_empty())
            .map(|(veth, addresses)| Anomaly::VethWithoutPod {
                ifindex: veth.ifindex,
                name: veth.name.clone(),
                addresses,
            })
    }

    fn extra_veths(&self, binding: &'a Binding) -> impl Iterator<Item = Anomaly> {
        let veths = self.scene.namespaces.get(&binding.netns_id).into_iter().flatten();
        veths.filter(|veth| veth.ifindex != binding.ifindex).map(|veth| Anomaly::ExtraVeth {
            pod: binding.pod.clone(),
            ifindex: veth.ifindex,
            name: veth.name.clone(),
        })
    }

    fn elsewhere(&self, binding: &'a Binding) -> impl Iterator<Item = Anomaly> {
        let shown = binding.addresses.iter().filter_map(|address| Some((address, self.scene.shown_in.get(address)?)));
        let places =
            shown.flat_map(|(address, namespaces)| namespaces.iter().map(move |namespace| (address, namespace)));
        places.filter(|(_, namespace)| **namespace != binding.netns_id).map(|(address, namespace)| {
            Anomaly::AddressElsewhere {
                pod: binding.pod.clone(),
                address: *address,
                ifindex: self.scene.namespaces[namespace][0].ifindex,
                holder: self.by_namespace.get(namespace).map(|holder| holder.pod.clone()),
            }
        })
    }

    fn duplicates(&self, binding: &'a Binding) -> impl Iterator<Item = Anomaly> {
        let veth = self.scene.view.veths.get(&binding.ifindex);
        let failed = veth.into_iter().flat_map(|veth| veth.duplicate_addresses.intersection(&binding.addresses));
        failed.map(|address| Anomaly::DuplicateAddress { pod: binding.pod.clone(), address: *address })
    }
}
