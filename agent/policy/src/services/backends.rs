//! Where connections to a Service end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::evaluate::{Party, SharedAddress, Traffic};
use crate::model::{ObjectKey, Phase, Pod};
use crate::services::{AddressFamily, EndpointPort, EndpointSlice, Service, ServiceForm, ServicePort};

/// One end of connections to a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// What reaches it, at its own port.
    pub traffic: Traffic,
    /// The pod behind it, if the Service's endpoints name one.
    pub pod: Option<ObjectKey>,
}

impl Backend {
    /// Who it is: the pod that the endpoints name, if it has the address, else whoever has it.
    ///
    /// # Errors
    /// [`SharedAddress`] if several pods have the address and the endpoints don't say which is meant.
    pub fn party<'c>(&self, cluster: &'c Cluster) -> Result<Party<'c>, SharedAddress> {
        let named = self.pod.as_ref().and_then(|key| cluster.pods.get(key));
        match named.filter(|pod| pod.phase == Phase::Active && pod.addresses.contains(&self.address)) {
            Some(pod) => Ok(Party::pod_at(pod, Some(self.address))),
            None => Party::at(cluster, self.address),
        }
    }
}

/// How clients use a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through<'s> {
    /// Through this port of it: kube-proxy leads them to the target port.
    Port(&'s ServicePort),
    /// By its endpoints' own addresses, as a headless one.
    Addresses(Traffic),
}

/// Which endpoints count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within<'n> {
    /// All of them.
    Cluster,
    /// Those on this node.
    Node(&'n str),
}

/// The backends of a Service, sorted, each address and port once.
///
/// They are chosen as kube-proxy chooses them (`CategorizeEndpoints`, for each address family by itself): the ready ones; where
/// there is none, those that still answer while they terminate. Hints about zones are not heeded, so what they keep apart counts.
///
/// EndpointSlices that kube-proxy leaves out count for headless Services alone, which DNS serves.
///
/// A Service with a selector but without any EndpointSlice comes from files that nobody derives endpoints from: the pods it
/// selects are its endpoints as the endpoint slice controller would have them, each taken for ready.
#[must_use]
pub fn backends(cluster: &Cluster, service: &Service, through: Through<'_>, within: Within<'_>) -> Vec<Backend> {
    let counts = |candidate: &Candidate<'_>| match within {
        Within::Cluster => true,
        Within::Node(node) => candidate.node.is_some_and(|its| **its == *node),
    };
    let candidates: Vec<_> = candidates(cluster, service).into_iter().filter(counts).collect();
    let mut backends = Vec::new();
    for is_ipv4 in [true, false] {
        let of_family = candidates.iter().filter(|candidate| candidate.address.is_ipv4() == is_ipv4);
        backends.extend(chosen(of_family.filter_map(|candidate| candidate.backend(through))));
    }
    backends
}

/// Whether a client can be led to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Readiness {
    /// Not at all.
    Out,
    /// If there is no better one.
    Terminating,
    /// Always.
    Ready,
}

/// An endpoint before the choice.
struct Candidate<'c> {
    address: IpAddr,
    state: Readiness,
    node: Option<&'c Arc<str>>,
    pod: Option<&'c ObjectKey>,
    ports: Ports<'c>,
}

/// Where an endpoint's ports are found.
#[derive(Clone, Copy)]
enum Ports<'c> {
    /// In its slice, which has them by the names of the Service's ports.
    Slice(&'c [EndpointPort]),
    /// In its containers.
    Pod(&'c Pod),
}

impl Candidate<'_> {
    fn backend(&self, through: Through<'_>) -> Option<(Readiness, Backend)> {
        let traffic = match through {
            Through::Addresses(traffic) => traffic,
            Through::Port(port) => Traffic::Port { protocol: port.protocol, number: self.ports.target(port)? },
        };
        Some((self.state, Backend { address: self.address, traffic, pod: self.pod.cloned() }))
    }
}

impl Ports<'_> {
    /// The number that a port of the Service has at this endpoint. kube-proxy passes over ports without a number.
    fn target(self, port: &ServicePort) -> Option<u16> {
        match self {
            Self::Slice(ports) => {
                ports.iter().find(|it| it.protocol == port.protocol && it.name == port.name).and_then(|it| it.port)
            }
            Self::Pod(pod) => port.target_at(pod),
        }
    }
}

/// The best of one family. One that is listed twice, as while it moves from slice to slice, is what its better listing says.
fn chosen(listed: impl Iterator<Item = (Readiness, Backend)>) -> Vec<Backend> {
    let mut best: BTreeMap<(IpAddr, Traffic), (Readiness, Backend)> = BTreeMap::new();
    for (state, backend) in listed {
        let entry = best.entry((backend.address, backend.traffic)).or_insert_with(|| (state, backend.clone()));
        if entry.0 < state {
            *entry = (state, backend);
        }
    }
    let state = best.values().map(|(state, _)| *state).max().filter(|state| *state != Readiness::Out);
    best.into_values().filter(|(its, _)| Some(*its) == state).map(|(_, backend)| backend).collect()
}

fn candidates<'c>(cluster: &'c Cluster, service: &Service) -> Vec<Candidate<'c>> {
    let slices: Vec<_> = slices(cluster, service).collect();
    if slices.is_empty() {
        return selected(cluster, service).flat_map(of_pod).collect();
    }
    let counts = |slice: &&EndpointSlice| {
        slice.family != AddressFamily::Fqdn && (!slice.left_out || service.form == ServiceForm::Headless)
    };
    slices.into_iter().filter(counts).flat_map(of_slice).collect()
}

/// Whether anybody has said what the endpoints of a Service are.
#[must_use]
pub fn has_slices(cluster: &Cluster, service: &Service) -> bool {
    slices(cluster, service).next().is_some()
}

fn slices<'c>(cluster: &'c Cluster, service: &Service) -> impl Iterator<Item = &'c EndpointSlice> {
    let ObjectKey { namespace, name } = service.key.clone();
    let start = ObjectKey::new(namespace.clone(), "");
    let here = cluster.endpoint_slices.range(start..).take_while(move |(key, _)| key.namespace == namespace);
    here.map(|(_, slice)| &**slice).filter(move |slice| slice.service.as_ref() == Some(&name))
}

fn of_slice(slice: &EndpointSlice) -> impl Iterator<Item = Candidate<'_>> {
    slice.endpoints.iter().flat_map(|endpoint| {
        let state = match (endpoint.ready, endpoint.serving && endpoint.terminating) {
            (true, _) => Readiness::Ready,
            (false, true) => Readiness::Terminating,
            (false, false) => Readiness::Out,
        };
        let (node, pod, ports) = (endpoint.node.as_ref(), endpoint.target.as_ref(), Ports::Slice(&slice.ports));
        endpoint.addresses.iter().map(move |&address| Candidate { address, state, node, pod, ports })
    })
}

/// The pods that a Service selects; without a selector none, since its endpoints are then made by hand.
fn selected<'c>(cluster: &'c Cluster, service: &Service) -> impl Iterator<Item = &'c Pod> {
    let namespace = service.key.namespace.clone();
    let selector = service.selector.clone();
    let start = ObjectKey::new(namespace.clone(), "");
    let here = cluster.pods.range(start..).take_while(move |(key, _)| key.namespace == namespace);
    here.map(|(_, pod)| &**pod).filter(move |pod| {
        let fits = selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        fits && !selector.is_empty() && pod.phase == Phase::Active
    })
}

fn of_pod(pod: &Pod) -> impl Iterator<Item = Candidate<'_>> {
    let candidate = |&address| Candidate {
        address,
        state: Readiness::Ready,
        node: pod.node.as_ref(),
        pod: Some(&pod.key),
        ports: Ports::Pod(pod),
    };
    pod.addresses.iter().map(candidate)
}
