//! Which addresses are a node's: those that it lists itself, and those of its host-network pods.

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::model::{Phase, Pod};

/// The node that has an address.
#[must_use]
pub fn node_of(cluster: &Cluster, address: IpAddr) -> Option<&Arc<str>> {
    let listed = cluster.nodes.values().find(|node| node.addresses.contains(&address)).map(|node| &node.name);
    listed.or_else(|| host_pods(cluster).find(|pod| pod.addresses.contains(&address)).and_then(|pod| pod.node.as_ref()))
}

/// The address under which a node forwards what it gives its own source address: the first of the family.
#[must_use]
pub fn source_address(cluster: &Cluster, node: &Arc<str>, is_ipv4: bool) -> Option<IpAddr> {
    let listed = cluster.nodes.get(node).into_iter().flat_map(|node| &node.addresses);
    let pods = host_pods(cluster).filter(|pod| pod.node.as_ref() == Some(node)).flat_map(|pod| &pod.addresses);
    listed.chain(pods).copied().find(|address| address.is_ipv4() == is_ipv4)
}

fn host_pods(cluster: &Cluster) -> impl Iterator<Item = &Pod> {
    cluster.pods.values().map(|pod| &**pod).filter(|pod| pod.host_network && pod.phase == Phase::Active)
}
