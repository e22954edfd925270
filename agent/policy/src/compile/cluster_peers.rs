//! Whom and what rules of ClusterNetworkPolicies are about, in the terms of the compiler.

use ipnet::IpNet;

use crate::cluster_policy::{Action, ClusterPeer, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols};
use crate::compile::terms::{Scope, Who};
use crate::model::{IpBlock, PortMatch, PortSpec, Ports, Protocol};

/// About whom no rule is asked behind a certain one of its tier, since that one is about all of their packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Pods of the pod network.
    Pods,
    /// Everybody.
    Everybody,
}

/// Behind which rule of its policy no other is asked.
pub(crate) fn reach(rule: &ClusterRule) -> Option<Reach> {
    match &rule.matches {
        Matches::Nothing => None,
        Matches::Everything => Some(Reach::Everybody),
        Matches::Some { protocols: Protocols::Any, peers } => {
            let everywhere = |selection: &PodSelection| *selection == PodSelection::default();
            peers.iter().any(|peer| matches!(peer, ClusterPeer::Pods(pods) if everywhere(pods))).then_some(Reach::Pods)
        }
        Matches::Some { protocols: Protocols::Listed(_), .. } => None,
    }
}

/// The peers of a rule. `None`: some are not understood, and the rule fails closed.
pub(crate) fn whom(rule: &ClusterRule) -> Option<Vec<Who>> {
    let Matches::Some { peers, .. } = &rule.matches else { return None };
    let mut whom = Vec::new();
    for peer in peers {
        match peer {
            ClusterPeer::Pods(PodSelection { namespaces, pods }) => {
                whom.push(Who::Pods { scope: Scope::Matching(namespaces.clone()), pods: pods.clone() });
            }
            ClusterPeer::Networks(networks) => {
                let blocks = networks.iter().flat_map(|&network| blocks(rule.action, network));
                whom.extend(blocks.map(|cidr| Who::Block(IpBlock { cidr, except: Vec::new() })));
            }
            // The agent watches no nodes but its own.
            ClusterPeer::Nodes(_) => return None,
        }
    }
    Some(whom)
}

/// The blocks of a network. One of a whole family leaves out what is [`BEYOND`](crate::model::BEYOND) it; its halves don't,
/// and what denies is about every address.
fn blocks(action: Action, network: IpNet) -> Vec<IpNet> {
    match action {
        Action::Deny if network.prefix_len() == 0 => {
            network.subnets(1).map(Iterator::collect).unwrap_or_else(|_| vec![network])
        }
        Action::Accept | Action::Deny | Action::Pass => vec![network],
    }
}

/// The protocols of a rule as ports of NetworkPolicies. A name is one of whatever protocol.
pub(crate) fn ports_of(protocols: &Protocols) -> Ports {
    let Protocols::Listed(protocols) = protocols else { return Ports::Any };
    let of = |it: &ProtocolMatch| match it {
        &ProtocolMatch::Range { protocol, first, last } => {
            vec![PortMatch { protocol, port: PortSpec::Range { first, last } }]
        }
        ProtocolMatch::Named(name) => {
            Protocol::ALL.map(|protocol| PortMatch { protocol, port: PortSpec::Named(name.clone()) }).to_vec()
        }
    };
    Ports::Listed(protocols.iter().flat_map(of).collect())
}
