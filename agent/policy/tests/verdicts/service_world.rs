//! A small language for Services and their endpoints.
#![expect(clippy::unwrap_used, reason = "what a test writes down wrongly should stop it")]

use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::model::{Labels, ObjectKey, Protocol};
use podgate_policy::services::{
    AddressFamily, Endpoint, EndpointPort, EndpointSlice, Node, Service, ServiceForm, ServicePort, TargetPort,
    TrafficPolicy,
};

use crate::world::{World, key, pairs};

impl World {
    /// Adds or replaces a Service.
    pub(crate) fn service(mut self, service: Service) -> Self {
        self.cluster.services.insert(service.key.clone(), Arc::new(service));
        self
    }

    /// Adds or replaces an EndpointSlice.
    pub(crate) fn slice(mut self, slice: EndpointSlice) -> Self {
        self.cluster.endpoint_slices.insert(slice.key.clone(), Arc::new(slice));
        self
    }

    /// Adds or replaces a node; addresses as `a,b`.
    pub(crate) fn node(mut self, name: &str, addresses: &str) -> Self {
        let node = Node { name: name.into(), labels: Labels::new(), addresses: ips(addresses), pod_cidrs: vec![] };
        self.cluster.nodes.insert(name.into(), Arc::new(node));
        self
    }
}

/// Addresses as `a,b`; empty: none.
pub(crate) fn ips(addresses: &str) -> Vec<IpAddr> {
    addresses.split(',').filter(|address| !address.is_empty()).map(ip).collect()
}

pub(crate) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// A Service with these ClusterIPs and ports for the pods with these labels.
pub(crate) fn service(name: &str, selects: &str, cluster_ips: &str, ports: Vec<ServicePort>) -> Service {
    Service {
        key: key(name),
        form: ServiceForm::Virtual,
        cluster_ips: ips(cluster_ips),
        external_ips: vec![],
        load_balancer_ips: vec![],
        ports,
        selector: pairs(selects).collect(),
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Cluster,
    }
}

/// A headless Service without ports.
pub(crate) fn headless(name: &str, selects: &str) -> Service {
    Service { form: ServiceForm::Headless, ..service(name, selects, "", vec![]) }
}

/// A Service without a selector: its endpoints are made by hand.
pub(crate) fn by_hand(name: &str, cluster_ips: &str, ports: Vec<ServicePort>) -> Service {
    Service { selector: Labels::new(), ..service(name, "", cluster_ips, ports) }
}

/// A port of a Service, named `name`, that leads to a number.
pub(crate) fn leads(name: &str, protocol: Protocol, port: u16, target: u16) -> ServicePort {
    ServicePort { name: Some(name.into()), protocol, port, target: TargetPort::Number(target), node_port: None }
}

/// A port of a Service, named `name`, that leads to a container port by name.
pub(crate) fn leads_to_name(name: &str, protocol: Protocol, port: u16, target: &str) -> ServicePort {
    ServicePort { target: TargetPort::Name(target.into()), ..leads(name, protocol, port, 1) }
}

/// The slice `{service}-{index}` of a Service: IPv4 unless its first address is not.
pub(crate) fn slice(
    service: &str,
    index: usize,
    ports: &[(&str, Protocol, u16)],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let ObjectKey { namespace, name } = key(service);
    let is_ipv6 = endpoints.iter().flat_map(|endpoint| &endpoint.addresses).next().is_some_and(IpAddr::is_ipv6);
    let port = |&(name, protocol, number): &(&str, Protocol, u16)| EndpointPort {
        name: Some(name.into()),
        protocol,
        port: Some(number),
    };
    EndpointSlice {
        key: ObjectKey::new(namespace, format!("{name}-{index}")),
        service: Some(name),
        family: if is_ipv6 { AddressFamily::Ipv6 } else { AddressFamily::Ipv4 },
        endpoints,
        ports: ports.iter().map(port).collect(),
        left_out: false,
    }
}

/// A ready endpoint that is no pod.
pub(crate) fn endpoint(address: &str) -> Endpoint {
    Endpoint { addresses: ips(address), ready: true, serving: true, terminating: false, node: None, target: None }
}

/// A ready endpoint that is a pod.
pub(crate) fn endpoint_of(pod: &str, address: &str) -> Endpoint {
    Endpoint { target: Some(key(pod)), ..endpoint(address) }
}

/// An endpoint that still answers while it terminates.
pub(crate) fn terminating(address: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..endpoint(address) }
}

/// An endpoint that takes no connections.
pub(crate) fn unready(address: &str) -> Endpoint {
    Endpoint { ready: false, serving: false, ..endpoint(address) }
}
