//! Blocks made of addresses of pods or Services.

use std::net::IpAddr;

use ipnet::IpNet;
use podgate_policy::model::{Direction, IpBlock, ObjectKey, Peer, Peers, Policy};
use podgate_policy::services::ServiceForm;

use crate::check::api_server;
use crate::check::known::{Known, all_rules};
use crate::check::{Field, Finding, Part, Rule, Severity};
use crate::explain::listed;

/// A block of at most so many bits of host part is made of the pods in it; a larger one may be meant for more than these.
const POD_BITS: u8 = 8;

/// The widest range that kube-apiserver takes for the addresses of Services (`--service-cluster-ip-range`).
const SERVICE_BITS: u8 = 20;

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (direction, rule, its) in all_rules(policy) {
        let Peers::Listed(peers) = &its.peers else { continue };
        for (index, peer) in peers.iter().enumerate() {
            let Peer::Block(block) = peer else { continue };
            let field = Field::Peer(direction, rule, index, Part::Cidr);
            findings.extend(
                finding(known, policy, field, direction, block)
                    .or_else(|| api_server::usual(known, policy, field, (direction, its), block)),
            );
        }
    }
    findings
}

fn finding(known: &Known<'_>, policy: &Policy, field: Field, direction: Direction, block: &IpBlock) -> Option<Finding> {
    let (rule, (why, instead)) = match of_pods(known, block) {
        Some(words) => (Rule::BlockOfPods, words),
        None => match services(known, block).as_slice() {
            [] => return None,
            [service] if direction == Direction::Egress && api_server::is_api_server(service) => {
                return api_server::finding(known, policy, field, block);
            }
            services => (Rule::BlockOfServices, of_services(services, direction, block)),
        },
    };
    Some(Finding { object: policy.into(), yaml: None, field, rule, severity: Severity::Warning, why, instead })
}

fn of_pods(known: &Known<'_>, block: &IpBlock) -> Option<(String, String)> {
    let within_node =
        known.cluster.nodes.values().find(|node| node.pod_cidrs.iter().any(|pods| pods.contains(&block.cidr)));
    let instead = "use podSelector and namespaceSelector: addresses of pods change when they are made anew".to_owned();
    match within_node {
        Some(node) => Some((format!("{} lies within the pods' addresses of node {}", block.cidr, node.name), instead)),
        None if host_bits(&block.cidr) <= POD_BITS => {
            let pods: Vec<_> = known.pods_at(block).into_keys().map(ToString::to_string).collect();
            let why = || format!("{} is made of pod addresses: {}", block.cidr, listed(&pods));
            (!pods.is_empty()).then(|| (why(), instead))
        }
        None => None,
    }
}

/// The Services of which a block is made.
fn services<'c>(known: &Known<'c>, block: &IpBlock) -> Vec<&'c ObjectKey> {
    if host_bits(&block.cidr) > SERVICE_BITS || !known.pods_at(block).is_empty() {
        return vec![];
    }
    let has = |addresses: &[IpAddr]| addresses.iter().any(|&address| block.contains(address));
    let served = known.cluster.services.values().filter(|service| service.form == ServiceForm::Virtual);
    served.filter(|service| has(&service.cluster_ips)).map(|service| &service.key).collect()
}

fn of_services(services: &[&ObjectKey], direction: Direction, block: &IpBlock) -> (String, String) {
    let services: Vec<_> = services.iter().map(ToString::to_string).collect();
    let why = format!("{} is made of addresses of Services: {}", block.cidr, listed(&services));
    let (why, instead) = match direction {
        Direction::Egress => (
            format!("{why}; policies judge the pods behind them, by their own addresses and ports"),
            "select the pods behind the Services, and their own ports",
        ),
        Direction::Ingress => {
            (format!("{why}; connections never come from these"), "select the pods that open the connections")
        }
    };
    (why, instead.to_owned())
}

fn host_bits(block: &IpNet) -> u8 {
    block.max_prefix_len() - block.prefix_len()
}
