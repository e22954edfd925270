//! The pod whose hook this is: in which directions it is isolated, which addresses are its own.

use podgate_common::{Addr6, Direction, EndpointConfig, EthernetSource, OwnAddressKey, Reason, flags, map};

use crate::maps;

/// The endpoint whose hook this is, with a direction in which it is, or is not, isolated.
pub(crate) struct Endpoint<'a> {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) direction: Direction,
    /// Where the packet comes from, if it enters.
    pub(crate) origin: Origin,
}

/// Whether a direction of an endpoint is isolated.
#[inline(always)]
pub(crate) const fn is_isolated(config: &EndpointConfig, direction: Direction) -> bool {
    config.flags
        & match direction {
            Direction::Ingress => flags::ISOLATED_INGRESS,
            Direction::Egress => flags::ISOLATED_EGRESS,
        }
        != 0
}

/// Whether a direction of an endpoint is isolated by policies in audit mode alone.
#[inline(always)]
pub(crate) const fn is_audited(config: &EndpointConfig, direction: Direction) -> bool {
    config.flags
        & match direction {
            Direction::Ingress => flags::AUDITED_INGRESS,
            Direction::Egress => flags::AUDITED_EGRESS,
        }
        != 0
}

/// Whether a direction of an endpoint is isolated by policies that are in force.
#[inline(always)]
pub(crate) const fn is_enforced(config: &EndpointConfig) -> bool {
    let isolated = [Direction::Ingress, Direction::Egress];
    is_isolated(config, isolated[0]) && !is_audited(config, isolated[0])
        || is_isolated(config, isolated[1]) && !is_audited(config, isolated[1])
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

    /// This node, if `made_here` is 1.
    #[inline(always)]
    pub(crate) const fn made_here(made_here: u32) -> Self {
        Self(made_here & Self::NODE)
    }

    /// The pod in a slot; itself, if that is the one that the packet is about to enter and no other has the slot too.
    #[inline(always)]
    pub(crate) fn by_slots(from: u32, to: u32) -> Self {
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

/// Whether an address is a pod's own, or the pod may speak for every address.
#[inline(always)]
pub(crate) fn is_own(key: &OwnAddressKey, slot: u32) -> bool {
    is_listed(key) || speaks_for_all(slot)
}

#[inline(always)]
fn is_listed(key: &OwnAddressKey) -> bool {
    maps::element(&maps::OWN_ADDRESSES, key).is_some()
}

/// Whether a pod may speak for every address: it routes.
#[inline(always)]
pub(crate) fn speaks_for_all(slot: u32) -> bool {
    is_listed(&OwnAddressKey::every(slot))
}

/// Whether an IPv6 link-local address, given as its four words in network byte order, is on the interface of the pod in
/// a slot; 0: it is not. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_own6(slot: u32, first: u32, second: u32, third: u32, fourth: u32) -> u32 {
    let key = OwnAddressKey::v6(slot, Addr6::from_words([first, second, third, fourth]));
    u32::from(is_listed(&key))
}

/// Whether a pod's frames must come from known Ethernet addresses. They do, if this is asked.
#[inline(always)]
pub(crate) fn is_checked(slot: u32) -> bool {
    maps::ethernet_source(slot, false).is_some_and(|source| source != EthernetSource::ANY)
}
