//! Objects in few words.

use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::model::{
    Isolation, Labels, Namespace, Namespaces, ObjectKey, Operator, Peer, Peers, Phase, Pod, Policy, Ports, Requirement,
    Rule, Selector,
};

use super::world::Edit;

fn labels(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|&(key, value)| (Arc::from(key), Arc::from(value))).collect()
}

/// `key=value` for each pair.
pub(crate) fn selector(labels: &[(&str, &str)]) -> Selector {
    let one =
        |&(key, value): &(&str, &str)| Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) };
    Selector::new(labels.iter().map(one).collect())
}

pub(crate) fn namespace(name: &str, with: &[(&str, &str)]) -> Edit {
    Edit::Namespace(Namespace { name: name.into(), labels: labels(with), audit: false })
}

pub(crate) fn key(key: &str) -> ObjectKey {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    ObjectKey::new(namespace, name)
}

pub(crate) fn pod(name: &str, with: &[(&str, &str)], address: &str) -> Edit {
    Edit::Pod(Pod {
        key: key(name),
        uid: "".into(),
        labels: labels(with),
        workload: None,
        node: None,
        host_network: false,
        phase: Phase::Active,
        terminating: false,
        addresses: vec![address.parse::<IpAddr>().expect("an address")],
        ports: Vec::new(),
    })
}

/// Pods with labels in namespaces with labels.
pub(crate) fn pods(namespaces: &[(&str, &str)], pods: &[(&str, &str)]) -> Peer {
    Peer::Pods { namespaces: Namespaces::Matching(selector(namespaces)), pods: selector(pods) }
}

/// A policy for every pod of its namespace that allows packets from these peers, and of packets out of it none.
pub(crate) fn ingress(name: &str, peers: Vec<Peer>) -> Edit {
    let rules = peers.into_iter().map(|peer| Rule { peers: Peers::Listed(vec![peer]), ports: Ports::Any });
    Edit::Policy(Policy {
        key: key(name),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(rules.collect()),
        egress: Isolation::Restricted(Vec::new()),
        audit: false,
    })
}
