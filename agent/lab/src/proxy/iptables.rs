//! Rules as kube-proxy writes them in its mode `iptables`: chains for Services that choose a backend by chance, chains for
//! backends that translate the address, a mark for what is to be masqueraded.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use super::family::Family;
use crate::service::{Service, ServicePort};

/// The chains that are there without Services, with the rules of those that never change.
const BASE: &str = "*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
";

pub(super) fn base() -> &'static str {
    BASE
}

/// The chains that Services make in the table of a family, with their rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Chains {
    rules: BTreeMap<String, Vec<String>>,
}

impl Chains {
    pub(super) fn of<'a>(services: impl Iterator<Item = &'a Service>, family: Family) -> Self {
        let mut chains = Self::default();
        chains.rules.insert("KUBE-SERVICES".to_owned(), Vec::new());
        chains.rules.insert("KUBE-NODEPORTS".to_owned(), Vec::new());
        for service in services {
            service.ports.iter().for_each(|port| chains.add(service, port, family));
        }
        chains.rule("KUBE-SERVICES", "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS".to_owned());
        chains
    }

    fn rule(&mut self, chain: &str, rule: String) {
        self.rules.entry(chain.to_owned()).or_default().push(rule);
    }

    fn add(&mut self, service: &Service, port: &ServicePort, family: Family) {
        let place = (&service.name.namespace, &service.name.name, port.transport, port.number);
        let (own, external) = (chain("SVC", &place), chain("EXT", &place));
        let matching = format!("-p {0} -m {0} --dport", port.transport.lower());
        let (cidr, number) = (family.cluster_cidr(), port.number);
        for address in service.cluster_ips.iter().filter(|address| family.has(address)) {
            self.rule("KUBE-SERVICES", format!("-d {address} {matching} {number} -j {own}"));
            self.rule(&own, format!("! -s {cidr} -d {address} {matching} {number} -j KUBE-MARK-MASQ"));
        }
        let others = service.external_ips.iter().chain(&service.balancer_ips);
        for address in others.filter(|address| family.has(address)) {
            self.rule("KUBE-SERVICES", format!("-d {address} {matching} {number} -j {external}"));
        }
        if let Some(node_port) = port.node_port {
            self.rule("KUBE-NODEPORTS", format!("{matching} {node_port} -j {external}"));
        }
        self.rule(&external, "-j KUBE-MARK-MASQ".to_owned());
        self.rule(&external, format!("-j {own}"));
        let backends: Vec<&SocketAddr> = port.backends.iter().filter(|backend| family.has_socket(backend)).collect();
        self.choose(service, port, &own, &backends);
    }

    /// The rules that choose a backend, after those that know the client.
    fn choose(&mut self, service: &Service, port: &ServicePort, own: &str, backends: &[&SocketAddr]) {
        // The chain is there without backends too.
        self.rules.entry(own.to_owned()).or_default();
        let ends: Vec<String> = backends.iter().map(|backend| chain("SEP", &(own, backend))).collect();
        if service.affinity {
            ends.iter().for_each(|end| {
                self.rule(own, format!("-m recent --name {end} --rcheck --seconds 10800 --reap -j {end}"));
            });
        }
        for (number, (end, backend)) in ends.iter().zip(backends).enumerate() {
            let left = ends.len() - number;
            let chance = 1.0 / left as f64;
            let chance = if left == 1 { String::new() } else { random(chance) };
            self.rule(own, format!("{chance}-j {end}"));
            self.end(service, port, end, backend);
        }
    }

    fn end(&mut self, service: &Service, port: &ServicePort, end: &str, backend: &SocketAddr) {
        self.rule(end, format!("-s {} -j KUBE-MARK-MASQ", backend.ip()));
        let recent = if service.affinity { format!("-m recent --name {end} --set ") } else { String::new() };
        let proto = port.transport.lower();
        self.rule(end, format!("-p {proto} {recent}-m {proto} -j DNAT --to-destination {backend}"));
    }

    /// Input of `iptables-restore --noflush` that leads from the old chains to these in one transaction.
    pub(super) fn commands(&self, old: &Self) -> String {
        let mut lines = vec!["*nat".to_owned()];
        let names: BTreeSet<&String> = self.rules.keys().chain(old.rules.keys()).collect();
        lines.extend(names.iter().map(|name| format!(":{name} - [0:0]")));
        let rules = self.rules.iter().flat_map(|(chain, rules)| rules.iter().map(move |rule| (chain, rule)));
        lines.extend(rules.map(|(chain, rule)| format!("-A {chain} {rule}")));
        let gone = old.rules.keys().filter(|name| !self.rules.contains_key(*name));
        lines.extend(gone.map(|name| format!("-X {name}")));
        lines.push("COMMIT\n".to_owned());
        lines.join("\n")
    }
}

fn random(chance: f64) -> String {
    format!("-m statistic --mode random --probability {chance:.10} ")
}

/// A name of a chain may have 28 characters.
fn chain(kind: &str, what: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    format!("KUBE-{kind}-{:016X}", hasher.finish())
}
