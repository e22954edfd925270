//! A node of the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::cni::Plugin;
use crate::error::Result;
use crate::lab::Shared;
use crate::namespace::Namespace;
use crate::outside::Outside;
use crate::pod::{Pod, PodName};
use crate::routed;
use crate::service::Transport;
use crate::wiring::{Addresses, Subnets, Wiring};

/// The name of the node's uplink. As in kind, it is itself a veth and carries the default route.
pub const UPLINK: &str = "eth0";

/// A network namespace that plays a node. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
    namespace: Namespace,
    name: String,
    number: u8,
    routed: Arc<AtomicU8>,
}

impl Node {
    pub(crate) fn create(shared: &Arc<Shared>, outside: &Outside, name: &str, number: usize) -> Result<Self> {
        let number = u8::try_from(number).expect("a lab has fewer than 256 nodes");
        let namespace = shared.namespace(name)?;
        let node = Self {
            shared: Arc::clone(shared),
            namespace,
            name: name.to_owned(),
            number,
            routed: Arc::new(AtomicU8::new(0)),
        };
        node.prepare()?;
        node.link(outside)?;
        Ok(node)
    }

    fn prepare(&self) -> Result<()> {
        self.set("ipv4/ip_forward", "1")?;
        self.set("ipv6/conf/all/forwarding", "1")?;
        self.set("ipv6/conf/default/forwarding", "1")?;
        for key in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
            // As kubeadm asks for. Kernels without br_netfilter don't have them.
            if self.has(key) {
                self.set(key, "1")?;
            }
        }
        Ok(())
    }

    fn link(&self, outside: &Outside) -> Result<()> {
        let n = self.number;
        let (ip4, ip6) = (self.ip4(), self.ip6());
        let (far4, far6) = (format!("172.18.{n}.1"), format!("fd00:172:18:{n}::1"));
        outside.ip(&[
            format!("link add node{n} type veth peer name {UPLINK} netns {}", self.netns()),
            format!("addr add {far4}/24 dev node{n}"),
            format!("addr add {far6}/64 dev node{n} nodad"),
            format!("link set node{n} up"),
        ])?;
        self.namespace.ip(&[
            format!("addr add {ip4}/24 dev {UPLINK}"),
            format!("addr add {ip6}/64 dev {UPLINK} nodad"),
            format!("link set {UPLINK} up"),
            format!("route add default via {far4}"),
            format!("route add ::/0 via {far6}"),
        ])?;
        outside.ip(&[
            format!("route add 10.244.{n}.0/24 via {ip4} src {}", Outside::IP4),
            format!("route add fd00:10:244:{n}::/64 via {ip6} src {}", Outside::IP6),
        ])
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's own IPv4 address.
    #[must_use]
    pub fn ip4(&self) -> IpAddr {
        Ipv4Addr::new(172, 18, self.number, 2).into()
    }

    /// The node's own IPv6 address.
    #[must_use]
    pub fn ip6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd00, 0x172, 0x18, hexadecimal(self.number), 0, 0, 0, 2).into()
    }

    /// Its number in the lab, from 1.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// The ranges of the node's pods, as in `spec.podCIDRs`.
    #[must_use]
    pub fn pod_cidrs(&self) -> [String; 2] {
        [format!("10.244.{}.0/24", self.number), format!("fd00:10:244:{}::/64", self.number)]
    }

    /// Adds a pod, `name` or `namespace/name`, with an address of each family.
    ///
    /// # Errors
    /// When a namespace can't be made or the CNI plugin fails.
    pub fn pod(&self, name: &str, wiring: Wiring) -> Result<Pod> {
        self.add(name, wiring, None)
    }

    /// Adds a pod with addresses that it got before, or that another pod had.
    ///
    /// # Errors
    /// As [`Node::pod`], and when the addresses are taken or not in the range of this wiring.
    pub fn pod_at(&self, name: &str, wiring: Wiring, addresses: Addresses) -> Result<Pod> {
        self.add(name, wiring, Some(addresses))
    }

    /// A namespace for a pod.
    pub(crate) fn sandbox(&self, name: &PodName) -> Result<Namespace> {
        self.shared.namespace(&format!("{}-{}", name.namespace, name.name))
    }

    /// The plugin that makes a wiring here, if it is one.
    pub(crate) fn plugin(&self, wiring: Wiring) -> Option<Plugin> {
        Plugin::of(wiring, &Subnets::of(self.number, wiring), self.shared.directory())
    }

    fn add(&self, name: &str, wiring: Wiring, wanted: Option<Addresses>) -> Result<Pod> {
        let name = PodName::parse(name);
        let namespace = self.sandbox(&name)?;
        let subnets = Subnets::of(self.number, wiring);
        let link = match self.plugin(wiring) {
            Some(plugin) => plugin.add(&self.namespace, &namespace, wanted)?,
            None => {
                let count = self.routed.fetch_add(1, Ordering::Relaxed);
                routed::add(&self.namespace, &namespace, count, wanted.unwrap_or_else(|| subnets.nth(count)))?
            }
        };
        Pod::new(name, self, wiring, namespace, link)
    }

    /// Removes a pod as a runtime does: the CNI plugin first, then its namespace.
    ///
    /// # Errors
    /// When the CNI plugin fails.
    pub fn remove(&self, pod: &Pod) -> Result<()> {
        if let Some(plugin) = self.plugin(pod.wiring()) {
            plugin.delete(&self.namespace, pod)?;
        } else {
            self.ip(&[format!("link del {}", pod.host_interface().name)])?;
        }
        pod.delete()
    }

    /// Gives a pod a port of the node, `hostPort`, by the CNI plugin `portmap`. One for each pod.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn host_port(&self, pod: &Pod, host_port: u16, transport: Transport, port: u16) -> Result<()> {
        Plugin::port_map(pod, host_port, transport, port).add_to(&self.namespace, pod)
    }
}

/// The number whose hexadecimal digits are the decimal digits of `number`, so that addresses of both families read alike.
fn hexadecimal(number: u8) -> u16 {
    let number = u16::from(number);
    (number / 100) << 8 | (number / 10 % 10) << 4 | (number % 10)
}

impl Deref for Node {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
