//! Which Ethernet and IPv6 link-local addresses on a bridge are whose.
//!
//! A pod with CAP_NET_ADMIN gives its interface any of them, also those of its neighbours. Who had one first keeps it. What an
//! interface had when CNI handed it over, or else when it was first seen, before anything ran behind it, comes before what it
//! was given since.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use podgate_common::EthernetSource;
use podgate_datapath::{FormerSlot, OnLink};
use podgate_host::netlink::{HostView, Mac, Veth};

/// What is whose, by the ifindex of the veths that are ports of a bridge. Elsewhere every link is its pod's alone.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_port: BTreeMap<u32, Claim>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Claim {
    bridge: u32,
    /// The Ethernet address that the interface had first. It stays the interface's.
    first: Option<Mac>,
    /// The one that it has now, if that is another one.
    later: Option<Mac>,
    link_locals: BTreeSet<Ipv6Addr>,
}

impl Claims {
    /// What a former agent has noted holds as long as the interfaces are there.
    pub(super) fn new(former: &[FormerSlot]) -> Self {
        let claim = |slot: &FormerSlot| {
            let [first, later] = slot.macs;
            Claim { first, later, link_locals: slot.link_locals.clone(), ..Claim::default() }
        };
        Self { by_port: former.iter().map(|slot| (slot.ifindex, claim(slot))).collect() }
    }

    /// Takes in what is on the host's bridges now, and which Ethernet addresses interfaces had, by ifindex, when CNI handed
    /// them over.
    pub(super) fn update(&mut self, view: &HostView, handed_over: &BTreeMap<u32, Mac>) {
        let ports: Vec<Port<'_>> = view.veths.values().filter_map(|veth| Port::of(view, veth)).collect();
        let seen: BTreeSet<u32> = ports.iter().map(|port| port.ifindex()).collect();
        self.by_port.retain(|ifindex, _| seen.contains(ifindex));
        for port in &ports {
            self.by_port.entry(port.ifindex()).or_default().bridge = port.bridge;
        }
        let hosts: BTreeSet<Mac> = view.devices.values().filter_map(|device| device.mac).collect();
        self.claim_handed_over(&ports, handed_over, &hosts);
        self.claim_first(&ports, &hosts);
        self.claim_later(&ports, &hosts);
        self.claim_link_locals(&ports, view);
    }

    /// What is known of the interface of a pod, for the programs.
    pub(super) fn on_link(&self, veth: &Veth) -> OnLink {
        let Some(claim) = self.by_port.get(&veth.ifindex) else {
            let link_locals = veth.link_local_addresses.clone();
            return OnLink { link_locals, source: EthernetSource::ANY, later_source: None };
        };
        let refused = if veth.peer_mac.is_none() { EthernetSource::UNKNOWN } else { EthernetSource::REFUSED };
        OnLink {
            link_locals: claim.link_locals.clone(),
            source: claim.first.map_or(refused, EthernetSource::one),
            later_source: claim.later.map(EthernetSource::one),
        }
    }

    /// CNI may be seen at work on an interface: the first address is what that had at the end, unless another had it first.
    fn claim_handed_over(&mut self, ports: &[Port<'_>], handed_over: &BTreeMap<u32, Mac>, hosts: &BTreeSet<Mac>) {
        let mut had = self.holders(|claim| claim.first);
        for port in ports {
            let Some(mac) = handed_over.get(&port.ifindex()).filter(|mac| !hosts.contains(*mac)) else { continue };
            if *had.entry((port.bridge, *mac)).or_insert(port.ifindex()) == port.ifindex() {
                self.of_mut(port).first = Some(*mac);
            }
        }
    }

    /// Interfaces without a first address get the one they have, unless another had it first. Of several that come with the
    /// same one at a time none gets it: nobody can tell whose it is.
    fn claim_first(&mut self, ports: &[Port<'_>], hosts: &BTreeSet<Mac>) {
        let had = self.holders(|claim| claim.first);
        let is_new = |port: &&Port<'_>| self.of(port).first.is_none();
        let new: Vec<_> = ports.iter().filter(is_new).filter_map(Port::with_mac).collect();
        let shown = count(new.iter().map(|(port, mac)| (port.bridge, *mac)));
        for (port, mac) in new {
            let key = (port.bridge, mac);
            if shown[&key] == 1 && !had.contains_key(&key) && !hosts.contains(&mac) {
                self.of_mut(port).first = Some(mac);
            }
        }
    }

    /// Interfaces that have another address than their first get it beside that, unless it is somebody else's.
    fn claim_later(&mut self, ports: &[Port<'_>], hosts: &BTreeSet<Mac>) {
        let firsts = self.holders(|claim| claim.first);
        for (port, mac) in ports.iter().filter_map(Port::with_mac) {
            let claim = self.of_mut(port);
            claim.later = claim.later.filter(|later| *later == mac);
        }
        let mut had = self.holders(|claim| claim.later);
        for (port, mac) in ports.iter().filter_map(Port::with_mac) {
            let key = (port.bridge, mac);
            let is_changed = self.of(port).first.is_some_and(|first| first != mac);
            let is_free = !firsts.contains_key(&key) && !hosts.contains(&mac);
            let is_its = is_changed && is_free && *had.entry(key).or_insert(port.ifindex()) == port.ifindex();
            self.of_mut(port).later = is_its.then_some(mac);
        }
    }

    /// A link-local address made of an Ethernet address (RFC 4291, appendix A) goes with that, any other to who had it first.
    fn claim_link_locals(&mut self, ports: &[Port<'_>], view: &HostView) {
        let made = self.by_port.iter().flat_map(|(ifindex, claim)| {
            [claim.first, claim.later].into_iter().flatten().map(|mac| ((claim.bridge, made_of(mac)), *ifindex))
        });
        let made: BTreeMap<_, _> = made.collect();
        let had = ports.iter().flat_map(|port| {
            let kept = self.of(port).link_locals.intersection(&port.veth.link_local_addresses);
            kept.map(|address| ((port.bridge, *address), port.ifindex()))
        });
        let had: BTreeMap<_, _> = had.collect();
        let shown = count(
            ports.iter().flat_map(|port| port.veth.link_local_addresses.iter().map(|address| (port.bridge, *address))),
        );
        for port in ports {
            let is_own = |address: &&Ipv6Addr| {
                let key = (port.bridge, **address);
                let holder = made.get(&key).or_else(|| had.get(&key));
                let is_its = holder.map_or(shown[&key] == 1, |ifindex| *ifindex == port.ifindex());
                is_its && !view.local_addresses.contains_key(&IpAddr::V6(**address))
            };
            self.of_mut(port).link_locals = port.veth.link_local_addresses.iter().filter(is_own).copied().collect();
        }
    }

    /// Who has which address of this kind on which bridge.
    fn holders(&self, kind: impl Fn(&Claim) -> Option<Mac>) -> BTreeMap<(u32, Mac), u32> {
        let claims = self.by_port.iter();
        claims.filter_map(|(ifindex, claim)| Some(((claim.bridge, kind(claim)?), *ifindex))).collect()
    }

    fn of(&self, port: &Port<'_>) -> &Claim {
        &self.by_port[&port.ifindex()]
    }

    fn of_mut(&mut self, port: &Port<'_>) -> &mut Claim {
        self.by_port.entry(port.ifindex()).or_default()
    }
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counted = BTreeMap::new();
    keys.for_each(|key| *counted.entry(key).or_default() += 1);
    counted
}

/// A veth that is a port of a bridge.
#[derive(Clone, Copy)]
struct Port<'a> {
    veth: &'a Veth,
    bridge: u32,
}

impl<'a> Port<'a> {
    /// `None`: it is no port. A VRF only routes, and learns nothing.
    fn of(view: &HostView, veth: &'a Veth) -> Option<Self> {
        let bridge = veth.master?;
        let is_vrf = view.devices.get(&bridge).is_some_and(|device| device.kind.as_deref() == Some("vrf"));
        (!is_vrf).then_some(Self { veth, bridge })
    }

    fn ifindex(&self) -> u32 {
        self.veth.ifindex
    }

    fn with_mac(&self) -> Option<(&Self, Mac)> {
        Some((self, self.veth.peer_mac?))
    }
}

/// The link-local address whose interface identifier is made of an Ethernet address.
fn made_of([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use podgate_host::netlink::Device;

    use super::super::fixtures::{device, veth};
    use super::*;

    const BRIDGE: u32 = 3;

    fn mac(last: u8) -> Mac {
        [2, 0, 0, 0, 0, last]
    }

    fn port(ifindex: u32, last: u8, link_locals: &[Ipv6Addr]) -> Veth {
        Veth {
            master: Some(BRIDGE),
            peer_mac: Some(mac(last)),
            link_local_addresses: link_locals.iter().copied().collect(),
            ..veth(ifindex, "10.0.0.1")
        }
    }

    fn view(veths: impl IntoIterator<Item = Veth>) -> HostView {
        let bridge = Device { kind: Some("bridge".to_owned()), mac: Some(mac(0xbb)), ..device(BRIDGE) };
        let host = IpAddr::V6(made_of(mac(0xbb)));
        HostView {
            veths: veths.into_iter().map(|veth| (veth.ifindex, veth)).collect(),
            devices: [(BRIDGE, bridge)].into(),
            local_addresses: [(host, [BRIDGE].into())].into(),
            ..HostView::default()
        }
    }

    /// What may be the source of the frames of each of these, after all the views of them.
    fn sources<const N: usize>(history: &[[Veth; N]]) -> [Vec<EthernetSource>; N] {
        let mut claims = Claims::default();
        history.iter().for_each(|veths| claims.update(&view(veths.clone()), &BTreeMap::new()));
        let last = history.last().expect("a view");
        last.each_ref().map(|veth| {
            let on_link = claims.on_link(veth);
            [Some(on_link.source), on_link.later_source].into_iter().flatten().collect()
        })
    }

    fn one(last: u8) -> EthernetSource {
        EthernetSource::one(mac(last))
    }

    #[test]
    fn an_interface_keeps_its_first_address_and_may_change_to_one_that_is_nobodys() {
        let at = |last| [port(10, last, &[]), port(11, 2, &[])];
        assert_eq!(sources(&[at(1)]), [vec![one(1)], vec![one(2)]]);
        assert_eq!(sources(&[at(1), at(7)]), [vec![one(1), one(7)], vec![one(2)]]);
        assert_eq!(sources(&[at(1), at(7), at(8)]), [vec![one(1), one(8)], vec![one(2)]]);
        assert_eq!(sources(&[at(1), at(7), at(1)]), [vec![one(1)], vec![one(2)]]);
    }

    #[test]
    fn nobody_gets_the_address_of_another_or_of_the_host() {
        let at = |one, two| [port(10, one, &[]), port(11, two, &[])];
        assert_eq!(sources(&[at(1, 2), at(2, 2)]), [vec![one(1)], vec![one(2)]], "another's first");
        assert_eq!(sources(&[at(1, 2), at(1, 7), at(7, 7)]), [vec![one(1)], vec![one(2), one(7)]], "another's later");
        assert_eq!(sources(&[at(1, 2), at(1, 7), at(2, 7)]), [vec![one(1)], vec![one(2), one(7)]], "its former");
        assert_eq!(sources(&[at(1, 2), at(0xbb, 2)]), [vec![one(1)], vec![one(2)]], "the bridge's");
        assert_eq!(sources(&[at(0xbb, 2)]), [vec![EthernetSource::REFUSED], vec![one(2)]], "from the start");
    }

    #[test]
    fn a_first_address_comes_before_anothers_later_one_and_two_equal_ones_are_nobodys() {
        let (first, newcomer) = (port(10, 1, &[]), port(11, 7, &[]));
        let mut claims = Claims::default();
        claims.update(&view([first.clone()]), &BTreeMap::new());
        let changed = port(10, 7, &[]);
        claims.update(&view([changed.clone()]), &BTreeMap::new());
        claims.update(&view([changed.clone(), newcomer.clone()]), &BTreeMap::new());
        let told = [&changed, &newcomer].map(|veth| (claims.on_link(veth).source, claims.on_link(veth).later_source));
        assert_eq!(told, [(one(1), None), (one(7), None)]);
        let refused = vec![EthernetSource::REFUSED];
        assert_eq!(sources(&[[first, port(11, 1, &[])]]), [refused.clone(), refused]);
    }

    #[test]
    fn what_an_interface_had_when_cni_handed_it_over_comes_first() {
        let told = |history: &[[Veth; 2]], handed_over: &[(u32, u8)]| {
            let mut claims = Claims::default();
            history.iter().for_each(|veths| claims.update(&view(veths.clone()), &BTreeMap::new()));
            let handed_over = handed_over.iter().map(|&(ifindex, last)| (ifindex, mac(last))).collect();
            let veths = history.last().expect("a view");
            claims.update(&view(veths.clone()), &handed_over);
            claims.update(&view(veths.clone()), &handed_over);
            veths.each_ref().map(|veth| (claims.on_link(veth).source, claims.on_link(veth).later_source))
        };
        let at = |one, two| [port(10, one, &[]), port(11, two, &[])];
        // The second one is given the address 7 by the last plugins of its chain, and the first one was there before.
        let history = [at(1, 2), at(7, 2), at(7, 7)];
        assert_eq!(told(&history, &[]), [(one(1), Some(one(7))), (one(2), None)]);
        assert_eq!(told(&history, &[(10, 1), (11, 7)]), [(one(1), None), (one(7), None)]);
        assert_eq!(told(&[at(1, 2)], &[(11, 7)]), [(one(1), None), (one(7), Some(one(2)))], "before it is seen");
        assert_eq!(told(&[at(1, 2)], &[(11, 1)]), [(one(1), None), (one(2), None)], "another's first");
        assert_eq!(told(&[at(1, 2)], &[(11, 0xbb)]), [(one(1), None), (one(2), None)], "the bridge's");
        assert_eq!(told(&[at(7, 7)], &[(11, 7)])[1], (one(7), None), "seen with the same one at the same time");
    }

    #[test]
    fn who_has_no_known_address_sends_nothing_and_who_is_on_no_bridge_what_it_likes() {
        let unknown = Veth { peer_mac: None, ..port(10, 1, &[]) };
        let alone = Veth { master: None, ..port(11, 1, &[]) };
        assert_eq!(sources(&[[unknown, alone]]), [vec![EthernetSource::UNKNOWN], vec![EthernetSource::ANY]]);
        let elsewhere = Veth { master: Some(4), ..port(11, 1, &[]) };
        assert_eq!(sources(&[[port(10, 1, &[]), elsewhere]]), [vec![one(1)], vec![one(1)]], "on two bridges");
    }

    #[test]
    fn what_a_former_agent_knew_is_whose_it_was() {
        let former = |slot, ifindex, first| {
            let macs = [Some(mac(first)), None];
            FormerSlot { slot, ifindex, addresses: Vec::new(), macs, link_locals: BTreeSet::new() }
        };
        let mut claims = Claims::new(&[former(1, 10, 1), former(2, 11, 2), former(3, 99, 3)]);
        let (thief, victim) = (port(10, 2, &[]), port(11, 2, &[]));
        claims.update(&view([thief.clone(), victim.clone(), port(12, 3, &[])]), &BTreeMap::new());
        let told = [&thief, &victim, &port(12, 3, &[])].map(|veth| claims.on_link(veth).source);
        assert_eq!(told, [one(1), one(2), one(3)], "99 is gone");
    }

    fn link_locals(history: &[Vec<Veth>], ifindex: u32) -> BTreeSet<Ipv6Addr> {
        let mut claims = Claims::default();
        history.iter().for_each(|veths| claims.update(&view(veths.clone()), &BTreeMap::new()));
        let veth = history.last().and_then(|veths| veths.iter().find(|veth| veth.ifindex == ifindex));
        claims.on_link(veth.expect("it is there")).link_locals
    }

    #[test]
    fn a_link_local_address_is_who_had_it_first_or_whose_ethernet_address_it_is_made_of() {
        let [mine, theirs, random, gateway] =
            [made_of(mac(1)), made_of(mac(2)), "fe80::7".parse().unwrap(), made_of(mac(0xbb))];
        let victim = || port(11, 2, &[theirs, random]);
        let thief = port(10, 1, &[mine, theirs, random, gateway]);
        let before = vec![port(10, 1, &[mine]), victim()];
        let history = [before, vec![thief.clone(), victim()]];
        assert_eq!(link_locals(&history, 10), [mine].into());
        assert_eq!(link_locals(&history, 11), [theirs, random].into());
        let at_once = [vec![thief.clone(), victim()]];
        assert_eq!(link_locals(&at_once, 10), [mine].into(), "all that is known");
        assert_eq!(link_locals(&at_once, 11), [theirs].into(), "all that is known");
        let knew = |ifindex, link_local| FormerSlot {
            slot: ifindex,
            ifindex,
            addresses: Vec::new(),
            macs: [None; 2],
            link_locals: [link_local].into(),
        };
        let mut next = Claims::new(&[knew(10, mine), knew(11, random)]);
        next.update(&view([thief.clone(), victim()]), &BTreeMap::new());
        let told = [&thief, &victim()].map(|veth| next.on_link(veth).link_locals);
        assert_eq!(told, [[mine].into(), [theirs, random].into()], "a former agent knew");
        let alone = Veth { master: None, ..thief };
        assert_eq!(
            link_locals(&[vec![alone, victim()]], 10),
            [mine, theirs, random, gateway].into(),
            "on its own link"
        );
    }
}
