//! Whether a rule of a ClusterNetworkPolicy matches a packet.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::cluster::Cluster;
use crate::cluster_policy::{Action, ClusterPeer, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols};
use crate::evaluate::peers::{matching_fit, selectors_mismatch, unmet};
use crate::evaluate::ports::name_mismatch;
use crate::evaluate::{
    ClusterPeerMiss, Element, Identity, ListOutcome, NamespaceFit, Party, PeerMismatch, PortMismatch, ProtocolMiss,
    RuleAnswer, Traffic, numbers_of,
};
use crate::model::{IpBlock, Pod, Selector};

/// Whether a pod of the pod network is selected.
#[must_use]
pub fn selects(cluster: &Cluster, selection: &PodSelection, pod: &Pod) -> bool {
    let namespace = || matching_fit(cluster, &selection.namespaces, pod) == NamespaceFit::Fits;
    pod.is_networked() && selection.pods.matches(&pod.labels) && namespace()
}

/// Asks a rule about whoever is at the other end. `server` is the destination pod, on which names are resolved; `None`:
/// it is no pod.
pub(super) fn answer(
    cluster: &Cluster,
    rule: &ClusterRule,
    other: &Party<'_>,
    server: Option<&Pod>,
    traffic: Traffic,
) -> RuleAnswer {
    match &rule.matches {
        Matches::Nothing => RuleAnswer::MatchesNothing,
        Matches::Everything => RuleAnswer::MatchesEverything,
        Matches::Some { peers, protocols } => {
            let peers = cluster_peers_match(cluster, rule.action, peers, other);
            match (peers, protocols_match(protocols, server, traffic)) {
                (ListOutcome::Matches(peer), ListOutcome::Matches(protocol)) => RuleAnswer::Matches { peer, protocol },
                (peers, protocols) => RuleAnswer::Misses { peers, protocols },
            }
        }
    }
}

/// Asks the peers of a rule with this action.
#[must_use]
pub fn cluster_peers_match(
    cluster: &Cluster,
    action: Action,
    peers: &[ClusterPeer],
    other: &Party<'_>,
) -> ListOutcome<ClusterPeerMiss> {
    let miss = |index, peer: &ClusterPeer, why| ClusterPeerMiss { index, peer: peer.clone(), why };
    ListOutcome::ask(peers, |peer| peer_mismatch(cluster, action, peer, other), miss)
}

/// Whether pods have addresses in these networks, so that a pod whose address is not known yet is taken to have one there:
/// it must not pass a rule that denies.
fn hold_pods(cluster: &Cluster, networks: &[IpNet]) -> bool {
    let is_held = |address: &IpAddr| networks.iter().any(|network| network.contains(address));
    let mut pods = cluster.pods.values().filter(|pod| pod.is_networked());
    networks.iter().any(|network| network.prefix_len() == 0) || pods.any(|pod| pod.addresses.iter().any(is_held))
}

/// Why a peer does not match, if it does not.
fn peer_mismatch(cluster: &Cluster, action: Action, peer: &ClusterPeer, other: &Party<'_>) -> Option<PeerMismatch> {
    match (peer, other.identity) {
        (ClusterPeer::Networks(networks), _) => match other.address {
            Some(address) => network_mismatch(action, networks, address),
            None => (action != Action::Deny || !hold_pods(cluster, networks)).then_some(PeerMismatch::NoAddress),
        },
        (ClusterPeer::Nodes(_), Identity::Pod(_)) => Some(PeerMismatch::NotANode),
        (ClusterPeer::Nodes(nodes), Identity::Host(_) | Identity::Outside) => match other.address {
            Some(address) => node_mismatch(cluster, nodes, address),
            None => Some(PeerMismatch::NoAddress),
        },
        (ClusterPeer::Pods(PodSelection { namespaces, pods }), Identity::Pod(pod)) => {
            selectors_mismatch(matching_fit(cluster, namespaces, pod), pods, pod)
        }
        (ClusterPeer::Pods(_), Identity::Host(_)) => Some(PeerMismatch::HostNetwork),
        (ClusterPeer::Pods(_), Identity::Outside) => Some(PeerMismatch::NotAPod),
    }
}

/// A Deny means every address in the block. What opens or passes on leaves out those that stand for nodes on a link,
/// as `ipBlock` does: they may be any pod's, whatever its other addresses are denied.
fn network_mismatch(action: Action, networks: &[IpNet], address: IpAddr) -> Option<PeerMismatch> {
    let mut mismatch = PeerMismatch::OutsideBlock;
    for cidr in networks.iter().filter(|network| network.contains(&address)) {
        let block = IpBlock { cidr: *cidr, except: Vec::new() };
        let left_out = block.exceptions().find(|except| except.contains(&address));
        match left_out.filter(|_| action != Action::Deny) {
            None => return None,
            Some(except) => mismatch = PeerMismatch::Excepted(except),
        }
    }
    Some(mismatch)
}

/// Several nodes may list one address: it is enough that one of them is selected.
fn node_mismatch(cluster: &Cluster, nodes: &Selector, address: IpAddr) -> Option<PeerMismatch> {
    let mut mismatch = PeerMismatch::NotANode;
    for node in cluster.nodes.values().filter(|node| node.addresses.contains(&address)) {
        match unmet(nodes, &node.labels) {
            labels if labels.is_empty() => return None,
            labels => mismatch = PeerMismatch::OtherNode { node: node.name.clone(), labels },
        }
    }
    Some(mismatch)
}

/// Asks the protocols of a rule. `server` is the destination pod, on which names are resolved; `None`: it is no pod.
#[must_use]
pub fn protocols_match(protocols: &Protocols, server: Option<&Pod>, traffic: Traffic) -> ListOutcome<ProtocolMiss> {
    let Protocols::Listed(protocols) = protocols else { return ListOutcome::Matches(Element::Any) };
    let miss = |index, protocol: &ProtocolMatch, why| ProtocolMiss { index, protocol: protocol.clone(), why };
    ListOutcome::ask(protocols, |protocol| protocol_mismatch(protocol, server, traffic), miss)
}

/// Why an element of `protocols` does not match, if it does not.
fn protocol_mismatch(asked: &ProtocolMatch, server: Option<&Pod>, traffic: Traffic) -> Option<PortMismatch> {
    let Traffic::Port { protocol, number } = traffic else { return Some(PortMismatch::Portless) };
    match asked {
        ProtocolMatch::Range { protocol: its, .. } if *its != protocol => Some(PortMismatch::Protocol),
        ProtocolMatch::Range { first, last, .. } => {
            (!(*first..=*last).contains(&number)).then_some(PortMismatch::Number)
        }
        ProtocolMatch::Named(name) => match server {
            // The container port's own protocol is the one that counts.
            Some(pod) => name_mismatch(numbers_of(pod, name, protocol), number),
            None => Some(PortMismatch::NameOutsidePods),
        },
    }
}
