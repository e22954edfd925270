//! Services of a cluster, as far as a proxy needs to know them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::pod::{Pod, PodName};

/// A transport protocol of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// As `nft`, `iptables` and `conntrack` write it.
    pub(crate) fn lower(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// As Kubernetes writes it.
    pub(crate) fn upper(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.upper())
    }
}

/// A Service with its endpoints. It has no address until it is given one: then it is headless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub(crate) name: PodName,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) external_ips: Vec<IpAddr>,
    pub(crate) balancer_ips: Vec<IpAddr>,
    pub(crate) affinity: bool,
    pub(crate) ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub(crate) transport: Transport,
    pub(crate) number: u16,
    pub(crate) node_port: Option<u16>,
    pub(crate) backends: Vec<SocketAddr>,
}

impl Service {
    /// A Service, `name` or `namespace/name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: PodName::parse(name),
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            balancer_ips: Vec::new(),
            affinity: false,
            ports: Vec::new(),
        }
    }

    /// Sets `spec.clusterIPs`.
    #[must_use]
    pub fn cluster_ips(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.cluster_ips = addresses.into_iter().collect();
        self
    }

    /// Sets `spec.externalIPs`.
    #[must_use]
    pub fn external_ips(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.external_ips = addresses.into_iter().collect();
        self
    }

    /// Sets the addresses of `status.loadBalancer.ingress`.
    #[must_use]
    pub fn balancer_ips(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.balancer_ips = addresses.into_iter().collect();
        self
    }

    /// Sets `spec.sessionAffinity` to `ClientIP`.
    #[must_use]
    pub fn sticky(mut self) -> Self {
        self.affinity = true;
        self
    }

    /// Adds a port.
    #[must_use]
    pub fn port(mut self, port: ServicePort) -> Self {
        self.ports.push(port);
        self
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &PodName {
        &self.name
    }
}

impl ServicePort {
    /// A port without backends.
    #[must_use]
    pub fn new(transport: Transport, number: u16) -> Self {
        Self { transport, number, node_port: None, backends: Vec::new() }
    }

    /// Sets `nodePort`.
    #[must_use]
    pub fn node_port(mut self, number: u16) -> Self {
        self.node_port = Some(number);
        self
    }

    /// Adds backends of either family: addresses with their own target ports.
    #[must_use]
    pub fn to(mut self, backends: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.backends.extend(backends);
        self
    }
}

impl Pod {
    /// A port of the pod's two addresses, as backends of a Service.
    #[must_use]
    pub fn backends(&self, port: u16) -> [SocketAddr; 2] {
        self.addresses().both().map(|address| SocketAddr::new(address, port))
    }
}
