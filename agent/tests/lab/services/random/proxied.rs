//! What kube-proxy makes of a world on each node: written down from what it does, without podgate's own code.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use podgate_lab::{Node, Outside, Pod, Service, ServicePort, Transport};

use super::world::{
    ExternalIps, Listed, MOST_SERVICES, NODE_PORTS, PODS, PORTS, PodPlan, PortPlan, RandomWorld, ServicePlan,
};
use crate::services::shop::ips;

/// What a world is played with: the lab's pods in the order of [`PODS`], and its nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cast<'a> {
    pub(super) pods: &'a [Pod],
    pub(super) nodes: [&'a Node; 2],
}

/// One end of connections to a Service, before the choice.
struct Endpoint<'a> {
    address: IpAddr,
    listed: Listed,
    node: Option<&'a str>,
    target: u16,
}

impl RandomWorld {
    /// Everything that a Service's port might lead to.
    fn endpoints<'a>(&self, service: &ServicePlan, port: &PortPlan, cast: Cast<'a>) -> Vec<Endpoint<'a>> {
        let mut endpoints = Vec::new();
        for (number, (plan, pod)) in self.pods.iter().zip(cast.pods).enumerate() {
            let listed = match &service.listed {
                Some(listed) => listed[number],
                None if plan.has(service.label) && pod.name().namespace == service.namespace => Listed::Ready,
                None => Listed::Not,
            };
            let node = Some(pod.node_name());
            if let Some(target) = plan.number(port) {
                let addresses = pod.addresses().both();
                endpoints.extend(addresses.map(|address| Endpoint { address, listed, node, target }));
            }
        }
        if let Some(target) = port.at_outside().filter(|_| service.outside && service.listed.is_some()) {
            let listed = Listed::Ready;
            endpoints.extend([Outside::IP4, Outside::IP6].map(|address| Endpoint {
                address,
                listed,
                node: None,
                target,
            }));
        }
        endpoints
    }

    /// Those that kube-proxy chooses on a node (`CategorizeEndpoints`): the ready ones of a family. Where there is
    /// none, those that still serve while they terminate.
    fn chosen(
        &self,
        service: &ServicePlan,
        port: &PortPlan,
        local_to: Option<&str>,
        cast: Cast<'_>,
    ) -> Vec<SocketAddr> {
        let mut endpoints = self.endpoints(service, port, cast);
        endpoints.retain(|endpoint| local_to.is_none() || endpoint.node == local_to);
        let of = |is_ipv4: bool, listed: Listed| -> Vec<SocketAddr> {
            let of_family = endpoints.iter().filter(|it| it.address.is_ipv4() == is_ipv4 && it.listed == listed);
            of_family.map(|it| SocketAddr::new(it.address, it.target)).collect()
        };
        let families = [true, false].into_iter().flat_map(|is_ipv4| {
            let ready = of(is_ipv4, Listed::Ready);
            if ready.is_empty() { of(is_ipv4, Listed::Terminating) } else { ready }
        });
        families.collect()
    }

    /// What a node's proxy makes of the Services. ClusterIPs may lead to the node's own endpoints alone. What pods
    /// send to other addresses is masqueraded unless `externalTrafficPolicy` is `Local`.
    pub(super) fn proxied(&self, node: &Node, cast: Cast<'_>) -> Vec<(String, Option<Service>)> {
        let changes = (0..MOST_SERVICES).flat_map(|number| {
            let service = self.services.get(number).filter(|service| !service.is_other_proxys);
            let own = service.map(|service| {
                let local_to = service.internal_is_local.then(|| node.name());
                let ports = service.ports.iter().zip(PORTS).map(|(port, (_, number))| {
                    ServicePort::new(port.transport, number).to(self.chosen(service, port, local_to, cast))
                });
                let own = Service::new(&name(number)).cluster_ips(service.cluster_ips(number));
                service.affinity(ports.fold(own, Service::port))
            });
            let other = service.map(|service| {
                let ports = (0..).zip(service.ports.iter().zip(PORTS)).map(|(index, (port, (_, port_number)))| {
                    let to = self.chosen(service, port, None, cast);
                    let led = ServicePort::new(port.transport, port_number).to(to);
                    match port.has_node_port && !service.external_is_local {
                        true => led.node_port(node_port(number, index)),
                        false => led,
                    }
                });
                let (other, addresses) = (Service::new(&others(number)), service.external_ips(number, cast));
                let other = match service.external_is_local {
                    true => other.cluster_ips(addresses),
                    false => other.external_ips(addresses),
                };
                service.affinity(ports.fold(other, Service::port))
            });
            [(name(number), own), (others(number), other)]
        });
        changes.collect()
    }

    /// Every address and port at which clients on a node ask the Services.
    pub(super) fn frontends(&self, node: &Node, cast: Cast<'_>) -> BTreeSet<(Transport, SocketAddr)> {
        let services = self.services.iter().enumerate();
        let frontends = services.flat_map(|(number, service)| {
            (0..).zip(service.ports.iter().zip(PORTS)).flat_map(move |(index, (port, (_, port_number)))| {
                let addresses = [service.cluster_ips(number), service.external_ips(number, cast)].concat();
                let at = addresses.into_iter().map(move |address| SocketAddr::new(address, port_number));
                // The lab's proxy does not know how to leave the source of such as it is.
                let has_node_port = port.has_node_port && !service.external_is_local && !service.is_other_proxys;
                let nodes = [node.ip4(), node.ip6()].into_iter().filter(move |_| has_node_port);
                let at_node = nodes.map(move |address| SocketAddr::new(address, node_port(number, index)));
                at.chain(at_node.filter(|at| service.has_family(at.ip()))).map(|at| (port.transport, at))
            })
        });
        frontends.collect()
    }
}

impl PodPlan {
    fn has(&self, (key, value): (&str, &str)) -> bool {
        // The last of several values counts.
        self.labels.iter().rev().find(|(its, _)| *its == key).is_some_and(|(_, its)| *its == value)
    }
}

impl ServicePlan {
    pub(super) fn has_family(&self, address: IpAddr) -> bool {
        self.families.contains(&address.is_ipv4())
    }

    pub(super) fn cluster_ips(&self, number: usize) -> Vec<IpAddr> {
        let number = number + 10;
        let own = [format!("10.96.0.{number}"), format!("fd00:10:96::{number}")];
        ips(own.each_ref().map(String::as_str)).into_iter().filter(|address| self.has_family(*address)).collect()
    }

    pub(super) fn external_ips(&self, number: usize, cast: Cast<'_>) -> Vec<IpAddr> {
        let own = [format!("192.0.2.{}", number + 10), format!("2001:db8:2::{}", number + 10)];
        let addresses = match self.external {
            ExternalIps::None => return Vec::new(),
            ExternalIps::Own => ips(own.each_ref().map(String::as_str)),
            // Each Service another's, so that no two have the same.
            ExternalIps::OfPod(first) => {
                cast.pods[(first / MOST_SERVICES + number * 2).min(PODS.len() - 1)].addresses().both()
            }
        };
        addresses.into_iter().filter(|address| self.has_family(*address)).collect()
    }

    pub(super) fn affinity(&self, service: Service) -> Service {
        if self.is_sticky { service.sticky() } else { service }
    }
}

pub(super) fn name(number: usize) -> String {
    format!("service-{number}")
}

fn others(number: usize) -> String {
    format!("service-{number}-others")
}

pub(super) fn node_port(number: usize, index: u16) -> u16 {
    NODE_PORTS + 10 * u16::try_from(number).expect("there are few") + index
}
