//! A pod of the lab.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::process::Command;

use serde_json::Value;

use crate::cni::BRIDGE;
use crate::command;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::node::Node;
use crate::wiring::{Addresses, Wiring};

/// The name of a pod or a Service in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

impl PodName {
    /// Reads `namespace/name`, or a name in the namespace `default`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What wiring a pod results in.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) host_interface: String,
    pub(crate) addresses: Addresses,
}

/// A network namespace that plays a pod, with `eth0` in it. Clones are the same pod.
#[derive(Clone, Debug)]
pub struct Pod {
    name: PodName,
    node: String,
    wiring: Wiring,
    namespace: Namespace,
    addresses: Addresses,
    host: Interface,
    own: Interface,
    gateway: Interface,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in its namespace.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

impl Interface {
    /// Looks up an interface by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(namespace: &Namespace, name: &str) -> Result<Self> {
        let shown = namespace.output("ip", &["-json", "link", "show", "dev", name])?;
        let links: Value = serde_json::from_str(&shown).unwrap_or_default();
        let link = &links[0];
        let index = link["ifindex"].as_u64().and_then(|index| u32::try_from(index).ok());
        let (Some(index), Some(mac)) = (index, link["address"].as_str().and_then(parse_mac)) else {
            return Err(Error::Answer(format!("`ip` describes {name} without index and Ethernet address: {shown}")));
        };
        Ok(Self { name: name.to_owned(), index, mac })
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

impl Pod {
    pub(crate) fn new(name: PodName, node: &Node, wiring: Wiring, namespace: Namespace, link: Link) -> Result<Self> {
        let host = Interface::find(node, &link.host_interface)?;
        let own = Interface::find(&namespace, "eth0")?;
        let gateway = if wiring == Wiring::Bridge { Interface::find(node, BRIDGE)? } else { host.clone() };
        let node = node.name().to_owned();
        Ok(Self { name, node, wiring, namespace, addresses: link.addresses, host, own, gateway })
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &PodName {
        &self.name
    }

    /// The name of its node.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node
    }

    /// How it is connected.
    #[must_use]
    pub fn wiring(&self) -> Wiring {
        self.wiring
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn ip4(&self) -> IpAddr {
        self.addresses.ip4.into()
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn ip6(&self) -> IpAddr {
        self.addresses.ip6.into()
    }

    /// The node's end of its veth.
    #[must_use]
    pub fn host_interface(&self) -> &Interface {
        &self.host
    }

    /// Its own end of the veth, `eth0`.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.own
    }

    /// The node's interface that routes for the pod: frames to anything but a neighbour go to its Ethernet address.
    #[must_use]
    pub fn gateway(&self) -> &Interface {
        &self.gateway
    }

    pub(crate) fn delete(&self) -> Result<()> {
        self.namespace.stop().give();
        command::run(Command::new("ip").args(["netns", "del", self.netns()]), "").map(drop)
    }
}

impl Deref for Pod {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
