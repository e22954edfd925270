//! Rules as kube-proxy writes them in its mode `nftables`: one table for each family, verdict maps from frontends to
//! chains of Services, a random element of an anonymous map for the backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

use super::family::Family;
use crate::service::{Service, ServicePort};

/// What the table holds beside Services. The maps and the chain `services` are never replaced, so that a packet always
/// finds them.
pub(super) fn base(family: Family, node: std::net::IpAddr) -> String {
    let (ip, kind) = (family.nft(), family.nft_type());
    format!(
        "add table {ip} kube-proxy
add map {ip} kube-proxy service-ips {{ type {kind} . inet_proto . inet_service : verdict; }}
add map {ip} kube-proxy service-nodeports {{ type inet_proto . inet_service : verdict; }}
add set {ip} kube-proxy nodeport-ips {{ type {kind}; }}
add element {ip} kube-proxy nodeport-ips {{ {node} }}
add chain {ip} kube-proxy mark-for-masquerade
add rule {ip} kube-proxy mark-for-masquerade meta mark set meta mark or 0x4000
add chain {ip} kube-proxy services
add rule {ip} kube-proxy services {ip} daddr . meta l4proto . th dport vmap @service-ips
add rule {ip} kube-proxy services {ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
add chain {ip} kube-proxy masquerading
add rule {ip} kube-proxy masquerading meta mark and 0x4000 == 0 return
add rule {ip} kube-proxy masquerading meta mark set meta mark xor 0x4000
add rule {ip} kube-proxy masquerading masquerade fully-random
add chain {ip} kube-proxy nat-prerouting {{ type nat hook prerouting priority -100; }}
add rule {ip} kube-proxy nat-prerouting jump services
add chain {ip} kube-proxy nat-output {{ type nat hook output priority -100; }}
add rule {ip} kube-proxy nat-output jump services
add chain {ip} kube-proxy nat-postrouting {{ type nat hook postrouting priority 100; }}
add rule {ip} kube-proxy nat-postrouting jump masquerading
"
    )
}

/// What one Service adds to the table of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    chains: BTreeMap<String, Vec<String>>,
    /// Sets that remember clients.
    sets: BTreeSet<String>,
    /// Map and key to verdict.
    elements: BTreeMap<(&'static str, String), String>,
}

impl Parts {
    pub(super) fn of(service: &Service, family: Family) -> Self {
        let mut parts = Self::default();
        service.ports.iter().for_each(|port| parts.add(service, port, family));
        parts
    }

    fn add(&mut self, service: &Service, port: &ServicePort, family: Family) {
        let backends: Vec<&SocketAddr> = port.backends.iter().filter(|backend| family.has_socket(backend)).collect();
        let name =
            format!("{}/{}/{}/{}", service.name.namespace, service.name.name, port.transport.lower(), port.number);
        let (chain, external) = (format!("service-{name}"), format!("external-{name}"));
        let endpoints: Vec<String> = backends.iter().map(|backend| endpoint(&name, backend)).collect();
        for (endpoint, backend) in endpoints.iter().zip(&backends) {
            let rules = self.endpoint_rules(service, port, endpoint, backend, family);
            self.chains.insert(endpoint.clone(), rules);
        }
        self.chains.insert(chain.clone(), service_rules(service, port, &endpoints, family));
        self.chains.insert(external.clone(), vec!["jump mark-for-masquerade".to_owned(), format!("goto {chain}")]);
        let proto = port.transport.lower();
        let mut ip = |address, chain: &str| {
            let key = format!("{address} . {proto} . {}", port.number);
            self.elements.insert(("service-ips", key), format!("goto {chain}"));
        };
        service.cluster_ips.iter().filter(|address| family.has(address)).for_each(|address| ip(address, &chain));
        let others = service.external_ips.iter().chain(&service.balancer_ips);
        others.filter(|address| family.has(address)).for_each(|address| ip(address, &external));
        if let Some(node_port) = port.node_port {
            let key = format!("{proto} . {node_port}");
            self.elements.insert(("service-nodeports", key), format!("goto {external}"));
        }
    }

    fn endpoint_rules(
        &mut self,
        service: &Service,
        port: &ServicePort,
        endpoint: &str,
        backend: &SocketAddr,
        family: Family,
    ) -> Vec<String> {
        let ip = family.nft();
        let mut rules = vec![format!("{ip} saddr {} jump mark-for-masquerade", backend.ip())];
        if service.affinity {
            let set = affinity(endpoint);
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
            self.sets.insert(set);
        }
        rules.push(format!("meta l4proto {} dnat to {backend}", port.transport.lower()));
        rules
    }

    /// The commands of one transaction that lead from the parts of the previous state to these. What nothing refers to
    /// any more is left for [`Parts::rest`]: the kernel may still see references to it in the same transaction.
    pub(super) fn commands(&self, old: &Self, family: Family) -> String {
        let ip = family.nft();
        let mut script = String::new();
        for set in &self.sets {
            let kind = family.nft_type();
            line(
                &mut script,
                format_args!("add set {ip} kube-proxy {set} {{ type {kind}; flags dynamic,timeout; timeout 3h; }}"),
            );
        }
        for chain in self.chains.keys() {
            line(&mut script, format_args!("add chain {ip} kube-proxy {chain}"));
            line(&mut script, format_args!("flush chain {ip} kube-proxy {chain}"));
        }
        for (chain, rules) in &self.chains {
            rules.iter().for_each(|rule| line(&mut script, format_args!("add rule {ip} kube-proxy {chain} {rule}")));
        }
        // An element with another verdict is another one.
        for ((map, key), _) in old.elements.iter().filter(|(place, verdict)| self.elements.get(place) != Some(verdict))
        {
            line(&mut script, format_args!("delete element {ip} kube-proxy {map} {{ {key} }}"));
        }
        for ((map, key), verdict) in
            self.elements.iter().filter(|(place, verdict)| old.elements.get(place) != Some(verdict))
        {
            line(&mut script, format_args!("add element {ip} kube-proxy {map} {{ {key} : {verdict} }}"));
        }
        script
    }

    /// What the table still holds of `old` though these parts don't.
    pub(super) fn rest(&self, old: &Self) -> Stale {
        Stale {
            chains: old.chains.keys().filter(|chain| !self.chains.contains_key(*chain)).cloned().collect(),
            sets: old.sets.difference(&self.sets).cloned().collect(),
        }
    }
}

/// Chains and sets that nothing refers to.
#[derive(Clone, Debug, Default)]
pub(super) struct Stale {
    chains: BTreeSet<String>,
    sets: BTreeSet<String>,
}

impl Stale {
    pub(super) fn commands(&self, family: Family) -> String {
        let ip = family.nft();
        let mut script = String::new();
        self.chains.iter().for_each(|chain| line(&mut script, format_args!("flush chain {ip} kube-proxy {chain}")));
        self.chains.iter().for_each(|chain| line(&mut script, format_args!("delete chain {ip} kube-proxy {chain}")));
        self.sets.iter().for_each(|set| line(&mut script, format_args!("delete set {ip} kube-proxy {set}")));
        script
    }
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(script, "{text}").expect("a string takes what is written");
}

fn service_rules(service: &Service, port: &ServicePort, endpoints: &[String], family: Family) -> Vec<String> {
    let (ip, proto, number) = (family.nft(), port.transport.lower(), port.number);
    let own = service.cluster_ips.iter().filter(|address| family.has(address));
    let foreign = family.cluster_cidr();
    let mut rules: Vec<String> = own
        .map(|own| format!("{ip} daddr {own} {proto} dport {number} {ip} saddr != {foreign} jump mark-for-masquerade"))
        .collect();
    if service.affinity {
        rules.extend(endpoints.iter().map(|endpoint| format!("{ip} saddr @{} goto {endpoint}", affinity(endpoint))));
    }
    if !endpoints.is_empty() {
        let choices: Vec<String> =
            endpoints.iter().enumerate().map(|(number, endpoint)| format!("{number} : goto {endpoint}")).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), choices.join(", ")));
    }
    rules
}

/// A colon may not be part of a name.
fn endpoint(service: &str, backend: &SocketAddr) -> String {
    let address = backend.ip().to_string().replace(':', ".");
    format!("endpoint-{service}__{address}/{}", backend.port())
}

fn affinity(endpoint: &str) -> String {
    endpoint.replacen("endpoint", "affinity", 1)
}
