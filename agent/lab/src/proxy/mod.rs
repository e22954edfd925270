//! kube-proxy's part on a node: Services' addresses translated to those of backends, by the tools that kube-proxy uses.

mod conntrack;
pub(crate) mod family;
mod iptables;
mod nftables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::thread;

pub use self::conntrack::Landings;
use self::family::Family;
use crate::command;
use crate::error::Result;
use crate::node::Node;
use crate::service::{Service, ServicePort, Transport};

/// The device that carries the addresses of Services in kube-proxy's mode `ipvs`.
const BOUND: &str = "kube-ipvs0";

/// How a proxy translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// As kube-proxy's `nftables`.
    Nftables,
    /// As kube-proxy's `iptables`.
    Iptables,
    /// As kube-proxy's `ipvs` as far as the node's addresses go: those of Services are its own too. They are translated by
    /// the rules of `iptables`, since few kernels have IPVS.
    Bound,
}

impl ProxyMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Nftables, Self::Iptables, Self::Bound];
}

/// A kube-proxy of one node: what it was told last is in force when a call returns, and every change is one transaction
/// for each family. Unlike the original it does not reject what goes to a Service without backends; such packets go where
/// the node's routes say.
#[derive(Debug)]
pub struct Proxy {
    node: Node,
    mode: ProxyMode,
    services: BTreeMap<String, Service>,
    stale: [nftables::Stale; 2],
}

impl Proxy {
    /// Prepares the node's tables, without Services.
    ///
    /// # Errors
    /// When `nft`, `iptables` or what they need of the kernel is missing.
    pub fn new(node: &Node, mode: ProxyMode) -> Result<Self> {
        let proxy = Self { node: node.clone(), mode, services: BTreeMap::new(), stale: Default::default() };
        match mode {
            ProxyMode::Nftables => {
                let own = [node.ip4(), node.ip6()];
                proxy.nft(&Family::BOTH.map(|family| nftables::base(family, own[family as usize])).concat())?;
            }
            ProxyMode::Iptables => proxy.restore(|_| iptables::base().to_owned())?,
            ProxyMode::Bound => {
                proxy.restore(|_| iptables::base().to_owned())?;
                proxy.node.bind_addresses(BOUND, &[])?;
            }
        }
        Ok(proxy)
    }

    /// Adds a Service, or replaces it and its backends.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn set(&mut self, service: Service) -> Result<()> {
        self.sync([(service.name.to_string(), Some(service))])
    }

    /// Takes a Service away, if there is one of this name.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.sync([(name.to_owned(), None)])
    }

    /// Makes several changes, with `iptables` in one transaction, as kube-proxy gathers them: a Service under its name, or
    /// nothing in its place.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn sync(&mut self, changes: impl IntoIterator<Item = (String, Option<Service>)>) -> Result<()> {
        let mut services = self.services.clone();
        let mut pairs = Vec::new();
        for (name, service) in changes {
            let empty = Service::new(&name);
            let old = match &service {
                Some(service) => services.insert(name, service.clone()),
                None => services.remove(&name),
            };
            pairs.push((old.unwrap_or_else(|| empty.clone()), service.unwrap_or(empty)));
        }
        match self.mode {
            ProxyMode::Nftables => pairs.iter().try_for_each(|(old, new)| self.change_nftables(old, new))?,
            ProxyMode::Iptables | ProxyMode::Bound => self.restore(|family| {
                let before = iptables::Chains::of(self.services.values(), family);
                iptables::Chains::of(services.values(), family).commands(&before)
            })?,
        }
        if self.mode == ProxyMode::Bound {
            pairs.iter().try_for_each(|(old, new)| self.rebind(old, new))?;
        }
        self.services = services;
        pairs.iter().try_for_each(|(old, new)| self.forget_flows(old, new))
    }

    fn change_nftables(&mut self, old: &Service, new: &Service) -> Result<()> {
        let parts = |family| (nftables::Parts::of(old, family), nftables::Parts::of(new, family));
        let scripts = Family::BOTH.map(|family| {
            let (old, new) = parts(family);
            self.stale[family as usize].commands(family) + &new.commands(&old, family)
        });
        self.nft(&scripts.concat())?;
        self.stale = Family::BOTH.map(|family| {
            let (old, new) = parts(family);
            new.rest(&old)
        });
        Ok(())
    }

    fn nft(&self, script: &str) -> Result<()> {
        command::run(self.node.command("nft").args(["-f", "-"]), script).map(drop)
    }

    fn restore(&self, input: impl Fn(Family) -> String) -> Result<()> {
        let [v4, v6] = Family::BOTH.map(|family| (self.node.command(family.iptables_restore()), input(family)));
        let run = |(mut tool, input): (Command, String)| command::run(tool.arg("--noflush"), &input).map(drop);
        // At once, since each takes its time to read what there is.
        thread::scope(|scope| {
            let v6 = scope.spawn(|| run(v6));
            run(v4).and(v6.join().expect("running a program does not panic"))
        })
    }

    fn rebind(&self, old: &Service, new: &Service) -> Result<()> {
        let addresses = |service: &Service| -> Vec<IpAddr> {
            [&service.cluster_ips[..], &service.external_ips, &service.balancer_ips].concat()
        };
        let (old, new) = (addresses(old), addresses(new));
        let (gone, come): (Vec<_>, Vec<_>) = (
            old.iter().filter(|address| !new.contains(address)).copied().collect(),
            new.iter().filter(|address| !old.contains(address)).copied().collect(),
        );
        if !come.is_empty() {
            self.node.bind_addresses(BOUND, &come)?;
        }
        if gone.is_empty() { Ok(()) } else { self.node.unbind_addresses(BOUND, &gone) }
    }

    /// As kube-proxy does: flows of UDP go on to a backend that is gone as long as the kernel remembers the translation.
    fn forget_flows(&self, old: &Service, new: &Service) -> Result<()> {
        for port in old.ports.iter().filter(|port| port.transport == Transport::Udp) {
            let same = |other: &&ServicePort| (other.transport, other.number) == (port.transport, port.number);
            let left = new.ports.iter().find(same).map_or(&[][..], |port| &port.backends);
            for backend in port.backends.iter().filter(|backend| !left.contains(backend)) {
                conntrack::forget(&self.node, *backend)?;
            }
        }
        Ok(())
    }
}
