//! Who an endpoint is, and the record that the programs read about it.

use std::net::{Ipv4Addr, Ipv6Addr};

use podgate_common::{Addr4, Addr6, Direction, EndpointConfig, PodAddresses, Resident, flags};
use podgate_policy::op::{EndpointPolicies, EndpointPolicy};

/// What the programs must know of a pod beside its policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Index of the host-side veth, in the network namespace of the thread that attaches.
    pub ifindex: u32,
    /// The host's id of the pod's network namespace (IFLA_LINK_NETNSID), to ask its sockets; `None`: unknown.
    pub netns_id: Option<i32>,
    /// The pod's IPv4 address.
    pub address4: Option<Ipv4Addr>,
    /// The pod's IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// Whether packets with source addresses that are not the pod's may leave it.
    pub routes: bool,
    /// Whether connections that a change of policy denies may end in peace.
    pub keep: bool,
}

impl Identity {
    /// Of all who share a slot. What they send is denied whatever address it comes from, but for answers to their node.
    pub(crate) const fn shared() -> Self {
        Self { ifindex: 0, netns_id: None, address4: None, address6: None, routes: true, keep: false }
    }

    /// The IPv4 address as the programs know it.
    pub(crate) fn key4(&self) -> Option<Addr4> {
        self.address4.map(|address| Addr4::from_octets(address.octets()))
    }

    /// The IPv6 address as the programs know it.
    pub(crate) fn key6(&self) -> Option<Addr6> {
        self.address6.map(|address| Addr6::from_octets(address.octets()))
    }

    /// Both as the programs know them.
    pub(crate) fn addresses(&self) -> PodAddresses {
        PodAddresses { v4: self.key4().unwrap_or_default(), v6: self.key6().unwrap_or_default() }
    }

    /// Whether this is who had a slot in a former start: the same interface, and an address in common.
    pub(crate) fn was(&self, former: &Resident) -> bool {
        let same4 = self.key4().is_some_and(|address| address == former.address4);
        let same6 = self.key6().is_some_and(|address| address == former.address6);
        self.ifindex == former.ifindex && (same4 || same6)
    }

    /// The note about who has a slot.
    pub(crate) fn resident(&self, birth: Option<u32>) -> Resident {
        Resident {
            ifindex: self.ifindex,
            birth: birth.unwrap_or(0),
            address4: self.key4().unwrap_or_default(),
            address6: self.key6().unwrap_or_default(),
            ..Resident::default()
        }
    }
}

/// The record for an identity under policies. `birth` is the first generation of this identity in its slot.
pub(crate) fn compose(identity: &Identity, policies: &EndpointPolicies, birth: u32) -> EndpointConfig {
    let mut config = EndpointConfig {
        flags: flag(identity.routes, flags::ROUTES) | flag(identity.keep, flags::KEEP),
        netns_id: identity.netns_id.unwrap_or(-1),
        birth,
        address4: identity.key4().unwrap_or_default(),
        address6: identity.key6().unwrap_or_default(),
        ..EndpointConfig::default()
    };
    let [ingress, egress] = [flags::ISOLATED_INGRESS, flags::ISOLATED_EGRESS];
    isolate(&mut config, Direction::Ingress, [ingress, flags::AUDITED_INGRESS], policies.ingress);
    isolate(&mut config, Direction::Egress, [egress, flags::AUDITED_EGRESS], policies.egress);
    config
}

/// Whether policies isolate an endpoint in no direction, so that it needs no record.
pub(crate) fn is_open(policies: &EndpointPolicies) -> bool {
    *policies == EndpointPolicies { ingress: EndpointPolicy::Open, egress: EndpointPolicy::Open }
}

fn isolate(config: &mut EndpointConfig, direction: Direction, [isolated, audited]: [u32; 2], policy: EndpointPolicy) {
    let (more, policy, default_row) = match policy {
        EndpointPolicy::Open => return,
        EndpointPolicy::Isolated { policy, default_row } => (isolated, policy, default_row),
        EndpointPolicy::Audited { policy, default_row } => (isolated | audited, policy, default_row),
    };
    config.flags |= more;
    config.policy[direction as usize] = policy.raw();
    config.default_row[direction as usize] = default_row.raw();
}

const fn flag(set: bool, bit: u32) -> u32 {
    if set { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use podgate_policy::id::{PolicyId, RowId};

    use super::*;

    #[test]
    fn a_record_holds_identity_and_policies_of_both_directions() {
        let identity = Identity {
            ifindex: 7,
            netns_id: Some(3),
            address4: Some(Ipv4Addr::new(10, 0, 0, 1)),
            address6: Some("fd00::1".parse().unwrap()),
            routes: true,
            keep: true,
        };
        let policies = EndpointPolicies {
            ingress: EndpointPolicy::Isolated { policy: PolicyId::from_raw(4), default_row: RowId::from_raw(5) },
            egress: EndpointPolicy::Isolated { policy: PolicyId::from_raw(6), default_row: RowId::NONE },
        };
        let expected = EndpointConfig {
            flags: flags::ISOLATED_INGRESS | flags::ISOLATED_EGRESS | flags::ROUTES | flags::KEEP,
            netns_id: 3,
            policy: [4, 6],
            default_row: [5, 0],
            birth: 9,
            address4: Addr4::from_octets([10, 0, 0, 1]),
            address6: Addr6::from_octets([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ..EndpointConfig::default()
        };
        assert_eq!(compose(&identity, &policies, 9), expected);
    }

    #[test]
    fn a_direction_without_policy_is_not_isolated_and_missing_facts_are_marked() {
        let identity =
            Identity { ifindex: 7, netns_id: None, address4: None, address6: None, routes: false, keep: false };
        let policies = EndpointPolicies {
            ingress: EndpointPolicy::Open,
            egress: EndpointPolicy::Audited { policy: PolicyId::from_raw(6), default_row: RowId::from_raw(8) },
        };
        let expected = EndpointConfig {
            flags: flags::ISOLATED_EGRESS | flags::AUDITED_EGRESS,
            netns_id: -1,
            policy: [0, 6],
            default_row: [0, 8],
            birth: 1,
            ..EndpointConfig::default()
        };
        assert_eq!(compose(&identity, &policies, 1), expected);
    }

    #[test]
    fn only_policies_that_isolate_in_no_direction_are_open() {
        let isolated = EndpointPolicy::NOTHING;
        let open = EndpointPolicies::default();
        let one = EndpointPolicies { egress: isolated, ..open };
        let other = EndpointPolicies { ingress: isolated, ..open };
        assert_eq!([is_open(&open), is_open(&one), is_open(&other)], [true, false, false]);
    }
}
