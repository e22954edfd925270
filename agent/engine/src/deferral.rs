//! Which addresses defer: those of Services, and the host's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use podgate_datapath::{Deferring, ServiceEgress};
use podgate_host::netlink::HostView;
use podgate_policy::services::Rank;

use super::command::Outcome;
use super::reconciled::{self, Reconciled};

/// What changes: `None` for an address that defers no longer.
pub(super) type Changes = reconciled::Changes<IpAddr, Deferring>;

/// The addresses that the kernel has, and what is to change about them.
#[derive(Debug)]
pub(super) struct Deferral {
    /// Addresses that there is room for, per family.
    room: usize,
    reconciled: Reconciled<IpAddr, Deferring>,
    left_out: usize,
}

impl Deferral {
    /// No addresses; `room`: how many there may be of each family.
    pub(super) fn new(room: usize) -> Self {
        Self { room, reconciled: Reconciled::default(), left_out: 0 }
    }

    /// Takes in which addresses there are. What there is no room for is judged where it leaves the pod, as any other
    /// address: the host's own come first, then those of the best rank.
    pub(super) fn update(&mut self, view: &HostView, services: impl Iterator<Item = (IpAddr, Rank, ServiceEgress)>) {
        let host = view.local_addresses.keys().copied().filter(|address| !address.is_loopback());
        let mut all: BTreeMap<IpAddr, (Deferring, Option<Rank>)> = BTreeMap::new();
        host.for_each(|address| all.entry(address).or_default().0.host = true);
        for (address, rank, egress) in services {
            let (deferring, of_service) = all.entry(address).or_default();
            deferring.service = Some(egress);
            *of_service = Some(rank);
        }
        let before = all.len();
        let wanted = fitting(all, self.room);
        self.left_out = before - wanted.len();
        self.reconciled.want(&wanted);
    }

    /// What to change now.
    pub(super) fn next(&self, now: Instant) -> Option<Changes> {
        self.reconciled.next(now)
    }

    /// Takes in how the changes that [`Self::next`] told ended.
    pub(super) fn report(&mut self, changes: Changes, outcome: &Outcome, now: Instant) {
        self.reconciled.report(changes, outcome, now);
    }

    /// When to try again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.reconciled.deadline(now)
    }

    /// How many addresses of Services, and of the host, the kernel has.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |of: fn(&Deferring) -> bool| self.reconciled.values().filter(|deferring| of(deferring)).count();
        (count(|deferring| deferring.service.is_some()), count(|deferring| deferring.host))
    }

    /// How many addresses there is no room for.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }
}

/// The device to which kube-proxy gives the addresses of Services in its mode `ipvs` (`defaultDummyDevice` of its package
/// `ipvs`). There IPVS takes what goes to a Service's port, and no process of the host is behind it.
const IPVS_DEVICE: &str = "kube-ipvs0";

/// The addresses at which processes of the host may serve what is a Service's port elsewhere, as a node-local DNS does.
pub(super) fn served_by_host(view: &HostView) -> BTreeSet<IpAddr> {
    let is_ipvs = |ifindex: &u32| view.devices.get(ifindex).is_some_and(|device| device.name == IPVS_DEVICE);
    let own = view.local_addresses.iter().filter(|(_, devices)| !devices.iter().all(is_ipvs));
    own.map(|(&address, _)| address).collect()
}

/// The addresses that there is room for.
fn fitting(all: BTreeMap<IpAddr, (Deferring, Option<Rank>)>, room: usize) -> BTreeMap<IpAddr, Deferring> {
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, (deferring, rank))| (!deferring.host, *rank));
    let mut free = [room; 2];
    let mut fits = |address: &IpAddr| {
        let free = &mut free[usize::from(address.is_ipv6())];
        let fits = *free > 0;
        *free = free.saturating_sub(1);
        fits
    };
    all.retain(|(address, _)| fits(address));
    all.into_iter().map(|(address, (deferring, _))| (address, deferring)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HOST: Deferring = Deferring { host: true, service: None };
    const SERVICE: Deferring = Deferring { host: false, service: Some(ServiceEgress::Exit) };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at_exit(addresses: &[&str]) -> Vec<(IpAddr, Rank, ServiceEgress)> {
        addresses.iter().map(|text| (address(text), Rank::ClusterIp, ServiceEgress::Exit)).collect()
    }

    fn view(addresses: &[&str]) -> HostView {
        let local_addresses = addresses.iter().map(|text| (address(text), BTreeSet::from([2]))).collect();
        HostView { local_addresses, ..HostView::default() }
    }

    #[test]
    fn what_changes_is_told_until_it_is_done() {
        let now = Instant::now();
        let mut deferral = Deferral::new(8);
        deferral.update(&view(&["10.0.0.1", "127.0.0.1", "::1"]), at_exit(&["10.96.0.1"]).into_iter());
        let first = [(address("10.0.0.1"), Some(HOST)), (address("10.96.0.1"), Some(SERVICE))];
        assert_eq!(deferral.next(now), Some(first.into()));
        let failed = Outcome::Failed { applied: 0, error: "no room".to_owned() };
        deferral.report(first.into(), &failed, now);
        assert_eq!(deferral.next(now), None);
        deferral.report(deferral.next(deferral.deadline(now).unwrap()).unwrap(), &Outcome::Done, now);
        // As ipvs does: the host now owns the Service's address too.
        deferral.update(&view(&["10.96.0.1"]), at_exit(&["10.96.0.1"]).into_iter());
        let both = Deferring { host: true, ..SERVICE };
        let second = [(address("10.0.0.1"), None), (address("10.96.0.1"), Some(both))];
        assert_eq!(deferral.next(now), Some(second.into()));
        deferral.report(second.into(), &Outcome::Done, now);
        assert_eq!((deferral.next(now), deferral.counts()), (None, (1, 1)));
    }

    #[test]
    fn addresses_on_the_device_of_ipvs_alone_are_served_by_no_process_of_the_host() {
        let device = |ifindex, name: &str| {
            let device = super::super::fixtures::device(ifindex);
            (ifindex, podgate_host::netlink::Device { name: name.to_owned(), ..device })
        };
        let mut view = view(&["192.0.2.1"]);
        view.devices = [device(2, "eth0"), device(3, "kube-ipvs0")].into();
        view.local_addresses.insert(address("10.96.0.1"), [3].into());
        view.local_addresses.insert(address("10.96.0.10"), [2, 3].into());
        assert_eq!(served_by_host(&view), ["192.0.2.1", "10.96.0.10"].map(address).into());
    }

    #[test]
    fn where_room_is_short_the_hosts_own_addresses_come_first() {
        let mut deferral = Deferral::new(1);
        let services = at_exit(&["10.96.0.1", "fd96::1", "fd96::2"]);
        deferral.update(&view(&["192.0.2.1"]), services.into_iter());
        let expected = [(address("192.0.2.1"), Some(HOST)), (address("fd96::1"), Some(SERVICE))];
        assert_eq!(deferral.next(Instant::now()), Some(expected.into()));
        assert_eq!(deferral.left_out(), 2);
    }

    #[test]
    fn where_room_is_short_cluster_ips_come_before_others_and_a_service_with_many_comes_last() {
        let mut deferral = Deferral::new(2);
        let others = [("1.0.0.1", Rank::OneOf(9)), ("192.0.2.9", Rank::OneOf(2)), ("2001:db8::1", Rank::OneOf(9))];
        let others = others.map(|(text, rank)| (address(text), rank, ServiceEgress::Exit));
        deferral.update(&view(&[]), others.into_iter().chain(at_exit(&["10.96.0.1"])));
        let expected = ["10.96.0.1", "192.0.2.9", "2001:db8::1"].map(|text| (address(text), Some(SERVICE)));
        assert_eq!(deferral.next(Instant::now()), Some(expected.into()));
        assert_eq!(deferral.left_out(), 1);
    }
}
