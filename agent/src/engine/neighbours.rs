//! The IPv6 link-local addresses on pods' interfaces, which are the pods' own among their neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Instant;

use podgate_datapath::LinkLocals;
use podgate_datapath::netlink::HostView;

use super::endpoints::Endpoints;
use super::held::Held;

/// What the kernel knows of them, by slot and interface.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    held: Held<(u32, u32), BTreeSet<Ipv6Addr>>,
}

impl Neighbours {
    /// Takes in what is on the interfaces of the endpoints that the datapath knows.
    pub(super) fn update(&mut self, view: &HostView, endpoints: &Endpoints) {
        let known = endpoints.iter().filter(|(_, endpoint)| endpoint.identified);
        let wanted: BTreeMap<_, _> = known
            .filter_map(|(slot, endpoint)| {
                let ifindex = endpoint.tenant.ifindex;
                let addresses = &view.veths.get(&ifindex)?.link_local_addresses;
                (!addresses.is_empty()).then(|| ((slot, ifindex), addresses.clone()))
            })
            .collect();
        self.held.want(&wanted);
    }

    /// What to change now.
    pub(super) fn next(&self, now: Instant) -> Option<LinkLocals> {
        self.held.next(now)
    }

    /// Notes that the changes that [`Self::next`] told were made.
    pub(super) fn done(&mut self, changes: LinkLocals) {
        self.held.done(changes);
    }

    /// Notes that they could not be made.
    pub(super) fn failed(&mut self, now: Instant) {
        self.held.failed(now);
    }

    /// When to try again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.held.deadline(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tenant::{Occupant, Tenant};
    use super::super::testing::veth;
    use super::*;

    #[test]
    fn the_link_local_addresses_of_those_whom_the_datapath_knows_are_told_once() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(4, Vec::new());
        for ifindex in [10, 11] {
            endpoints.bind(Tenant { ifindex, netns_id: 4, addresses: BTreeSet::new(), occupant: Occupant::Unknown });
        }
        let addresses = BTreeSet::from(["fe80::1".parse().unwrap()]);
        let mut veths = BTreeMap::from([10, 11].map(|ifindex| (ifindex, veth(ifindex, "10.0.0.1"))));
        veths.values_mut().for_each(|veth| veth.link_local_addresses.clone_from(&addresses));
        let mut view = HostView { veths, ..HostView::default() };
        let mut neighbours = Neighbours::default();
        neighbours.update(&view, &endpoints);
        assert_eq!(neighbours.next(now), None, "nobody is known yet");
        endpoints.get_mut(1).unwrap().identified = true;
        neighbours.update(&view, &endpoints);
        let told = LinkLocals::from([((1, 10), Some(addresses))]);
        assert_eq!(neighbours.next(now), Some(told.clone()));
        neighbours.done(told);
        neighbours.update(&view, &endpoints);
        assert_eq!(neighbours.next(now), None);
        view.veths.clear();
        neighbours.update(&view, &endpoints);
        assert_eq!(neighbours.next(now), Some([((1, 10), None)].into()));
    }
}
