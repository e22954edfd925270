//! Clusters of a size, made by arithmetic, so that every run measures the same.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podgate_policy::cluster::Cluster;
use podgate_policy::compile::{Changes, Endpoint};
use podgate_policy::model::{
    ContainerPort, IpBlock, Isolation, Labels, Namespace, Namespaces, ObjectKey, Operator, Peer, Peers, Phase, Pod,
    Policy, PortMatch, PortSpec, Ports, Protocol, Requirement, Rule, Selector,
};

/// How big a cluster is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) namespaces: usize,
    /// Apps in each namespace.
    pub(crate) apps: usize,
    /// Pods of each app.
    pub(crate) replicas: usize,
    /// Policies in each namespace.
    pub(crate) policies: usize,
    /// Pods of this node, spread over the namespaces.
    pub(crate) local: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = self.namespaces * self.apps * self.replicas;
        write!(f, "{pods} pods, {} policies, {} local", self.namespaces * self.policies, self.local)
    }
}

/// A cluster, and the pods of this node.
pub(crate) struct Big {
    size: Size,
    pub(crate) cluster: Cluster,
    endpoints: Vec<Endpoint>,
}

impl Big {
    pub(crate) fn new(size: Size) -> Self {
        let mut cluster = Cluster::default();
        for namespace in 0..size.namespaces {
            let it = namespace_object(namespace, namespace % 10);
            cluster.namespaces.insert(it.name.clone(), Arc::new(it));
            for index in 0..size.apps * size.replicas {
                let pod = pod(size, namespace, index);
                cluster.pods.insert(pod.key.clone(), Arc::new(pod));
            }
            for index in 0..size.policies {
                let policy = policy(size, namespace, index, 0);
                cluster.policies.insert(policy.key.clone(), Arc::new(policy));
            }
        }
        let step = cluster.pods.len() / size.local;
        let local = cluster.pods.keys().step_by(step).take(size.local).cloned();
        let endpoints = (1..).zip(local).map(|(slot, pod)| Endpoint { slot, pod }).collect();
        Self { size, cluster, endpoints }
    }

    pub(crate) fn everything(&self) -> Changes {
        Changes {
            pods: self.cluster.pods.keys().cloned().collect(),
            namespaces: self.cluster.namespaces.keys().cloned().collect(),
            policies: self.cluster.policies.keys().cloned().collect(),
            bound: self.endpoints.clone(),
            ..Changes::default()
        }
    }

    /// A pod of another node.
    pub(crate) fn remote_pod(&self) -> ObjectKey {
        let is_local = |key: &ObjectKey| self.endpoints.iter().any(|endpoint| endpoint.pod == *key);
        self.cluster.pods.keys().rev().find(|key| !is_local(key)).expect("a pod of another node").clone()
    }

    /// Changes a policy that selects a pod of this node.
    pub(crate) fn change_policy(&mut self, round: usize) -> ObjectKey {
        let pod = &self.cluster.pods[&self.endpoints[round % self.endpoints.len()].pod];
        let selects = |policy: &&Arc<Policy>| {
            policy.key.namespace == pod.key.namespace && policy.pod_selector.matches(&pod.labels)
        };
        let key = self.cluster.policies.values().find(selects).expect("every app has a policy").key.clone();
        let number = |name: &str| name[name.len() - 4..].parse::<usize>().expect("names end in a number");
        let changed = policy(self.size, number(&key.namespace), number(&key.name), round);
        self.cluster.policies.insert(key.clone(), Arc::new(changed));
        key
    }

    /// Adds a policy with these rules for all pods of the namespace of a pod of this node.
    pub(crate) fn add_policy(&mut self, rules: Vec<Rule>) -> ObjectKey {
        let key = ObjectKey { name: "many-rules".into(), ..self.endpoints[0].pod.clone() };
        let policy = Policy {
            key: key.clone(),
            pod_selector: Selector::default(),
            ingress: Isolation::Restricted(rules),
            egress: Isolation::Unaffected,
            audit: false,
        };
        self.cluster.policies.insert(key.clone(), Arc::new(policy));
        key
    }

    pub(crate) fn change_namespace(&mut self, round: usize) -> Arc<str> {
        let namespace = namespace_object(round % self.size.namespaces, (round + 1) % 10);
        let name = Arc::clone(&namespace.name);
        self.cluster.namespaces.insert(Arc::clone(&name), Arc::new(namespace));
        name
    }

    pub(crate) fn change_local_pod(&mut self, round: usize) -> ObjectKey {
        let key = self.endpoints[round % self.endpoints.len()].pod.clone();
        let mut pod = Pod::clone(&self.cluster.pods[&key]);
        pod.labels.insert("app".into(), format!("app-{}", round % self.size.apps).into());
        self.cluster.pods.insert(key.clone(), Arc::new(pod));
        key
    }
}

/// Rules with blocks in each other's blocks and ranges over each other's ranges.
pub(crate) fn overlapping(count: usize) -> Vec<Rule> {
    let rule = |i: usize| {
        let bytes = u32::try_from((i * 7 % 256) << 16 | (i * 13 % 256) << 8).expect("three bytes").to_be_bytes();
        let length = 8 + u8::try_from(i % 17).expect("a length");
        let cidr = IpNet::new([10, bytes[1], bytes[2], 0].into(), length).expect("a block").trunc();
        let first = 1 + i % 60_000;
        let range = |first: usize, last: usize| PortSpec::Range {
            first: u16::try_from(first).expect("a port"),
            last: u16::try_from(last).expect("a port"),
        };
        let port = PortMatch { protocol: Protocol::Tcp, port: range(first, (first + i % 5000).min(65_535)) };
        let peer = Peer::Block(IpBlock { cidr, except: Vec::new() });
        Rule { peers: Peers::Listed(vec![peer]), ports: Ports::Listed(vec![port]) }
    };
    (0..count).map(rule).collect()
}

/// Rules with a selector and a port of their own.
pub(crate) fn disjoint(count: usize) -> Vec<Rule> {
    let rule = |i: usize| {
        let key = format!("label-{i}");
        let peer = Peer::Pods { namespaces: Namespaces::Own, pods: select([(key.as_str(), "v".to_owned())]) };
        Rule { peers: Peers::Listed(vec![peer]), ports: ports([u16::try_from(i + 1).expect("a port")]) }
    };
    (0..count).map(rule).collect()
}

fn namespace_name(index: usize) -> String {
    format!("namespace-{index:04}")
}

fn namespace_object(index: usize, team: usize) -> Namespace {
    let labels = [("kubernetes.io/metadata.name", namespace_name(index)), ("team", format!("team-{team}"))];
    Namespace { name: namespace_name(index).into(), labels: shared(labels), audit: false }
}

fn shared<const N: usize>(labels: [(&str, String); N]) -> Labels {
    labels.into_iter().map(|(key, value)| (Arc::from(key), Arc::from(value))).collect()
}

fn pod(size: Size, namespace: usize, index: usize) -> Pod {
    let number = namespace * size.apps * size.replicas + index;
    let app = index / size.replicas;
    let bytes = u32::try_from(number).expect("pods are few").to_be_bytes();
    let v4 = IpAddr::from([10, bytes[1], bytes[2], bytes[3]]);
    let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, u16::from(bytes[1]), u16::from_be_bytes([bytes[2], bytes[3]])]);
    let port = |name: &str, number| ContainerPort {
        name: Some(name.into()),
        protocol: Protocol::Tcp,
        number,
        host_port: None,
    };
    Pod {
        key: ObjectKey::new(namespace_name(namespace), format!("app-{app}-{index:04}")),
        uid: format!("{number}").into(),
        labels: shared([
            ("app", format!("app-{app}")),
            ("pod-template-hash", format!("{:x}", namespace * 31 + app)),
            ("tier", format!("tier-{}", app % 3)),
            ("instance", format!("{number}")),
        ]),
        workload: None,
        node: None,
        host_network: false,
        phase: Phase::Active,
        terminating: false,
        addresses: vec![v4, v6],
        ports: vec![port("http", if app.is_multiple_of(2) { 8080 } else { 8081 }), port("metrics", 9090)],
    }
}

fn select<const N: usize>(labels: [(&str, String); N]) -> Selector {
    let one =
        |(key, value): (&str, String)| Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) };
    Selector::new(labels.into_iter().map(one).collect())
}

fn ports<const N: usize>(numbers: [u16; N]) -> Ports {
    let one = |number| PortMatch { protocol: Protocol::Tcp, port: PortSpec::Range { first: number, last: number } };
    Ports::Listed(numbers.map(one).to_vec())
}

/// Selects two apps. In: another app on some ports, a tier of another team's namespaces on one. Out: DNS, an app by
/// port name, and the world without the pods. `round` makes it another policy with the same key.
fn policy(size: Size, namespace: usize, index: usize, round: usize) -> Policy {
    let app = |index: usize| format!("app-{}", index % size.apps);
    let own = |name| Peer::Pods { namespaces: Namespaces::Own, pods: select([("app", name)]) };
    let team = |team: usize, tier: usize| Peer::Pods {
        namespaces: Namespaces::Matching(select([("team", format!("team-{}", team % 10))])),
        pods: select([("tier", format!("tier-{}", tier % 3))]),
    };
    let listed = |peer, ports| Rule { peers: Peers::Listed(vec![peer]), ports };
    let name = |name: &str| PortMatch { protocol: Protocol::Tcp, port: PortSpec::Named(name.into()) };
    let block = |cidr: &str, except: &str| IpBlock {
        cidr: cidr.parse().expect("a block"),
        except: vec![except.parse().expect("a block")],
    };
    let dns = PortMatch { protocol: Protocol::Udp, port: PortSpec::Range { first: 53, last: 53 } };
    Policy {
        key: ObjectKey::new(namespace_name(namespace), format!("policy-{index:04}")),
        pod_selector: Selector::new(vec![Requirement {
            key: "app".into(),
            operator: Operator::In(vec![app(index * 2).into(), app(index * 2 + 1).into()]),
        }]),
        ingress: Isolation::Restricted(vec![
            listed(own(app(index + 3 + round)), ports([80, 443])),
            listed(team(namespace + index + round, index), ports([8080])),
        ]),
        egress: Isolation::Restricted(vec![
            Rule { peers: Peers::Any, ports: Ports::Listed(vec![dns]) },
            listed(own(app(index + 5)), Ports::Listed(vec![name("http")])),
            listed(Peer::Block(block("0.0.0.0/0", "10.0.0.0/8")), ports([443])),
        ]),
        audit: false,
    }
}
