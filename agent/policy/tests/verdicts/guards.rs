//! A small language for ClusterNetworkPolicies.
#![expect(clippy::unwrap_used, reason = "what a test writes down wrongly should stop it")]

use std::sync::Arc;

use podgate_policy::cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols, Tier,
};
use podgate_policy::model::{Protocol, Selector};
use podgate_policy::services::Node;

use crate::world::{World, matching, pairs};

impl World {
    /// Adds or replaces a ClusterNetworkPolicy.
    pub(crate) fn guard(mut self, policy: ClusterPolicy) -> Self {
        self.cluster.cluster_policies.insert(Arc::new(policy));
        self
    }

    /// Adds or replaces a node with labels and one address.
    pub(crate) fn labelled_node(mut self, name: &str, labels: &str, address: &str) -> Self {
        let addresses = vec![address.parse().unwrap()];
        let node = Node { name: name.into(), labels: pairs(labels).collect(), addresses, pod_cidrs: vec![] };
        self.cluster.nodes.insert(name.into(), Arc::new(node));
        self
    }
}

/// A policy of all pods without rules.
pub(crate) fn guard(name: &str, tier: Tier, priority: u16) -> ClusterPolicy {
    let subject = PodSelection::default();
    ClusterPolicy { name: name.into(), tier, priority, subject, ingress: vec![], egress: vec![], audit: false }
}

/// A policy of the Admin tier with these ingress rules, for pods with these labels.
pub(crate) fn admin_ingress(name: &str, selects: &str, ingress: Vec<ClusterRule>) -> ClusterPolicy {
    let subject = PodSelection { namespaces: Selector::default(), pods: matching(selects) };
    ClusterPolicy { subject, ingress, ..guard(name, Tier::Admin, 10) }
}

/// The same with egress rules.
pub(crate) fn admin_egress(name: &str, selects: &str, egress: Vec<ClusterRule>) -> ClusterPolicy {
    ClusterPolicy { egress, ingress: vec![], ..admin_ingress(name, selects, vec![]) }
}

/// A rule for one peer and every protocol.
pub(crate) fn rule(action: Action, peer: ClusterPeer) -> ClusterRule {
    ClusterRule { name: None, action, matches: Matches::Some { peers: vec![peer], protocols: Protocols::Any } }
}

/// The rule for these protocols alone.
pub(crate) fn at(rule: ClusterRule, listed: Vec<ProtocolMatch>) -> ClusterRule {
    match rule.matches {
        Matches::Some { peers, .. } => {
            ClusterRule { matches: Matches::Some { peers, protocols: Protocols::Listed(listed) }, ..rule }
        }
        Matches::Nothing | Matches::Everything => rule,
    }
}

/// Pods of any namespace with these labels.
pub(crate) fn labelled(labels: &str) -> ClusterPeer {
    ClusterPeer::Pods(PodSelection { namespaces: Selector::default(), pods: matching(labels) })
}

/// Pods of namespaces with these labels.
pub(crate) fn of_namespaces(labels: &str) -> ClusterPeer {
    ClusterPeer::Pods(PodSelection { namespaces: matching(labels), pods: Selector::default() })
}

pub(crate) fn networks(networks: &[&str]) -> ClusterPeer {
    ClusterPeer::Networks(networks.iter().map(|network| network.parse().unwrap()).collect())
}

pub(crate) fn nodes(labels: &str) -> ClusterPeer {
    ClusterPeer::Nodes(matching(labels))
}

pub(crate) fn tcp_port(number: u16) -> ProtocolMatch {
    ProtocolMatch::Range { protocol: Protocol::Tcp, first: number, last: number }
}
