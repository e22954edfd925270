//! From a query to the paths it stands for, and their verdicts.

use std::net::IpAddr;
use std::slice;

use crate::cluster::Cluster;
use crate::evaluate::{
    DirectionVerdict, Identity, ListOutcome, Party, PeerMismatch, RuleMiss, Traffic, numbers_of, routes, verdict,
};
use crate::explain::{End, ExplainError, Explanation, Note, Participant, Path, Query, Service, Unknown};
use crate::model::{ObjectKey, Phase, Pod};

/// One end of the query, found in the cluster.
struct Side<'c> {
    identity: Identity<'c>,
    participant: Participant,
    addresses: &'c [IpAddr],
}

pub(super) fn answer(cluster: &Cluster, query: &Query) -> Result<Explanation, ExplainError> {
    let (from, to) = (find(cluster, &query.from)?, find(cluster, &query.to)?);
    let traffics = traffics(&query.service, &to)?;
    let routes = routes(from.addresses, to.addresses);
    let mut paths = Vec::new();
    for traffic in traffics {
        paths.extend(routes.iter().map(|&(source, destination)| {
            let (from, to) = (from.party(source), to.party(destination));
            Path { from: source, to: destination, traffic, verdict: verdict(cluster, &from, &to, traffic) }
        }));
    }
    if paths.is_empty() {
        return Err(ExplainError::NoCommonFamily { from: from.participant, to: to.participant });
    }
    decidable(&from, &to, &paths)?;
    let notes = notes(cluster, &from, &to, &paths);
    Ok(Explanation { from: from.participant, to: to.participant, paths, notes })
}

impl<'c> Side<'c> {
    fn party(&self, address: Option<IpAddr>) -> Party<'c> {
        Party { identity: self.identity, address }
    }

    /// The pod behind this end, if any.
    fn any_pod(&self) -> Option<&'c Pod> {
        match self.identity {
            Identity::Pod(pod) | Identity::Host(pod) => Some(pod),
            Identity::Outside => None,
        }
    }
}

fn find<'c>(cluster: &'c Cluster, end: &'c End) -> Result<Side<'c>, ExplainError> {
    match end {
        End::Pod(key) => find_pod(cluster, key),
        End::Address(address) => {
            let party = Party::at(cluster, *address).map_err(ExplainError::SharedAddress)?;
            let participant =
                party.pod().map_or(Participant::Address(*address), |pod| Participant::Pod(pod.key.clone()));
            Ok(Side { identity: party.identity, participant, addresses: slice::from_ref(address) })
        }
    }
}

fn find_pod<'c>(cluster: &'c Cluster, key: &ObjectKey) -> Result<Side<'c>, ExplainError> {
    let pod = cluster.pods.get(key).ok_or_else(|| ExplainError::NoSuchPod(key.clone()))?;
    if pod.phase == Phase::Finished {
        return Err(ExplainError::Finished(key.clone()));
    }
    let participant = if pod.host_network { Participant::Host(key.clone()) } else { Participant::Pod(key.clone()) };
    Ok(Side { identity: Party::pod_at(pod, None).identity, participant, addresses: &pod.addresses })
}

/// What the service means at the destination: a name may stand for several numbers.
fn traffics(service: &Service, to: &Side<'_>) -> Result<Vec<Traffic>, ExplainError> {
    let (protocol, name) = match service {
        Service::Number(protocol, number) => return Ok(vec![Traffic::Port { protocol: *protocol, number: *number }]),
        Service::Other => return Ok(vec![Traffic::Other]),
        Service::Name(protocol, name) => (*protocol, name),
    };
    let Some(pod) = to.any_pod() else {
        return Err(ExplainError::NameOutsidePods { to: to.participant.clone(), name: name.clone() });
    };
    match numbers_of(pod, name, protocol) {
        numbers if numbers.is_empty() => {
            Err(ExplainError::NameNotServed { pod: pod.key.clone(), protocol, name: name.clone() })
        }
        numbers => Ok(numbers.into_iter().map(|number| Traffic::Port { protocol, number }).collect()),
    }
}

/// Whether the answer stands whatever is not known: some path is denied for certain, or all are allowed.
fn decidable(from: &Side<'_>, to: &Side<'_>, paths: &[Path]) -> Result<(), ExplainError> {
    let denied: Vec<_> = paths.iter().filter(|path| !path.verdict.is_allowed()).collect();
    let unknowns: Vec<_> = denied.iter().filter_map(|path| unknown(from, to, path)).collect();
    let certain = denied.len() - unknowns.len();
    match unknowns.into_iter().next() {
        Some(unknown) if certain == 0 => Err(ExplainError::Undecidable(unknown)),
        _ => Ok(()),
    }
}

/// What might turn the denial of a path into an allow, if it were known.
fn unknown(from: &Side<'_>, to: &Side<'_>, path: &Path) -> Option<Unknown> {
    unknown_node(from.identity, to.identity).or_else(|| unknown_address(from, to, path))
}

/// Of a host-network pod and a pod: the one whose node is not known.
fn unknown_node(from: Identity<'_>, to: Identity<'_>) -> Option<Unknown> {
    let ((Identity::Host(host), Identity::Pod(pod)) | (Identity::Pod(pod), Identity::Host(host))) = (from, to) else {
        return None;
    };
    [host, pod].into_iter().find(|pod| pod.node.is_none()).map(|pod| Unknown::Node(pod.key.clone()))
}

/// The end whose address might be in a block that would allow the path, provided that nothing else denies it.
fn unknown_address(from: &Side<'_>, to: &Side<'_>, path: &Path) -> Option<Unknown> {
    let denied = [(&path.verdict.egress, to), (&path.verdict.ingress, from)];
    let peers = denied.into_iter().filter(|(verdict, _)| !verdict.is_allowed());
    let unknown: Option<Vec<_>> =
        peers.map(|(verdict, peer)| if hangs_on_address(verdict) { peer.any_pod() } else { None }).collect();
    unknown?.first().map(|pod| Unknown::Address(pod.key.clone()))
}

fn hangs_on_address(verdict: &DirectionVerdict) -> bool {
    let DirectionVerdict::Denied { by } = verdict else { return false };
    by.iter().flat_map(|refusal| &refusal.rules).any(rule_hangs_on_address)
}

fn rule_hangs_on_address(rule: &RuleMiss) -> bool {
    let ListOutcome::Misses(peers) = &rule.peers else { return false };
    rule.ports.is_match() && peers.iter().any(|miss| miss.why == PeerMismatch::NoAddress)
}

fn notes(cluster: &Cluster, from: &Side<'_>, to: &Side<'_>, paths: &[Path]) -> Vec<Note> {
    let denied = paths.iter().any(|path| !path.verdict.is_allowed());
    let own_node = if denied { node_note(cluster, from, to).or_else(|| node_note(cluster, to, from)) } else { None };
    own_node.into_iter().chain([from, to].into_iter().flat_map(|side| shared_notes(cluster, side))).collect()
}

/// A denied address that is the pod's own node's: what the node's processes send or receive passes all the same.
fn node_note(cluster: &Cluster, address: &Side<'_>, pod: &Side<'_>) -> Option<Note> {
    match (&address.participant, pod.identity) {
        (Participant::Address(address), Identity::Pod(pod)) => own_node_address(cluster, *address, pod),
        _ => None,
    }
}

/// Addresses of a pod that other pods have as well.
fn shared_notes<'c>(cluster: &'c Cluster, side: &Side<'c>) -> impl Iterator<Item = Note> {
    let addresses = match side.identity {
        Identity::Pod(_) => side.addresses,
        Identity::Host(_) | Identity::Outside => &[],
    };
    addresses.iter().filter_map(|&address| Party::at(cluster, address).err()).map(Note::SharedAddress)
}

/// Host-network pods tell the addresses of their nodes.
fn own_node_address(cluster: &Cluster, address: IpAddr, pod: &Pod) -> Option<Note> {
    let node = pod.node.as_ref()?;
    let is_nodes = |other: &Pod| {
        other.host_network
            && other.phase == Phase::Active
            && other.node.as_ref() == Some(node)
            && other.addresses.contains(&address)
    };
    cluster.pods.values().any(|other| is_nodes(other)).then(|| Note::OwnNodeAddress { address, node: node.clone() })
}
