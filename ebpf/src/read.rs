//! From a packet to the scene that it is judged in.

use core::mem::MaybeUninit;

use podgate_common::{Direction, FlowKey, FlowPorts, NetPort, Reason, Stamp, flags, place, protocol};

use crate::checksum::is_overwritten;
use crate::clock;
use crate::endpoint::{Endpoint, podgate_own6};
use crate::family::Family;
use crate::fragments::{self, FirstFragment};
use crate::maps;
use crate::packet::Packet;
use crate::parse::{self, Fragment, Headers, Transport, TransportKind};
use crate::rules::tcp;
use crate::scene::{Scene, write_scene};

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
    write_scene!(scene, {
        packet: Packet::new(packet.context()),
        config: endpoint.config,
        key: FlowKey {
            remote,
            ports: FlowPorts::new(ports.local, ports.remote),
            holder: local.holder(endpoint, ports.protocol, place),
        },
        stamp: Stamp::new(endpoint.generation, maps::epoch(remote.epoch_index())),
        now: clock::jiffies(),
        direction: direction,
        protocol: ports.protocol,
        tcp_flags: ports.tcp_flags,
        from_node: match direction {
            Direction::Ingress => endpoint.origin.near(),
            Direction::Egress => 0,
        },
        opens_flow: ports.kind != TransportKind::EchoReply,
        at_exit: place == place::EXIT,
    });
    Ok(())
}

/// Whether a pod is the router that tells its neighbours something.
#[inline(always)]
pub(crate) fn is_rogue(endpoint: &Endpoint<'_>, direction: Direction) -> bool {
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
    !may_be_asking && endpoint.config.flags & flags::ROUTES == 0 && !is_own_link_local(endpoint.slot, source)
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

    /// Takes those of the first fragment for a later one, which opens nothing.
    #[inline(always)]
    fn borrow(&mut self, first: FirstFragment) -> Result<(), Reason> {
        if !first.is_present() {
            return Err(Reason::FragmentBeforeFirst);
        }
        self.kind = TransportKind::Ports;
        self.protocol = first.protocol();
        self.tcp_flags = tcp::ACK;
        self.local = first.local();
        self.remote = first.remote();
        Ok(())
    }

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
        return ports.borrow(fragments::ports_of_first::<F, L3>(packet, endpoint));
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
        return fragments::remember_first::<F, L3>(packet, endpoint, first);
    }
    Ok(())
}

/// Whether an address is a link-local one on the interface of the pod in a slot.
#[inline(always)]
fn is_own_link_local<F: Family>(slot: u32, address: F) -> bool {
    let [first, second, third, fourth] = address.in_words();
    address.is_link_local() && podgate_own6(slot, first, second, third, fourth) != 0
}
