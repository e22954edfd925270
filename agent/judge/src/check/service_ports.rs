//! Ports of Services in the place of ports of pods: policies judge a packet where the Service's address and port are
//! already replaced.

use std::collections::{BTreeMap, BTreeSet};

use podgate_policy::evaluate::{Traffic, ports_match};
use podgate_policy::model::{self, Direction, ObjectKey, Peer, Peers, Pod, Policy, PortSpec, Ports, Protocol};
use podgate_policy::services::{Service, ServiceForm, ServicePort};

use crate::check::half::one_of_each;
use crate::check::known::{Known, all_rules};
use crate::check::named_ports::destinations;
use crate::check::{Field, Finding, Rule, Severity};
use crate::explain::listed;

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (direction, index, rule) in all_rules(policy) {
        let Ports::Listed(ports) = &rule.ports else { continue };
        if !ports.iter().any(|port| matches!(port.port, PortSpec::Range { first, last } if first == last)) {
            continue;
        }
        let servers = match direction {
            Direction::Ingress => known.selected(policy),
            // What is no pod may well have the port.
            Direction::Egress if !names_pods_alone(rule) => continue,
            Direction::Egress => destinations(known, policy, rule),
        };
        // Replicas have the same labels and ports, and a namespace may hold thousands.
        let servers = one_of_each(servers.into_iter());
        for (number, port) in ports.iter().enumerate() {
            let PortSpec::Range { first, last } = port.port else { continue };
            if first == last {
                let field = Field::Port(direction, index, number);
                findings.extend(finding(known, policy, field, rule, &servers, (port.protocol, first)));
            }
        }
    }
    findings
}

fn names_pods_alone(rule: &model::Rule) -> bool {
    matches!(&rule.peers, Peers::Listed(peers) if peers.iter().all(|peer| matches!(peer, Peer::Pods { .. })))
}

fn finding(
    known: &Known<'_>,
    policy: &Policy,
    field: Field,
    rule: &model::Rule,
    servers: &[&Pod],
    (protocol, number): (Protocol, u16),
) -> Option<Finding> {
    if servers.iter().any(|pod| serves(known, pod, protocol, number)) {
        return None;
    }
    let mut services: BTreeSet<&ObjectKey> = BTreeSet::new();
    // Where the Services lead, with the names that the pods have for it.
    let mut targets: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    let mut is_listed = true;
    for pod in servers {
        for (service, port) in leading(known, pod, protocol, number) {
            if let Some(target) = port.target_at(pod) {
                let traffic = Traffic::Port { protocol, number: target };
                is_listed &= ports_match(&rule.ports, Some(pod), traffic).is_match();
                let named = pod.ports.iter().filter(|its| its.protocol == protocol && its.number == target);
                targets.entry(target).or_default().extend(named.filter_map(|its| its.name.as_deref()));
                services.insert(&service.key);
            }
        }
    }
    if targets.is_empty() || is_listed {
        return None;
    }
    let services: Vec<_> = services.into_iter().map(ToString::to_string).collect();
    let numbers: Vec<_> = targets.keys().map(ToString::to_string).collect();
    let names: BTreeSet<&str> = targets.values().flatten().copied().collect();
    let names: Vec<_> = names.into_iter().map(ToOwned::to_owned).collect();
    let why = format!(
        "{protocol} {number} is the port of Service {}, which leads to port {} of its pods: policies judge the pods' own port, \
         so the rule does not allow what comes through the Service",
        listed(&services),
        listed(&numbers),
    );
    let by_name = if names.is_empty() { String::new() } else { format!(", or its name {}", names.join(" or ")) };
    let instead = format!("write the pods' port {}{by_name}", numbers.join(" and "));
    let (rule, severity) = (Rule::ServicePort, Severity::Warning);
    Some(Finding { object: policy.into(), field, rule, severity, why, instead, yaml: None })
}

/// Whether a port of a pod is only that of a Service which leads elsewhere.
pub(super) fn is_only_of_service(known: &Known<'_>, pod: &Pod, protocol: Protocol, number: u16) -> bool {
    let leads = || leading(known, pod, protocol, number).any(|(_, port)| port.target_at(pod).is_some());
    !serves(known, pod, protocol, number) && leads()
}

/// Whether a pod has a port of this number, as far as its containers or a Service say.
fn serves(known: &Known<'_>, pod: &Pod, protocol: Protocol, number: u16) -> bool {
    pod.ports.iter().any(|port| port.protocol == protocol && port.number == number)
        || known.services_of(pod).any(|service| {
            let ports = service.ports.iter().filter(|port| port.protocol == protocol);
            ports.filter_map(|port| port.target_at(pod)).any(|target| target == number)
        })
}

/// The ports of this number of Services that lead to a pod.
fn leading<'c>(
    known: &Known<'c>,
    pod: &Pod,
    protocol: Protocol,
    number: u16,
) -> impl Iterator<Item = (&'c Service, &'c ServicePort)> {
    let services = known.services_of(pod).filter(|service| service.form == ServiceForm::Virtual);
    services.filter_map(move |service| Some((service, service.port_numbered(protocol, number)?)))
}
