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
    const FATE: u16 = 7 << 13;
    /// Judged at the source, by the destination that it had there.
    const JUDGED: u16 = 0 << 13;
    /// To be judged.
    const DEFERRED: u16 = 1 << 13;
    /// To be judged; its flow is established as far as the source knows.
    const ESTABLISHED: u16 = 2 << 13;
    /// For this host itself, or the pod itself: goes nowhere else.
    const INWARD: u16 = 3 << 13;
    /// An answer, if connection tracking says so; else to be judged.
    const ANSWER: u16 = 4 << 13;
    /// Judged at an exit hook: it goes on.
    const SETTLED: u16 = 5 << 13;
    /// Of no pod, and so of no set.
    const OF_NONE: u16 = 6 << 13;

    const SET: u16 = (Self::SETS as u16 - 1) << Self::SET_SHIFT;
    const SET_SHIFT: u32 = 10;
    const SLOT: u16 = (1 << Self::SET_SHIFT) - 1;

    /// How many sets of tables are told apart: while one start of the agent takes over from another, packets meet
    /// programs of both, whose slots differ.
    pub const SETS: u32 = 8;

    /// The tag of a packet that came in by a device that is no pod's: from another host, or another network namespace.
    /// It outlasts what makes a packet's interface unknown: the kernel copies the tag where it cuts a packet in pieces or
    /// puts one together, but not always where it came in (`ip6_copy_metadata` of Linux).
    pub const FOREIGN: Self = Self(Self::OF_NONE | Self::SLOT);

    const fn new(fate: u16, set: u32, slot: u32) -> Self {
        Self(fate | (set as u16) << Self::SET_SHIFT & Self::SET | (slot as u16 + 1) & Self::SLOT)
    }

    /// The tag of a packet that needs no further verdict, unless it is given another destination.
    #[must_use]
    #[inline(always)]
    pub const fn judged(set: u32, slot: u32) -> Self {
        Self::new(Self::JUDGED, set, slot)
    }

    /// The tag of a packet that needs no further verdict: it was judged where it leaves the host.
    #[must_use]
    #[inline(always)]
    pub const fn settled(set: u32, slot: u32) -> Self {
        Self::new(Self::SETTLED, set, slot)
    }

    /// The tag of a packet that the exit hook judges. `established`: of a flow that both ends have spoken in.
    #[must_use]
    #[inline(always)]
    pub const fn deferred(set: u32, slot: u32, established: bool) -> Self {
        Self::new(if established { Self::ESTABLISHED } else { Self::DEFERRED }, set, slot)
    }

    /// The tag of a packet that may reach this host or its own pod, and nothing else.
    #[must_use]
    #[inline(always)]
    pub const fn inward(set: u32, slot: u32) -> Self {
        Self::new(Self::INWARD, set, slot)
    }

    /// The tag of a packet of a flow that an address of this host opened. It answers whoever asked from that address, or
    /// behind it; where nobody has asked, the address leads to a Service's backends like any other of its packets.
    #[must_use]
    #[inline(always)]
    pub const fn answer(set: u32, slot: u32) -> Self {
        Self::new(Self::ANSWER, set, slot)
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

    /// The set of tables whose program gave it; that of [`Self::FOREIGN`] means nothing.
    #[must_use]
    #[inline(always)]
    pub const fn set(self) -> u32 {
        ((self.0 & Self::SET) >> Self::SET_SHIFT) as u32
    }

    /// The slot, in that set, of the pod that sent the packet. Out of the range of slots where there is no tag.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        ((self.0 & Self::SLOT) as u32).wrapping_sub(1)
    }

    /// Whether there is a tag.
    #[must_use]
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.0 != 0
    }

    /// Whether no pod of this host sent the packet: [`Self::FOREIGN`].
    #[must_use]
    #[inline(always)]
    pub const fn is_foreign(self) -> bool {
        self.0 == Self::FOREIGN.0
    }

    /// Whether it was judged by the destination that it had when it left its pod.
    #[must_use]
    #[inline(always)]
    pub const fn is_judged(self) -> bool {
        self.0 & Self::FATE == Self::JUDGED
    }

    /// Whether nothing is left to be judged.
    #[must_use]
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        self.0 & Self::FATE == Self::SETTLED
    }

    /// Whether the packet's flow is established as far as the source knows.
    #[must_use]
    #[inline(always)]
    pub const fn is_established(self) -> bool {
        self.0 & Self::FATE == Self::ESTABLISHED
    }

    /// Whether the packet is an answer if connection tracking says so.
    #[must_use]
    #[inline(always)]
    pub const fn is_answer(self) -> bool {
        self.0 & Self::FATE == Self::ANSWER
    }

    /// Whether the packet may reach nothing but this host and its own pod.
    #[must_use]
    #[inline(always)]
    pub const fn is_inward(self) -> bool {
        self.0 & Self::FATE == Self::INWARD
    }
}

const _: () = assert!(crate::map::ENDPOINTS < Tag::SLOT as u32);
