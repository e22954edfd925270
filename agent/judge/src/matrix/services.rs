//! Who reaches which port of which Service. Backends are found once for a port, not once for each client.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, Reach, Traffic, verdict_by};
use podgate_policy::model::{ObjectKey, Pod, Protocol};
use podgate_policy::services::{Backend, Service, ServiceForm, ServicePort, Through, TrafficPolicy, Within, backends};

use crate::explain::Participant;
use crate::groups::Group;
use crate::matrix::PortChoice;
use crate::routes::routes;

/// The verdicts of the backends of a port of a Service, for one client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRow {
    /// The source.
    pub from: Group,
    /// The Service.
    pub service: ObjectKey,
    /// The protocol.
    pub protocol: Protocol,
    /// The Service's port.
    pub port: u16,
    /// How many backends a connection passes to, whichever of their addresses is used.
    pub allowed: usize,
    /// How many backends there are of the families that the source has.
    pub backends: usize,
}

impl ServiceRow {
    /// Whether every connection passes. Without backends none does.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.backends > 0 && self.allowed == self.backends
    }
}

/// What every pod of the pod network may reach of every Service that has an address of its own, through its ClusterIPs; sorted.
///
/// Of the listed ports, those that are a Service's own; else all of them. Where only backends of the source's node count and
/// that node is not known, all do.
#[must_use]
pub fn services(cluster: &Cluster, choice: &PortChoice) -> Vec<ServiceRow> {
    let clients: Vec<&Pod> = cluster.pods.values().map(|pod| &**pod).filter(|pod| pod.is_networked()).collect();
    let virtual_ones = cluster.services.values().filter(|service| service.form == ServiceForm::Virtual);
    let asked = |port: &&ServicePort| match choice {
        PortChoice::Listed(ports) => ports.contains(&(port.protocol, port.port)),
        PortChoice::ContainerPorts | PortChoice::Each(_) => true,
    };
    let mut rows = Vec::new();
    for service in virtual_ones {
        for port in service.ports.iter().filter(asked) {
            let mut found = Found { cluster, service, port, near: BTreeMap::new() };
            rows.extend(clients.iter().map(|from| found.row(from)));
        }
    }
    rows.sort();
    rows
}

/// A port's backends, as far as anybody has asked for them.
struct Found<'c> {
    cluster: &'c Cluster,
    service: &'c Service,
    port: &'c ServicePort,
    /// By the node whose backends alone count; `None`: all of them.
    near: BTreeMap<Option<Arc<str>>, Vec<Ways<'c>>>,
}

/// The ways to one backend; `None` for an address of several pods, which only that is allowed to which all of them allow.
type Ways<'c> = Vec<(IpAddr, Traffic, Option<Party<'c>>)>;

impl Found<'_> {
    fn row(&mut self, from: &Pod) -> ServiceRow {
        let cluster = self.cluster;
        let verdicts: Vec<_> = self.near(from).iter().filter_map(|ways| passes(cluster, from, ways)).collect();
        ServiceRow {
            from: from.key.clone().into(),
            service: self.service.key.clone(),
            protocol: self.port.protocol,
            port: self.port.port,
            allowed: verdicts.iter().filter(|passes| **passes).count(),
            backends: verdicts.len(),
        }
    }

    fn near(&mut self, from: &Pod) -> &[Ways<'_>] {
        let node = from.node.clone().filter(|_| self.service.internal == TrafficPolicy::Local);
        let (cluster, service, port) = (self.cluster, self.service, self.port);
        self.near.entry(node).or_insert_with_key(|node| {
            let within = node.as_deref().map_or(Within::Cluster, Within::Node);
            ways(cluster, service, backends(cluster, service, Through::Port(port), within))
        })
    }
}

fn ways<'c>(cluster: &'c Cluster, service: &Service, backends: Vec<Backend>) -> Vec<Ways<'c>> {
    let mut found: BTreeMap<Participant, Ways<'c>> = BTreeMap::new();
    for backend in backends.into_iter().filter(|backend| service.has_family_of(backend.address)) {
        let party = backend.party(cluster).ok();
        let behind =
            party.map_or(Participant::Address(backend.address), |party| Participant::of(party, backend.address));
        found.entry(behind).or_default().push((backend.address, backend.traffic, party));
    }
    found.into_values().collect()
}

/// Whether a connection passes by every way to a backend; `None`: there is no way from this source.
fn passes(cluster: &Cluster, from: &Pod, ways: &Ways<'_>) -> Option<bool> {
    let mut verdicts = ways.iter().flat_map(|(address, traffic, to)| {
        routes(&from.addresses, &[*address]).into_iter().map(move |(source, _)| {
            let from = Party::pod_at(from, source);
            to.is_some_and(|to| verdict_by(cluster, &from, &to, *traffic, Reach::ThroughService).is_allowed())
        })
    });
    verdicts.next().map(|first| first && verdicts.all(|passes| passes))
}
