//! The ends of a query, found in the cluster.

use std::borrow::Cow;
use std::net::IpAddr;
use std::slice;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Identity, Party};
use podgate_policy::model::{ObjectKey, Phase, Pod};
use podgate_policy::services::Backend;

use crate::explain::{End, ExplainError, Participant};

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
        let participant = if pod.host_network { Participant::Host(key.clone()) } else { Participant::Pod(key.clone()) };
        Ok(Self { identity: Party::pod_at(pod, None).identity, participant, addresses: (&*pod.addresses).into() })
    }

    /// Whoever has an address.
    pub(super) fn address(cluster: &'c Cluster, address: &'c IpAddr) -> Result<Self, ExplainError> {
        let party = Party::at(cluster, *address).map_err(ExplainError::SharedAddress)?;
        let participant = Participant::of(party, *address);
        Ok(Self { identity: party.identity, participant, addresses: slice::from_ref(address).into() })
    }

    /// Whoever a backend is, at its address.
    pub(super) fn backend(cluster: &'c Cluster, backend: &Backend) -> Result<Self, ExplainError> {
        let party = backend.party(cluster).map_err(ExplainError::SharedAddress)?;
        Ok(Self {
            identity: party.identity,
            participant: Participant::of(party, backend.address),
            addresses: vec![backend.address].into(),
        })
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
