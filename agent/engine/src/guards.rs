//! The hooks of devices that are no pod's: what pods send to Services leaves the host by them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use podgate_datapath::{Arrivals, Guard, LinkLayer};
use podgate_host::netlink::{Device, HostView};

use super::backoff::Backoff;
use super::command::{Command, Outcome, Reconciler};

/// A device that is guarded, or should be.
#[derive(Debug)]
pub(super) struct Guarded {
    /// How; `None`: no longer.
    wanted: Option<Guard>,
    /// How it is guarded; `None`: not yet.
    pub(super) held: Option<Guard>,
    /// Why it is not guarded as it should be.
    pub(super) error: Option<String>,
    backoff: Backoff,
}

impl Guarded {
    fn is_due(&self, now: Instant) -> bool {
        (self.wanted.is_none() || self.wanted != self.held) && self.backoff.is_over(now)
    }
}

/// All of them, by ifindex.
#[derive(Debug, Default)]
pub(super) struct Guards {
    devices: BTreeMap<u32, Guarded>,
}

impl Guards {
    /// Takes in what the host looks like. The interfaces of pods keep the guard they may have: their own programs will
    /// take its place.
    pub(super) fn update(&mut self, view: &HostView, of_pods: &BTreeSet<u32>) {
        let mut wanted = wanted(view);
        for (ifindex, device) in &mut self.devices {
            if !of_pods.contains(ifindex) {
                device.wanted = wanted.remove(ifindex);
            }
        }
        wanted.retain(|ifindex, _| !of_pods.contains(ifindex) && !self.devices.contains_key(ifindex));
        let new = |guard| Guarded { wanted: Some(guard), held: None, error: None, backoff: Backoff::default() };
        self.devices.extend(wanted.into_iter().map(|(ifindex, guard)| (ifindex, new(guard))));
    }

    /// A device to guard, or to guard no longer.
    fn due(&self, now: Instant) -> Option<(u32, Option<Guard>)> {
        self.devices.iter().find(|(_, device)| device.is_due(now)).map(|(&ifindex, device)| (ifindex, device.wanted))
    }

    /// Whether something is to be done, or is being done.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due(now).is_some()
    }

    /// The device after this one that is guarded, and how: to see that it still is.
    pub(super) fn next_check(&self, after: u32) -> Option<(u32, Guard)> {
        self.devices.range(after + 1..).find_map(|(&ifindex, device)| Some((ifindex, device.held?)))
    }

    /// Notes that a device is guarded, or no longer.
    fn done(&mut self, ifindex: u32, guard: Option<Guard>) {
        match (guard, self.devices.get_mut(&ifindex)) {
            (Some(guard), Some(device)) => {
                device.held = Some(guard);
                device.error = None;
                device.backoff.succeed();
            }
            _ => drop(self.devices.remove(&ifindex)),
        }
    }

    /// Notes that this failed.
    pub(super) fn failed(&mut self, ifindex: u32, error: String, now: Instant) {
        if let Some(device) = self.devices.get_mut(&ifindex) {
            device.held = None;
            device.error = Some(error);
            device.backoff.fail(now);
        }
    }

    /// Notes that a device is no longer there.
    pub(super) fn gone(&mut self, ifindex: u32) {
        self.devices.remove(&ifindex);
    }

    /// Notes that a device has become a pod's interface.
    pub(super) fn taken(&mut self, ifindex: u32) {
        self.devices.remove(&ifindex);
    }

    /// The devices that must be hooked.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Guarded)> {
        let hooked = |guard: Option<Guard>| guard.is_some_and(|guard| guard.exit.is_some());
        self.devices.iter().map(|(&ifindex, device)| (ifindex, device)).filter(move |(_, device)| hooked(device.wanted))
    }
}

impl Reconciler for Guards {
    fn next(&mut self, now: Instant) -> Option<Command> {
        self.due(now).map(|(ifindex, guard)| Command::Guard { ifindex, guard })
    }

    fn report(&mut self, command: Command, outcome: Outcome, now: Instant) {
        let Command::Guard { ifindex, guard } = command else { return };
        match outcome {
            Outcome::Done | Outcome::Provisional | Outcome::Repaired => self.done(ifindex, guard),
            Outcome::Gone => self.gone(ifindex),
            Outcome::Failed { error, .. } => self.failed(ifindex, error, now),
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        self.devices.values().filter_map(|device| device.backoff.deadline(now)).min()
    }
}

/// What is to be done at each device of the host, were none a pod's.
fn wanted(view: &HostView) -> BTreeMap<u32, Guard> {
    let veth = Guard { exit: Some(LinkLayer::Ethernet), arrivals: Arrivals::Foreign };
    let veths = view.veths.keys().map(|&ifindex| (ifindex, veth));
    let devices = view.devices.values().filter(|device| !device.loopback);
    veths.chain(devices.map(|device| (device.ifindex, guard(view, device)))).collect()
}

/// Packets that cross a bridge leave it by its ports, and what came in by a port is still on its way at the bridge: so a
/// bridge has no hooks, and what is based on one leaves tags alone. The same holds for a pair of veths that are both of this
/// host, for a device that only shapes what another sends or receives, and for the host's own port of a switch.
fn guard(view: &HostView, device: &Device) -> Guard {
    if is_bridge(device) || is_within(device) {
        return Guard { exit: None, arrivals: Arrivals::Passing };
    }
    let layer = if device.ethernet { LinkLayer::Ethernet } else { LinkLayer::Bare };
    let arrivals = if may_be_tunnel(device) {
        if is_port_of_bridge(view, device) { Arrivals::InnerOfPort } else { Arrivals::Inner(layer) }
    } else if is_on_bridge(view, device) || device.kind.as_deref() == Some("openvswitch") {
        Arrivals::Passing
    } else {
        Arrivals::Foreign
    };
    Guard { exit: Some(layer), arrivals }
}

/// Kinds of devices (IFLA_INFO_KIND) that take packets out of others, which come to this host's own addresses. Those that
/// prove who made them, by a key that pods don't have (WireGuard, IPsec), are not among them.
const TUNNELS: [&str; 14] = [
    "amt",
    "bareudp",
    "erspan",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "ip6erspan",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "sit",
    "vxlan",
];

/// Whether a device takes packets out of others. What has no kind is hardware, whose packets have no tag to keep, or an L2TP
/// tunnel.
fn may_be_tunnel(device: &Device) -> bool {
    device.kind.as_deref().is_none_or(|kind| TUNNELS.contains(&kind))
}

fn is_bridge(device: &Device) -> bool {
    device.kind.as_deref() == Some("bridge")
}

/// Whether what leaves by a device is still on its way through this host: the other end of a veth that has no end elsewhere,
/// and the device from which what was redirected to it (`tc-mirred`(8)) goes back to where it was, as the CNI plugin
/// `bandwidth` has it.
fn is_within(device: &Device) -> bool {
    matches!(device.kind.as_deref(), Some("veth" | "ifb"))
}

fn is_port_of_bridge(view: &HostView, device: &Device) -> bool {
    device.master.and_then(|master| view.devices.get(&master)).is_some_and(is_bridge)
}

/// Whether a device is based on a bridge, or on what is within the host, perhaps by way of others.
fn is_on_bridge(view: &HostView, device: &Device) -> bool {
    /// A stack of devices is not deeper (MAX_NEST_DEV of Linux).
    const DEPTH: usize = 8;
    let lower = |device: &&Device| device.lower.and_then(|lower| view.devices.get(&lower));
    std::iter::successors(lower(&device), |device| lower(device)).take(DEPTH).any(|it| is_bridge(it) || is_within(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    /// What a device without a kind has.
    const ETHERNET: Guard = Guard { exit: Some(LinkLayer::Ethernet), arrivals: Arrivals::Inner(LinkLayer::Ethernet) };

    fn device(ifindex: u32, kind: Option<&str>) -> Device {
        Device { kind: kind.map(str::to_owned), ..fixtures::device(ifindex) }
    }

    fn view(devices: impl IntoIterator<Item = Device>) -> HostView {
        let devices = devices.into_iter().map(|device| (device.ifindex, device)).collect();
        HostView { devices, ..HostView::default() }
    }

    #[test]
    fn every_device_but_loopback_and_bridges_is_hooked() {
        let loopback = Device { loopback: true, ethernet: false, ..device(1, None) };
        let tunnel = Device { ethernet: false, ..device(4, Some("ipip")) };
        let on_bridge = Device { lower: Some(3), ..device(5, Some("vlan")) };
        let on_that = Device { lower: Some(5), ..device(6, Some("macvlan")) };
        let view = view([loopback, device(2, Some("bond")), device(3, Some("bridge")), tunnel, on_bridge, on_that]);
        let ethernet = |arrivals| Guard { arrivals, ..ETHERNET };
        let expected = [
            (2, ethernet(Arrivals::Foreign)),
            (3, Guard { exit: None, arrivals: Arrivals::Passing }),
            (4, Guard { exit: Some(LinkLayer::Bare), arrivals: Arrivals::Inner(LinkLayer::Bare) }),
            (5, ethernet(Arrivals::Passing)),
            (6, ethernet(Arrivals::Passing)),
        ];
        assert_eq!(wanted(&view), expected.into());
    }

    #[test]
    fn what_comes_out_of_a_tunnel_may_be_a_pods_whatever_the_device_is_called_and_based_on() {
        let kinds = [None, Some("vxlan"), Some("geneve"), Some("gretap"), Some("vlan"), Some("wireguard")];
        let devices = (2..).zip(kinds).map(|(ifindex, kind)| Device { lower: Some(9), ..device(ifindex, kind) });
        let view = view(devices.chain([device(9, Some("bridge"))]));
        let inner = [2, 3, 4, 5].map(|ifindex| (ifindex, ETHERNET));
        let passing = Guard { arrivals: Arrivals::Passing, ..ETHERNET };
        let others = [(6, passing), (7, passing), (9, Guard { exit: None, ..passing })];
        assert_eq!(wanted(&view), inner.into_iter().chain(others).collect());
    }

    #[test]
    fn what_a_pod_sends_out_of_a_tunnel_at_a_port_of_a_bridge_is_refused() {
        let port = |ifindex, kind| Device { master: Some(9), ..device(ifindex, kind) };
        let view = view([port(2, Some("vxlan")), port(3, None), port(4, Some("vlan")), device(9, Some("bridge"))]);
        let at_port = Guard { arrivals: Arrivals::InnerOfPort, ..ETHERNET };
        let foreign = Guard { arrivals: Arrivals::Foreign, ..ETHERNET };
        let bridge = Guard { exit: None, arrivals: Arrivals::Passing };
        assert_eq!(wanted(&view), [(2, at_port), (3, at_port), (4, foreign), (9, bridge)].into());
    }

    #[test]
    fn what_is_still_within_the_host_keeps_its_tag_and_is_not_judged_yet() {
        let on_veth = Device { lower: Some(2), ..device(5, Some("macvlan")) };
        let view = view([device(2, Some("veth")), device(3, Some("ifb")), device(4, Some("openvswitch")), on_veth]);
        let within = Guard { exit: None, arrivals: Arrivals::Passing };
        let switch = Guard { arrivals: Arrivals::Passing, ..ETHERNET };
        assert_eq!(wanted(&view), [(2, within), (3, within), (4, switch), (5, switch)].into());
    }

    #[test]
    fn devices_that_refer_to_each_other_end_the_search() {
        let circular = |ifindex, lower| Device { lower: Some(lower), ..device(ifindex, Some("vlan")) };
        let foreign = Guard { arrivals: Arrivals::Foreign, ..ETHERNET };
        assert_eq!(wanted(&view([circular(2, 3), circular(3, 2)])), [(2, foreign), (3, foreign)].into());
    }

    #[test]
    fn a_device_that_is_found_gone_is_not_tried_again() {
        let mut guards = Guards::default();
        guards.update(&view([device(2, None)]), &BTreeSet::new());
        guards.gone(2);
        let now = Instant::now();
        assert_eq!((guards.due(now), guards.deadline(now), guards.iter().count()), (None, None, 0));
    }

    #[test]
    fn a_device_is_guarded_until_it_is_gone_or_a_pods() {
        let now = Instant::now();
        let mut guards = Guards::default();
        guards.update(&view([device(2, None), device(3, None)]), &BTreeSet::new());
        assert_eq!(guards.due(now), Some((2, Some(ETHERNET))));
        guards.done(2, Some(ETHERNET));
        guards.done(3, Some(ETHERNET));
        assert_eq!(guards.due(now), None);
        // While its pod's programs are not in place, the guard stays.
        guards.update(&view([device(2, None)]), &BTreeSet::from([2]));
        assert_eq!(guards.due(now), Some((3, None)));
        guards.done(3, None);
        guards.taken(2);
        assert_eq!((guards.due(now), guards.iter().count()), (None, 0));
    }

    #[test]
    fn a_device_that_refuses_programs_is_tried_again_and_holds_up_no_other() {
        let now = Instant::now();
        let mut guards = Guards::default();
        guards.update(&view([device(2, None), device(3, None)]), &BTreeSet::new());
        guards.failed(2, "no room".to_owned(), now);
        assert_eq!(guards.due(now), Some((3, Some(ETHERNET))));
        let later = guards.deadline(now).unwrap();
        assert_eq!(guards.due(later), Some((2, Some(ETHERNET))));
    }
}
