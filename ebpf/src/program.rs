//! From a hook to an action.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use podgate_common::{
    Addr4, Addr6, Direction, EndpointConfig, FragmentPorts, NetPort, Reason, SlotWord, Stamp, Verdict, flags, protocol,
};

use crate::events;
use crate::flow::{self, Scene};
use crate::maps;
use crate::packet::Packet;
use crate::parse::{self, Fragment, FragmentId, Headers, Kind, ethertype};
use crate::related::{self, Errors};
use crate::rules::{self, tcp};
use crate::verdict::is_isolated;

/// The endpoint whose hook this is, with a direction in which it is, or is not, isolated.
pub(crate) struct Endpoint<'a> {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) direction: Direction,
    from_node: bool,
}

/// Judges a packet, counts it and acts.
#[inline(always)]
pub fn run(ctx: &TcContext, direction: Direction) -> i32 {
    let packet = Packet::new(ctx.skb.skb);
    let Some(slot) = maps::slot_of(packet.ifindex()) else {
        return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
    };
    let Some(word) = maps::slot_word(slot).map(SlotWord::from_raw) else {
        return finish(ctx, &packet, 0, 0, direction, Reason::NoEndpoint);
    };
    let reason = judge(&packet, slot, word, direction);
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
    match reason.verdict() {
        Verdict::Allowed => TC_ACT_UNSPEC,
        Verdict::Denied => {
            events::sample(packet, slot, generation, direction, reason);
            TC_ACT_SHOT
        }
    }
}

#[inline(never)]
fn trace(ctx: &TcContext, slot: u32, direction: Direction, reason: Reason) {
    aya_log_ebpf::trace!(
        ctx,
        "slot={} direction={} reason={} length={}",
        slot,
        direction as u8,
        reason as u8,
        Packet::new(ctx.skb.skb).length()
    );
}

#[inline(always)]
fn judge(packet: &Packet<'_>, slot: u32, word: SlotWord, direction: Direction) -> Reason {
    if word.config() == 0 {
        return Reason::NotIsolated;
    }
    let Some(config) = maps::CONFIGS.get(word.config()) else { return Reason::Internal };
    let from_node = direction == Direction::Ingress && packet.ingress_ifindex() == 0;
    let endpoint = Endpoint { slot, generation: word.generation(), config, direction, from_node };
    let reason = match frame(packet, &endpoint) {
        Ok(reason) => reason,
        Err(unreadable) if is_isolated(config, direction) => unreadable,
        Err(_) => Reason::DirectionNotIsolated,
    };
    if from_node && reason.verdict() == Verdict::Denied { Reason::Node } else { reason }
}

/// What happens to a frame; Err: it could not be read, which matters only if the direction is isolated.
#[inline(always)]
fn frame(packet: &Packet<'_>, endpoint: &Endpoint<'_>) -> Result<Reason, Reason> {
    if packet.has_vlan_metadata() {
        return Err(Reason::Vlan);
    }
    match parse::ethertype_of(packet)? {
        ethertype::IPV4 => ip::<Addr4>(packet, endpoint, &parse::ipv4(packet)?),
        ethertype::IPV6 => ip::<Addr6>(packet, endpoint, &parse::ipv6(packet)?),
        ethertype::ARP => Ok(Reason::Discovery),
        ethertype::VLAN | ethertype::QINQ => Err(Reason::Vlan),
        _ => Err(Reason::NotIp),
    }
}

/// The ports and flags of a packet, known from itself or from the first fragment.
struct Ports {
    kind: Kind,
    protocol: u8,
    flow: (NetPort, NetPort),
    tcp_flags: u8,
}

#[inline(always)]
fn ip<F: Errors>(packet: &Packet<'_>, endpoint: &Endpoint<'_>, headers: &Headers<F>) -> Result<Reason, Reason> {
    let ports = ports(packet, endpoint, headers)?;
    if ports.kind == Kind::Discovery {
        return Ok(Reason::Discovery);
    }
    let (local, remote) = match endpoint.direction {
        Direction::Ingress => (headers.destination, headers.source),
        Direction::Egress => (headers.source, headers.destination),
    };
    if endpoint.direction == Direction::Egress && is_spoofed(endpoint.config, local, &ports) {
        return Ok(Reason::Spoofed);
    }
    if ports.kind == Kind::IcmpError {
        return match related::judge(packet, endpoint, headers) {
            Reason::Related => Ok(Reason::Related),
            reason => Err(reason),
        };
    }
    Ok(flow::judge(&Scene {
        packet: *packet,
        config: endpoint.config,
        key: F::flow_key(local, remote, ports.flow, ports.protocol, endpoint.slot as u16),
        local,
        remote,
        ports: ports.flow,
        stamp: Stamp::new(endpoint.generation, maps::epoch(remote.epoch_index())),
        now: flow::jiffies(),
        direction: endpoint.direction,
        protocol: ports.protocol,
        tcp_flags: ports.tcp_flags,
        from_node: endpoint.from_node,
        opens_flow: ports.kind != Kind::EchoReply,
    }))
}

/// Whether a packet leaves the pod with a source address that is not the pod's. A pod without an address yet may ask
/// for one: from the unspecified address, or by DHCPv6 from its link-local one.
#[inline(always)]
fn is_spoofed<F: Errors>(config: &EndpointConfig, source: F, ports: &Ports) -> bool {
    if source == F::of(config) && !source.is_unspecified() {
        return false;
    }
    is_foreign(config, source, ports)
}

#[inline(always)]
fn is_foreign<F: Errors>(config: &EndpointConfig, source: F, ports: &Ports) -> bool {
    const DHCPV6: (u16, u16) = (546, 547);
    let is_dhcpv6 = ports.protocol == protocol::UDP && (ports.flow.0.number(), ports.flow.1.number()) == DHCPV6;
    let may_be_asking = source.is_unspecified() || source.is_dhcp_source() && is_dhcpv6;
    !may_be_asking && config.flags & flags::ROUTES == 0
}

/// The ports of a packet. A first fragment leaves them for the later ones.
#[inline(always)]
fn ports<F: Errors>(packet: &Packet<'_>, endpoint: &Endpoint<'_>, headers: &Headers<F>) -> Result<Ports, Reason> {
    if let Fragment::Later(id) = headers.fragment {
        return ports_of_first(endpoint, headers, id);
    }
    let transport = parse::transport(packet, headers, endpoint.direction, F::L4_PLAIN)?;
    let ports = Ports {
        kind: transport.kind,
        protocol: headers.protocol,
        flow: transport.flow_ports(endpoint.direction),
        tcp_flags: transport.tcp_flags,
    };
    if let Fragment::First(id) = headers.fragment {
        remember_first(endpoint, headers, id, ports.flow)?;
    }
    Ok(ports)
}

#[inline(always)]
fn fragment_key<F: Errors>(endpoint: &Endpoint<'_>, headers: &Headers<F>, id: FragmentId) -> F::FragmentKey {
    let ends = (headers.source, headers.destination);
    F::fragment_key(ends, id.id, id.protocol, endpoint.direction as u8, endpoint.slot as u16)
}

#[inline(always)]
fn ports_of_first<F: Errors>(endpoint: &Endpoint<'_>, headers: &Headers<F>, id: FragmentId) -> Result<Ports, Reason> {
    // SAFETY: copied at once; in the worst case the element is another packet's by now, whose ports are then judged.
    let first = unsafe { F::fragments().get(fragment_key(endpoint, headers, id)) }.copied();
    match first {
        Some(first) if is_recent(first.seen) => Ok(Ports {
            kind: Kind::Ports,
            protocol: first.protocol,
            flow: (first.local_port, first.remote_port),
            tcp_flags: tcp::ACK,
        }),
        _ => Err(Reason::FragmentBeforeFirst),
    }
}

#[inline(always)]
fn is_recent(seen: u32) -> bool {
    (flow::jiffies() as u32).wrapping_sub(seen) < rules::FRAGMENT * maps::HZ.load()
}

#[inline(always)]
fn remember_first<F: Errors>(
    endpoint: &Endpoint<'_>,
    headers: &Headers<F>,
    id: FragmentId,
    flow: (NetPort, NetPort),
) -> Result<(), Reason> {
    let ports = FragmentPorts {
        local_port: flow.0,
        remote_port: flow.1,
        seen: flow::jiffies() as u32,
        protocol: headers.protocol,
        reserved: [0; 3],
    };
    F::fragments().insert(fragment_key(endpoint, headers, id), ports, 0).map_err(|_| Reason::FlowTable)
}
