//! The exit hooks: where what a pod sent to a Service, or to an address of this host, is judged by the address that it
//! really goes to.
//!
//! ```text
//! pod ──► its hook: tag ──► routing, address translation, bridging ──► exit hook: judge by the tag ──► pod, wire, tunnel
//!                                                    └──► this host itself, which every pod may reach
//! ```

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use podgate_common::{
    Addr4, Addr6, Direction, EndpointConfig, EthernetSource, Flow, InterfaceSlot, OwnAddressKey, Reason, SlotWord, Tag,
    VERDICT_NONE, Verdict, deferring, exits, flags, map, place, protocol, state,
};

use crate::events;
use crate::family::Family;
use crate::flow::{self, AsNew, Scene, Table};
use crate::maps;
use crate::neighbours;
use crate::packet::{self, BARE, Frame, Opening, Packet};
use crate::parse::{Headers, ethertype};
use crate::program::{self, Endpoint, IcmpError, NoScene};
use crate::related;
use crate::rules::tcp;
use crate::verdict::{self, is_enforced, is_isolated};

/// Where a packet comes from that is about to enter a pod.
///
/// Made by arithmetic and by functions of their own rather than by branches, so that the verifier follows all origins at
/// once: with a branch it would look at the whole judgement once for each.
///
/// Above the bits there stands the slot of the pod of this node that sent the packet.
#[derive(Clone, Copy)]
pub(crate) struct Origin(u32);

impl Origin {
    /// Another host, or nobody that is known.
    pub(crate) const ELSEWHERE: Self = Self(0);
    const NODE: u32 = 1;
    const ITSELF: u32 = 2;
    const NEAR: u32 = Self::NODE | Self::ITSELF;
    const SLOT_SHIFT: u32 = 2;

    /// This node, if no interface brought the packet and the packet itself does not say otherwise.
    #[inline(always)]
    fn by_interface(packet: &Packet<'_>, ifindex: u32) -> Self {
        if ifindex != 0 {
            return Self::ELSEWHERE;
        }
        Self(podgate_made_here(packet.context()) & Self::NODE)
    }

    /// The pod in a slot; itself, if that is the one that the packet is about to enter and no other has the slot too.
    #[inline(always)]
    fn by_slots(from: u32, to: u32) -> Self {
        let is_itself = is_zero(from ^ to) & (is_zero(to ^ map::SHARED_SLOT) ^ 1);
        Self((from << Self::SLOT_SHIFT) | (Self::ITSELF * is_itself))
    }

    /// Made by a process of this node, or by the pod itself; 0: neither.
    #[inline(always)]
    pub(crate) const fn near(self) -> u32 {
        self.0 & Self::NEAR
    }

    /// Made by the pod itself.
    #[inline(always)]
    pub(crate) const fn is_itself(self) -> bool {
        self.0 & Self::ITSELF != 0
    }

    /// The slot of the pod of this node that sent it; `None`: no pod did.
    #[inline(always)]
    pub(crate) fn pod(self) -> Option<u32> {
        let slot = self.0 >> Self::SLOT_SHIFT;
        // The tag of what came from elsewhere has a slot that is none.
        (slot != 0 && slot < map::ENDPOINTS).then_some(slot)
    }
}

/// 1 for zero, 0 for any number below 2^31.
#[inline(always)]
fn is_zero(number: u32) -> u32 {
    // Hidden from the compiler, which would make a branch of it.
    core::hint::black_box(number).wrapping_sub(1) >> 31
}

/// Tells where a packet comes from that is about to enter the pod of a slot, and takes its tag away: a tag must not
/// get into another network namespace. `None`: a pod's policies do not allow it to go here; it is counted.
#[inline(always)]
pub(crate) fn arrive(packet: &Packet<'_>, slot: u32) -> Option<Origin> {
    let tag = packet.tag();
    if !tag.is_present() {
        let ifindex = packet.ingress_ifindex();
        return match lost_tag(packet, ifindex, exits::UNTAGGED) {
            None => Some(Origin::by_interface(packet, ifindex)),
            Some(tag) => arrive_tagged(packet, slot, tag),
        };
    }
    packet.clear_tag();
    if tag.is_foreign() {
        return Some(Origin::ELSEWHERE);
    }
    if tag.set() == maps::SET.load() {
        return arrive_tagged(packet, slot, tag);
    }
    if tag.is_judged() || tag.is_settled() {
        return Some(Origin::ELSEWHERE);
    }
    match lost_tag(packet, packet.ingress_ifindex(), exits::OTHERS_TAG) {
        Some(tag) => arrive_tagged(packet, slot, tag),
        None => {
            refuse_stranger(packet);
            None
        }
    }
}

/// Whether this node made a packet that no interface brought: it has a source address of this host, or a socket, of whatever
/// process. Else the kernel has made a new packet of one that came from elsewhere, and forgotten where: fragments of IPv6 that it
/// had put together, SYN proxies, NAT64. The socket is to be of this host: what a container sends by a macvlan comes to the host's
/// device with the container's. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_made_here(context: *mut __sk_buff) -> u32 {
    let packet = Frame::new(context);
    const L3: u32 = packet::ETHERNET;
    let said = match packet.ethertype() {
        ethertype::IPV4 => packet.load::<[u32; 2]>(L3 + 8).map(|[third, source]| {
            let [_, protocol, _, _] = third.to_ne_bytes();
            // A bridge of this host that asks for members of groups has no address (`br_ip4_multicast_alloc_query` of Linux).
            if protocol == protocol::IGMP && source == 0 {
                deferring::HOST
            } else {
                verdict::podgate_deferring4(source)
            }
        }),
        ethertype::IPV6 => packet
            .load::<[u32; 4]>(L3 + 8)
            .map(|[first, second, third, fourth]| verdict::podgate_deferring6(first, second, third, fourth)),
        _ => None,
    };
    if said.unwrap_or(0) & deferring::HOST != 0 {
        return 1;
    }
    let fields = [&maps::SOCKET, &maps::SOCKET_NET, &maps::DEVICE, &maps::DEVICE_NET].map(|field| field.load());
    u32::from(fields[0] != 0 && packet.has_socket_here(fields))
}

/// Drops a deferred packet that a program of another start has tagged, and that came by no pod's interface: whose it is
/// can't be told. Only while one start takes over from another.
#[inline(always)]
fn refuse_stranger<const L3: u32>(packet: &Packet<'_, L3>) {
    events::count(packet, 0, Direction::Egress, Reason::NoEndpoint);
    events::count_exit(exits::DENIED);
}

#[inline(always)]
fn arrive_tagged(packet: &Packet<'_>, slot: u32, tag: Tag) -> Option<Origin> {
    let origin = Origin::by_slots(tag.slot(), slot);
    if tag.is_settled() {
        return Some(origin);
    }
    if origin.is_itself() {
        if !tag.is_judged() {
            events::count(packet, slot, Direction::Egress, Reason::Itself);
        }
        return Some(origin);
    }
    let may_stray = !is_routed(slot) && !is_for(packet, slot);
    if may_stray && podgate_refuse_stray(packet.context(), slot, u32::from(tag.raw())) != 0 {
        return None;
    }
    if tag.is_judged() && !is_translated(packet) {
        return Some(origin);
    }
    let allowed = podgate_settle(packet.context(), u32::from(tag.raw())) == 0;
    allowed.then_some(origin)
}

/// Whether what a pod's hook has judged by its destination has got another one since: translation goes on for connections that
/// began when their destination was a Service, takes ports of addresses that are nobody's, or follows rules that are not
/// Kubernetes'.
#[inline(always)]
fn is_translated<const L3: u32>(packet: &Packet<'_, L3>) -> bool {
    if maps::OPENED_TO.load() == 0 {
        return false;
    }
    let Some(opening) = packet.opening(maps::CONNTRACK.load()) else { return false };
    match opening.says_translated(maps::STATUS.load(), maps::READ_AS_TYPE.load()) {
        Some(translated) => translated,
        None => podgate_translated(opening.0) != 0,
    }
}

/// The same of a connection, as [`Packet::opening`] gives it. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_translated(connection: u64) -> u32 {
    u32::from(Opening(connection).is_translated(maps::OPENED_TO.load(), maps::STATUS.load()))
}

/// Drops and counts a packet that a bridge gives to the pod in a slot though it is not for it, unless the policies of the pod that
/// sent it let it speak to everybody; 0: it goes on. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_refuse_stray(context: *mut __sk_buff, to: u32, tag: u32) -> u32 {
    let packet = Frame::new(context);
    if !strays(&packet, to) {
        return 0;
    }
    let slot = Tag::from_raw(tag as u16).slot();
    let Some(word) = maps::slot_word(slot).filter(|word| word.config() != 0) else { return 0 };
    let reason = match maps::CONFIGS.get(word.config()) {
        None => Reason::Internal,
        Some(config) if !is_isolated(config, Direction::Egress) || may_open_all(config) => return 0,
        Some(config) => program::if_isolated(Reason::NoRule, config, Direction::Egress),
    };
    events::count(&packet, slot, Direction::Egress, reason);
    events::report(&packet, slot, word.generation(), Direction::Egress, reason);
    if reason.verdict() != Verdict::Denied {
        return 0;
    }
    events::count_exit(exits::DENIED);
    1
}

/// Whether a rule allows egress to everybody.
#[inline(always)]
fn may_open_all(config: &EndpointConfig) -> bool {
    maps::ROWS.get(config.default_row[Direction::Egress as usize]).is_some_and(|row| row.any != VERDICT_NONE)
}

/// Whether a pod of a bridge is given a packet that is for another address than its own, while its kernel, which has the Ethernet
/// address, may take it.
#[inline(always)]
fn strays(packet: &Frame<'_>, slot: u32) -> bool {
    let [own, later] = [false, true].map(|later| ethernet_source(slot, later));
    let to = packet.read_or_load::<[u16; 3]>(0).unwrap_or_default();
    let is_group = to[0].to_ne_bytes()[0] & 1 != 0;
    let to = EthernetSource::of(to).raw();
    if !is_group && to != own && to != later {
        return false;
    }
    let key = match packet.ethertype() {
        ethertype::IPV4 => {
            let to = packet.read_or_load::<u32>(packet::ETHERNET + 16).unwrap_or(0).to_ne_bytes();
            let address = Addr4::from_octets(to);
            if address.is_group() {
                return false;
            }
            OwnAddressKey::v4(slot, address)
        }
        ethertype::IPV6 => {
            let to = Addr6::from_words(packet.read_or_load::<[u32; 4]>(packet::ETHERNET + 24).unwrap_or_default());
            if to.is_group() {
                return false;
            }
            OwnAddressKey::v6(slot, to)
        }
        _ => return false,
    };
    !neighbours::is_own(&key, slot)
}

/// Whether a packet is for the address of the pod in a slot; of one with several addresses [`neighbours::is_own`] knows more.
#[inline(always)]
fn is_for(packet: &Packet<'_>, slot: u32) -> bool {
    let Some(own) = maps::POD_ADDRESSES.get(slot) else { return false };
    match packet.ethertype() {
        ethertype::IPV4 => Addr4::ends(packet).is_ok_and(|(_, to)| !to.is_unspecified() && to == own.v4),
        ethertype::IPV6 => Addr6::ends(packet).is_ok_and(|(_, to)| !to.is_unspecified() && to == own.v6),
        _ => false,
    }
}

/// Whether nothing is asked of the Ethernet addresses of a pod's frames: it routes, or is reached by routes.
#[inline(always)]
fn is_routed(slot: u32) -> bool {
    ethernet_source(slot, false) == EthernetSource::ANY.raw()
}

/// A number: the verifier doesn't take what the compiler makes of a comparison of two that may be none.
#[inline(always)]
fn ethernet_source(slot: u32, later: bool) -> u64 {
    maps::ethernet_source(slot, later).map_or(0, EthernetSource::raw)
}

/// The tag that a packet should have that came in by this interface: a pod's, or a bridge that pods hang on, where the
/// address tells which. The pod's own hook has seen to it that the address is the pod's. It is counted by an index of
/// [`podgate_common::exits`].
#[inline(always)]
fn lost_tag<const L3: u32>(packet: &Packet<'_, L3>, ifindex: u32, counter: u32) -> Option<Tag> {
    if ifindex == 0 {
        return None;
    }
    let slot = match maps::slot_of(ifindex)? {
        InterfaceSlot::BRIDGE => podgate_origin(packet.context(), L3),
        InterfaceSlot::TUNNEL_PORT => 0,
        slot => slot,
    };
    if slot == 0 {
        return None;
    }
    events::count_exit(counter);
    Some(Tag::deferred(maps::SET.load(), slot, false))
}

/// The slot of the pod that has a packet's source address; 0: none has. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_origin(context: *mut __sk_buff, l3: u32) -> u32 {
    let packet = Frame::new(context);
    let slot = match packet.ethertype() {
        ethertype::IPV4 => packet.load::<[u32; 1]>(l3 + 12).and_then(|[source]| {
            let address = Addr4::from_octets(source.to_ne_bytes());
            // SAFETY: not preallocated, so the element is not reused while this program runs; copied at once.
            unsafe { maps::ORIGINS4.get(address) }
        }),
        ethertype::IPV6 => packet.load::<[u32; 4]>(l3 + 8).and_then(|source| {
            // SAFETY: as above.
            unsafe { maps::ORIGINS6.get(Addr6::from_words(source)) }
        }),
        _ => None,
    };
    slot.copied().unwrap_or(0)
}

/// Judges what leaves by a device that is no pod's. What was judged keeps a tag that says so, for the next device on its
/// way, where it may be part of a tunnel's packet.
#[inline(always)]
pub fn leave<const L3: u32>(ctx: &TcContext) -> i32 {
    let packet = Packet::<'_, L3>::new(ctx.skb.skb);
    let mut tag = packet.tag();
    if tag.is_settled() || tag.is_foreign() {
        return TC_ACT_UNSPEC;
    }
    // Of a pod of another start's nobody knows which it is; that start has judged it.
    if tag.is_present() && tag.is_judged() && (tag.set() != maps::SET.load() || !is_translated(&packet)) {
        return TC_ACT_UNSPEC;
    }
    if !tag.is_present() || tag.set() != maps::SET.load() {
        let counter = if tag.is_present() { exits::OTHERS_TAG } else { exits::UNTAGGED };
        match lost_tag(&packet, packet.ingress_ifindex(), counter) {
            Some(lost) => tag = lost,
            None if !tag.is_present() => return TC_ACT_UNSPEC,
            None => {
                refuse_stranger(&packet);
                return TC_ACT_SHOT;
            }
        }
    }
    let settled = match L3 {
        BARE => podgate_settle_bare(packet.context(), u32::from(tag.raw())),
        _ => podgate_settle(packet.context(), u32::from(tag.raw())),
    };
    if settled != 0 {
        return TC_ACT_SHOT;
    }
    packet.set_tag(Tag::settled(maps::SET.load(), tag.slot()));
    TC_ACT_UNSPEC
}

/// Says of a packet that it comes from elsewhere. It may bear a tag of another host's pod, which it keeps on its way into
/// another network namespace; and what stands in `tc_classid` may be left over from the driver, and would be the tag behind
/// a TCX program that says OK.
#[inline(always)]
pub fn enter(ctx: &TcContext) -> i32 {
    Frame::new(ctx.skb.skb).set_tag(Tag::FOREIGN);
    TC_ACT_UNSPEC
}

/// Says whose a packet is that comes out of a tunnel which ends on this host. The packet around it may be a pod's, which was
/// let go to this host: then the one in it is that pod's, from an address of the pod, and is to be judged yet.
#[inline(always)]
pub fn emerge<const L3: u32>(ctx: &TcContext) -> i32 {
    let packet = Packet::<'_, L3>::new(ctx.skb.skb);
    let tag = packet.tag();
    if !tag.is_present() || tag.is_foreign() {
        packet.set_tag(Tag::FOREIGN);
        return TC_ACT_UNSPEC;
    }
    let Some(word) = maps::slot_word(tag.slot()).filter(|_| tag.set() == maps::SET.load()) else {
        refuse_stranger(&packet);
        return TC_ACT_SHOT;
    };
    if let Some(reason) = unwrapped(&packet, word) {
        events::count(&packet, tag.slot(), Direction::Egress, reason);
        events::report(&packet, tag.slot(), word.generation(), Direction::Egress, reason);
        if reason.verdict() == Verdict::Denied {
            events::count_exit(exits::DENIED);
            return TC_ACT_SHOT;
        }
    }
    if !tag.is_inward() {
        packet.set_tag(Tag::deferred(maps::SET.load(), tag.slot(), false));
    }
    TC_ACT_UNSPEC
}

/// Why a packet that was in a pod's should not go on; `None`: the exit hook decides.
#[inline(always)]
fn unwrapped<const L3: u32>(packet: &Packet<'_, L3>, word: SlotWord) -> Option<Reason> {
    // The bridge would learn that the pod is behind the tunnel, whoever it says it is.
    if maps::slot_of(packet.ifindex()) == Some(InterfaceSlot::TUNNEL_PORT) {
        return Some(Reason::NeighbourSpoofed);
    }
    if word.config() == 0 {
        return tells_neighbours(packet).then_some(Reason::NeighbourSpoofed);
    }
    let Some(config) = maps::CONFIGS.get(word.config()) else { return Some(Reason::Internal) };
    packet.linearise();
    let is_own = match packet.ethertype() {
        ethertype::IPV4 => is_own::<Addr4, L3>(packet, config),
        ethertype::IPV6 => is_own::<Addr6, L3>(packet, config),
        _ => false,
    };
    if is_own {
        return None;
    }
    Some(if is_enforced(config) { Reason::Spoofed } else { Reason::Spoofed.audited() })
}

/// Whether a packet is from an address of the pod, or any if the pod routes for others. What finds neighbours is not: the pod
/// is no neighbour of those beyond the tunnel.
#[inline(always)]
fn is_own<F: Family, const L3: u32>(packet: &Packet<'_, L3>, config: &EndpointConfig) -> bool {
    let mut headers = Headers::NONE;
    F::headers(packet, &mut headers).is_ok()
        && !finds_neighbours(packet, &headers)
        && !program::is_overwritten(packet, &headers)
        && F::ends(packet).is_ok_and(|(source, _)| {
            !source.is_unspecified() && (source == F::of(config) || config.flags & flags::ROUTES != 0)
        })
}

/// Whether a packet may say where an address is, whatever stands between it and that.
#[inline(always)]
fn tells_neighbours<const L3: u32>(packet: &Packet<'_, L3>) -> bool {
    match packet.ethertype() {
        ethertype::IPV4 => false,
        ethertype::IPV6 => packet.load::<u8>(L3 + HOP_LIMIT) == Some(255),
        _ => true,
    }
}

/// Where an IPv6 header has the hop limit.
const HOP_LIMIT: u32 = 7;

/// Neighbour discovery like nothing else has this hop limit (RFC 4861, section 7.1).
#[inline(always)]
fn finds_neighbours<const L3: u32>(packet: &Packet<'_, L3>, headers: &Headers) -> bool {
    headers.protocol == protocol::ICMPV6 && packet.load::<u8>(L3 + HOP_LIMIT) == Some(255)
}

/// Judges a packet by the policies of the pod that its tag names, and counts it; 0: it goes on. A global function: see
/// `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_settle(context: *mut __sk_buff, tag: u32) -> u32 {
    settle(&Frame::new(context), Tag::from_raw(tag as u16))
}

/// The same on a device without link-layer headers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_settle_bare(context: *mut __sk_buff, tag: u32) -> u32 {
    settle(&Packet::<'_, BARE>::new(context), Tag::from_raw(tag as u16))
}

#[inline(always)]
fn settle<const L3: u32>(packet: &Packet<'_, L3>, tag: Tag) -> u32 {
    let word = maps::slot_word(tag.slot());
    // A tag beyond the slots is none of ours: it is counted where there is no endpoint.
    let (slot, word, reason) = match word {
        Some(word) => (tag.slot(), word, judge(packet, tag, word)),
        None => (0, SlotWord::default(), Reason::Internal),
    };
    // What goes on was counted at the pod's hook; what was judged there was not deferred.
    if tag.is_judged() && reason.verdict() == Verdict::Allowed {
        return 0;
    }
    if tag.is_answer() && reason == Reason::Established {
        events::count_exit(exits::ALLOWED);
        return 0;
    }
    events::count(packet, slot, Direction::Egress, reason);
    if reason.is_reported() {
        events::report(packet, slot, word.generation(), Direction::Egress, reason);
        if reason.verdict() == Verdict::Denied {
            events::count_exit(exits::DENIED);
            return 1;
        }
    }
    events::count_exit(exits::ALLOWED);
    0
}

#[inline(always)]
fn judge<const L3: u32>(packet: &Packet<'_, L3>, tag: Tag, word: SlotWord) -> Reason {
    if word.config() == 0 {
        return Reason::NotIsolated;
    }
    let Some(config) = maps::CONFIGS.get(word.config()) else { return Reason::Internal };
    if !is_isolated(config, Direction::Egress) {
        return Reason::DirectionNotIsolated;
    }
    if tag.is_inward() {
        return Reason::Cut;
    }
    if tag.is_answer() && is_reply(packet) {
        return Reason::Established;
    }
    let endpoint = Endpoint {
        slot: tag.slot(),
        generation: word.generation(),
        config,
        direction: Direction::Egress,
        origin: Origin::ELSEWHERE,
    };
    packet.linearise();
    let reason = match packet.ethertype() {
        ethertype::IPV4 => ip::<Addr4, L3>(packet, &endpoint, tag.is_established())
            .unwrap_or_else(|IcmpError| related::judge_at_exit::<Addr4, L3>(packet, &endpoint)),
        ethertype::IPV6 if L3 != BARE && neighbours::is_discovery_at_exit(packet.context()) => Reason::Discovery,
        ethertype::IPV6 => ip::<Addr6, L3>(packet, &endpoint, tag.is_established())
            .unwrap_or_else(|IcmpError| related::judge_at_exit::<Addr6, L3>(packet, &endpoint)),
        _ => Reason::NotIp,
    };
    if reason.matters_only_if_isolated() { program::if_isolated(reason, config, Direction::Egress) } else { reason }
}

/// Whether connection tracking says that a packet answers, as far as the loader has found out where it says so.
#[inline(always)]
fn is_reply<const L3: u32>(packet: &Packet<'_, L3>) -> bool {
    let at = maps::CONNTRACK.load();
    at != 0 && packet.is_reply(at)
}

/// What happens to an IP packet. A function of its own for the sake of the stack, as its like in `program`.
#[inline(never)]
fn ip<F: Family, const L3: u32>(
    packet: &Packet<'_, L3>,
    endpoint: &Endpoint<'_>,
    established: bool,
) -> Result<Reason, IcmpError> {
    let mut scene = MaybeUninit::uninit();
    match read::<F, L3>(packet, endpoint, &mut scene) {
        Err(NoScene::Fate(reason)) => Ok(reason),
        Err(NoScene::IcmpError) => Err(IcmpError),
        // SAFETY: `read` has filled it in.
        Ok(()) => Ok(by_flow(unsafe { scene.assume_init_ref() }, established)),
    }
}

#[inline(never)]
fn read<'a, F: Family, const L3: u32>(
    packet: &Packet<'a, L3>,
    endpoint: &Endpoint<'a>,
    scene: &mut MaybeUninit<Scene<'a, F>>,
) -> Result<(), NoScene> {
    program::read_at::<F, L3>(packet, endpoint, scene, Direction::Egress, place::EXIT)
}

/// What happens to a packet: only the first one of a connection asks policy. Answers do not come by here.
#[inline(always)]
fn by_flow<F: Family>(scene: &Scene<'_, F>, established: bool) -> Reason {
    if scene.protocol == protocol::TCP && tcp::opens(scene.tcp_flags) {
        return flow::open_tcp(scene);
    }
    for (table, flows) in [(Table::Lasting, F::flows()), (Table::Pending, F::pending())] {
        if let Some(found) = flows.get_ptr_mut(&scene.key) {
            // SAFETY: the map's element; may be reused by another flow while we look, as in every LRU map of the kernel.
            let found = unsafe { &*found };
            if scene.is_usable(found) {
                return known(scene, found, table, established);
            }
        }
    }
    unknown(scene, established)
}

#[inline(always)]
fn known<F: Family>(scene: &Scene<'_, F>, found: &Flow, table: Table, established: bool) -> Reason {
    if found.stamp != scene.stamp {
        return flow::outdated(scene, found, table).unwrap_or_else(|AsNew| flow::instead(scene));
    }
    if established && table == Table::Pending {
        return flow::promote(scene, Flow { state: found.state | state::ANSWERED, ..*found });
    }
    flow::touch(scene, found, Direction::Egress);
    Reason::Established
}

/// A packet of a flow that has no entry here: its first, or the first since policy isolates its pod, or the entry was
/// evicted.
#[inline(never)]
fn unknown<F: Family>(scene: &Scene<'_, F>, established: bool) -> Reason {
    if !established || !scene.opens_flow {
        return flow::in_own_direction(scene);
    }
    match scene.verdict(Direction::Egress) {
        Ok(rule) => {
            let entry = scene.flow(state::OPENED_EGRESS | state::ANSWERED, rule);
            flow::store(F::flows(), scene, &entry, scene.passed(rule, true))
        }
        Err(Reason::NoRule) if scene.protocol == protocol::TCP && scene.keeps() && is_answered(scene) => Reason::Kept,
        Err(Reason::NoRule) if scene.protocol == protocol::TCP => Reason::Cut,
        Err(reason) => reason,
    }
}

/// Whether the end that a packet goes to has answered in its connection: what is established at the pod says nothing of who is
/// behind a Service now. Connection tracking may have forgotten the connection, and begun another one with this packet.
#[inline(always)]
fn is_answered<F: Family>(scene: &Scene<'_, F>) -> bool {
    let at = maps::CONNTRACK.load();
    at != 0 && scene.packet.opening(at).is_some_and(Opening::is_answered)
}
