//! Flows and fragments.

use crate::{Addr4, Addr6, Direction, NetPort};

/// A key of [`crate::map::FLOWS4`] or [`crate::map::FLOWS6`]: a flow as its pod sees it.
///
/// As short as can be: finding a flow is the dearest part of most verdicts, and its cost goes by the key's length.
/// So the pod's address is in [`Holder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct FlowKey<A> {
    /// The other end's address.
    pub remote: A,
    /// The ports of both ends.
    pub ports: FlowPorts,
    /// Whose flow it is, and of which protocol.
    pub holder: Holder,
}

/// The key of an IPv4 flow.
pub type FlowKey4 = FlowKey<Addr4>;
/// The key of an IPv6 flow.
pub type FlowKey6 = FlowKey<Addr6>;

/// The ports of a flow, as both keys have them: the pod's, then the other end's, each in network byte order.
///
/// One word, since the kernel reads keys word by word: of two halves stored one by one a processor makes a word only once
/// both have left its store buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct FlowPorts(u32);

impl FlowPorts {
    /// `local`: the pod's port; the identifier of an ICMP echo; 0 for a protocol without ports. `remote`: the other end's
    /// port; for an ICMP echo 1 if the other end asked, 0 if the pod did. Both are 2 for any other ICMP message.
    #[must_use]
    #[inline(always)]
    pub const fn new(local: NetPort, remote: NetPort) -> Self {
        let ([a, b], [c, d]) = (local.to_network().to_ne_bytes(), remote.to_network().to_ne_bytes());
        Self(u32::from_ne_bytes([a, b, c, d]))
    }

    /// The pod's port.
    #[must_use]
    #[inline(always)]
    pub const fn local(self) -> NetPort {
        let [a, b, _, _] = self.0.to_ne_bytes();
        NetPort::from_network(u16::from_ne_bytes([a, b]))
    }

    /// The other end's port.
    #[must_use]
    #[inline(always)]
    pub const fn remote(self) -> NetPort {
        let [_, _, c, d] = self.0.to_ne_bytes();
        NetPort::from_network(u16::from_ne_bytes([c, d]))
    }
}

/// The part of a flow's key that says whose the flow is: the IP protocol, the [`place`] where the flow is seen, the
/// endpoint's slot, and what tells the pod's addresses apart.
///
/// A slot is one pod's, and a pod has one address of a family: its flows are told apart exactly. What a pod that routes
/// for others has flows with, or an exit hook behind address translation, is told apart from the pod's own address, and
/// from others by 12 bits: two such flows at the same slot with the same ports and the same other end may, rarely, be
/// taken for one. Policy says the same of both, since it never asks for the pod's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Holder(u32);

impl Holder {
    const PLACE_SHIFT: u32 = 8;
    const SLOT_SHIFT: u32 = 9;
    const SLOT: u32 = (1 << (Self::OTHER_SHIFT - Self::SLOT_SHIFT)) - 1;
    const OTHER_SHIFT: u32 = 19;

    /// No flow's.
    pub const NONE: Self = Self(0);

    /// The holder of a flow of the pod's own address.
    #[must_use]
    #[inline(always)]
    pub const fn new(protocol: u8, place: u8, slot: u32) -> Self {
        Self(protocol as u32 | (place as u32) << Self::PLACE_SHIFT | (slot & Self::SLOT) << Self::SLOT_SHIFT)
    }

    /// The same with an address that is not the pod's own, of which this is a hash of 32 bits.
    #[must_use]
    #[inline(always)]
    pub const fn with_other(self, hash: u32) -> Self {
        Self(self.0 | (hash >> Self::OTHER_SHIFT | 1) << Self::OTHER_SHIFT)
    }

    /// The endpoint's slot.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 >> Self::SLOT_SHIFT & Self::SLOT
    }
}

const _: () = assert!(crate::map::ENDPOINTS <= Holder::SLOT + 1);

/// Where a flow is seen, in its [`Holder`].
pub mod place {
    /// At the hooks of the pod's own interface.
    pub const POD: u8 = 0;
    /// At the exit hooks, where both ends are what they became on the way through the host.
    pub const EXIT: u8 = 1;
}

/// Under which state of policy and addresses a flow was last allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of an endpoint's generation and the epoch of the flow's remote address.
    #[must_use]
    pub const fn new(generation: u32, epoch: u32) -> Self {
        Self((generation as u64) << 32 | epoch as u64)
    }

    /// The endpoint's generation.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The epoch of the remote address.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        self.0 as u32
    }
}

/// Bits of [`Flow::state`](super::Flow::state).
pub mod state {
    use crate::Direction;

    /// The flow was opened by a packet that left the pod; else by one that entered it.
    pub const OPENED_EGRESS: u32 = 1 << 0;
    /// Opened by a process of the node: allowed whatever the policies say.
    pub const NODE: u32 = 1 << 1;
    /// The end that did not open the flow has answered.
    pub const ANSWERED: u32 = 1 << 2;
    /// The pod has sent a FIN.
    pub const FIN_LOCAL: u32 = 1 << 3;
    /// The other end has sent a FIN.
    pub const FIN_REMOTE: u32 = 1 << 4;
    /// The pod has sent a RST.
    pub const RESET_LOCAL: u32 = 1 << 5;
    /// Opened from an address of this host or of a Service, behind which others may be: what the pod sends in it is an
    /// [answer](crate::Tag::answer).
    pub const ANSWERS_ONLY: u32 = 1 << 6;
    /// Made above the pod's share, and so not counted in it: see [`super::Share`].
    pub const EXCESS: u32 = 1 << 7;
    /// A RST came from the other end, or from somebody who said so. Whether its sequence number fits is not known here, but to
    /// the pod's kernel, which ignores one that does not (RFC 5961, section 3).
    pub const RESET_REMOTE: u32 = 1 << 8;
    /// Half open, or unanswered: goes once its [`place`] is another's.
    pub const PENDING: u32 = 1 << 9;
    /// What only pending flows have.
    pub const OF_PENDING: u32 = PENDING | EXCESS | !0 << PLACE_SHIFT;
    const PLACE_SHIFT: u32 = 10;

    /// The most places there may be.
    pub const MOST_PLACES: u32 = 1 << (u32::BITS - PLACE_SHIFT);

    /// The place of a pending flow, as bits of its state: in [`EXCESS4`](crate::map::EXCESS4) or its like if it is above its
    /// pod's share, else in [`PENDING4`](crate::map::PENDING4) or its like.
    #[must_use]
    #[inline(always)]
    pub const fn at_place(place: u32) -> u32 {
        place << PLACE_SHIFT
    }

    /// The place of a pending flow that has this state.
    #[must_use]
    #[inline(always)]
    pub const fn place(state: u32) -> u32 {
        state >> PLACE_SHIFT
    }

    /// The direction in which a flow with this state was opened.
    #[must_use]
    #[inline(always)]
    pub const fn opened(state: u32) -> Direction {
        if state & OPENED_EGRESS != 0 { Direction::Egress } else { Direction::Ingress }
    }
}

/// A flow that was allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Under what it was last allowed.
    pub stamp: Stamp,
    /// When a packet of it was last seen, in jiffies, at most a second behind.
    pub seen: u64,
    /// Bits of [`state`].
    pub state: u32,
    /// The rule that allowed it; [`crate::VERDICT_NONE`] where no rule was asked (node, direction not isolated);
    /// [`crate::VERDICT_DEFERRED`] where the exit hook asks.
    pub rule: u32,
}

impl Flow {
    /// The direction in which the flow was opened.
    #[must_use]
    pub const fn opened(&self) -> Direction {
        state::opened(self.state)
    }
}

/// A value of [`crate::map::SHARES`]: how many half-open or unanswered flows a pod has of late, opened in one direction.
///
/// Entries are counted where they are made and where they become lasting; that they expire or are evicted nobody is told,
/// so what is older than two stretches of time no longer counts.
///
/// A pod whose share is used up gets entries all the same, marked [`state::EXCESS`] and not counted. Each takes the place
/// of the oldest of its group: the remote addresses with the same [`excess_group`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Share {
    /// When the current stretch began, in jiffies.
    pub since: u64,
    /// Entries made in it, less those that have become lasting meanwhile, also if they are older.
    pub current: i64,
    /// What the stretch before it ended with.
    pub previous: i64,
}

/// Where the share of a pod's flows is kept in [`crate::map::SHARES`] that were opened in a direction.
#[must_use]
#[inline(always)]
pub const fn share_index(slot: u32, opened: Direction, is_ipv6: bool) -> u32 {
    (slot * 2 + opened as u32) * 2 + is_ipv6 as u32
}

/// Groups of remote addresses that a pod's entries above its share are in.
pub const EXCESS_GROUPS: u32 = 64;

/// Where the turns of a group are counted in [`crate::map::EXCESS_TURNS`]. `address_hash` is [`crate::epoch_index4`] or
/// [`crate::epoch_index6`] of the remote address.
#[must_use]
#[inline(always)]
pub const fn excess_group(share: u32, address_hash: u32) -> u32 {
    share * EXCESS_GROUPS + address_hash / (crate::EPOCHS / EXCESS_GROUPS)
}

/// The place in [`crate::map::EXCESS4`] or [`crate::map::EXCESS6`] for the entry whose turn it is in a group that may have so
/// many, of this many places in all. There are fewer than all pods may ask for: pods whose slots are far apart have the
/// same.
#[must_use]
#[inline(always)]
pub const fn excess_place(group: u32, turn: u32, entries: u32, places: u32) -> u32 {
    let entries = if entries == 0 { 1 } else { entries };
    // The share without its family, which has a map of its own.
    let group = group / EXCESS_GROUPS / 2 * EXCESS_GROUPS + group % EXCESS_GROUPS;
    let place = group.wrapping_mul(entries).wrapping_add(turn % entries);
    if places == 0 { 0 } else { place % places }
}

/// A key of [`crate::map::FRAGMENTS4`] or [`crate::map::FRAGMENTS6`]: the packet that a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct FragmentKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// The identification field as it stands in the packet.
    pub id: u32,
    /// The IPv4 protocol, or the next header of the IPv6 fragment header: the same in all fragments of a packet.
    pub protocol: u8,
    /// The way the packet goes, a [`Direction`].
    pub direction: u8,
    /// The endpoint's slot.
    pub slot: u16,
}

/// The key of an IPv4 packet in fragments.
pub type FragmentKey4 = FragmentKey<Addr4>;
/// The key of an IPv6 packet in fragments.
pub type FragmentKey6 = FragmentKey<Addr6>;

/// What the first fragment of a packet says about the later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentPorts {
    /// [`FlowPorts::local`] of the packet's flow.
    pub local_port: NetPort,
    /// [`FlowPorts::remote`] of the packet's flow.
    pub remote_port: NetPort,
    /// When it was seen: the lower half of jiffies.
    pub seen: u32,
    /// The protocol behind all extension headers; the key's may be that of a header before it.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}
