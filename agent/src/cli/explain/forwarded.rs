//! The JSON form of an answer about a Service or a `hostPort`. Scripts read it: fields are added, not renamed.

use std::net::IpAddr;

use podgate_judge::explain::{Entry, Forwarded, Note, Outcome, ServiceEntry, Way};
use serde::Serialize;

use super::view::{self, ParticipantView};

/// The whole answer. `protocol` and `port` are what the client uses; each backend has its own.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    verdict: &'static str,
    from: ParticipantView,
    to: EntryView,
    protocol: Option<&'static str>,
    port: Option<u16>,
    backends_allowed: usize,
    backends: Vec<view::Answer>,
    notes: Vec<String>,
}

/// What the client speaks to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum EntryView {
    /// A Service.
    Service {
        name: String,
        port_name: Option<String>,
        reached_by: &'static str,
        addresses: Vec<IpAddr>,
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// A `hostPort` at a node's address.
    HostPort(IpAddr),
}

impl Answer {
    /// The view of an answer.
    pub(super) fn new(forwarded: &Forwarded) -> Self {
        let (protocol, port) = carried(&forwarded.entry);
        Self {
            verdict: verdict(forwarded.outcome()),
            from: view::participant(&forwarded.from),
            to: entry(&forwarded.entry),
            protocol,
            port,
            backends_allowed: forwarded.allowed(),
            backends: forwarded.backends.iter().map(view::Answer::new).collect(),
            notes: forwarded.notes.iter().map(Note::to_string).collect(),
        }
    }
}

fn verdict(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::Partly => "partly",
    }
}

fn carried(entry: &Entry) -> (Option<&'static str>, Option<u16>) {
    match entry {
        Entry::Service(ServiceEntry { way: Way::NodePort { port, .. }, port: asked, .. }) => {
            (asked.as_ref().map(|asked| asked.protocol.as_str()), Some(*port))
        }
        Entry::Service(ServiceEntry { port: asked, .. }) => {
            (asked.as_ref().map(|asked| asked.protocol.as_str()), asked.as_ref().map(|asked| asked.number))
        }
        Entry::HostPort { protocol, port, .. } => (Some(protocol.as_str()), Some(*port)),
    }
}

fn entry(entry: &Entry) -> EntryView {
    let service = match entry {
        Entry::Service(service) => service,
        Entry::HostPort { address, .. } => return EntryView::HostPort(*address),
    };
    let (reached_by, addresses, node) = match &service.way {
        Way::ClusterIps(addresses) => ("cluster_ip", addresses.clone(), None),
        Way::ExternalIp(address) => ("external_ip", vec![*address], None),
        Way::LoadBalancerIp(address) => ("load_balancer_ip", vec![*address], None),
        Way::NodePort { address, node, .. } => ("node_port", vec![*address], Some(node.to_string())),
        Way::Backends => ("backends", vec![], None),
    };
    let port_name = service.port.as_ref().and_then(|port| port.name.as_ref()).map(ToString::to_string);
    EntryView::Service { name: service.service.to_string(), port_name, reached_by, addresses, node }
}
