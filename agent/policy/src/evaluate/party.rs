//! The two ends of a packet and what it carries.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::cluster::Cluster;
use crate::model::{ObjectKey, Pod, Protocol};

/// What a packet carries, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// A protocol with ports.
    Port {
        /// The protocol.
        protocol: Protocol,
        /// The destination port.
        number: u16,
    },
    /// ICMP or any other protocol: only rules without `ports` match it.
    Other,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { protocol, number } => write!(f, "{protocol}/{number}"),
            Self::Other => f.write_str("ICMP or another protocol without ports"),
        }
    }
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party<'c> {
    /// Who it is.
    pub identity: Identity<'c>,
    /// The address it uses, which is what blocks are compared with. `None`: not known, then no block matches.
    pub address: Option<IpAddr>,
}

/// Who an end of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'c> {
    /// A pod of the pod network ([`Pod::is_networked`]): subject of policies, matched by selectors.
    Pod(&'c Pod),
    /// A host-network pod: no subject, matched by no selector. It is its node's process.
    Host(&'c Pod),
    /// Nobody that selectors know.
    Outside,
}

impl<'c> Party<'c> {
    /// A pod with the address it uses. A finished pod is nobody, so that its address decides alone.
    #[must_use]
    pub fn pod_at(pod: &'c Pod, address: Option<IpAddr>) -> Self {
        let identity = match (pod.is_networked(), pod.host_network) {
            (true, _) => Identity::Pod(pod),
            (false, true) => Identity::Host(pod),
            (false, false) => Identity::Outside,
        };
        Self { identity, address }
    }

    /// An address that is no pod's.
    #[must_use]
    pub fn outside(address: IpAddr) -> Self {
        Self { identity: Identity::Outside, address: Some(address) }
    }

    /// Whoever has an address: the pod of the pod network that has it, else nobody; see [`owners`].
    ///
    /// # Errors
    /// [`SharedAddress`] if several pods of the pod network have the address, so that no labels can be trusted.
    pub fn at(cluster: &'c Cluster, address: IpAddr) -> Result<Self, SharedAddress> {
        match owners(cluster, address).as_slice() {
            [] => Ok(Self::outside(address)),
            [pod] => Ok(Self { identity: Identity::Pod(pod), address: Some(address) }),
            pods => Err(SharedAddress { address, pods: pods.iter().map(|pod| pod.key.clone()).collect() }),
        }
    }

    /// The pod that selectors and named ports see.
    #[must_use]
    pub fn pod(&self) -> Option<&'c Pod> {
        match self.identity {
            Identity::Pod(pod) => Some(pod),
            Identity::Host(_) | Identity::Outside => None,
        }
    }
}

/// The pods that have an address, by key. Those that are terminating have it only if no other pod does: they may be
/// what is left of a node that is gone. Addresses of host-network and of finished pods say nothing about who uses them.
#[must_use]
pub fn owners(cluster: &Cluster, address: IpAddr) -> Vec<&Pod> {
    owners_among(cluster.pods.values().map(|pod| &**pod).filter(|pod| pod.addresses.contains(&address)))
}

/// Whose an address is of the pods that claim it.
#[must_use]
pub fn owners_among<'c>(claimants: impl Iterator<Item = &'c Pod>) -> Vec<&'c Pod> {
    let (terminating, live): (Vec<_>, Vec<_>) =
        claimants.filter(|pod| pod.is_networked()).partition(|pod| pod.terminating);
    if live.is_empty() { terminating } else { live }
}

/// Which of these pods claim which address, for [`everybody_among`].
#[must_use]
pub fn claims<'c>(pods: impl Iterator<Item = &'c Pod>) -> BTreeMap<IpAddr, Vec<&'c Pod>> {
    let mut claims: BTreeMap<IpAddr, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        for address in &pod.addresses {
            claims.entry(*address).or_default().push(pod);
        }
    }
    claims
}

/// A party as each of the pods whose its address is; itself if it has none or is no pod.
#[must_use]
pub fn everybody_among<'c>(claims: &BTreeMap<IpAddr, Vec<&'c Pod>>, party: &Party<'c>) -> Vec<Party<'c>> {
    let (Identity::Pod(_), Some(address)) = (party.identity, party.address) else { return vec![*party] };
    each_of(party, owners_among(claims.get(&address).into_iter().flatten().copied()))
}

/// The same where all pods are to be searched.
pub(super) fn everybody<'c>(cluster: &'c Cluster, party: &Party<'c>) -> Vec<Party<'c>> {
    let (Identity::Pod(_), Some(address)) = (party.identity, party.address) else { return vec![*party] };
    each_of(party, owners(cluster, address))
}

fn each_of<'c>(party: &Party<'c>, owners: Vec<&'c Pod>) -> Vec<Party<'c>> {
    let parties: Vec<_> = owners.into_iter().map(|pod| Party::pod_at(pod, party.address)).collect();
    if parties.is_empty() { vec![*party] } else { parties }
}

/// Several pods of the pod network have the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedAddress {
    /// The address.
    pub address: IpAddr,
    /// The pods, by key, at least two.
    pub pods: Vec<ObjectKey>,
}

impl fmt::Display for SharedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods: Vec<_> = self.pods.iter().map(ObjectKey::to_string).collect();
        write!(f, "address {} belongs to several pods ({}): name the pod instead", self.address, pods.join(", "))
    }
}

impl std::error::Error for SharedAddress {}
