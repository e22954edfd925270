//! Names: kube-dns behind its ClusterIP, and processes of the node in its place.

use std::net::SocketAddr;

use podgate_lab::{Attempt, Fate, ProxyMode, Result, Service, ServicePort, Transport, Wiring};

use super::shop::{BOTH, CLUSTER_IPS, Plan, Shop, egress, ips, make};
use crate::support::{deny_all, labelled};

pub(super) const DNS: u16 = 53;
const KUBE_SYSTEM: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: kube-system, labels: {kubernetes.io/metadata.name: kube-system}}";
/// What policies say of DNS everywhere.
pub(super) const TO_DNS: &str = "to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, \
                      podSelector: {matchLabels: {k8s-app: kube-dns}}}]";

/// A shop with kube-dns on both nodes, and the Service in front of it.
pub(super) fn shop(name: &str, plan: Plan) -> Result<Shop> {
    let mut shop = Shop::empty(name, plan)?;
    shop.world.write("kube-system.yaml", KUBE_SYSTEM)?;
    let mut backends = Vec::new();
    for (identity, node) in (1..).zip([shop.world.node.clone(), shop.far.clone()]) {
        let pod = node.pod(&format!("kube-system/dns-{identity}"), Wiring::Ptp)?;
        for transport in BOTH {
            pod.count(transport, DNS, identity)?.detach();
        }
        shop.world.declare(&labelled(&pod).label("k8s-app", "kube-dns"), &pod)?;
        backends.extend(pod.backends(DNS));
    }
    let ports = BOTH.map(|transport| ServicePort::new(transport, DNS).to(backends.iter().copied()));
    let service = Service::new("kube-system/kube-dns").cluster_ips(ips(CLUSTER_IPS));
    shop.set(&ports.into_iter().fold(service, Service::port))?;
    Ok(shop)
}

/// The client's questions by one protocol to both addresses.
pub(super) fn ask(shop: &Shop, transport: Transport) -> Result<Vec<Attempt>> {
    let loads = ips(CLUSTER_IPS).map(|address| shop.load(transport, SocketAddr::new(address, DNS), 20));
    Ok(make(&shop.client, &loads)?.concat())
}

#[test]
fn a_rule_that_names_kube_dns_lets_its_service_be_asked() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = shop("dns", plan)?;
        shop.start_agents(&[])?;
        shop.set_policies(&egress(&format!("{TO_DNS}, ports: [{{port: 53, protocol: UDP}}, {{port: 53}}]")))?;
        for transport in BOTH {
            let unanswered =
                ask(&shop, transport)?.into_iter().find(|attempt| !matches!(attempt.fate, Fate::Answered(1 | 2)));
            assert_eq!(unanswered, None, "{transport} {plan:?}");
        }
        shop.set_policies(&egress(&format!("{TO_DNS}, ports: [{{port: 53, protocol: UDP}}]")))?;
        assert!(ask(&shop, Transport::Udp)?.iter().all(|attempt| attempt.fate != Fate::Silence), "{plan:?}");
        assert!(ask(&shop, Transport::Tcp)?.iter().all(|attempt| attempt.fate == Fate::Silence), "{plan:?}");
    }
    Ok(())
}

#[test]
fn a_process_of_the_node_at_the_address_of_kube_dns_needs_no_rule() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = shop("node-local-dns", plan)?;
        shop.world.write("policies.yaml", &deny_all("shop", "{}"))?;
        shop.start_agents(&[])?;
        let (node, addresses) = (shop.world.node.clone(), ips(CLUSTER_IPS));
        if plan.mode != ProxyMode::Bound {
            node.bind_addresses("node-local", &addresses)?;
        }
        for transport in BOTH {
            node.keep_from_translation(transport, &addresses, DNS)?;
            for address in addresses {
                node.count_at(transport, SocketAddr::new(address, DNS), 99)?.detach();
            }
            for attempt in ask(&shop, transport)? {
                assert_eq!(attempt.fate, Fate::Answered(99), "{transport} {} {plan:?}", attempt.from);
            }
        }
    }
    Ok(())
}
