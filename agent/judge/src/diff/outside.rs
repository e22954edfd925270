//! Connections with addresses that are no pod's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::{Matches, ProtocolMatch, Protocols};
use podgate_policy::evaluate::{Party, Traffic, judge, rules};
use podgate_policy::model::{self, Direction, IpBlock, Peer, Peers, PortSpec, Protocol};

use crate::diff::{Cause, Change, End, Move, Ports, networked};
use crate::groups::{Members, cluster_peers, networks};
use crate::matrix::PortChoice;

/// What most connections to the outside use.
const HTTPS: (Protocol, u16) = (Protocol::Tcp, 443);

/// The changes of each group: it has those of its first pod.
pub(super) fn changes(
    old: &Cluster,
    new: &Cluster,
    choice: &PortChoice,
    groups: &[Members<'_>],
    ports: &Ports,
) -> Vec<Change> {
    let outward = outward_ports(old, new, choice);
    let regions = regions(old, new);
    let mut changes = Vec::new();
    for members in groups {
        let Some(inward) = ports.get(members.pods[0]) else { continue };
        for region in &regions {
            let compare = Comparison { old, new, members, region };
            changes.extend(inward.iter().filter_map(|&port| compare.change(Direction::Ingress, port)));
            changes.extend(outward.iter().filter_map(|&port| compare.change(Direction::Egress, port)));
        }
    }
    changes
}

/// The ports at which the outside is asked for: the listed ones, or those that egress rules begin their ranges with.
fn outward_ports(old: &Cluster, new: &Cluster, choice: &PortChoice) -> BTreeSet<(Protocol, u16)> {
    if let PortChoice::Listed(ports) = choice {
        return ports.clone();
    }
    let policies = old.policies.values().chain(new.policies.values());
    let rules = policies.filter_map(|policy| rules(policy, Direction::Egress)).flatten();
    let listed = rules.filter_map(|rule| match &rule.ports {
        model::Ports::Any => None,
        model::Ports::Listed(ports) => Some(ports),
    });
    let named = listed.flatten().filter_map(|port| match port.port {
        PortSpec::Range { first, .. } => Some((port.protocol, first)),
        PortSpec::All | PortSpec::Named(_) => None,
    });
    let guards = old.cluster_policies.iter().chain(new.cluster_policies.iter());
    let by_guards = guards.flat_map(|policy| policy.rules(Direction::Egress)).filter_map(|rule| match &rule.matches {
        Matches::Some { protocols: Protocols::Listed(protocols), .. } => Some(protocols),
        Matches::Some { protocols: Protocols::Any, .. } | Matches::Nothing | Matches::Everything => None,
    });
    let by_guards = by_guards.flatten().filter_map(|asked| match asked {
        ProtocolMatch::Range { protocol, first, .. } => Some((*protocol, *first)),
        ProtocolMatch::Named(_) => None,
    });
    named.chain(by_guards).chain([HTTPS]).collect()
}

/// A block, and an address that stands for those of it that are in no smaller one.
struct Region {
    block: IpNet,
    address: IpAddr,
}

/// The regions that blocks of both states divide the addresses of the pods' families into.
fn regions(old: &Cluster, new: &Cluster) -> Vec<Region> {
    let everything = [IpNet::from(ipnet::Ipv4Net::default()), IpNet::from(ipnet::Ipv6Net::default())];
    let blocks: BTreeSet<IpNet> = blocks(old).chain(blocks(new)).chain(everything).collect();
    let taken: BTreeSet<IpAddr> = [old, new].into_iter().flat_map(taken).collect();
    let has_family = |block: &&IpNet| taken.is_empty() || taken.iter().any(|it| it.is_ipv4() == block.addr().is_ipv4());
    let region = |block: &IpNet| Some(Region { block: *block, address: representative(block, &blocks, &taken)? });
    blocks.iter().filter(has_family).filter_map(region).collect()
}

fn blocks(cluster: &Cluster) -> impl Iterator<Item = IpNet> {
    let policies = cluster.policies.values();
    let rules = policies.flat_map(|policy| Direction::ALL.into_iter().filter_map(|direction| rules(policy, direction)));
    let peers = rules.flatten().filter_map(|rule| match &rule.peers {
        Peers::Any => None,
        Peers::Listed(peers) => Some(peers),
    });
    let of_peers = peers.flatten().flat_map(|peer| match peer {
        Peer::Block(block) => [&[block.cidr], block.except.as_slice()].concat(),
        Peer::Pods { .. } => vec![],
    });
    let guards = cluster.cluster_policies.iter().flat_map(|policy| cluster_peers(policy));
    of_peers.chain(guards.flat_map(networks).copied())
}

/// Addresses of pods and nodes.
fn taken(cluster: &Cluster) -> impl Iterator<Item = IpAddr> {
    let pods = cluster.pods.values().flat_map(|pod| &pod.addresses);
    pods.chain(cluster.nodes.values().flat_map(|node| &node.addresses)).copied()
}

/// An address of a block that is in no smaller one and belongs to nobody: the first of the block, or one beside something in it.
fn representative(block: &IpNet, blocks: &BTreeSet<IpNet>, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let smaller = blocks.iter().filter(|other| block.contains(*other) && *other != block).copied();
    let smaller: Vec<_> = smaller.chain(IpBlock { cidr: *block, except: vec![] }.exceptions()).collect();
    let beside_blocks = smaller.iter().flat_map(|it| [next(it.broadcast()), previous(it.network())]);
    let beside_taken = taken.iter().flat_map(|&it| [next(it), previous(it)]);
    let candidates = [Some(block.network())].into_iter().chain(beside_blocks).chain(beside_taken).flatten();
    let is_free = |address: &IpAddr| {
        block.contains(address) && !taken.contains(address) && !smaller.iter().any(|it| it.contains(address))
    };
    candidates.into_iter().find(is_free)
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(1).map(|previous| Ipv4Addr::from(previous).into()),
        IpAddr::V6(address) => u128::from(address).checked_sub(1).map(|previous| Ipv6Addr::from(previous).into()),
    }
}

/// A group and a region, in both states.
struct Comparison<'a> {
    old: &'a Cluster,
    new: &'a Cluster,
    members: &'a Members<'a>,
    region: &'a Region,
}

impl Comparison<'_> {
    /// What becomes of connections to the pod (ingress) or from it (egress).
    fn change(&self, direction: Direction, (protocol, port): (Protocol, u16)) -> Option<Change> {
        let traffic = Traffic::Port { protocol, number: port };
        let before = self.verdict(self.old, direction, traffic);
        let after = self.verdict(self.new, direction, traffic);
        let what = Move::between(before.unwrap_or(false), after.unwrap_or(false))?;
        let cause = if before.is_some() && after.is_some() { Cause::Policy } else { Cause::Pod };
        let (pod, outside) = (End::Pod(self.members.group.clone()), End::Outside(self.region.block));
        let (from, to) = match direction {
            Direction::Ingress => (outside, pod),
            Direction::Egress => (pod, outside),
        };
        Some(Change { what, cause, to, protocol, port, from })
    }

    /// `None`: there is no such pod, or it has no address of the region's family.
    fn verdict(&self, cluster: &Cluster, direction: Direction, traffic: Traffic) -> Option<bool> {
        let pod = networked(cluster, self.members.pods[0])?;
        let of_family = |address: &IpAddr| address.is_ipv4() == self.region.address.is_ipv4();
        if !pod.addresses.is_empty() && !pod.addresses.iter().any(of_family) {
            return None;
        }
        // The address is no node's, so the pod's policies alone decide.
        Some(judge(cluster, direction, pod, &Party::outside(self.region.address), traffic).is_allowed())
    }
}
