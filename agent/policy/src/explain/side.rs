//! The ends of a query, found in the cluster.

use std::borrow::Cow;
use std::net::IpAddr;
use std::slice;

use crate::cluster::Cluster;
use crate::evaluate::{Identity, Party};
use crate::explain::{End, ExplainError, Participant};
use crate::model::{ObjectKey, Phase, Pod};

/// One end of the query, found in the cluster.
pub(super) struct Side<'c> {
    pub(super) identity: Identity<'c>,
    pub(super) participant: Participant,
    pub(super) addresses: Cow<'c, [IpAddr]>,
}

impl<'c> Side<'c> {
    /// An end, named.
    pub(super) fn find(cluster: &'c Cluster, end: &'c End) -> Result<Self, ExplainError> {
        match end {
            End::Pod(key) => Self::pod(cluster, key),
            End::Address(address) => Self::address(cluster, address),
        }
    }

    /// A pod with all its addresses.
    pub(super) fn pod(cluster: &'c Cluster, key: &ObjectKey) -> Result<Self, ExplainError> {
        let pod = cluster.pods.get(key).ok_or_else(|| ExplainError::NoSuchPod(key.clone()))?;
        if pod.phase == Phase::Finished {
            return Err(ExplainError::Finished(key.clone()));
        }
        Ok(Self::of(Party::pod_at(pod, None), &pod.addresses))
    }

    /// Whoever has an address.
    pub(super) fn address(cluster: &'c Cluster, address: &'c IpAddr) -> Result<Self, ExplainError> {
        let party = Party::at(cluster, *address).map_err(ExplainError::SharedAddress)?;
        Ok(Self::of(party, slice::from_ref(address)))
    }

    /// The end that a backend's address is: the pod that the endpoint names, if it has the address, else whoever has it.
    pub(super) fn backend(
        cluster: &'c Cluster,
        address: IpAddr,
        pod: Option<&ObjectKey>,
    ) -> Result<Self, ExplainError> {
        let named = pod.and_then(|key| cluster.pods.get(key));
        let named = named.filter(|pod| pod.phase == Phase::Active && pod.addresses.contains(&address));
        let party = match named {
            Some(pod) => Party::pod_at(pod, Some(address)),
            None => Party::at(cluster, address).map_err(ExplainError::SharedAddress)?,
        };
        Ok(Self::of(party, vec![address]))
    }

    fn of(party: Party<'c>, addresses: impl Into<Cow<'c, [IpAddr]>>) -> Self {
        let addresses = addresses.into();
        let participant = match party.identity {
            Identity::Pod(pod) => Participant::Pod(pod.key.clone()),
            Identity::Host(pod) => Participant::Host(pod.key.clone()),
            Identity::Outside => Participant::Address(addresses[0]),
        };
        Self { identity: party.identity, participant, addresses }
    }

    pub(super) fn party(&self, address: Option<IpAddr>) -> Party<'c> {
        Party { identity: self.identity, address }
    }

    /// The pod behind this end, if any.
    pub(super) fn any_pod(&self) -> Option<&'c Pod> {
        match self.identity {
            Identity::Pod(pod) | Identity::Host(pod) => Some(pod),
            Identity::Outside => None,
        }
    }
}
