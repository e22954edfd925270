//! Named ports that nobody serves.

use std::collections::BTreeSet;

use podgate_policy::evaluate::{Party, numbers_of, peers_match};
use podgate_policy::model::{self, Direction, Namespaces, Peer, Peers, Pod, Policy, PortSpec, Ports, Protocol};

use crate::check::known::{Known, all_rules};
use crate::check::near::nearest;
use crate::check::{Field, Finding, Rule, Severity};
use crate::explain::listed;

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (direction, rule, its) in all_rules(policy) {
        let Ports::Listed(ports) = &its.ports else { continue };
        let servers = match direction {
            Direction::Ingress => known.selected(policy),
            Direction::Egress => destinations(known, policy, its),
        };
        for (index, port) in ports.iter().enumerate() {
            let PortSpec::Named(name) = &port.port else { continue };
            let field = Field::Port(direction, rule, index);
            findings.extend(finding(policy, field, &servers, name, port.protocol));
        }
    }
    findings
}

/// The pods that a rule leads to; none where some of them are not given.
pub(super) fn destinations<'c>(known: &Known<'c>, policy: &Policy, rule: &model::Rule) -> Vec<&'c Pod> {
    let own = &*policy.key.namespace;
    let hidden = |namespaces: &Namespaces| known.namespaces(own, namespaces).iter().any(|name| known.is_hidden(name));
    if let Peers::Listed(peers) = &rule.peers
        && peers.iter().any(|peer| matches!(peer, Peer::Pods { namespaces, .. } if hidden(namespaces)))
    {
        return vec![];
    }
    let matches = |party: Party<'_>| peers_match(known.cluster, own, &rule.peers, &party).is_match();
    let matches_pod = |pod: &&Pod| {
        matches(Party::pod_at(pod, None))
            || pod.addresses.iter().any(|&address| matches(Party::pod_at(pod, Some(address))))
    };
    let groups = known.groups().iter().filter(|group| group.first().is_some_and(matches_pod));
    let mut pods: Vec<_> = groups.flatten().copied().collect();
    pods.sort_by(|one, other| one.key.cmp(&other.key));
    pods
}

fn finding(policy: &Policy, field: Field, servers: &[&Pod], name: &str, protocol: Protocol) -> Option<Finding> {
    if servers.is_empty() || servers.iter().any(|pod| !numbers_of(pod, name, protocol).is_empty()) {
        return None;
    }
    let pods: Vec<_> = servers.iter().map(|pod| pod.key.to_string()).collect();
    let why = match pods.as_slice() {
        [pod] => format!("{pod}, the only pod concerned, has no {protocol} container port named {name}"),
        pods => format!(
            "none of the {} pods concerned ({}) has a {protocol} container port named {name}",
            pods.len(),
            listed(pods)
        ),
    };
    let (rule, severity) = (Rule::PortNotServed, Severity::Warning);
    let instead = instead(servers, name, protocol);
    Some(Finding { object: policy.into(), yaml: None, field, rule, severity, why, instead })
}

fn instead(servers: &[&Pod], name: &str, protocol: Protocol) -> String {
    let ports = || servers.iter().flat_map(|pod| &pod.ports);
    if let Some(other) = ports().find(|port| port.name.as_deref() == Some(name)) {
        return format!("the name is one of a {0} port: write protocol: {0}", other.protocol);
    }
    let names: BTreeSet<&str> =
        ports().filter(|port| port.protocol == protocol).filter_map(|port| port.name.as_deref()).collect();
    match nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None if names.is_empty() => "use the port's number, or name the port in the pods' containers".to_owned(),
        None => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            format!("use a name that the pods have ({}), or the port's number", listed(&names))
        }
    }
}
