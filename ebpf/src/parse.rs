//! From bytes to headers: Ethernet, IPv4 with options, IPv6 with extension headers, transport ports, ICMP types.
//!
//! Offsets count from the Ethernet header. Lengths are believed only as far as the packet's own length bears them out,
//! and nothing is read behind the end that the IP header states (what follows there is padding).

use podgate_common::{Addr4, Addr6, Direction, NetPort, Reason, protocol};

use crate::packet::Packet;

/// EtherTypes that are told apart, in host byte order.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad.
    pub const QINQ: u16 = 0x88a8;
    /// What the kernel says of a frame that has its length there, and an LLC header behind it (`ETH_P_802_2`).
    pub const LLC: u16 = 0x0004;
}

/// Bytes of an IPv4 header without options.
pub const HEADER4: u32 = 20;
/// Bytes of an IPv6 header without extensions.
pub const HEADER6: u32 = 40;
/// More extension headers than this are not followed.
const EXTENSIONS: u32 = 8;

/// Which part of a packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first fragment, which holds the ports.
    First,
    /// A later fragment, without ports.
    Later,
}

/// What the fragments of one packet have in common, beside the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentId {
    /// The identification field as it stands in the packet.
    pub id: u32,
    /// The IPv4 protocol, or the next header of the IPv6 fragment header.
    pub protocol: u8,
}

/// What the IP header and its extensions say, but for the addresses, which are read where they are needed: together they
/// would fill the stack of the BPF machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The protocol behind all extension headers.
    pub protocol: u8,
    /// Where the transport header begins.
    pub l4: u32,
    /// Where the packet ends.
    pub end: u32,
    /// Which part of the packet this is.
    pub fragment: Fragment,
}

impl Headers {
    /// Headers that say nothing.
    pub const NONE: Self = Self { protocol: 0, l4: 0, end: 0, fragment: Fragment::Whole };
}

/// What kind of packet the transport header makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// TCP, UDP or SCTP.
    Ports,
    /// ICMP echo request; its identifier stands for both ports.
    EchoRequest,
    /// ICMP echo reply, likewise.
    EchoReply,
    /// Anything else that a flow is looked up for.
    Portless,
    /// An ICMP error about another packet.
    IcmpError,
    /// What a router tells its neighbours by ICMP: where else to send, or that it is there. ICMPv6's is told by
    /// [`crate::discovery`].
    OfRouter,
}

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// What kind of packet it is.
    pub kind: TransportKind,
    /// Source port or echo identifier.
    pub source: NetPort,
    /// Destination port or echo identifier.
    pub destination: NetPort,
    /// TCP's flags byte; 0 for other protocols.
    pub tcp_flags: u8,
}

impl Transport {
    /// A transport header that says nothing.
    pub const PORTLESS: Self =
        Self { kind: TransportKind::Portless, source: NetPort::new(0), destination: NetPort::new(0), tcp_flags: 0 };

    /// The pod's port in the flow that a packet belongs to; of an echo the identifier.
    #[must_use]
    #[inline(always)]
    pub const fn local_port(&self, direction: Direction) -> NetPort {
        match direction {
            Direction::Egress => self.source,
            Direction::Ingress => self.destination,
        }
    }

    /// The other end's port in the flow that a packet belongs to; of an echo who asked.
    #[must_use]
    #[inline(always)]
    pub const fn remote_port(&self, direction: Direction) -> NetPort {
        match (self.kind, direction) {
            (TransportKind::EchoRequest, Direction::Egress) | (TransportKind::EchoReply, Direction::Ingress) => {
                NetPort::from_network(0)
            }
            (TransportKind::EchoRequest, Direction::Ingress) | (TransportKind::EchoReply, Direction::Egress) => {
                NetPort::from_network(1)
            }
            (_, Direction::Egress) => self.destination,
            (_, Direction::Ingress) => self.source,
        }
    }
}

/// Reads the IPv4 header into `headers`: a place, for the reason that [`read_transport`] gives.
#[inline(always)]
pub fn ipv4<const L3: u32>(packet: &Packet<'_, L3>, headers: &mut Headers) -> Result<(), Reason> {
    let [first, second, third] = packet.read::<[u32; 3]>(L3 as usize).ok_or(Reason::Malformed)?;
    let [version_ihl, _tos, length_high, length_low] = first.to_ne_bytes();
    let [_, _, offset_high, offset_low] = second.to_ne_bytes();
    let [_, protocol, _, _] = third.to_ne_bytes();
    let header = u32::from(version_ihl & 0xf) * 4;
    let end = end_of_packet(packet, u32::from(u16::from_be_bytes([length_high, length_low])), L3);
    if version_ihl >> 4 != 4 || header < 20 || L3 + header > end || end > packet.length() || protocol == 0 {
        return Err(Reason::Malformed);
    }
    headers.fragment = fragment4(u16::from_be_bytes([offset_high, offset_low]), protocol)?;
    headers.protocol = protocol;
    headers.l4 = L3 + header;
    headers.end = end;
    Ok(())
}

/// What an IPv4 fragment has in common with the others.
#[inline(always)]
pub fn fragment_id4<const L3: u32>(packet: &Packet<'_, L3>) -> Result<FragmentId, Reason> {
    let [second, third] = packet.read::<[u32; 2]>(L3 as usize + 4).ok_or(Reason::Malformed)?;
    let [id_0, id_1, ..] = second.to_ne_bytes();
    let [_, protocol, ..] = third.to_ne_bytes();
    Ok(FragmentId { id: u32::from(u16::from_ne_bytes([id_0, id_1])), protocol })
}

/// Which part of a packet the flags and offset of an IPv4 header make it.
#[inline(always)]
const fn fragment4(field: u16, protocol: u8) -> Result<Fragment, Reason> {
    const MORE: u16 = 0x2000;
    match (field & 0x1fff, field & MORE) {
        (0, 0) => Ok(Fragment::Whole),
        (0, _) => Ok(Fragment::First),
        (offset, _) if is_overwriting(offset, protocol) => Err(Reason::FragmentTiny),
        _ => Ok(Fragment::Later),
    }
}

/// Whether a later fragment would overwrite the TCP header of the first (RFC 3128). The offset counts eight bytes.
#[inline(always)]
const fn is_overwriting(offset: u16, protocol: u8) -> bool {
    offset == 1 && protocol == protocol::TCP
}

/// Where the packet ends by the length field of its header, which counts from `from`. BIG TCP leaves it 0 in packets
/// that a later device cuts into segments.
#[inline(always)]
fn end_of_packet<const L3: u32>(packet: &Packet<'_, L3>, length: u32, from: u32) -> u32 {
    if length == 0 && packet.is_gso() { packet.length() } else { from + length }
}

/// Reads the IPv6 header with its extensions into `headers`.
#[inline(always)]
pub fn ipv6<const L3: u32>(packet: &Packet<'_, L3>, headers: &mut Headers) -> Result<(), Reason> {
    let [first, second] = packet.read::<[u32; 2]>(L3 as usize).ok_or(Reason::Malformed)?;
    let [length_high, length_low, next_header, _] = second.to_ne_bytes();
    let end = end_of_packet(packet, u32::from(u16::from_be_bytes([length_high, length_low])), L3 + HEADER6);
    if first.to_ne_bytes()[0] >> 4 != 6 || end > packet.length() {
        return Err(Reason::Malformed);
    }
    let mut walk = Walk::new(next_header, L3 + HEADER6);
    if is_extension(next_header) {
        walk = follow_extensions(packet, next_header, L3 + HEADER6, end)?;
    }
    headers.fragment = walk.fragment();
    headers.protocol = walk.protocol;
    headers.l4 = walk.l4;
    headers.end = end;
    Ok(())
}

/// What an IPv6 fragment has in common with the others.
#[inline(always)]
pub fn fragment_id6<const L3: u32>(packet: &Packet<'_, L3>) -> Result<FragmentId, Reason> {
    let second = packet.read::<u32>(L3 as usize + 4).ok_or(Reason::Malformed)?;
    let [_, _, next_header, _] = second.to_ne_bytes();
    let walk = follow_extensions(packet, next_header, L3 + HEADER6, packet.length())?;
    Ok(FragmentId { id: walk.id, protocol: walk.id_protocol })
}

/// The addresses of an IPv4 packet, the source first.
#[inline(always)]
pub fn ends4<const L3: u32>(packet: &Packet<'_, L3>) -> Result<(Addr4, Addr4), Reason> {
    let [source, destination] = packet.read::<[u32; 2]>(L3 as usize + 12).ok_or(Reason::Malformed)?;
    Ok((Addr4::from_octets(source.to_ne_bytes()), Addr4::from_octets(destination.to_ne_bytes())))
}

/// The addresses of an IPv6 packet, the source first.
#[inline(always)]
pub fn ends6<const L3: u32>(packet: &Packet<'_, L3>) -> Result<(Addr6, Addr6), Reason> {
    let [a, b, c, d, e, f, g, h] = packet.read::<[u32; 8]>(L3 as usize + 8).ok_or(Reason::Malformed)?;
    Ok((Addr6::from_words([a, b, c, d]), Addr6::from_words([e, f, g, h])))
}

/// IPv6 extension headers that are followed.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// Where a walk along extension headers has come to.
#[derive(Clone, Copy)]
struct Walk {
    l4: u32,
    id: u32,
    protocol: u8,
    id_protocol: u8,
    part: u8,
}

impl Walk {
    const WHOLE: u8 = 0;
    const FIRST: u8 = 1;
    const LATER: u8 = 2;

    #[inline(always)]
    const fn new(protocol: u8, l4: u32) -> Self {
        Self { l4, id: 0, protocol, id_protocol: 0, part: Self::WHOLE }
    }

    #[inline(always)]
    const fn fragment(&self) -> Fragment {
        match self.part {
            Self::WHOLE => Fragment::Whole,
            Self::FIRST => Fragment::First,
            _ => Fragment::Later,
        }
    }
}

/// A finished walk in one word, so that it crosses a function call of the BPF machine: the identification, how far it
/// came in units of four bytes, both protocols, which part of a packet; or that mark of failure and a reason.
#[derive(Clone, Copy)]
struct Walked(u64);

impl Walked {
    const FAILED: u64 = 3;

    #[inline(always)]
    fn of(walk: Result<Walk, Reason>, from: u32) -> Self {
        match walk {
            Ok(walk) => Self(
                u64::from(walk.id) << 32
                    | u64::from(((walk.l4 - from) / 4) & 0x1fff) << 18
                    | u64::from(walk.protocol) << 10
                    | u64::from(walk.id_protocol) << 2
                    | u64::from(walk.part),
            ),
            Err(Reason::FragmentTiny) => Self(1 << 2 | Self::FAILED),
            Err(_) => Self(Self::FAILED),
        }
    }

    #[inline(always)]
    const fn walk(self, from: u32) -> Result<Walk, Reason> {
        if self.0 & 3 == Self::FAILED {
            return Err(if self.0 == Self::FAILED { Reason::Malformed } else { Reason::FragmentTiny });
        }
        Ok(Walk {
            l4: from + (self.0 >> 18 & 0x1fff) as u32 * 4,
            id: (self.0 >> 32) as u32,
            protocol: (self.0 >> 10) as u8,
            id_protocol: (self.0 >> 2) as u8,
            part: (self.0 & 3) as u8,
        })
    }
}

/// Whether an extension header that is followed has this number.
#[must_use]
#[inline(always)]
pub const fn is_extension(next_header: u8) -> bool {
    use extension::*;
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// Follows extension headers from `from`, where one of this protocol stands, up to the transport header, or to a
/// fragment header behind which there is none.
#[inline(always)]
fn follow_extensions<const L3: u32>(
    packet: &Packet<'_, L3>,
    protocol: u8,
    from: u32,
    end: u32,
) -> Result<Walk, Reason> {
    #[cfg(target_arch = "bpf")]
    let walked = podgate_extensions(packet.context(), u32::from(protocol), from, end);
    #[cfg(not(target_arch = "bpf"))]
    let walked = Walked::of(walk_extensions(packet, protocol, from, end), from).0;
    Walked(walked).walk(from)
}

/// A global function: see `events::podgate_report`.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_extensions(
    context: *mut aya_ebpf::bindings::__sk_buff,
    protocol: u32,
    from: u32,
    end: u32,
) -> u64 {
    Walked::of(walk_extensions(&crate::packet::Frame::new(context), protocol as u8, from, end), from).0
}

#[inline(always)]
fn walk_extensions<const L3: u32>(packet: &Packet<'_, L3>, protocol: u8, from: u32, end: u32) -> Result<Walk, Reason> {
    let mut walk = Walk::new(protocol, from);
    for step in 0..EXTENSIONS {
        if !is_extension(walk.protocol) || walk.part == Walk::LATER {
            return Ok(walk);
        }
        follow_extension(packet, end, &mut walk, step)?;
    }
    if is_extension(walk.protocol) { Err(Reason::Malformed) } else { Ok(walk) }
}

#[inline(always)]
fn follow_extension<const L3: u32>(
    packet: &Packet<'_, L3>,
    end: u32,
    walk: &mut Walk,
    step: u32,
) -> Result<(), Reason> {
    let [first, second, third, fourth] = packet.load::<[u16; 4]>(walk.l4).ok_or(Reason::Malformed)?;
    let [next_header, length] = first.to_ne_bytes();
    let size = match walk.protocol {
        extension::FRAGMENT => 8,
        extension::AUTHENTICATION => (u32::from(length) + 2) * 4,
        _ => (u32::from(length) + 1) * 8,
    };
    let misplaced = match walk.protocol {
        extension::HOP_BY_HOP => step != 0,
        extension::FRAGMENT => walk.part != Walk::WHOLE,
        _ => false,
    };
    if misplaced || walk.l4 + size > end {
        return Err(Reason::Malformed);
    }
    if walk.protocol == extension::FRAGMENT {
        walk.part = fragment6(u16::from_be(second), next_header)?;
        walk.id = u32::from(third) | u32::from(fourth) << 16;
        walk.id_protocol = next_header;
    }
    walk.l4 += size;
    walk.protocol = next_header;
    Ok(())
}

/// Which part of a packet the fields of an IPv6 fragment header make it. An atomic fragment is a packet of its own,
/// whatever other fragments have its id (RFC 6946).
#[inline(always)]
const fn fragment6(field: u16, next_header: u8) -> Result<u8, Reason> {
    const MORE: u16 = 1;
    match (field >> 3, field & MORE) {
        (0, 0) => Ok(Walk::WHOLE),
        (0, _) => Ok(Walk::FIRST),
        (offset, _) if is_overwriting(offset, next_header) => Err(Reason::FragmentTiny),
        _ => Ok(Walk::LATER),
    }
}

/// Reads the transport header of a packet that is whole or a first fragment into `transport`. `header` is the length of
/// the family's fixed IP header, [`HEADER4`] or [`HEADER6`], behind which it mostly begins.
///
/// Fills in a place instead of returning a value, as do the functions below: the compiler packs small fields of a
/// `Result` into words and takes them apart again, which costs more than all the rest of parsing.
#[inline(always)]
pub fn read_transport<const L3: u32>(
    packet: &Packet<'_, L3>,
    headers: &Headers,
    header: u32,
    transport: &mut Transport,
) -> Result<(), Reason> {
    let truncated = if headers.fragment == Fragment::Whole { Reason::Malformed } else { Reason::FragmentTiny };
    let room = headers.end - headers.l4;
    let needed = match headers.protocol {
        protocol::TCP => 20,
        protocol::SCTP => 12,
        protocol::UDP => 8,
        // Each family has its own; in the other the number means nothing.
        protocol::ICMP if header == HEADER4 => 8,
        protocol::ICMPV6 if header == HEADER6 => 8,
        _ => {
            transport.kind = TransportKind::Portless;
            return Ok(());
        }
    };
    if room < needed {
        return Err(truncated);
    }
    let mut bytes = Bytes(0);
    if headers.l4 == L3 + header {
        let at = (L3 + header) as usize;
        bytes = match headers.protocol {
            protocol::TCP => packet.read(at).map_or(Bytes(0), Bytes::of_tcp),
            _ => packet.read(at).map_or(Bytes(0), Bytes::of_others),
        };
    }
    if !bytes.is_present() {
        bytes = Bytes::load(packet, headers.l4, headers.protocol);
    }
    if bytes.is_present() && interpret(bytes, headers, room, transport) { Ok(()) } else { Err(truncated) }
}

/// What is needed of a transport header, in one word, so that it crosses a function call of the BPF machine: the first
/// four bytes, then the two bytes that matter by protocol (TCP offset and flags, UDP length, ICMP identifier), then a
/// mark that they were there.
#[derive(Clone, Copy)]
struct Bytes(u64);

impl Bytes {
    const PRESENT: u64 = 1 << 63;

    /// From the first 16 bytes.
    #[inline(always)]
    fn of_tcp([first, _, _, fourth]: [u32; 4]) -> Self {
        let [offset, flags, ..] = fourth.to_ne_bytes();
        Self(u64::from(first) | u64::from(u16::from_ne_bytes([offset, flags])) << 32 | Self::PRESENT)
    }

    /// From the first eight bytes.
    #[inline(always)]
    fn of_others([first, second]: [u32; 2]) -> Self {
        let [fifth, sixth, ..] = second.to_ne_bytes();
        Self(u64::from(first) | u64::from(u16::from_ne_bytes([fifth, sixth])) << 32 | Self::PRESENT)
    }

    /// Reads them at an offset that is not known at compile time, or outside of linear memory.
    #[inline(always)]
    fn load<const L3: u32>(packet: &Packet<'_, L3>, at: u32, protocol: u8) -> Self {
        #[cfg(target_arch = "bpf")]
        return Self(podgate_load_transport(packet.context(), at, u32::from(protocol)));
        #[cfg(not(target_arch = "bpf"))]
        Self::load_here(packet, at, protocol)
    }

    #[inline(always)]
    fn load_here<const L3: u32>(packet: &Packet<'_, L3>, at: u32, protocol: u8) -> Self {
        match protocol {
            protocol::TCP => packet.load(at).map_or(Self(0), Self::of_tcp),
            _ => packet.load(at).map_or(Self(0), Self::of_others),
        }
    }

    #[inline(always)]
    const fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    #[inline(always)]
    const fn first(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    const fn second(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline(always)]
    const fn third(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// A global function: see `events::podgate_report`. It also keeps the compiler from merging reads from the stack with
/// reads from the packet, which the verifier refuses.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_load_transport(context: *mut aya_ebpf::bindings::__sk_buff, at: u32, protocol: u32) -> u64 {
    Bytes::load_here(&crate::packet::Frame::new(context), at, protocol as u8).0
}

/// Fills in what the bytes say; false: they contradict the IP header.
#[inline(always)]
fn interpret(bytes: Bytes, headers: &Headers, room: u32, transport: &mut Transport) -> bool {
    let third = u32::from(u16::from_be(bytes.third()));
    transport.kind = TransportKind::Ports;
    transport.source = NetPort::from_network(bytes.first());
    transport.destination = NetPort::from_network(bytes.second());
    match headers.protocol {
        protocol::TCP => {
            let header = (third >> 12) * 4;
            transport.tcp_flags = third as u8;
            header >= 20 && header <= room
        }
        protocol::UDP => {
            let fits = third <= room || headers.fragment != Fragment::Whole;
            // A jumbogram has no room for its length (RFC 2675).
            fits && (third >= 8 || third == 0 && room > 0xffff)
        }
        protocol::SCTP => true,
        _ => {
            interpret_icmp(bytes, headers.protocol, transport);
            true
        }
    }
}

/// Whether the kernel may write a checksum at a place, in bytes from the IP header on: behind all by which a packet is
/// judged. That is where TCP, UDP and SCTP have theirs, or in what they carry, as in the packets of a tunnel that ends in
/// the pod. Of protocols without ports nothing behind the IP headers is judged: GRE has its checksum there. ICMP's is made by its sender, and the kernel completes checksums before it takes a packet apart.
#[must_use]
#[inline(always)]
pub const fn may_be_summed(place: u32, header: u32, protocol: u8, fragment: Fragment) -> bool {
    let judged = match protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        protocol::SCTP => 8,
        _ => 0,
    };
    place >= header + judged
        && matches!(fragment, Fragment::Whole)
        && !matches!(protocol, protocol::ICMP | protocol::ICMPV6)
}

/// Stands for both ports of an ICMP message that is no echo. The remote port of an echo is 0 or 1, so no echo's flow, whatever
/// its identifier, is that of other messages.
const NO_ECHO: u16 = 2;

/// Fills in what an ICMP message of its family is.
#[inline(always)]
fn interpret_icmp(bytes: Bytes, protocol: u8, transport: &mut Transport) {
    let [icmp_type, _code] = bytes.first().to_ne_bytes();
    transport.kind = if protocol == protocol::ICMP { icmp4_kind(icmp_type) } else { icmp6_kind(icmp_type) };
    let is_echo = matches!(transport.kind, TransportKind::EchoRequest | TransportKind::EchoReply);
    let id = NetPort::from_network(if is_echo { bytes.third() } else { NO_ECHO });
    transport.source = id;
    transport.destination = id;
}

/// ICMP types: 0 and 8 echo, 3 unreachable (fragmentation needed among it), 11 time exceeded, 12 parameter problem; 5 redirect
/// (RFC 792) and 9 router advertisement (RFC 1256).
#[inline(always)]
const fn icmp4_kind(icmp_type: u8) -> TransportKind {
    match icmp_type {
        0 => TransportKind::EchoReply,
        8 => TransportKind::EchoRequest,
        3 | 11 | 12 => TransportKind::IcmpError,
        5 | 9 => TransportKind::OfRouter,
        _ => TransportKind::Portless,
    }
}

/// ICMPv6 types: 1 to 4 errors, 128 and 129 echo. Discovery is told by [`crate::discovery`], before any of this is read.
#[inline(always)]
const fn icmp6_kind(icmp_type: u8) -> TransportKind {
    match icmp_type {
        1..=4 => TransportKind::IcmpError,
        128 => TransportKind::EchoRequest,
        129 => TransportKind::EchoReply,
        _ => TransportKind::Portless,
    }
}

/// The headers and addresses of the packet that an ICMP error is about.
pub struct Embedded<A> {
    /// Its headers.
    pub headers: Headers,
    /// Its source address.
    pub source: A,
    /// Its destination address.
    pub destination: A,
}

/// The IPv4 packet that an ICMP error is about.
#[inline(always)]
pub fn embedded4(packet: &Packet<'_>, error: &Headers) -> Result<Embedded<Addr4>, Reason> {
    let at = error.l4 + ICMP_ERROR_HEADER;
    let words = packet.load::<[u32; 5]>(at).ok_or(Reason::IcmpUnrelated)?;
    let [version_ihl, ..] = words[0].to_ne_bytes();
    let [_, _, offset_high, offset_low] = words[1].to_ne_bytes();
    let [_, protocol, _, _] = words[2].to_ne_bytes();
    let header = u32::from(version_ihl & 0xf) * 4;
    let is_later_fragment = u16::from_be_bytes([offset_high, offset_low]) & 0x1fff != 0;
    if version_ihl >> 4 != 4 || header < 20 || is_later_fragment {
        return Err(Reason::IcmpUnrelated);
    }
    Ok(Embedded {
        headers: Headers { protocol, l4: at + header, ..*error },
        source: Addr4::from_octets(words[3].to_ne_bytes()),
        destination: Addr4::from_octets(words[4].to_ne_bytes()),
    })
}

/// The IPv6 packet that an ICMPv6 error is about.
#[inline(always)]
pub fn embedded6(packet: &Packet<'_>, error: &Headers) -> Result<Embedded<Addr6>, Reason> {
    let at = error.l4 + ICMP_ERROR_HEADER;
    let words = packet.load::<[u32; 10]>(at).ok_or(Reason::IcmpUnrelated)?;
    let [_, _, next_header, _] = words[1].to_ne_bytes();
    if words[0].to_ne_bytes()[0] >> 4 != 6 {
        return Err(Reason::IcmpUnrelated);
    }
    let mut walk = Walk::new(next_header, at + 40);
    if is_extension(next_header) {
        walk = follow_extensions(packet, next_header, at + 40, error.end)?;
    }
    if walk.part == Walk::LATER {
        return Err(Reason::IcmpUnrelated);
    }
    Ok(Embedded {
        headers: Headers { protocol: walk.protocol, l4: walk.l4, ..*error },
        source: Addr6::from_words([words[2], words[3], words[4], words[5]]),
        destination: Addr6::from_words([words[6], words[7], words[8], words[9]]),
    })
}

/// Bytes of an ICMP error before the packet that it is about.
const ICMP_ERROR_HEADER: u32 = 8;

/// What the first eight bytes of a transport header say, which is all that an ICMP error must carry of it (RFC 792).
#[inline(always)]
pub fn embedded_transport(packet: &Packet<'_>, headers: &Headers) -> Result<Transport, Reason> {
    if headers.l4 + 8 > headers.end {
        return Err(Reason::IcmpUnrelated);
    }
    let [first, second, third, _] = packet.load::<[u16; 4]>(headers.l4).ok_or(Reason::IcmpUnrelated)?;
    let ports = Transport {
        kind: TransportKind::Ports,
        source: NetPort::from_network(first),
        destination: NetPort::from_network(second),
        tcp_flags: 0,
    };
    let echo = |kind| {
        let id = NetPort::from_network(third);
        Ok(Transport { kind, source: id, destination: id, tcp_flags: 0 })
    };
    match (headers.protocol, first.to_ne_bytes()[0]) {
        (protocol::TCP | protocol::UDP | protocol::SCTP, _) => Ok(ports),
        (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => echo(TransportKind::EchoRequest),
        (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => echo(TransportKind::EchoReply),
        (protocol::ICMP | protocol::ICMPV6, _) => Err(Reason::IcmpUnrelated),
        _ => Ok(Transport::PORTLESS),
    }
}

#[cfg(test)]
mod tests;
