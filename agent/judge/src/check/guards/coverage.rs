//! Whether rules match the same packets, or one everything that another does.

use ipnet::IpNet;
use podgate_policy::cluster_policy::{
    Action, ClusterPeer, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols,
};
use podgate_policy::evaluate::selects;
use podgate_policy::model::{BEYOND, Selector};

use crate::check::known::Known;

/// Whether there is something that both rules match, as far as pods and nodes are known.
pub(super) fn overlap(known: &Known<'_>, one: &ClusterRule, other: &ClusterRule) -> bool {
    match (&one.matches, &other.matches) {
        (Matches::Nothing, _) | (_, Matches::Nothing) => false,
        (Matches::Everything, _) | (_, Matches::Everything) => true,
        (Matches::Some { peers, protocols }, Matches::Some { peers: other_peers, protocols: other_protocols }) => {
            let mut pairs = peers.iter().flat_map(|peer| other_peers.iter().map(move |other| (peer, other)));
            protocols_overlap(protocols, other_protocols)
                && pairs.any(|(peer, other)| peers_overlap(known, peer, other))
        }
    }
}

fn protocols_overlap(one: &Protocols, other: &Protocols) -> bool {
    let (Protocols::Listed(one), Protocols::Listed(other)) = (one, other) else { return true };
    let mut pairs = one.iter().flat_map(|it| other.iter().map(move |its| (it, its)));
    pairs.any(|pair| match pair {
        (
            ProtocolMatch::Range { protocol, first, last },
            ProtocolMatch::Range { protocol: its, first: its_first, last: its_last },
        ) => protocol == its && first <= its_last && its_first <= last,
        (ProtocolMatch::Named(one), ProtocolMatch::Named(other)) => one == other,
        // Which number a name means is the pods' matter.
        _ => false,
    })
}

fn peers_overlap(known: &Known<'_>, one: &ClusterPeer, other: &ClusterPeer) -> bool {
    match (one, other) {
        (ClusterPeer::Pods(one), ClusterPeer::Pods(other)) => {
            let both = |pod: &_| selects(known.cluster, one, pod) && selects(known.cluster, other, pod);
            one == other || known.groups().iter().filter_map(|pods| pods.first()).any(|pod| both(pod))
        }
        (ClusterPeer::Networks(one), ClusterPeer::Networks(other)) => {
            let mut pairs = one.iter().flat_map(|it| other.iter().map(move |its| (it, its)));
            pairs.any(|(one, other)| one.contains(other) || other.contains(one))
        }
        (ClusterPeer::Nodes(one), ClusterPeer::Nodes(other)) => {
            let mut nodes = known.cluster.nodes.values();
            one == other || nodes.any(|node| one.matches(&node.labels) && other.matches(&node.labels))
        }
        (ClusterPeer::Pods(selection), ClusterPeer::Networks(networks))
        | (ClusterPeer::Networks(networks), ClusterPeer::Pods(selection)) => {
            let within = |address: &_| networks.iter().any(|network| network.contains(address));
            let mut pods = known.all_pods().filter(|pod| selects(known.cluster, selection, pod));
            pods.any(|pod| pod.addresses.iter().any(within))
        }
        (ClusterPeer::Nodes(nodes), ClusterPeer::Networks(networks))
        | (ClusterPeer::Networks(networks), ClusterPeer::Nodes(nodes)) => {
            let within = |address: &_| networks.iter().any(|network| network.contains(address));
            let mut selected = known.cluster.nodes.values().filter(|node| nodes.matches(&node.labels));
            selected.any(|node| node.addresses.iter().any(within))
        }
        (ClusterPeer::Pods(_), ClusterPeer::Nodes(_)) | (ClusterPeer::Nodes(_), ClusterPeer::Pods(_)) => false,
    }
}

/// Whether a rule matches whatever another does, whatever pods and nodes there are.
pub(super) fn covers(one: &ClusterRule, other: &ClusterRule) -> bool {
    match (&one.matches, &other.matches) {
        (Matches::Everything, _) => true,
        (Matches::Nothing, _) | (_, Matches::Nothing | Matches::Everything) => false,
        (Matches::Some { peers, protocols }, Matches::Some { peers: other_peers, protocols: other_protocols }) => {
            let actions = (one.action, other.action);
            let covered = |other: &ClusterPeer| peers.iter().any(|peer| covers_peer(actions, peer, other));
            covers_protocols(protocols, other_protocols) && other_peers.iter().all(covered)
        }
    }
}

fn covers_protocols(one: &Protocols, other: &Protocols) -> bool {
    let (Protocols::Listed(one), other) = (one, other) else { return true };
    let Protocols::Listed(other) = other else { return false };
    let covers = |it: &ProtocolMatch, its: &ProtocolMatch| match (it, its) {
        (
            ProtocolMatch::Range { protocol, first, last },
            ProtocolMatch::Range { protocol: its, first: its_first, last: its_last },
        ) => protocol == its && first <= its_first && its_last <= last,
        (it, its) => it == its,
    };
    other.iter().all(|its| one.iter().any(|it| covers(it, its)))
}

fn covers_peer(actions: (Action, Action), one: &ClusterPeer, other: &ClusterPeer) -> bool {
    match (one, other) {
        (ClusterPeer::Pods(one), ClusterPeer::Pods(other)) => covers_selection(one, other),
        (ClusterPeer::Nodes(one), ClusterPeer::Nodes(other)) => covers_selector(one, other),
        (ClusterPeer::Networks(one), ClusterPeer::Networks(other)) => {
            other.iter().all(|its| one.iter().any(|it| covers_network(actions, it, its)))
        }
        // Whatever has an address is in one of the two.
        (ClusterPeer::Networks(networks), ClusterPeer::Pods(_) | ClusterPeer::Nodes(_)) => {
            let all = |is_ipv4: bool| {
                let of_family = |network: &&IpNet| network.addr().is_ipv4() == is_ipv4;
                networks.iter().filter(of_family).any(|network| network.prefix_len() == 0)
            };
            all(true) && all(false)
        }
        (ClusterPeer::Pods(_), ClusterPeer::Nodes(_) | ClusterPeer::Networks(_))
        | (ClusterPeer::Nodes(_), ClusterPeer::Pods(_) | ClusterPeer::Networks(_)) => false,
    }
}

/// Whether a network of a rule holds all of another's, given the two rules' actions. What opens all addresses leaves out
/// some that what denies them does not.
fn covers_network((action, other_action): (Action, Action), one: &IpNet, other: &IpNet) -> bool {
    if action == Action::Deny || one.prefix_len() > 0 {
        return one.contains(other);
    }
    let overlaps = |net: &IpNet| net.contains(other) || other.contains(net);
    let leaves_out_the_same = other_action != Action::Deny && other.prefix_len() == 0;
    one.contains(other) && (leaves_out_the_same || !BEYOND.as_flattened().iter().any(overlaps))
}

/// Whether every pod that one selects, another does too, because it asks for no more.
pub(super) fn covers_selection(one: &PodSelection, other: &PodSelection) -> bool {
    covers_selector(&one.namespaces, &other.namespaces) && covers_selector(&one.pods, &other.pods)
}

fn covers_selector(one: &Selector, other: &Selector) -> bool {
    one.requirements().iter().all(|requirement| other.requirements().contains(requirement))
}
