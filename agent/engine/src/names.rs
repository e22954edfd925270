//! Who has an address: for people who read about flows, and to know which addresses of Services are pods' too.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::model::{ObjectKey, Phase, Pod};
use podgate_policy::services::{Node, Service, ServiceForm};

use crate::flows::EndKind;

/// Names of pods, Services and nodes by address. A node is also known by its pods on the host's network, which have its
/// addresses.
#[derive(Debug, Default)]
pub(super) struct Names {
    pods: BTreeMap<IpAddr, ObjectKey>,
    /// Several Services may have the same address.
    services: BTreeMap<IpAddr, BTreeSet<ObjectKey>>,
    nodes: BTreeMap<IpAddr, Arc<str>>,
    hosted: BTreeMap<IpAddr, BTreeMap<ObjectKey, Arc<str>>>,
}

impl Names {
    /// Notes a pod's addresses in place of those it had.
    pub(super) fn set_pod(&mut self, old: Option<&Pod>, new: Option<&Pod>) {
        // An address may have been given to another pod before its former one was gone.
        for address in old.into_iter().flat_map(|pod| &pod.addresses) {
            if self.pods.get(address) == old.map(|pod| &pod.key) {
                self.pods.remove(address);
            }
        }
        for pod in new.into_iter().filter(|pod| pod.is_networked()) {
            self.pods.extend(pod.addresses.iter().map(|address| (*address, pod.key.clone())));
        }
        self.set_hosted(old, new);
    }

    /// Notes what a pod on the host's network says of its node.
    fn set_hosted(&mut self, old: Option<&Pod>, new: Option<&Pod>) {
        let hosted = |pod: &&Pod| pod.host_network && pod.phase == Phase::Active;
        for pod in old.into_iter().filter(hosted) {
            for address in &pod.addresses {
                if let Entry::Occupied(mut pods) = self.hosted.entry(*address) {
                    pods.get_mut().remove(&pod.key);
                    if pods.get().is_empty() {
                        pods.remove();
                    }
                }
            }
        }
        for pod in new.into_iter().filter(hosted) {
            for (address, node) in pod.addresses.iter().zip(pod.node.iter().cycle()) {
                self.hosted.entry(*address).or_default().insert(pod.key.clone(), node.clone());
            }
        }
    }

    /// Notes a node's addresses in place of those it had.
    pub(super) fn set_node(&mut self, name: &Arc<str>, node: Option<&Node>) {
        self.nodes.retain(|_, owner| owner != name);
        if let Some(node) = node {
            self.nodes.extend(node.addresses.iter().map(|address| (*address, node.name.clone())));
        }
    }

    /// Notes a Service's addresses in place of those it had.
    pub(super) fn set_service(&mut self, old: Option<&Service>, new: Option<&Service>) {
        if let Some(service) = old {
            for address in addresses(service) {
                if let Some(owners) = self.services.get_mut(address) {
                    owners.remove(&service.key);
                }
            }
            self.services.retain(|_, owners| !owners.is_empty());
        }
        if let Some(service) = new {
            for address in addresses(service) {
                self.services.entry(*address).or_default().insert(service.key.clone());
            }
        }
    }

    /// Whether a pod of the pod network has an address.
    pub(super) fn is_pods(&self, address: IpAddr) -> bool {
        self.pods.contains_key(&address)
    }

    /// Who has an address: the pod or Service as namespace/name, or the node.
    pub(super) fn find(&self, address: IpAddr) -> Option<(EndKind, String)> {
        let pod = self.pods.get(&address).map(|pod| (EndKind::Pod, pod.to_string()));
        let service = || Some((EndKind::Service, self.services.get(&address)?.first()?.to_string()));
        let by_its_pods = || self.hosted.get(&address)?.values().next();
        let node = || Some((EndKind::Node, self.nodes.get(&address).or_else(by_its_pods)?.to_string()));
        pod.or_else(service).or_else(node)
    }
}

/// The addresses that a Service gives its name to. Of those that it claims, kube-proxy serves none for some Services.
fn addresses(service: &Service) -> impl Iterator<Item = &IpAddr> {
    let served = service.form == ServiceForm::Virtual;
    let claimed = service.external_ips.iter().chain(&service.load_balancer_ips).filter(move |_| served);
    service.cluster_ips.iter().chain(claimed)
}

#[cfg(test)]
mod tests {
    use podgate_policy::model::Labels;

    use super::super::fixtures::service;
    use super::*;

    fn pod(name: &str, address: &str) -> Pod {
        Pod {
            key: ObjectKey::new("shop", name),
            uid: "".into(),
            labels: Labels::new(),
            workload: None,
            node: None,
            host_network: false,
            phase: Phase::Active,
            terminating: false,
            addresses: vec![address.parse().unwrap()],
            ports: vec![],
        }
    }

    fn find(names: &Names, address: &str) -> Option<(EndKind, String)> {
        names.find(address.parse().unwrap())
    }

    #[test]
    fn an_address_given_on_before_its_former_pod_is_gone_stays_with_the_new_one() {
        let mut names = Names::default();
        let (old, new) = (pod("old", "10.0.0.1"), pod("new", "10.0.0.1"));
        names.set_pod(None, Some(&old));
        names.set_pod(None, Some(&new));
        names.set_pod(Some(&old), None);
        assert_eq!(find(&names, "10.0.0.1"), Some((EndKind::Pod, "shop/new".to_owned())));
        names.set_pod(Some(&new), None);
        assert_eq!(find(&names, "10.0.0.1"), None);
    }

    #[test]
    fn an_address_that_services_share_is_the_first_ones_until_that_is_gone() {
        let mut names = Names::default();
        let services = ["web", "api"].map(|name| service(name, &["10.96.0.1"]));
        services.iter().for_each(|service| names.set_service(None, Some(service)));
        assert_eq!(find(&names, "10.96.0.1"), Some((EndKind::Service, "shop/api".to_owned())));
        names.set_service(Some(&services[1]), None);
        assert_eq!(find(&names, "10.96.0.1"), Some((EndKind::Service, "shop/web".to_owned())));
        names.set_service(Some(&services[0]), Some(&service("web", &[])));
        assert_eq!(find(&names, "10.96.0.1"), None);
    }

    #[test]
    fn a_finished_pod_has_no_address() {
        let mut names = Names::default();
        let running = pod("job", "10.0.0.1");
        names.set_pod(None, Some(&running));
        names.set_pod(Some(&running), Some(&Pod { phase: Phase::Finished, ..running.clone() }));
        assert_eq!(find(&names, "10.0.0.1"), None);
    }

    #[test]
    fn a_node_is_found_by_the_addresses_it_has_now() {
        let mut names = Names::default();
        let node = |address: &str| Node {
            name: "node-a".into(),
            labels: Labels::new(),
            addresses: vec![address.parse().unwrap()],
            pod_cidrs: vec![],
        };
        names.set_node(&"node-a".into(), Some(&node("192.0.2.1")));
        names.set_node(&"node-a".into(), Some(&node("192.0.2.2")));
        assert_eq!(find(&names, "192.0.2.1"), None);
        assert_eq!(find(&names, "192.0.2.2"), Some((EndKind::Node, "node-a".to_owned())));
    }

    #[test]
    fn a_node_is_found_by_any_of_its_pods_on_the_hosts_network() {
        let mut names = Names::default();
        let hosted = |name| Pod { host_network: true, node: Some("node-b".into()), ..pod(name, "192.0.2.3") };
        names.set_pod(None, Some(&hosted("proxy")));
        names.set_pod(None, Some(&hosted("agent")));
        names.set_pod(Some(&hosted("agent")), None);
        assert_eq!(find(&names, "192.0.2.3"), Some((EndKind::Node, "node-b".to_owned())));
        names.set_pod(Some(&hosted("proxy")), None);
        assert_eq!(find(&names, "192.0.2.3"), None);
    }
}
