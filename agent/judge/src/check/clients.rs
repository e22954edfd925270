//! Blocks of clients outside the cluster whose connections come with the address of a node: with
//! `externalTrafficPolicy: Cluster` kube-proxy masquerades what it forwards.

use std::net::IpAddr;

use ipnet::IpNet;
use podgate_policy::evaluate::{Traffic, isolating, ports_match, rules};
use podgate_policy::model::{self, Direction, IpBlock, Peer, Peers, Pod, Policy};
use podgate_policy::services::{Service, ServiceForm, ServicePort, TrafficPolicy};

use crate::check::known::{Known, all_rules};
use crate::check::{Field, Finding, Part, Rule, Severity};

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (direction, index, rule) in all_rules(policy) {
        let (Direction::Ingress, Peers::Listed(peers)) = (direction, &rule.peers) else { continue };
        let blocks = || peers.iter().enumerate().filter_map(|(number, peer)| Some((number, block(peer)?)));
        if blocks().any(|(_, block)| may_have_nodes(known, block)) {
            continue;
        }
        let Some((number, first)) = blocks().next() else { continue };
        let field = Field::Peer(direction, index, number, Part::Cidr);
        findings
            .extend(known.selected(policy).into_iter().find_map(|pod| finding(known, policy, field, rule, pod, first)));
    }
    findings
}

fn block(peer: &Peer) -> Option<&IpBlock> {
    match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods { .. } => None,
    }
}

/// Whether a block may be meant for nodes or pods too: it has the address of one. Where no node is known, one of private addresses may.
fn may_have_nodes(known: &Known<'_>, block: &IpBlock) -> bool {
    let nodes = &known.cluster.nodes;
    let has = |address: &IpAddr| block.contains(*address);
    let is_node = nodes.values().any(|node| node.addresses.iter().any(has));
    is_node
        || block.cidr.prefix_len() == 0
        || !known.pods_at(block).is_empty()
        || (nodes.is_empty() && is_private(&block.cidr))
}

fn is_private(cidr: &IpNet) -> bool {
    match cidr.network() {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

fn finding(
    known: &Known<'_>,
    policy: &Policy,
    field: Field,
    rule: &model::Rule,
    pod: &Pod,
    block: &IpBlock,
) -> Option<Finding> {
    let service = known.services_of(pod).find(|service| {
        service.form == ServiceForm::Virtual
            && service.external == TrafficPolicy::Cluster
            && is_exposed(known, service)
            && targets(service, pod).any(|traffic| allows(rule, pod, traffic) && !is_open(known, pod, traffic))
    })?;
    let key = &service.key;
    Some(Finding {
        object: policy.into(),
        field,
        rule: Rule::MasqueradedClients,
        severity: Severity::Warning,
        why: format!(
            "clients of Service {key} come with the address of the node that forwards them (externalTrafficPolicy: Cluster), and \
             {} is no node's, so those that it names are kept out",
            block.cidr
        ),
        instead: format!(
            "set externalTrafficPolicy: Local in Service {key}, so that clients keep their addresses; or allow the nodes' \
             addresses here, and name the clients in its loadBalancerSourceRanges"
        ),
        yaml: None,
    })
}

fn is_exposed(known: &Known<'_>, service: &Service) -> bool {
    known.written.exposed.contains(&service.key)
        || !service.external_ips.is_empty()
        || !service.load_balancer_ips.is_empty()
        || service.ports.iter().any(|port| port.node_port.is_some())
}

/// What a Service sends to a pod.
fn targets(service: &Service, pod: &Pod) -> impl Iterator<Item = Traffic> {
    let target = |port: &ServicePort| Some(Traffic::Port { protocol: port.protocol, number: port.target_at(pod)? });
    service.ports.iter().filter_map(target)
}

fn allows(rule: &model::Rule, pod: &Pod, traffic: Traffic) -> bool {
    ports_match(&rule.ports, Some(pod), traffic).is_match()
}

/// Whether some rule lets nodes in, or may: it is for everybody, or has a block that may have them.
fn is_open(known: &Known<'_>, pod: &Pod, traffic: Traffic) -> bool {
    let policies = isolating(known.cluster, pod, Direction::Ingress).into_iter();
    let mut rules = policies.flat_map(|policy| rules(policy, Direction::Ingress).unwrap_or_default());
    rules.any(|rule| {
        let lets_nodes = match &rule.peers {
            Peers::Any => true,
            Peers::Listed(peers) => peers.iter().filter_map(block).any(|block| may_have_nodes(known, block)),
        };
        lets_nodes && allows(rule, pod, traffic)
    })
}
