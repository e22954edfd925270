//! The IPv6 link-local and Ethernet addresses on pods' interfaces, which are the pods' own among their neighbours.

use std::collections::BTreeMap;
use std::time::Instant;

use podgate_datapath::{FormerSlot, OnLink};
use podgate_host::netlink::{HostView, Mac};

use super::claims::Claims;
use super::command::{Command, Outcome, Reconciler};
use super::endpoints::Endpoints;
use super::reconciled::Reconciled;

/// What the kernel knows of them, by slot and interface.
#[derive(Debug)]
pub(super) struct Neighbours {
    claims: Claims,
    reconciled: Reconciled<(u32, u32), OnLink>,
}

impl Neighbours {
    /// None is known but what a former agent noted of the interfaces of its slots.
    pub(super) fn new(former: &[FormerSlot]) -> Self {
        Self { claims: Claims::new(former), reconciled: Reconciled::default() }
    }

    /// Takes in what is on the interfaces of the endpoints that the datapath knows, and what these had by ifindex when CNI
    /// handed them over.
    pub(super) fn update(&mut self, view: &HostView, handed_over: &BTreeMap<u32, Mac>, endpoints: &Endpoints) {
        self.claims.update(view, handed_over);
        let known = endpoints.iter().filter(|(_, endpoint)| endpoint.identified);
        let wanted: BTreeMap<_, _> = known
            .filter_map(|(slot, endpoint)| {
                let ifindex = endpoint.tenant.ifindex;
                let on_link = self.claims.on_link(view.veths.get(&ifindex)?);
                (on_link != OnLink::default()).then_some(((slot, ifindex), on_link))
            })
            .collect();
        self.reconciled.want(&wanted);
    }
}

impl Reconciler for Neighbours {
    fn next(&mut self, now: Instant) -> Option<Command> {
        self.reconciled.next(now).map(|changes| Command::Own { changes })
    }

    fn report(&mut self, command: Command, outcome: Outcome, now: Instant) {
        let Command::Own { changes } = command else { return };
        self.reconciled.report(changes, &outcome, now);
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        self.reconciled.deadline(now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use podgate_datapath::OnLinks;

    use super::super::fixtures::veth;
    use super::super::tenant::{Occupant, Tenant};
    use super::*;

    #[test]
    fn the_addresses_of_those_whom_the_datapath_knows_are_told_once() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(4, Vec::new());
        for ifindex in [10, 11] {
            endpoints.bind(Tenant { ifindex, netns_id: 4, addresses: BTreeSet::new(), occupant: Occupant::Unknown });
        }
        let link_locals = BTreeSet::from(["fe80::1".parse().unwrap()]);
        let mut veths = BTreeMap::from([10, 11].map(|ifindex| (ifindex, veth(ifindex, "10.0.0.1"))));
        veths.values_mut().for_each(|veth| veth.link_local_addresses.clone_from(&link_locals));
        let mut view = HostView { veths, ..HostView::default() };
        let mut neighbours = Neighbours::new(&[]);
        neighbours.update(&view, &BTreeMap::new(), &endpoints);
        assert_eq!(neighbours.next(now), None, "nobody is known yet");
        endpoints.get_mut(1).unwrap().identified = true;
        neighbours.update(&view, &BTreeMap::new(), &endpoints);
        let told = OnLinks::from([((1, 10), Some(OnLink { link_locals, ..OnLink::default() }))]);
        let command = Command::Own { changes: told };
        assert_eq!(neighbours.next(now), Some(command.clone()));
        neighbours.report(command, Outcome::Done, now);
        neighbours.update(&view, &BTreeMap::new(), &endpoints);
        assert_eq!(neighbours.next(now), None);
        view.veths.clear();
        neighbours.update(&view, &BTreeMap::new(), &endpoints);
        assert_eq!(neighbours.next(now), Some(Command::Own { changes: [((1, 10), None)].into() }));
    }
}
