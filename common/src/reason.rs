//! Why a packet passed or was dropped.

use crate::Direction;

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It went on.
    Allowed,
    /// It was dropped.
    Denied,
    /// It left its pod undecided: the exit hook has the verdict, unless this host itself is the receiver, which every
    /// pod may reach.
    Deferred,
    /// It went on, but only because the policies that deny it are in audit mode.
    WouldDeny,
    /// It was dropped, and nothing is denied by that: whoever sent it, and whoever does not get it, goes on without.
    Withheld,
}

impl Verdict {
    /// The value of the `verdict` label of metrics and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Deferred => "deferred",
            Self::WouldDeny => "would_deny",
            Self::Withheld => "withheld",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $verdict:ident, $label:literal;)*) => {
        /// Why a packet passed or was dropped. The code is an index of [`crate::map::COUNTERS`] and stands in events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $code,)*
        }

        impl Reason {
            /// Every reason, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Whether packets with this reason pass.
            #[must_use]
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }

            /// The value of the `reason` label of metrics and events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The reason with this code.
            #[must_use]
            #[inline(always)]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// The pod is isolated in no direction.
    NotIsolated = 0, Allowed, "not_isolated";
    /// The pod is isolated, but not in the direction in which this packet, or its flow, was opened.
    DirectionNotIsolated = 1, Allowed, "direction_not_isolated";
    /// A rule allows it.
    Rule = 2, Allowed, "rule";
    /// It belongs to a flow that was allowed.
    Established = 3, Allowed, "established";
    /// It was made on this node.
    Node = 4, Allowed, "node";
    /// ARP, IPv6 neighbour discovery or multicast listener discovery.
    Discovery = 5, Allowed, "discovery";
    /// An ICMP error about a flow that was allowed.
    Related = 6, Allowed, "related";
    /// It belongs to a connection that a policy no longer allows but that may end in peace.
    Kept = 7, Allowed, "kept";

    /// No rule allows it.
    NoRule = 8, Denied, "no_rule";
    /// Its connection was open when the policies stopped to allow it.
    Cut = 9, Denied, "cut";
    /// It left the pod with a source address that is not the pod's.
    Spoofed = 10, Denied, "spoofed";
    /// Neither IPv4, IPv6 nor ARP.
    NotIp = 11, Denied, "not_ip";
    /// It carries a VLAN tag.
    Vlan = 12, Denied, "vlan";
    /// Its headers are truncated, contradict each other or nest too deep, or the kernel is yet to write a checksum over them.
    Malformed = 13, Denied, "malformed";
    /// A fragment that came before the first fragment of its packet.
    FragmentBeforeFirst = 14, Denied, "fragment_before_first";
    /// A first fragment without its ports, or a TCP fragment that would overwrite them.
    FragmentTiny = 15, Denied, "fragment_tiny";
    /// An ICMP error about no flow that was allowed.
    IcmpUnrelated = 16, Denied, "icmp_unrelated";
    /// The interface has no endpoint, though the program is attached to it. Or the Ethernet address of its pod is not known.
    NoEndpoint = 17, Denied, "no_endpoint";
    /// The tables contradict each other; this should not happen.
    Internal = 18, Denied, "internal";
    /// It would open a flow, but the flow table took no entry.
    FlowTable = 19, Denied, "flow_table";

    /// Its destination is a Service's address or one of this host's: where it really goes is known at the exit hook only.
    Deferred = 20, Deferred, "deferred";
    /// The pod reaches itself, through a Service of which it is a backend.
    Itself = 21, Allowed, "itself";
    /// Its destination is a Service's address, to be judged by all backends, and the tables don't have them: they are too
    /// many, or there is no room.
    BackendsUnknown = 22, Denied, "backends_unknown";
    /// It opens a flow, and its pod has more half-open or unanswered ones than its share: the oldest with this remote address,
    /// or with others of the same hash, went for it.
    OverShare = 23, Allowed, "over_share";

    /// [`Self::NoRule`], in audit mode.
    NoRuleAudited = 24, WouldDeny, "no_rule";
    /// [`Self::Cut`], in audit mode.
    CutAudited = 25, WouldDeny, "cut";
    /// [`Self::Spoofed`], in audit mode.
    SpoofedAudited = 26, WouldDeny, "spoofed";
    /// [`Self::NotIp`], in audit mode.
    NotIpAudited = 27, WouldDeny, "not_ip";
    /// [`Self::Vlan`], in audit mode.
    VlanAudited = 28, WouldDeny, "vlan";
    /// [`Self::Malformed`], in audit mode.
    MalformedAudited = 29, WouldDeny, "malformed";
    /// [`Self::FragmentBeforeFirst`], in audit mode.
    FragmentBeforeFirstAudited = 30, WouldDeny, "fragment_before_first";
    /// [`Self::FragmentTiny`], in audit mode.
    FragmentTinyAudited = 31, WouldDeny, "fragment_tiny";
    /// [`Self::IcmpUnrelated`], in audit mode.
    IcmpUnrelatedAudited = 32, WouldDeny, "icmp_unrelated";

    /// ARP or neighbour discovery in which a pod speaks for an address that is not its own, or what a pod of a bridge
    /// sends from another Ethernet address than its own. Dropped at every pod, isolated or not: a neighbour or bridge that
    /// believes it sends others' packets there.
    NeighbourSpoofed = 33, Denied, "neighbour_spoofed";
    /// A router advertisement or redirect that a pod sends to another pod. Dropped at every pod, isolated or not; if it is
    /// ICMPv4, at isolated ones.
    RogueRouter = 34, Denied, "rogue_router";
    /// A probe for an address that is not, or not yet, known as the pod's own: whoever has it, or is about to have it,
    /// would take that for a conflict. Or the report of a listener that would enter a pod, which is no multicast router.
    /// Dropped at every pod, isolated or not.
    DiscoveryWithheld = 35, Withheld, "discovery_withheld";

    /// A rule denies it.
    RuleDenied = 36, Denied, "rule_denied";
    /// [`Self::RuleDenied`], in audit mode.
    RuleDeniedAudited = 37, WouldDeny, "rule_denied";
    /// Policies judge this direction of the pod, and none of them has a say about the packet, or about its flow.
    Undecided = 38, Allowed, "undecided";
}

impl Reason {
    /// Whether this says that a packet could not be understood, for which it is dropped only in an isolated direction.
    #[must_use]
    #[inline(always)]
    pub const fn matters_only_if_isolated(self) -> bool {
        matches!(
            self,
            Self::NotIp
                | Self::Vlan
                | Self::Malformed
                | Self::FragmentBeforeFirst
                | Self::FragmentTiny
                | Self::IcmpUnrelated
        )
    }

    /// What a denial becomes where the policies that ask for it are in audit mode. Others, which no policy asks for or
    /// that are told by [`crate::VERDICT_AUDITED`], stay what they are.
    #[must_use]
    #[inline(always)]
    pub const fn audited(self) -> Self {
        match self {
            Self::NoRule => Self::NoRuleAudited,
            Self::Cut => Self::CutAudited,
            Self::Spoofed => Self::SpoofedAudited,
            Self::NotIp => Self::NotIpAudited,
            Self::Vlan => Self::VlanAudited,
            Self::Malformed => Self::MalformedAudited,
            Self::FragmentBeforeFirst => Self::FragmentBeforeFirstAudited,
            Self::FragmentTiny => Self::FragmentTinyAudited,
            Self::IcmpUnrelated => Self::IcmpUnrelatedAudited,
            other => other,
        }
    }

    /// Whether policy denies it, rather than an error or what no policy is asked about.
    #[must_use]
    #[inline(always)]
    pub const fn is_by_policy(self) -> bool {
        matches!(self, Self::NoRule | Self::RuleDenied)
    }

    /// Whether packets with this reason are reported one by one, as far as the rate allows: denials, and what opens a flow
    /// by policy or for want of any. No packet of an established flow is.
    #[must_use]
    #[inline(always)]
    pub const fn is_reported(self) -> bool {
        match self.verdict() {
            Verdict::Denied | Verdict::WouldDeny => true,
            Verdict::Allowed => {
                matches!(self, Self::Rule | Self::DirectionNotIsolated | Self::Undecided | Self::OverShare)
            }
            Verdict::Deferred | Verdict::Withheld => false,
        }
    }

    /// Room for this many reasons in [`crate::map::COUNTERS`]; each takes 16 KiB per CPU there.
    pub const ROOM: u32 = 48;
}

const _: () = assert!(Reason::ALL.len() <= Reason::ROOM as usize);

/// Where the events of an endpoint are counted in [`crate::map::EVENT_BUDGET`]: those about what is `allowed`, and others.
#[must_use]
#[inline(always)]
pub const fn budget_index(slot: u32, allowed: bool) -> u32 {
    slot * 2 + allowed as u32
}

/// Where a verdict is counted in [`crate::map::COUNTERS`].
#[must_use]
#[inline(always)]
pub const fn counter_index(slot: u32, direction: Direction, reason: Reason) -> u32 {
    (slot * 2 + direction as u32) * Reason::ROOM + reason as u32
}
