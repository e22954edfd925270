//! From a hook to an action.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use podgate_common::{
    Addr4, Addr6, Direction, EndpointConfig, FragmentPorts, NetPort, Reason, SlotWord, Stamp, Tag, Verdict, flags, map,
    place, protocol,
};

use crate::events;
use crate::exit::{self, Origin};
use crate::family::Family;
use crate::flow::{self, Scene};
use crate::maps;
use crate::neighbours;
use crate::packet::{self, Frame, Packet};
use crate::parse::{self, Fragment, Headers, Transport, TransportKind, ethertype};
use crate::related;
use crate::rules::{self, tcp};
use crate::verdict::{is_audited, is_enforced, is_isolated};

/// The endpoint whose hook this is, with a direction in which it is, or is not, isolated.
pub(crate) struct Endpoint<'a> {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) direction: Direction,
    /// Where the packet comes from, if it enters.
    pub(crate) origin: Origin,
}

/// Judges a packet, counts it and acts.
#[inline(always)]
pub fn run(ctx: &TcContext, direction: Direction) -> i32 {
    let packet = Frame::new(ctx.skb.skb);
    let Some(slot) = maps::slot_of(packet.ifindex()).filter(|&slot| slot != 0 && slot < map::ENDPOINTS) else {
        return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
    };
    let refused = match direction {
        Direction::Ingress => None,
        Direction::Egress => neighbours::judge_source(&packet, slot),
    };
    if let Some(reason) = refused.or_else(|| neighbours::judge(&packet, slot, direction)) {
        let Some(word) = maps::slot_word(slot) else {
            return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
        };
        if reason == Reason::DiscoveryWithheld {
            events::count(&packet, slot, direction, reason);
            return TC_ACT_SHOT;
        }
        let is_open = word.config() == 0 && reason == Reason::Discovery;
        let reason = if is_open { Reason::NotIsolated } else { reason };
        return finish(ctx, &packet, slot, word.generation(), direction, reason);
    }
    let origin = match direction {
        Direction::Ingress => exit::arrive(&packet, slot),
        Direction::Egress => Some(Origin::ELSEWHERE),
    };
    let Some(origin) = origin else { return TC_ACT_SHOT };
    let Some(word) = maps::slot_word(slot) else {
        return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
    };
    if direction == Direction::Egress {
        // Unless something below says otherwise. Nothing has judged an open pod's, nor will.
        let set = maps::SET.load();
        packet.set_tag(if word.config() == 0 { Tag::settled(set, slot) } else { Tag::judged(set, slot) });
    }
    let reason = judge(&packet, slot, word, direction, origin);
    finish(ctx, &packet, slot, word.generation(), direction, reason)
}

/// The lower half of jiffies.
#[inline(always)]
pub fn jiffies() -> i32 {
    flow::jiffies() as i32
}

#[inline(always)]
fn finish(
    ctx: &TcContext,
    packet: &Packet<'_>,
    slot: u32,
    generation: u32,
    direction: Direction,
    reason: Reason,
) -> i32 {
    events::count(packet, slot, direction, reason);
    if maps::TRACE.load() != 0 {
        trace(ctx, slot, direction, reason);
    }
    if !reason.is_reported() {
        return TC_ACT_UNSPEC;
    }
    events::report(packet, slot, generation, direction, reason);
    match reason.verdict() {
        Verdict::Allowed | Verdict::Deferred | Verdict::WouldDeny => TC_ACT_UNSPEC,
        Verdict::Denied | Verdict::Withheld => TC_ACT_SHOT,
    }
}

#[inline(never)]
pub(crate) fn trace(ctx: &TcContext, slot: u32, direction: Direction, reason: Reason) {
    aya_log_ebpf::trace!(
        ctx,
        "slot={} direction={} reason={} length={}",
        slot,
        direction as u8,
        reason as u8,
        Frame::new(ctx.skb.skb).length()
    );
}

#[inline(always)]
fn judge(packet: &Packet<'_>, slot: u32, word: SlotWord, direction: Direction, origin: Origin) -> Reason {
    if word.config() == 0 {
        return Reason::NotIsolated;
    }
    let Some(config) = maps::CONFIGS.get(word.config()) else { return Reason::Internal };
    let endpoint = Endpoint { slot, generation: word.generation(), config, direction, origin };
    let reason = frame(packet, &endpoint);
    if origin.is_itself() && (reason == Reason::Node || reason.verdict() == Verdict::Denied) {
        return Reason::Itself;
    }
    if origin.near() != 0 && reason.verdict() == Verdict::Denied {
        return Reason::Node;
    }
    if reason.matters_only_if_isolated() {
        return unread(packet, &endpoint, reason);
    }
    // Without the policies that are in audit mode, nobody would look at the pod's addresses.
    if reason == Reason::Spoofed && !is_enforced(config) { reason.audited() } else { reason }
}

/// What becomes of a packet that could not be read to its end at a pod's hook. In a direction that is not isolated it may pass
/// all the same, but not from another's address, nor with what it says yet to be overwritten: its receiver, who takes a VLAN
/// tag off or puts fragments together, would take it for another's. Pods that route may do both.
#[inline(never)]
fn unread(packet: &Packet<'_>, endpoint: &Endpoint<'_>, reason: Reason) -> Reason {
    let judged = if_isolated(reason, endpoint.config, endpoint.direction);
    if judged != Reason::DirectionNotIsolated || endpoint.config.flags & flags::ROUTES != 0 {
        return judged;
    }
    let forged = if endpoint.direction == Direction::Egress && has_false_source(packet, endpoint) {
        Reason::Spoofed
    } else if is_unsummed(packet) {
        reason
    } else {
        return judged;
    };
    if is_enforced(endpoint.config) { forged } else { forged.audited() }
}

/// Whether the source address in an IP header is another's, whatever follows it.
#[inline(always)]
fn has_false_source(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> bool {
    match packet.ethertype() {
        ethertype::IPV4 => Addr4::ends(packet).is_ok_and(|(source, _)| is_spoofed(endpoint, source, true)),
        ethertype::IPV6 => Addr6::ends(packet).is_ok_and(|(source, _)| is_spoofed(endpoint, source, true)),
        _ => false,
    }
}

/// What becomes of a packet that could not be understood.
#[inline(always)]
pub(crate) const fn if_isolated(reason: Reason, config: &EndpointConfig, direction: Direction) -> Reason {
    if !is_isolated(config, direction) {
        Reason::DirectionNotIsolated
    } else if is_audited(config, direction) {
        reason.audited()
    } else {
        reason
    }
}

/// What happens to a frame.
#[inline(always)]
fn frame(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Reason {
    packet.linearise();
    if packet.has_vlan_metadata() {
        return tagged(packet, endpoint);
    }
    match packet.ethertype() {
        ethertype::IPV4 => match endpoint.direction {
            Direction::Ingress => ip4::<INGRESS>(packet, endpoint),
            Direction::Egress => ip4::<EGRESS>(packet, endpoint),
        }
        .unwrap_or_else(|IcmpError| related::judge::<Addr4>(packet, endpoint)),
        ethertype::IPV6 => match endpoint.direction {
            Direction::Ingress => ip6::<INGRESS>(packet, endpoint),
            Direction::Egress => ip6::<EGRESS>(packet, endpoint),
        }
        .unwrap_or_else(|IcmpError| related::judge::<Addr6>(packet, endpoint)),
        ethertype::VLAN | ethertype::QINQ => Reason::Vlan,
        _ => Reason::NotIp,
    }
}

/// What happens to a frame with a VLAN tag. One that names no VLAN is taken off by the receiver (`__netif_receive_skb_core` of
/// Linux).
#[inline(never)]
fn tagged(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Reason {
    let mut headers = Headers::NONE;
    let mut transport = Transport::PORTLESS;
    let is_of_router = packet.ethertype() == ethertype::IPV4
        && parse::ipv4(packet, &mut headers).is_ok()
        && headers.fragment != Fragment::Later
        && parse::read_transport(packet, &headers, parse::HEADER4, &mut transport).is_ok()
        && transport.kind == TransportKind::OfRouter;
    if is_of_router && is_rogue(endpoint, endpoint.direction) { Reason::RogueRouter } else { Reason::Vlan }
}

const INGRESS: bool = false;
const EGRESS: bool = true;

/// What happens to an IPv6 packet. Functions of their own, since what reading takes and what judging takes don't fit one
/// stack frame of the BPF machine.
#[inline(never)]
fn ip6<const OUT: bool>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Result<Reason, IcmpError> {
    let mut scene = MaybeUninit::uninit();
    match read::<Addr6, OUT>(packet, endpoint, &mut scene) {
        Err(NoScene::Fate(reason)) => Ok(reason),
        Err(NoScene::IcmpError) => Err(IcmpError),
        // SAFETY: `read` has filled it in.
        Ok(()) => Ok(flow::judge(unsafe { scene.assume_init_ref() }, direction(OUT))),
    }
}

/// What happens to an IPv4 packet.
#[inline(never)]
fn ip4<const OUT: bool>(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Result<Reason, IcmpError> {
    let mut scene = MaybeUninit::uninit();
    match read::<Addr4, OUT>(packet, endpoint, &mut scene) {
        Err(NoScene::Fate(reason)) => Ok(reason),
        Err(NoScene::IcmpError) => Err(IcmpError),
        // SAFETY: `read` has filled it in.
        Ok(()) => Ok(flow::judge(unsafe { scene.assume_init_ref() }, direction(OUT))),
    }
}

/// The direction that a function is compiled for: known there, it costs the hot path nothing.
const fn direction(out: bool) -> Direction {
    if out { Direction::Egress } else { Direction::Ingress }
}

/// The packet is an error about another packet, which decides.
pub(crate) struct IcmpError;

/// Why a packet has no scene to be judged in.
#[derive(Clone, Copy)]
pub(crate) enum NoScene {
    /// Its fate is known without asking flows and policies.
    Fate(Reason),
    /// It is an error about another packet.
    IcmpError,
}

impl From<Reason> for NoScene {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::Fate(reason)
    }
}

/// Reads an IP packet and fills in the scene, in place.
#[inline(always)]
fn read<'a, F: Family, const OUT: bool>(
    packet: &Packet<'a>,
    endpoint: &Endpoint<'a>,
    scene: &mut MaybeUninit<Scene<'a, F>>,
) -> Result<(), NoScene> {
    read_at::<F, { packet::ETHERNET }>(packet, endpoint, scene, direction(OUT), place::POD)
}

/// Reads an IP packet at any hook and fills in the scene, in place.
#[inline(always)]
pub(crate) fn read_at<'a, F: Family, const L3: u32>(
    packet: &Packet<'a, L3>,
    endpoint: &Endpoint<'a>,
    scene: &mut MaybeUninit<Scene<'a, F>>,
    direction: Direction,
    place: u8,
) -> Result<(), NoScene> {
    let mut headers = Headers::NONE;
    F::headers(packet, &mut headers)?;
    let mut ports = Ports::NONE;
    read_ports::<F, L3>(packet, endpoint, &headers, direction, &mut ports)?;
    if is_overwritten(packet, &headers) {
        return Err(NoScene::Fate(Reason::Malformed));
    }
    match ports.kind {
        TransportKind::IcmpError => return Err(NoScene::IcmpError),
        TransportKind::OfRouter if is_rogue(endpoint, direction) => return Err(NoScene::Fate(Reason::RogueRouter)),
        _ => {}
    }
    let (source, destination) = F::ends(packet)?;
    let (local, remote) = match direction {
        Direction::Ingress => (destination, source),
        Direction::Egress => (source, destination),
    };
    if direction == Direction::Egress && place == place::POD && is_spoofed(endpoint, local, ports.are_dhcp()) {
        return Err(NoScene::Fate(Reason::Spoofed));
    }
    let scene = scene.as_mut_ptr();
    // SAFETY: fields of a live place, all of them. Written one by one: the compiler would copy a whole value in pieces,
    // and the verifier takes no pieces of the pointers in it.
    unsafe {
        (&raw mut (*scene).packet).write(Packet::new(packet.context()));
        (&raw mut (*scene).config).write(endpoint.config);
        let holder = local.holder(endpoint, ports.protocol, place);
        (&raw mut (*scene).key).write(F::flow_key(remote, (ports.local, ports.remote), holder));
        (&raw mut (*scene).stamp).write(Stamp::new(endpoint.generation, maps::epoch(remote.epoch_index())));
        (&raw mut (*scene).now).write(flow::jiffies());
        (&raw mut (*scene).direction).write(direction);
        (&raw mut (*scene).protocol).write(ports.protocol);
        (&raw mut (*scene).tcp_flags).write(ports.tcp_flags);
        (&raw mut (*scene).from_node).write(match direction {
            Direction::Ingress => endpoint.origin.near(),
            Direction::Egress => 0,
        });
        (&raw mut (*scene).opens_flow).write(ports.kind != TransportKind::EchoReply);
        (&raw mut (*scene).at_exit).write(place == place::EXIT);
    }
    Ok(())
}

/// Where the kernel is yet to write a checksum, in bytes from the IP header on; [`NO_SUM`]: nowhere, or it does not tell.
#[inline(always)]
fn sum_place<const L3: u32>(packet: &Packet<'_, L3>) -> u32 {
    let [summed, start, network] = sum_fields();
    if summed == 0 {
        return NO_SUM;
    }
    if maps::MAY_CAST.load() == 0 {
        return podgate_sum_place(packet.context());
    }
    packet.sum_place(summed, start, network).unwrap_or(NO_SUM)
}

/// The same where it has to be copied. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_sum_place(context: *mut __sk_buff) -> u32 {
    let [summed, start, network] = sum_fields();
    if maps::MAY_CAST.load() != 0 {
        return NO_SUM;
    }
    Frame::new(context).copied_sum_place(summed, start, network).unwrap_or(NO_SUM)
}

#[inline(always)]
fn sum_fields() -> [u32; 3] {
    [maps::SUMMED.load(), maps::SUM_START.load(), maps::NETWORK.load()]
}

const NO_SUM: u32 = u32::MAX;

/// Whether the kernel is yet to write a checksum over what a packet is judged by.
#[inline(always)]
pub(crate) fn is_overwritten<const L3: u32>(packet: &Packet<'_, L3>, headers: &Headers) -> bool {
    let place = sum_place(packet);
    place != NO_SUM && !parse::may_be_summed(place, headers.l4 - L3, headers.protocol, headers.fragment)
}

/// Whether the kernel is yet to write a checksum into a packet.
#[inline(always)]
pub(crate) fn is_unsummed(packet: &Packet<'_>) -> bool {
    sum_place(packet) != NO_SUM
}

/// Whether a pod is the router that tells its neighbours something.
#[inline(always)]
fn is_rogue(endpoint: &Endpoint<'_>, direction: Direction) -> bool {
    direction == Direction::Ingress && endpoint.origin.pod().is_some()
}

/// Whether a packet leaves the pod with a source address that is not the pod's. A pod without an IPv4 address yet asks
/// for one from the unspecified address; what else is sent from there was told by [`neighbours`].
#[inline(always)]
pub(crate) fn is_spoofed<F: Family>(endpoint: &Endpoint<'_>, source: F, is_dhcp: bool) -> bool {
    if source == F::of(endpoint.config) && !source.is_unspecified() {
        return false;
    }
    let may_be_asking = is_dhcp && source.is_dhcp_source();
    !may_be_asking && endpoint.config.flags & flags::ROUTES == 0 && !source.is_link_local_of(endpoint.slot)
}

/// The ports and flags of a packet, known from itself or from the first fragment.
struct Ports {
    kind: TransportKind,
    protocol: u8,
    tcp_flags: u8,
    local: NetPort,
    remote: NetPort,
}

impl Ports {
    const NONE: Self = Self {
        kind: TransportKind::Portless,
        protocol: 0,
        tcp_flags: 0,
        local: NetPort::new(0),
        remote: NetPort::new(0),
    };

    /// What a DHCP client sends (RFC 2131, section 4.1).
    #[inline(always)]
    fn are_dhcp(&self) -> bool {
        const DHCP: (u16, u16) = (68, 67);
        self.protocol == protocol::UDP && (self.local.number(), self.remote.number()) == DHCP
    }
}

/// Reads the ports of a packet. A first fragment leaves them for the later ones.
#[inline(always)]
fn read_ports<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
    headers: &Headers,
    direction: Direction,
    ports: &mut Ports,
) -> Result<(), Reason> {
    if headers.fragment == Fragment::Later {
        return ports_of_first::<F, L3>(packet, endpoint).lend(ports);
    }
    let mut transport = Transport::PORTLESS;
    parse::read_transport(packet, headers, F::HEADER, &mut transport)?;
    ports.kind = transport.kind;
    ports.protocol = headers.protocol;
    ports.tcp_flags = transport.tcp_flags;
    ports.local = transport.local_port(direction);
    ports.remote = transport.remote_port(direction);
    if headers.fragment == Fragment::First {
        let first = FirstFragment::new(ports.local, ports.remote, ports.protocol);
        return remember_first::<F, L3>(packet, endpoint, first);
    }
    Ok(())
}

/// What the first fragment says about the later ones, in one word, so that it crosses a function call of the BPF
/// machine: the flow's ports, the protocol, and a mark that it was there.
#[derive(Clone, Copy)]
struct FirstFragment(u64);

impl FirstFragment {
    const PRESENT: u64 = 1 << 63;

    #[inline(always)]
    fn new(local: NetPort, remote: NetPort, protocol: u8) -> Self {
        let (local, remote) = (u64::from(local.to_network()), u64::from(remote.to_network()));
        Self(Self::PRESENT | u64::from(protocol) << 32 | remote << 16 | local)
    }

    #[inline(always)]
    const fn local(self) -> NetPort {
        NetPort::from_network(self.0 as u16)
    }

    #[inline(always)]
    const fn remote(self) -> NetPort {
        NetPort::from_network((self.0 >> 16) as u16)
    }

    #[inline(always)]
    const fn protocol(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// Lends its ports to a later fragment, which opens nothing.
    #[inline(always)]
    fn lend(self, ports: &mut Ports) -> Result<(), Reason> {
        if self.0 & Self::PRESENT == 0 {
            return Err(Reason::FragmentBeforeFirst);
        }
        ports.kind = TransportKind::Ports;
        ports.protocol = self.protocol();
        ports.tcp_flags = tcp::ACK;
        ports.local = self.local();
        ports.remote = self.remote();
        Ok(())
    }
}

#[inline(always)]
fn fragment_key<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
) -> Result<F::FragmentKey, Reason> {
    let id = F::fragment_id(packet)?;
    Ok(F::fragment_key(F::ends(packet)?, id.id, id.protocol, endpoint.direction as u8, endpoint.slot as u16))
}

#[inline(never)]
fn ports_of_first<F: Family, const L3: u32>(packet: &Packet<'_, L3>, endpoint: &Endpoint<'_>) -> FirstFragment {
    let Ok(key) = fragment_key::<F, L3>(packet, endpoint) else { return FirstFragment(0) };
    // SAFETY: copied at once; in the worst case the element is another packet's by now, whose ports are then judged.
    let Some(first) = (unsafe { F::fragments().get(key) }) else { return FirstFragment(0) };
    if (flow::jiffies() as u32).wrapping_sub(first.seen) >= rules::FRAGMENT * maps::HZ.load() {
        return FirstFragment(0);
    }
    FirstFragment::new(first.local_port, first.remote_port, first.protocol)
}

#[inline(never)]
fn remember_first<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
    first: FirstFragment,
) -> Result<(), Reason> {
    let ports = FragmentPorts {
        local_port: first.local(),
        remote_port: first.remote(),
        seen: flow::jiffies() as u32,
        protocol: first.protocol(),
        reserved: [0; 3],
    };
    let key = fragment_key::<F, L3>(packet, endpoint)?;
    F::fragments().insert(key, ports, 0).map_err(|_| Reason::FlowTable)
}
