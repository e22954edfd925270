//! Whether `from` or `to` of a rule matches the other end.

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::evaluate::{Element, Identity, ListOutcome, NamespaceFit, Party, PeerMismatch, PeerMiss, Unmet};
use crate::model::{IpBlock, Labels, Namespaces, Peer, Peers, Pod, Selector};

/// Asks the peers of a rule of a policy in namespace `own`.
#[must_use]
pub fn peers_match(cluster: &Cluster, own: &str, peers: &Peers, other: &Party<'_>) -> ListOutcome<PeerMiss> {
    let Peers::Listed(peers) = peers else { return ListOutcome::Matches(Element::Any) };
    let miss = |index, peer: &Peer, why| PeerMiss { index, peer: peer.clone(), why };
    ListOutcome::ask(peers, |peer| mismatch(cluster, own, peer, other), miss)
}

/// Why a peer does not match, if it does not.
fn mismatch(cluster: &Cluster, own: &str, peer: &Peer, other: &Party<'_>) -> Option<PeerMismatch> {
    match (peer, other.identity) {
        (Peer::Block(block), _) => match other.address {
            Some(address) => block_mismatch(block, address),
            None => Some(PeerMismatch::NoAddress),
        },
        (Peer::Pods { namespaces, pods }, Identity::Pod(pod)) => {
            selectors_mismatch(namespace_fit(cluster, own, namespaces, pod), pods, pod)
        }
        (Peer::Pods { .. }, Identity::Host(_)) => Some(PeerMismatch::HostNetwork),
        (Peer::Pods { .. }, Identity::Outside) => Some(PeerMismatch::NotAPod),
    }
}

/// Why the selectors of namespaces and of pods do not match a pod, if they do not.
pub(super) fn selectors_mismatch(namespace: NamespaceFit, pods: &Selector, pod: &Pod) -> Option<PeerMismatch> {
    let labels = unmet(pods, &pod.labels);
    let fits = namespace == NamespaceFit::Fits && labels.is_empty();
    (!fits).then_some(PeerMismatch::Selectors { namespace, labels })
}

fn block_mismatch(block: &IpBlock, address: IpAddr) -> Option<PeerMismatch> {
    if !block.cidr.contains(&address) {
        return Some(PeerMismatch::OutsideBlock);
    }
    block.exceptions().find(|except| except.contains(&address)).map(PeerMismatch::Excepted)
}

fn namespace_fit(cluster: &Cluster, own: &str, namespaces: &Namespaces, pod: &Pod) -> NamespaceFit {
    match namespaces {
        Namespaces::Own if *pod.key.namespace == *own => NamespaceFit::Fits,
        Namespaces::Own => NamespaceFit::NotOwn(Arc::clone(&pod.key.namespace)),
        Namespaces::Matching(selector) => matching_fit(cluster, selector, pod),
    }
}

/// Whether a selector matches the labels of a pod's namespace, which are none where the namespace is unknown.
pub(super) fn matching_fit(cluster: &Cluster, selector: &Selector, pod: &Pod) -> NamespaceFit {
    let unlabelled = Labels::new();
    let labels = cluster.namespaces.get(&pod.key.namespace).map_or(&unlabelled, |namespace| &namespace.labels);
    match unmet(selector, labels) {
        unmet if unmet.is_empty() => NamespaceFit::Fits,
        unmet => NamespaceFit::Unmet(unmet),
    }
}

pub(super) fn unmet(selector: &Selector, labels: &Labels) -> Vec<Unmet> {
    let failing = selector.requirements().iter().filter(|requirement| !requirement.matches(labels));
    failing.map(|it| Unmet { requirement: it.clone(), found: labels.get(&it.key).cloned() }).collect()
}
