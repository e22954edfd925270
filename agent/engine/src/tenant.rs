//! Who is on an interface.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use podgate_datapath::Identity;
use podgate_host::binding::{Binding, PodId, Unclaimed};

/// Whoever is behind an interface that is enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    /// The host's end of the veth.
    pub(super) ifindex: u32,
    /// The id of the namespace behind it, relative to the host's; negative while it goes away.
    pub(super) netns_id: i32,
    /// The addresses it may send from.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Who that is.
    pub(super) occupant: Occupant,
}

/// A pod, or what is isolated until it is known to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// A pod that is known.
    Pod(PodId),
    /// A pod that CNI has named and that is not known yet.
    Announced(PodId),
    /// Something that looks like a pod.
    Unknown,
}

impl Tenant {
    /// The pod, if it is known.
    pub(super) fn pod(&self) -> Option<&PodId> {
        match &self.occupant {
            Occupant::Pod(pod) => Some(pod),
            Occupant::Announced(_) | Occupant::Unknown => None,
        }
    }

    /// The pod, if it is known or CNI has named it.
    pub(super) fn named(&self) -> Option<&PodId> {
        match &self.occupant {
            Occupant::Pod(pod) | Occupant::Announced(pod) => Some(pod),
            Occupant::Unknown => None,
        }
    }

    /// What the datapath must know.
    pub(super) fn identity(&self, routes: bool, keep: bool) -> Identity {
        let mut identity = Identity {
            ifindex: self.ifindex,
            netns_id: (self.netns_id >= 0).then_some(self.netns_id),
            address4: None,
            address6: None,
            routes,
            keep,
        };
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => identity.address4 = identity.address4.or(Some(*address)),
                IpAddr::V6(address) => identity.address6 = identity.address6.or(Some(*address)),
            }
        }
        identity
    }
}

impl From<Binding> for Tenant {
    fn from(binding: Binding) -> Self {
        let Binding { ifindex, pod, netns_id, addresses } = binding;
        Self { ifindex, netns_id, addresses, occupant: Occupant::Pod(pod) }
    }
}

impl From<Unclaimed> for Tenant {
    fn from(unclaimed: Unclaimed) -> Self {
        let Unclaimed { ifindex, netns_id, addresses, announced } = unclaimed;
        let occupant = announced.map_or(Occupant::Unknown, Occupant::Announced);
        Self { ifindex, netns_id, addresses, occupant }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.occupant {
            Occupant::Pod(pod) => write!(f, "pod {pod}"),
            Occupant::Announced(pod) => write!(f, "pod {pod}, which CNI has named and which is not known yet,"),
            Occupant::Unknown => write!(f, "what is behind interface {}", self.ifindex),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_has_one_address_of_each_family_and_no_negative_namespace() {
        let addresses = ["10.0.0.1", "fd00::1"].map(|address| address.parse().unwrap());
        let tenant = Tenant { ifindex: 7, netns_id: -1, addresses: addresses.into(), occupant: Occupant::Unknown };
        let expected = Identity {
            ifindex: 7,
            netns_id: None,
            address4: Some("10.0.0.1".parse().unwrap()),
            address6: Some("fd00::1".parse().unwrap()),
            routes: true,
            keep: false,
        };
        assert_eq!(tenant.identity(true, false), expected);
    }
}
