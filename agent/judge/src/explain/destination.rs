//! What the destination of a query is: an end as it is, or something that leads to others.

use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Identity, Traffic, node_of};
use podgate_policy::model::{ContainerPort, ObjectKey, Pod};
use podgate_policy::services::{Backend, Service, ServiceForm, ServicePort, Through, frontend_addresses};

use crate::explain::forward::Route;
use crate::explain::side::Side;
use crate::explain::{Asked, Destination, Entry, EntryPort, ExplainError, Note, Unknown, Way};

/// What a destination is.
pub(super) enum Target<'c> {
    /// Reached as it is.
    Direct(Side<'c>, Option<Note>),
    /// Rewritten to something else on the way.
    Forwarded(Route<'c>),
}

pub(super) fn find<'c>(
    cluster: &'c Cluster,
    from: &Side<'_>,
    to: &'c Destination,
    asked: &Asked,
) -> Result<Target<'c>, ExplainError> {
    match to {
        Destination::Pod(key) => Ok(Target::Direct(Side::pod(cluster, key)?, None)),
        Destination::Service(key) => named_service(cluster, key, asked),
        Destination::Named(key) => match (cluster.pods.contains_key(key), cluster.services.contains_key(key)) {
            (true, true) => Err(ExplainError::Ambiguous(key.clone())),
            (false, true) => named_service(cluster, key, asked),
            (true, false) => Ok(Target::Direct(Side::pod(cluster, key)?, None)),
            (false, false) => Err(ExplainError::NoSuchDestination(key.clone())),
        },
        Destination::Address(address) => at_address(cluster, from, address, asked),
    }
}

fn named_service<'c>(cluster: &'c Cluster, key: &ObjectKey, asked: &Asked) -> Result<Target<'c>, ExplainError> {
    let service = cluster.services.get(key).ok_or_else(|| ExplainError::NoSuchService(key.clone()))?;
    let way = match service.form {
        ServiceForm::ExternalName => return Err(ExplainError::ExternalName(key.clone())),
        ServiceForm::OtherProxy => return Err(ExplainError::OtherProxy(key.clone())),
        ServiceForm::Virtual => Way::ClusterIps(service.cluster_ips.clone()),
        ServiceForm::Headless => Way::Backends,
    };
    let (through, port) = match (service.form, asked) {
        (ServiceForm::Headless, Asked::Number(protocol, number)) => {
            (Through::Addresses(Traffic::Port { protocol: *protocol, number: *number }), None)
        }
        (ServiceForm::Headless, Asked::Other) => (Through::Addresses(Traffic::Other), None),
        _ => {
            let port = port_of(service, asked).ok_or_else(|| no_such_port(service, asked))?;
            (Through::Port(port), Some(port))
        }
    };
    Ok(Target::Forwarded(Route::service(service, way, port.map(entry_port), through)))
}

/// An address is a Service's before it is anybody else's: kube-proxy rewrites it first. Where several Services have the port,
/// that with the address as its ClusterIP is asked about.
fn at_address<'c>(
    cluster: &'c Cluster,
    from: &Side<'_>,
    address: &'c IpAddr,
    asked: &Asked,
) -> Result<Target<'c>, ExplainError> {
    let mut here: Vec<_> =
        cluster.services.values().filter_map(|service| Some((&**service, way(service, *address)?))).collect();
    here.sort_by_key(|(_, way)| !matches!(way, Way::ClusterIps(_)));
    let mut with_port = here.iter().filter_map(|(service, way)| Some((*service, way, port_of(service, asked)?)));
    if let Some((service, way, port)) = with_port.next() {
        let others = with_port.map(|(service, ..)| service.key.clone()).collect();
        let route = Route::service(service, way.clone(), Some(entry_port(port)), Through::Port(port));
        return Ok(Target::Forwarded(route.contested_by(others)));
    }
    match here.iter().find(|(_, way)| matches!(way, Way::ClusterIps(_))) {
        Some((service, _)) => Err(no_such_port(service, asked)),
        None => at_node(cluster, from, address, asked),
    }
}

/// By what a Service is reached at an address.
fn way(service: &Service, address: IpAddr) -> Option<Way> {
    match address {
        _ if !frontend_addresses(service).contains(&address) => None,
        _ if service.cluster_ips.contains(&address) => Some(Way::ClusterIps(vec![address])),
        _ if service.external_ips.contains(&address) => Some(Way::ExternalIp(address)),
        _ if service.load_balancer_ips.contains(&address) => Some(Way::LoadBalancerIp(address)),
        _ => None,
    }
}

fn port_of<'s>(service: &'s Service, asked: &Asked) -> Option<&'s ServicePort> {
    match asked {
        Asked::Number(protocol, number) => service.port_numbered(*protocol, *number),
        Asked::Name(protocol, name) => service.port_named(*protocol, name),
        Asked::Other => None,
    }
}

fn no_such_port(service: &Service, asked: &Asked) -> ExplainError {
    let ports = service.ports.iter().map(entry_port).collect();
    ExplainError::NoSuchServicePort { service: service.key.clone(), asked: asked.clone(), ports }
}

fn entry_port(port: &ServicePort) -> EntryPort {
    EntryPort { protocol: port.protocol, number: port.port, name: port.name.clone() }
}

/// An address that may be a node's: what its ports lead to is known only there.
fn at_node<'c>(
    cluster: &'c Cluster,
    from: &Side<'_>,
    address: &'c IpAddr,
    asked: &Asked,
) -> Result<Target<'c>, ExplainError> {
    let direct = |note| Ok(Target::Direct(Side::address(cluster, address)?, note));
    let Some((node, route)) = node_of(cluster, *address).and_then(|node| {
        Some((node, node_port(cluster, *address, node, asked).or_else(|| host_port(cluster, *address, node, asked))?))
    }) else {
        return direct(None);
    };
    match from.identity {
        Identity::Pod(pod) if pod.node.is_none() => {
            Err(ExplainError::Undecidable(Unknown::PortsNode { pod: pod.key.clone(), to: Box::new(route.entry) }))
        }
        Identity::Pod(pod) if pod.node.as_ref() != Some(node) => {
            direct(Some(Note::OtherNodesPort { address: *address, node: node.clone(), to: route.entry }))
        }
        _ => Ok(Target::Forwarded(route)),
    }
}

fn node_port<'c>(cluster: &'c Cluster, address: IpAddr, node: &Arc<str>, asked: &Asked) -> Option<Route<'c>> {
    let Asked::Number(protocol, number) = asked else { return None };
    let is_asked = |port: &&ServicePort| port.protocol == *protocol && port.node_port == Some(*number);
    let here = |service: &&Arc<Service>| service.form == ServiceForm::Virtual && service.has_family_of(address);
    let virtual_ones = cluster.services.values().filter(here);
    let (service, port) =
        virtual_ones.map(|service| &**service).find_map(|it| Some((it, it.ports.iter().find(is_asked)?)))?;
    let way = Way::NodePort { address, node: node.clone(), port: *number };
    Some(Route::service(service, way, Some(entry_port(port)), Through::Port(port)))
}

/// The pod of this node that has asked for the port.
fn host_port<'c>(cluster: &'c Cluster, address: IpAddr, node: &Arc<str>, asked: &Asked) -> Option<Route<'c>> {
    let Asked::Number(protocol, number) = *asked else { return None };
    let is_asked = |port: &&ContainerPort| port.protocol == protocol && port.host_port == Some(number);
    let of_family = |own: &&IpAddr| own.is_ipv4() == address.is_ipv4();
    let here = |pod: &&Pod| {
        pod.is_networked() && pod.node.as_ref() == Some(node) && pod.addresses.iter().any(|own| of_family(&own))
    };
    let mut pods = cluster.pods.values().map(|pod| &**pod).filter(here);
    let (pod, port) = pods.find_map(|pod| Some((pod, pod.ports.iter().find(is_asked)?)))?;
    let traffic = Traffic::Port { protocol, number: port.number };
    let backends = pod.addresses.iter().filter(of_family).map(|&own| Backend {
        address: own,
        traffic,
        pod: Some(pod.key.clone()),
    });
    let backends = backends.collect();
    Some(Route::host_port(Entry::HostPort { address, protocol, port: number }, backends))
}
