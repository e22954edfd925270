//! Where a packet comes from: this node, a pod of it, or another host; and whether it still goes to where its sender's hook has
//! seen it go.

use aya_ebpf::bindings::__sk_buff;
use podgate_common::{Addr4, Addr6, Direction, InterfaceSlot, Reason, Tag, deferring, exits, protocol};

use crate::classes::deferring_of;
use crate::endpoint::Origin;
use crate::events;
use crate::family::Family;
use crate::maps;
use crate::packet::{self, Frame, Opening, Packet};
use crate::parse::ethertype;

/// This node, if no interface brought the packet and the packet itself does not say otherwise.
#[inline(always)]
pub(crate) fn by_interface(packet: &Packet<'_>, ifindex: u32) -> Origin {
    if ifindex != 0 {
        return Origin::ELSEWHERE;
    }
    Origin::made_here(podgate_made_here(packet.context()))
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
                deferring_of(&Addr4::from_octets(source.to_ne_bytes()))
            }
        }),
        ethertype::IPV6 => packet.load::<[u32; 4]>(L3 + 8).map(|source| deferring_of(&Addr6::from_words(source))),
        _ => None,
    };
    if said.unwrap_or(0) & deferring::HOST != 0 {
        return 1;
    }
    let fields = [&maps::SOCKET, &maps::SOCKET_NET, &maps::DEVICE, &maps::DEVICE_NET].map(|field| field.load());
    u32::from(fields[0] != 0 && packet.has_socket_here(fields))
}

/// The tag that a packet should have that came in by this interface: a pod's, or a bridge that pods hang on, where the
/// address tells which. The pod's own hook has seen to it that the address is the pod's. It is counted by an index of
/// [`podgate_common::exits`].
#[inline(always)]
pub(crate) fn lost_tag<const L3: u32>(packet: &Packet<'_, L3>, ifindex: u32, counter: u32) -> Option<Tag> {
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
        ethertype::IPV4 => {
            packet.load::<[u32; 1]>(l3 + 12).and_then(|[source]| Addr4::from_octets(source.to_ne_bytes()).origin())
        }
        ethertype::IPV6 => packet.load::<[u32; 4]>(l3 + 8).and_then(|source| Addr6::from_words(source).origin()),
        _ => None,
    };
    slot.unwrap_or(0)
}

/// Drops a deferred packet that a program of another start has tagged, and that came by no pod's interface: whose it is
/// can't be told. Only while one start takes over from another.
#[inline(always)]
pub(crate) fn refuse_stranger<const L3: u32>(packet: &Packet<'_, L3>) {
    events::count(packet, 0, Direction::Egress, Reason::NoEndpoint);
    events::count_exit(exits::DENIED);
}

/// Whether what a pod's hook has judged by its destination has got another one since: translation goes on for connections that
/// began when their destination was a Service, takes ports of addresses that are nobody's, or follows rules that are not
/// Kubernetes'.
#[inline(always)]
pub(crate) fn is_translated<const L3: u32>(packet: &Packet<'_, L3>) -> bool {
    says_translated(packet, |opening| podgate_translated(opening.0) != 0)
}

/// The same where no function may be called: of a connection that nobody has answered it is not known.
#[inline(always)]
pub(crate) fn may_be_translated(packet: &Frame<'_>) -> bool {
    says_translated(packet, |opening| opening.may_be_translated(maps::STATUS.load()))
}

/// The same, `otherwise` where the connection can't be read in place.
#[inline(always)]
fn says_translated<const L3: u32>(packet: &Packet<'_, L3>, otherwise: impl FnOnce(Opening) -> bool) -> bool {
    if maps::OPENED_TO.load() == 0 {
        return false;
    }
    let Some(opening) = packet.opening(maps::CONNTRACK.load()) else { return false };
    let said = opening.says_translated(maps::STATUS.load(), maps::READ_AS_TYPE.load());
    said.unwrap_or_else(|| otherwise(opening))
}

/// The same of a connection, as [`Packet::opening`] gives it. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_translated(connection: u64) -> u32 {
    u32::from(Opening(connection).is_translated(maps::OPENED_TO.load(), maps::STATUS.load()))
}
