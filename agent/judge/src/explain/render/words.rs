//! Peers, ports and selectors in words; selectors as kubectl writes them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podgate_policy::evaluate::{NamespaceFit, PeerMismatch, PortMismatch, Unmet};
use podgate_policy::model::{BEYOND, Namespaces, Operator, Peer, PortMatch, PortSpec, Requirement, Selector};

use crate::explain::Participant;

/// An element of `from` or `to`.
pub(super) fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Block(block) if block.except.is_empty() => format!("ipBlock {}", block.cidr),
        Peer::Block(block) => format!("ipBlock {} except {}", block.cidr, joined(&block.except, IpNet::to_string)),
        Peer::Pods { namespaces: Namespaces::Own, pods } => format!("podSelector {{{}}}", selector(pods)),
        Peer::Pods { namespaces: Namespaces::Matching(namespaces), pods } if pods.requirements().is_empty() => {
            format!("namespaceSelector {{{}}}", selector(namespaces))
        }
        Peer::Pods { namespaces: Namespaces::Matching(namespaces), pods } => {
            format!("namespaceSelector {{{}}} podSelector {{{}}}", selector(namespaces), selector(pods))
        }
    }
}

/// Why it does not match the other end, which has this address.
pub(super) fn peer_mismatch(why: &PeerMismatch, other: &Participant, address: Option<IpAddr>) -> String {
    let address = address.map_or_else(|| other.to_string(), |address| address.to_string());
    match why {
        PeerMismatch::NotAPod => format!("{other} is no pod's address, and selectors match only pods"),
        PeerMismatch::HostNetwork => format!("{other} is a host-network pod, which no selector matches"),
        PeerMismatch::Selectors { namespace, labels } => selectors_mismatch(namespace, labels, other),
        PeerMismatch::OtherOwner(owner) => format!("{address} is {owner}'s, which is not selected"),
        PeerMismatch::OutsideBlock => format!("{address} is outside"),
        PeerMismatch::Excepted(except) if BEYOND.as_flattened().contains(except) => {
            format!("{address} is in {except}, which no block of all addresses contains")
        }
        PeerMismatch::Excepted(except) => format!("{address} is in except {except}"),
        PeerMismatch::NoAddress => format!("{other} has no address yet"),
        PeerMismatch::NotANode => format!("{address} is no known node's"),
        PeerMismatch::OtherNode { node, labels } => format!("{node} has {}", joined(labels, found)),
    }
}

fn selectors_mismatch(namespace: &NamespaceFit, labels: &[Unmet], other: &Participant) -> String {
    let mut reasons = Vec::new();
    match namespace {
        NamespaceFit::Fits => {}
        NamespaceFit::NotOwn(namespace) => {
            reasons.push(format!(
                "{other} is in namespace {namespace}, and without namespaceSelector only the policy's own counts"
            ));
        }
        NamespaceFit::Unmet(unmet) => reasons.push(format!("its namespace has {}", joined(unmet, found))),
    }
    if !labels.is_empty() {
        reasons.push(format!("{other} has {}", joined(labels, found)));
    }
    reasons.join("; ")
}

/// What was found in place of a requirement.
fn found(unmet: &Unmet) -> String {
    let key = &unmet.requirement.key;
    unmet.found.as_ref().map_or_else(|| format!("no label {key}"), |value| format!("{key}={value}"))
}

/// An element of `ports`.
pub(crate) fn port(port: &PortMatch) -> String {
    let protocol = port.protocol;
    match &port.port {
        PortSpec::All => format!("every {protocol} port"),
        PortSpec::Range { first, last } if first == last => format!("{protocol}/{first}"),
        PortSpec::Range { first, last } => format!("{protocol}/{first}-{last}"),
        PortSpec::Named(name) => format!("{protocol}/{name}"),
    }
}

/// What is to be said behind it, if anything: what a name means at the destination.
pub(super) fn port_mismatch(why: &PortMismatch, destination: &Participant) -> String {
    match why {
        PortMismatch::Portless | PortMismatch::Protocol | PortMismatch::Number => String::new(),
        PortMismatch::NamedNumbers(numbers) => format!(" ({} on {destination})", joined(numbers, u16::to_string)),
        PortMismatch::NameNotServed => format!(" (which {destination} does not serve)"),
        PortMismatch::NameOutsidePods => format!(" (a name, and {destination} is no pod that could resolve it)"),
    }
}

/// A selector, as kubectl writes it.
pub(crate) fn selector(selector: &Selector) -> String {
    joined(selector.requirements(), requirement)
}

fn requirement(requirement: &Requirement) -> String {
    let key = &requirement.key;
    match &requirement.operator {
        Operator::In(values) => match values.as_slice() {
            [value] => format!("{key}={value}"),
            values => format!("{key} in ({})", joined(values, Arc::to_string)),
        },
        Operator::NotIn(values) => match values.as_slice() {
            [value] => format!("{key}!={value}"),
            values => format!("{key} notin ({})", joined(values, Arc::to_string)),
        },
        Operator::Exists => key.to_string(),
        Operator::DoesNotExist => format!("!{key}"),
    }
}

fn joined<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(",")
}
