//! What podgate keeps of Services, their endpoints, and nodes.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{ContainerPort, Labels, ObjectKey, Pod, Protocol};

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// How clients reach it.
    pub form: ServiceForm,
    /// `spec.clusterIPs` (`spec.clusterIP` where that list is absent); empty for headless ones.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// The addresses in `status.loadBalancer.ingress` that kube-proxy serves: those whose `ipMode` is not `Proxy`, which are
    /// reached at the load balancer itself.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// The labels of its pods; empty where endpoints are made by hand.
    pub selector: Labels,
    /// Which endpoints its ClusterIPs lead to (`spec.internalTrafficPolicy`).
    pub internal: TrafficPolicy,
    /// Which endpoints its other addresses and its node ports lead to (`spec.externalTrafficPolicy`).
    pub external: TrafficPolicy,
}

impl Service {
    /// Whether clients can reach it in the family of an address, or can be led to that: kube-proxy never changes the family,
    /// and serves none in which the Service has no ClusterIP (`proxyutil.GetClusterIPByFamily`). In files that leave the
    /// ClusterIPs out, every family counts.
    #[must_use]
    pub fn has_family_of(&self, address: IpAddr) -> bool {
        let mut families = self.cluster_ips.iter().map(IpAddr::is_ipv4);
        self.cluster_ips.is_empty() || families.any(|is_ipv4| is_ipv4 == address.is_ipv4())
    }

    /// The port of this name and protocol.
    #[must_use]
    pub fn port_named(&self, protocol: Protocol, name: &str) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.protocol == protocol && port.name.as_deref() == Some(name))
    }

    /// The port of this number and protocol.
    #[must_use]
    pub fn port_numbered(&self, protocol: Protocol, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.protocol == protocol && port.port == number)
    }
}

/// Which of a Service's endpoints a node leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All of them.
    #[default]
    Cluster,
    /// Those on the same node.
    Local,
}

/// How clients reach a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceForm {
    /// By addresses of its own (ClusterIP, NodePort, LoadBalancer).
    Virtual,
    /// By the addresses of its endpoints (`clusterIP: None`).
    Headless,
    /// By another DNS name.
    ExternalName,
    /// As another program than kube-proxy has it: kube-proxy leaves out Services with the label
    /// `service.kubernetes.io/service-proxy-name` or `service.kubernetes.io/headless` (`cmd/kube-proxy/app/server.go`). Their
    /// addresses are addresses like any other.
    OtherProxy,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port that clients use, 1 to 65535.
    pub port: u16,
    /// The port of the endpoints.
    pub target: TargetPort,
    /// The port on every node, if it has one.
    pub node_port: Option<u16>,
}

impl ServicePort {
    /// The number that it leads to at a pod; `None` if no container has a port of its target's name. If several have, the
    /// first counts (Kubernetes' `FindPort`).
    #[must_use]
    pub fn target_at(&self, pod: &Pod) -> Option<u16> {
        match &self.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => {
                let named = |its: &&ContainerPort| its.protocol == self.protocol && its.name.as_ref() == Some(name);
                pod.ports.iter().find(named).map(|its| its.number)
            }
        }
    }
}

/// The port of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// This number everywhere.
    Number(u16),
    /// The container port of this name, of each pod its own.
    Name(Arc<str>),
}

/// A part of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The Service in the same namespace that it belongs to, if any.
    pub service: Option<Arc<str>>,
    /// What its addresses are.
    pub family: AddressFamily,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The ports that all of them have.
    pub ports: Vec<EndpointPort>,
    /// Whether kube-proxy leaves it out for one of the labels for which it leaves out Services ([`ServiceForm::OtherProxy`]).
    /// The controller gives it to those of headless Services.
    pub left_out: bool,
}

/// What the addresses of an EndpointSlice are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// DNS names, which podgate doesn't keep.
    Fqdn,
}

/// One endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses; none in a slice of DNS names.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes new connections; absent means yes.
    pub ready: bool,
    /// Whether it answers, terminating or not; absent means the same as `ready`.
    pub serving: bool,
    /// Whether it is about to go.
    pub terminating: bool,
    /// The node it is on, if that is known.
    pub node: Option<Arc<str>>,
    /// The pod behind it, if it is one.
    pub target: Option<ObjectKey>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// The name of the Service's port.
    pub name: Option<Arc<str>>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number; absent means every port.
    pub port: Option<u16>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// The addresses in `status.addresses`.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs` (`spec.podCIDR` where that list is absent), host bits cleared.
    pub pod_cidrs: Vec<IpNet>,
}
