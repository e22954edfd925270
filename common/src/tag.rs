//! What a pod's packet says on its way through the host.

/// The mark that a packet carries from the hook at which it leaves a pod to the hook at which it leaves the host or
/// enters a pod: whose it is, and what is to be done about it.
///
/// It stands in the packet's `tc_index`, which routing, bridging, address translation, fragmentation and encapsulation
/// keep. 0: no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Tag(u16);

impl Tag {
    const FATE: u16 = 3 << 14;
    /// Judged at the source, or at an exit hook: it goes on.
    const JUDGED: u16 = 0 << 14;
    /// To be judged.
    const DEFERRED: u16 = 1 << 14;
    /// To be judged; its flow is established as far as the source knows.
    const ESTABLISHED: u16 = 2 << 14;
    /// For this host itself, or the pod itself: goes nowhere else.
    const INWARD: u16 = 3 << 14;

    /// The tag of a packet that needs no further verdict.
    #[must_use]
    #[inline(always)]
    pub const fn judged(slot: u32) -> Self {
        Self(Self::JUDGED | (slot as u16 + 1))
    }

    /// The tag of a packet that the exit hook judges. `established`: of a flow that both ends have spoken in.
    #[must_use]
    #[inline(always)]
    pub const fn deferred(slot: u32, established: bool) -> Self {
        Self(if established { Self::ESTABLISHED } else { Self::DEFERRED } | (slot as u16 + 1))
    }

    /// The tag of a packet that may reach this host or its own pod, and nothing else.
    #[must_use]
    #[inline(always)]
    pub const fn inward(slot: u32) -> Self {
        Self(Self::INWARD | (slot as u16 + 1))
    }

    /// The tag in a packet's `tc_index`.
    #[must_use]
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The tag as it stands in a packet's `tc_index`.
    #[must_use]
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The slot of the pod that sent the packet. Out of the range of slots where there is no tag.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        ((self.0 & !Self::FATE) as u32).wrapping_sub(1)
    }

    /// Whether there is a tag.
    #[must_use]
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.0 != 0
    }

    /// Whether nothing is left to be judged.
    #[must_use]
    #[inline(always)]
    pub const fn is_judged(self) -> bool {
        self.0 & Self::FATE == Self::JUDGED
    }

    /// Whether the packet's flow is established as far as the source knows.
    #[must_use]
    #[inline(always)]
    pub const fn is_established(self) -> bool {
        self.0 & Self::FATE == Self::ESTABLISHED
    }

    /// Whether the packet may reach nothing but this host and its own pod.
    #[must_use]
    #[inline(always)]
    pub const fn is_inward(self) -> bool {
        self.0 & Self::FATE == Self::INWARD
    }
}

const _: () = assert!(crate::map::ENDPOINTS < Tag::DEFERRED as u32);
