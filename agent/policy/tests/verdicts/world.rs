//! A small language for clusters and questions.
#![expect(clippy::unwrap_used, reason = "what a test writes down wrongly should stop it")]

use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, Traffic, Verdict, verdict};
use podgate_policy::model::{
    ContainerPort, Direction, IpBlock, Isolation, Namespace, Namespaces, ObjectKey, Operator, Peer, Peers, Phase, Pod,
    Policy, PortMatch, PortSpec, Ports, Protocol, Requirement, Rule, Selector,
};

/// A cluster under test.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
}

impl World {
    /// Adds or replaces a namespace; labels as `key=value,key=value`.
    pub(crate) fn namespace(mut self, name: &str, labels: &str) -> Self {
        let namespace = Namespace { name: name.into(), labels: pairs(labels).collect(), audit: false };
        self.cluster.namespaces.insert(name.into(), Arc::new(namespace));
        self
    }

    /// Adds or replaces a pod on `node-1`; addresses as `a,b`.
    pub(crate) fn pod(self, name: &str, labels: &str, addresses: &str) -> Self {
        self.pod_with(name, labels, addresses, |_| {})
    }

    /// Adds or replaces a pod that differs from the ordinary.
    pub(crate) fn pod_with(mut self, name: &str, labels: &str, addresses: &str, change: impl FnOnce(&mut Pod)) -> Self {
        let mut pod = Pod {
            key: key(name),
            uid: name.into(),
            labels: pairs(labels).collect(),
            workload: None,
            node: Some("node-1".into()),
            host_network: false,
            phase: Phase::Active,
            terminating: false,
            addresses: addresses.split(',').map(|address| address.parse().unwrap()).collect(),
            ports: Vec::new(),
        };
        change(&mut pod);
        self.cluster.pods.insert(pod.key.clone(), Arc::new(pod));
        self
    }

    /// Adds or replaces a policy.
    pub(crate) fn policy(mut self, policy: Policy) -> Self {
        self.cluster.policies.insert(policy.key.clone(), Arc::new(policy));
        self
    }

    pub(crate) fn without_policy(mut self, name: &str) -> Self {
        self.cluster.policies.remove(&key(name)).unwrap();
        self
    }

    /// An end: `namespace/pod`, `namespace/pod@address`, or an address.
    pub(crate) fn party(&self, end: &str) -> Party<'_> {
        if let Ok(address) = end.parse() {
            return Party::at(&self.cluster, address).unwrap();
        }
        let (name, address) = end.split_once('@').unwrap_or((end, ""));
        let pod = &self.cluster.pods[&key(name)];
        let address: Option<IpAddr> = address.parse().ok().or(pod.addresses.first().copied());
        Party::pod_at(pod, address)
    }

    pub(crate) fn verdict(&self, from: &str, to: &str, traffic: Traffic) -> Verdict {
        verdict(&self.cluster, &self.party(from), &self.party(to), traffic)
    }

    pub(crate) fn passes(&self, from: &str, to: &str, traffic: Traffic) -> bool {
        self.verdict(from, to, traffic).is_allowed()
    }

    /// Asks every case, and reports all that are answered wrongly, with what led to the answer.
    #[track_caller]
    pub(crate) fn expect(&self, cases: &[(&str, &str, &str, Traffic, bool)]) {
        let wrong: Vec<_> = cases
            .iter()
            .filter(|(_, from, to, traffic, expected)| self.passes(from, to, *traffic) != *expected)
            .map(|(sentence, from, to, traffic, _)| {
                format!("{sentence}: {from} to {to} {traffic}: {:#?}", self.verdict(from, to, *traffic))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Passes.
pub(crate) const YES: bool = true;
/// Is dropped.
pub(crate) const NO: bool = false;
/// ICMP and the like.
pub(crate) const OTHER: Traffic = Traffic::Other;

pub(crate) const fn tcp(number: u16) -> Traffic {
    Traffic::Port { protocol: Protocol::Tcp, number }
}

pub(crate) const fn udp(number: u16) -> Traffic {
    Traffic::Port { protocol: Protocol::Udp, number }
}

pub(crate) const fn sctp(number: u16) -> Traffic {
    Traffic::Port { protocol: Protocol::Sctp, number }
}

/// `namespace/name`.
pub(crate) fn key(name: &str) -> ObjectKey {
    let (namespace, name) = name.split_once('/').unwrap();
    ObjectKey::new(namespace, name)
}

pub(crate) fn pairs(labels: &str) -> impl Iterator<Item = (Arc<str>, Arc<str>)> + '_ {
    labels.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into()))
}

/// The selector with these `matchLabels`; empty: everything.
pub(crate) fn matching(labels: &str) -> Selector {
    let requirement = |(key, value)| Requirement { key, operator: Operator::In(vec![value]) };
    Selector::new(pairs(labels).map(requirement).collect())
}

/// The selector with one expression.
pub(crate) fn expression(key: &str, operator: Operator) -> Selector {
    Selector::new(vec![Requirement { key: key.into(), operator }])
}

/// Values of an expression.
pub(crate) fn values(values: &[&str]) -> Vec<Arc<str>> {
    values.iter().map(|&value| value.into()).collect()
}

/// A policy that selects by `matchLabels` and isolates in no direction yet.
pub(crate) fn policy(name: &str, selects: &str) -> Policy {
    Policy {
        key: key(name),
        pod_selector: matching(selects),
        ingress: Isolation::Unaffected,
        egress: Isolation::Unaffected,
        audit: false,
    }
}

/// The policy with these rules in a direction.
pub(crate) fn isolating(name: &str, selects: &str, direction: Direction, rules: Vec<Rule>) -> Policy {
    let isolation = Isolation::Restricted(rules);
    match direction {
        Direction::Ingress => Policy { ingress: isolation, ..policy(name, selects) },
        Direction::Egress => Policy { egress: isolation, ..policy(name, selects) },
    }
}

pub(crate) fn ingress(name: &str, selects: &str, rules: Vec<Rule>) -> Policy {
    isolating(name, selects, Direction::Ingress, rules)
}

pub(crate) fn egress(name: &str, selects: &str, rules: Vec<Rule>) -> Policy {
    isolating(name, selects, Direction::Egress, rules)
}

/// A rule that allows everything.
pub(crate) fn anything() -> Rule {
    Rule { peers: Peers::Any, ports: Ports::Any }
}

/// A rule for peers, on every port.
pub(crate) fn peers(peers: Vec<Peer>) -> Rule {
    Rule { peers: Peers::Listed(peers), ports: Ports::Any }
}

/// A rule for every peer, on ports.
pub(crate) fn ports(ports: Vec<PortMatch>) -> Rule {
    Rule { peers: Peers::Any, ports: Ports::Listed(ports) }
}

/// `podSelector` alone.
pub(crate) fn pods(selector: Selector) -> Peer {
    Peer::Pods { namespaces: Namespaces::Own, pods: selector }
}

/// `namespaceSelector` and `podSelector`.
pub(crate) fn pods_in(namespaces: Selector, pods: Selector) -> Peer {
    Peer::Pods { namespaces: Namespaces::Matching(namespaces), pods }
}

pub(crate) fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|except| except.parse().unwrap()).collect();
    Peer::Block(IpBlock { cidr: cidr.parse().unwrap(), except })
}

pub(crate) fn all_of(protocol: Protocol) -> PortMatch {
    PortMatch { protocol, port: PortSpec::All }
}

pub(crate) fn range(protocol: Protocol, first: u16, last: u16) -> PortMatch {
    PortMatch { protocol, port: PortSpec::Range { first, last } }
}

pub(crate) fn one(protocol: Protocol, number: u16) -> PortMatch {
    range(protocol, number, number)
}

pub(crate) fn named(protocol: Protocol, name: &str) -> PortMatch {
    PortMatch { protocol, port: PortSpec::Named(name.into()) }
}

/// Container ports of a pod, for [`World::pod_with`].
pub(crate) fn serving(ports: &[(&str, Protocol, u16)]) -> impl FnOnce(&mut Pod) + use<> {
    let port = |&(name, protocol, number): &(&str, Protocol, u16)| ContainerPort {
        name: Some(name.into()),
        protocol,
        number,
        host_port: None,
    };
    let ports: Vec<_> = ports.iter().map(port).collect();
    move |pod| pod.ports = ports
}

/// A host-network pod of a node, for [`World::pod_with`].
pub(crate) fn host_on(node: &str) -> impl FnOnce(&mut Pod) + use<> {
    let node = Some(node.into());
    move |pod| {
        pod.host_network = true;
        pod.node = node;
    }
}
