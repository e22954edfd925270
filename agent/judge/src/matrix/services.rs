//! Who reaches which port of which Service. Backends are found once for a port, not once for each client.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, Reach, Traffic, claims, everybody_among, verdict_among};
use podgate_policy::model::{ObjectKey, Pod, Protocol};
use podgate_policy::services::{Backend, Service, ServiceForm, ServicePort, Through, TrafficPolicy, Within, backends};

use crate::explain::Participant;
use crate::groups::{Group, Marks, Members, Parties, grouped};
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

/// What every pod of the pod network may reach of every Service that has an address of its own, through its ClusterIPs;
/// sorted. Clients that are alike are judged once, and so are backends.
///
/// Of the listed ports, those that are a Service's own; else all of them. Where only backends of the source's node count and
/// that node is not known, all do.
#[must_use]
pub fn services(cluster: &Cluster, choice: &PortChoice, parties: Parties) -> Vec<ServiceRow> {
    let facts = facts(cluster);
    let claims = claims(cluster.pods.values().map(|pod| &**pod).filter(|pod| pod.is_networked()));
    let virtual_ones = cluster.services.values().filter(|service| service.form == ServiceForm::Virtual);
    let asked = |port: &&ServicePort| match choice {
        PortChoice::Listed(ports) => ports.contains(&(port.protocol, port.port)),
        PortChoice::ContainerPorts | PortChoice::Each(_) => true,
    };
    let ports = virtual_ones.flat_map(|service| service.ports.iter().filter(asked).map(move |port| (service, port)));
    let mut ports: Vec<_> =
        ports.map(|(service, port)| Port { cluster, facts: &facts, service, port, near: BTreeMap::new() }).collect();
    let clients = clients(cluster, &facts, &mut ports);
    let mut rows: Vec<_> = clients
        .iter()
        .flat_map(|members| {
            let from = &cluster.pods[members.pods[0]];
            let judged: Vec<_> = ports.iter_mut().map(|port| port.row(from, &members.group, &claims)).collect();
            let single = |row: &ServiceRow| -> Vec<ServiceRow> {
                members.pods.iter().map(|&pod| ServiceRow { from: pod.clone().into(), ..row.clone() }).collect()
            };
            parties.of(judged, |judged| judged.iter().flat_map(single).collect())
        })
        .collect();
    rows.sort();
    rows
}

/// By pod a number that two pods share if no policy tells them apart.
fn facts(cluster: &Cluster) -> BTreeMap<&ObjectKey, usize> {
    let marks = Marks::of(cluster);
    let mut numbers = BTreeMap::new();
    let pods = cluster.pods.values().filter(|pod| pod.is_networked());
    pods.map(|pod| {
        let next = numbers.len();
        (&pod.key, *numbers.entry(marks.facts(pod)).or_insert(next))
    })
    .collect()
}

/// Pods that are alike as clients: no policy tells them apart, nor do Services. A backend reaches itself; nodes matter
/// where only backends of the client's node count, and where a backend is no pod of the pod network, as a pod reaches
/// its own node.
fn clients<'c>(
    cluster: &'c Cluster,
    facts: &BTreeMap<&'c ObjectKey, usize>,
    ports: &mut [Port<'c, '_>],
) -> Vec<Members<'c>> {
    let mut by_node = ports.iter().any(|port| port.service.internal == TrafficPolicy::Local);
    let mut behind: BTreeMap<ObjectKey, BTreeSet<(usize, usize)>> = BTreeMap::new();
    for (number, port) in ports.iter_mut().enumerate() {
        for (class, backends) in port.near(None).iter().enumerate() {
            for (who, _) in backends {
                match who.pod() {
                    Some(pod) => drop(behind.entry(pod.clone()).or_default().insert((number, class))),
                    None => by_node = true,
                }
            }
        }
    }
    let pods = cluster.pods.values().filter(|pod| pod.is_networked());
    grouped(pods.map(|pod| {
        let node = pod.node.as_ref().filter(|_| by_node);
        (&pod.key, pod.workload.as_ref(), (facts[&pod.key], node, behind.get(&pod.key)))
    }))
}

/// A port of a Service, and its backends, as far as anybody has asked for them.
struct Port<'c, 'f> {
    cluster: &'c Cluster,
    facts: &'f BTreeMap<&'c ObjectKey, usize>,
    service: &'c Service,
    port: &'c ServicePort,
    /// By the node whose backends alone count; `None`: all of them. Of these, those that are alike together.
    near: BTreeMap<Option<Arc<str>>, Vec<Alike<'c>>>,
}

/// Backends that no policy tells apart.
type Alike<'c> = Vec<(Participant, Ways<'c>)>;

/// Which pods claim which address.
type Claims<'c> = BTreeMap<IpAddr, Vec<&'c Pod>>;

/// The ways to one backend; `None` for an address of several pods, which only that is allowed to which all of them allow.
type Ways<'c> = Vec<(IpAddr, Traffic, Option<Party<'c>>)>;

impl<'c> Port<'c, '_> {
    fn row(&mut self, from: &'c Pod, group: &Group, claims: &Claims<'c>) -> ServiceRow {
        let (cluster, service, port) = (self.cluster, self.service, self.port);
        let node = from.node.clone().filter(|_| service.internal == TrafficPolicy::Local);
        let (mut allowed, mut backends) = (0, 0);
        for alike in self.near(node) {
            let is_itself = |(who, _): &&(Participant, Ways<'_>)| who.pod() == Some(&from.key);
            let itself = alike.iter().find(is_itself);
            let other = alike.iter().find(|backend| !is_itself(backend));
            for (backend, count) in [(itself, 1), (other, alike.len() - usize::from(itself.is_some()))] {
                let passes = backend.and_then(|(_, ways)| passes(cluster, claims, from, ways));
                backends += if passes.is_some() { count } else { 0 };
                allowed += if passes == Some(true) { count } else { 0 };
            }
        }
        ServiceRow {
            from: group.clone(),
            service: service.key.clone(),
            protocol: port.protocol,
            port: port.port,
            allowed,
            backends,
        }
    }

    fn near(&mut self, node: Option<Arc<str>>) -> &[Alike<'c>] {
        let (cluster, facts, service, port) = (self.cluster, self.facts, self.service, self.port);
        self.near.entry(node).or_insert_with_key(|node| {
            let within = node.as_deref().map_or(Within::Cluster, Within::Node);
            let ways = ways(cluster, service, backends(cluster, service, Through::Port(port), within));
            let mut alike: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (who, ways) in ways {
                let facts = who.pod().and_then(|pod| facts.get(pod)).ok_or_else(|| who.clone());
                let shape: Vec<_> = ways.iter().map(|(address, traffic, _)| (address.is_ipv4(), *traffic)).collect();
                alike.entry((facts, shape)).or_default().push((who, ways));
            }
            alike.into_values().collect()
        })
    }
}

fn ways<'c>(cluster: &'c Cluster, service: &Service, backends: Vec<Backend>) -> BTreeMap<Participant, Ways<'c>> {
    let mut found: BTreeMap<Participant, Ways<'c>> = BTreeMap::new();
    for backend in backends.into_iter().filter(|backend| service.has_family_of(backend.address)) {
        let party = backend.party(cluster).ok();
        let behind =
            party.map_or(Participant::Address(backend.address), |party| Participant::of(party, backend.address));
        found.entry(behind).or_default().push((backend.address, backend.traffic, party));
    }
    found
}

/// Whether a connection passes by every way to a backend; `None`: there is no way from this source.
fn passes<'c>(cluster: &'c Cluster, claims: &Claims<'c>, from: &'c Pod, ways: &Ways<'c>) -> Option<bool> {
    let mut verdicts = ways.iter().flat_map(|(address, traffic, to)| {
        routes(&from.addresses, &[*address]).into_iter().map(move |(source, _)| {
            let from = Party::pod_at(from, source);
            to.is_some_and(|to| {
                let everybody = |party: &Party<'c>| everybody_among(claims, party);
                verdict_among(cluster, &from, &to, *traffic, Reach::ThroughService, everybody).is_allowed()
            })
        })
    });
    verdicts.next().map(|first| first && verdicts.all(|passes| passes))
}
