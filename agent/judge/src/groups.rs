//! Pods that nothing tells apart. Thousands of pods are replicas of hundreds of workloads, and every answer about one
//! replica is the answer about the others.
//!
//! Pods are alike if everything is equal that a verdict can depend on (`Facts`), and if they are replicas of one
//! workload or have the same labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::{ClusterPeer, ClusterPolicy, Matches};
use podgate_policy::evaluate::rules;
use podgate_policy::model::{
    BEYOND, Direction, IpBlock, Labels, ObjectKey, Peer, Peers, Pod, Policy, Protocol, Selector, Workload,
};

/// One pod, or several that are alike: one party of what is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The pod, the workload of the pods if nothing else here has its name, or else their first pod.
    pub name: ObjectKey,
    /// How many pods there are.
    pub pods: usize,
}

impl Group {
    /// Whether this is a single pod, which reaches itself whatever policies say.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.pods == 1
    }
}

impl From<ObjectKey> for Group {
    fn from(pod: ObjectKey) -> Self {
        Self { name: pod, pods: 1 }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pods {
            1 => self.name.fmt(f),
            pods => write!(f, "{} ({pods} pods)", self.name),
        }
    }
}

/// What is judged and shown as one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parties {
    /// Pods that are alike.
    Groups,
    /// Each pod by itself.
    Pods,
}

impl Parties {
    /// What was judged of groups, or `by_pod` the same of every pod by itself.
    pub fn of<T>(self, judged: T, by_pod: impl FnOnce(T) -> T) -> T {
        match self {
            Self::Groups => judged,
            Self::Pods => by_pod(judged),
        }
    }
}

/// A group and its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members<'c> {
    /// The group.
    pub group: Group,
    /// The pods, by key; at least one.
    pub pods: Vec<&'c ObjectKey>,
}

/// Groups of pods with equal facts, by name. Facts are of pods of one namespace and workload.
pub(crate) fn grouped<'c, F: Ord>(
    pods: impl Iterator<Item = (&'c ObjectKey, Option<&'c Workload>, F)>,
) -> Vec<Members<'c>> {
    let mut by_facts: BTreeMap<F, (Option<&Workload>, Vec<&ObjectKey>)> = BTreeMap::new();
    for (key, workload, facts) in pods {
        by_facts.entry(facts).or_insert((workload, Vec::new())).1.push(key);
    }
    let mut groups: Vec<_> = by_facts.into_values().collect();
    for (_, pods) in &mut groups {
        pods.sort();
    }
    let names = names(&groups);
    let named = groups.into_iter().zip(names);
    let mut members: Vec<_> =
        named.map(|((_, pods), name)| Members { group: Group { name, pods: pods.len() }, pods }).collect();
    members.sort_by(|one, other| one.group.cmp(&other.group));
    members
}

/// A name for each group that no other has: its workload's, or else its first pod's.
fn names(groups: &[(Option<&Workload>, Vec<&ObjectKey>)]) -> Vec<ObjectKey> {
    let of_workload = |(workload, pods): &(Option<&Workload>, Vec<&ObjectKey>)| {
        let workload = workload.filter(|_| pods.len() > 1)?;
        Some(ObjectKey { namespace: pods[0].namespace.clone(), name: workload.name.clone() })
    };
    let mut uses: BTreeMap<ObjectKey, usize> = BTreeMap::new();
    for name in groups.iter().filter_map(of_workload) {
        *uses.entry(name).or_default() += 1;
    }
    let taken: BTreeSet<&ObjectKey> = groups.iter().flat_map(|(_, pods)| pods).copied().collect();
    let is_free = |name: &ObjectKey| uses.get(name) == Some(&1) && !taken.contains(name);
    groups.iter().map(|group| of_workload(group).filter(is_free).unwrap_or_else(|| group.1[0].clone())).collect()
}

/// Everything of a pod of the pod network that a verdict can depend on, and by what people tell pods apart. A verdict
/// between two pods of equal facts, and between either and anybody else, is the same: selectors ask for nothing but
/// namespace and labels, blocks for addresses, named ports for container ports, and routes for families.
///
/// A pod with an address that others have too is like no other, because rules then ask about all that have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Facts<'c> {
    namespace: &'c str,
    whose: Whose<'c>,
    /// The labels that some selector asks for.
    labels: Vec<(&'c str, &'c str)>,
    ports: BTreeSet<(Option<&'c str>, Protocol, u16)>,
    /// Of each address whether it is IPv4, and the blocks and networks that it is in.
    addresses: Vec<(bool, Vec<usize>, Vec<usize>)>,
    unique: Option<&'c ObjectKey>,
}

/// What makes pods one thing in the eyes of people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose<'c> {
    Workload(&'c Workload),
    Labels(&'c Labels),
}

/// By what the policies of a cluster can tell pods apart.
pub(crate) struct Marks<'c> {
    labels: BTreeSet<&'c str>,
    blocks: Vec<&'c IpBlock>,
    /// Of ClusterNetworkPolicies.
    networks: Vec<IpNet>,
    contested: BTreeSet<IpAddr>,
}

impl<'c> Marks<'c> {
    pub(crate) fn of(cluster: &'c Cluster) -> Self {
        let policies = || cluster.policies.values().map(|policy| &**policy);
        let guards = || cluster.cluster_policies.iter().map(|policy| &**policy);
        let selectors = policies().flat_map(selectors).chain(guards().flat_map(cluster_selectors));
        let blocks: BTreeSet<&IpBlock> = policies().flat_map(peers).filter_map(block).collect();
        let mut networks: BTreeSet<IpNet> = guards().flat_map(cluster_peers).flat_map(networks).copied().collect();
        if networks.iter().any(|network| network.prefix_len() == 0) {
            // To open all networks is not to open these.
            networks.extend(BEYOND.as_flattened());
        }
        Self {
            networks: networks.into_iter().collect(),
            labels: selectors.flat_map(Selector::requirements).map(|requirement| &*requirement.key).collect(),
            blocks: blocks.into_iter().collect(),
            contested: contested(cluster),
        }
    }

    pub(crate) fn facts(&self, pod: &'c Pod) -> Facts<'c> {
        let asked =
            |(key, value): (&'c Arc<str>, &'c Arc<str>)| self.labels.contains(&**key).then_some((&**key, &**value));
        let around = |address: &IpAddr| {
            let around = self.blocks.iter().enumerate().filter(|(_, block)| block.contains(*address));
            let within = self.networks.iter().enumerate().filter(|(_, network)| network.contains(address));
            (address.is_ipv4(), around.map(|(index, _)| index).collect(), within.map(|(index, _)| index).collect())
        };
        let is_contested = pod.addresses.iter().any(|address| self.contested.contains(address));
        Facts {
            namespace: &pod.key.namespace,
            whose: pod.workload.as_ref().map_or(Whose::Labels(&pod.labels), Whose::Workload),
            labels: pod.labels.iter().filter_map(asked).collect(),
            ports: pod.ports.iter().map(|port| (port.name.as_deref(), port.protocol, port.number)).collect(),
            addresses: pod.addresses.iter().map(around).collect(),
            unique: is_contested.then_some(&pod.key),
        }
    }
}

/// Every selector of pods of a policy.
fn selectors(policy: &Policy) -> impl Iterator<Item = &Selector> {
    let of_peers = peers(policy).filter_map(|peer| match peer {
        Peer::Pods { pods, .. } => Some(pods),
        Peer::Block(_) => None,
    });
    of_peers.chain([&policy.pod_selector])
}

fn peers(policy: &Policy) -> impl Iterator<Item = &Peer> {
    let rules = Direction::ALL.into_iter().filter_map(|direction| rules(policy, direction)).flatten();
    rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::Listed(peers) => peers.as_slice(),
    })
}

fn block(peer: &Peer) -> Option<&IpBlock> {
    match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods { .. } => None,
    }
}

/// Every selector of pods of a ClusterNetworkPolicy.
fn cluster_selectors(policy: &ClusterPolicy) -> impl Iterator<Item = &Selector> {
    let of_peers = cluster_peers(policy).filter_map(|peer| match peer {
        ClusterPeer::Pods(selection) => Some(&selection.pods),
        ClusterPeer::Networks(_) | ClusterPeer::Nodes(_) => None,
    });
    of_peers.chain([&policy.subject.pods])
}

/// Every peer of a ClusterNetworkPolicy.
pub(crate) fn cluster_peers(policy: &ClusterPolicy) -> impl Iterator<Item = &ClusterPeer> {
    let rules = Direction::ALL.into_iter().flat_map(|direction| policy.rules(direction));
    rules.flat_map(|rule| match &rule.matches {
        Matches::Nothing | Matches::Everything => &[],
        Matches::Some { peers, .. } => peers.as_slice(),
    })
}

/// The networks of a peer.
pub(crate) fn networks(peer: &ClusterPeer) -> &[IpNet] {
    match peer {
        ClusterPeer::Networks(networks) => networks,
        ClusterPeer::Pods(_) | ClusterPeer::Nodes(_) => &[],
    }
}

/// The addresses that several pods of the pod network have.
fn contested(cluster: &Cluster) -> BTreeSet<IpAddr> {
    let mut seen = BTreeSet::new();
    let networked = cluster.pods.values().filter(|pod| pod.is_networked());
    networked.flat_map(|pod| &pod.addresses).copied().filter(|&address| !seen.insert(address)).collect()
}
