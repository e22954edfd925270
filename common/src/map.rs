//! Names and capacities of the maps, written here once.
//!
//! The names are those of the symbols in the eBPF object; pins carry them in lower case. A capacity is the number of
//! entries the map is made with, unless the agent is told otherwise.

/// Declares a map's name and capacity.
macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident = $entries:expr;)*) => {
        $($(#[$doc])* pub const $name: &str = stringify!($name);)*

        /// Entries of each map, under the map's name.
        pub mod capacity {
            $(#[doc = concat!("Entries of [`super::", stringify!($name), "`].")] pub const $name: u32 = $entries;)*
        }

        /// Every map with its capacity.
        pub const ALL: &[(&str, u32)] = &[$(($name, capacity::$name)),*];
    };
}

/// Slots: 0 counts what has no endpoint, the last is shared by those who find no other, the rest are endpoints'.
pub const ENDPOINTS: u32 = 512;

/// A pod may fill this part of [`PENDING4`], and of [`PENDING6`], with flows opened in one direction: half of it with any,
/// and half, once that is full, with those that take the place of its own older ones.
pub const PENDING_SHARES: u32 = 8;

/// Entries of [`OWN_ADDRESSES`] for each pod.
pub const OWN_ADDRESSES_OF_A_POD: u32 = 8;

maps! {
    /// Array by ifindex modulo its size, a power of two → [`crate::InterfaceSlot`].
    INTERFACES = 4096;
    /// Hash: ifindex (u32) → slot (u32), for interfaces whose place in [`INTERFACES`] is another's.
    INTERFACES_MORE = 4096;
    /// Array by slot → [`crate::SlotWord`].
    SLOTS = super::ENDPOINTS;
    /// Array → [`crate::EndpointConfig`]. Room for the next configuration of every endpoint beside the current one.
    CONFIGS = super::ENDPOINTS * 2;
    /// Hash: [`crate::Addr4`] → group (u32).
    ADDRESSES4 = 131_072;
    /// Hash: [`crate::Addr6`] → group (u32).
    ADDRESSES6 = 131_072;
    /// Array by group → class (u32).
    GROUPS = 65_536;
    /// Longest-prefix trie: IPv4 block → class (u32) of the addresses in it that no longer prefix and no group covers.
    BLOCKS4 = 65_536;
    /// Longest-prefix trie: IPv6 block → class (u32), likewise.
    BLOCKS6 = 65_536;
    /// Hash: [`crate::ClassRowKey`] → row (u32).
    CLASS_ROWS = 65_536;
    /// Array by row → [`crate::Row`]. Row 0 is empty: it allows nothing.
    ROWS = 16_384;
    /// Hash: [`crate::RowPortKey`] → rule (u32).
    ROW_PORTS = 65_536;
    /// Array by port number in host order → [`crate::PortClasses`].
    PORTS = 65_536;
    /// Array of u32 by [`crate::epoch_index4`] or [`crate::epoch_index6`] of a remote address: counts the changes that
    /// may have taken an allow away from an address with this index. Flows carry the value they were allowed under.
    EPOCHS = crate::EPOCHS;
    /// Hash: [`crate::Addr4`] → bits of [`crate::deferring`]: addresses to which egress is judged elsewhere, or otherwise.
    DEFERRING4 = 32_768;
    /// Hash: [`crate::Addr6`] → bits of [`crate::deferring`], likewise.
    DEFERRING6 = 32_768;
    /// Hash: [`crate::FrontendKey4`] → [`crate::Frontend`]. Ports of Services that are judged where packets leave the pod.
    FRONTENDS4 = 65_536;
    /// Hash: [`crate::FrontendKey6`] → [`crate::Frontend`], likewise.
    FRONTENDS6 = 65_536;
    /// Hash: [`crate::BackendKey`] → [`crate::Backend4`]. Half of it is room for the sets that take the place of others.
    BACKENDS4 = 131_072;
    /// Hash: [`crate::BackendKey`] → [`crate::Backend6`], likewise.
    BACKENDS6 = 131_072;
    /// Per-CPU array with one question that the programs ask themselves.
    ASKED = 1;
    /// Hash: [`crate::Addr4`] → slot (u32) of the pod of this node that has the address.
    ORIGINS4 = super::ENDPOINTS;
    /// Hash: [`crate::Addr6`] → slot (u32), likewise.
    ORIGINS6 = super::ENDPOINTS;
    /// Hash: [`crate::OwnAddressKey`] → 1 (u32): the addresses that a pod may speak for among its neighbours.
    OWN_ADDRESSES = super::ENDPOINTS * super::OWN_ADDRESSES_OF_A_POD;
    /// Array by [`crate::ethernet_index`] → [`crate::EthernetSource`]: what a pod's frames may come from.
    ETHERNET_SOURCES = super::ENDPOINTS * 2;
    /// LRU hash: [`crate::FlowKey4`] → [`crate::Flow`], flows that both ends have spoken in.
    FLOWS4 = 65_536;
    /// LRU hash: [`crate::FlowKey6`] → [`crate::Flow`], likewise.
    FLOWS6 = 32_768;
    /// LRU hash: [`crate::FlowKey4`] → [`crate::Flow`], half-open TCP connections and unanswered flows.
    PENDING4 = 16_384;
    /// LRU hash: [`crate::FlowKey6`] → [`crate::Flow`], likewise.
    PENDING6 = 8_192;
    /// Array by [`crate::share_index`] → [`crate::Share`]: entries of each pod in [`PENDING4`] and [`PENDING6`].
    SHARES = super::ENDPOINTS * 4;
    /// Array by [`crate::excess_group`] → u32: entries that pods above their share have been given.
    EXCESS_TURNS = SHARES * crate::EXCESS_GROUPS;
    /// LRU hash: [`crate::excess_place`] → [`crate::FlowKey4`], which entry in [`PENDING4`] goes when its turn comes again.
    EXCESS4 = PENDING4;
    /// LRU hash: [`crate::excess_place`] → [`crate::FlowKey6`], likewise in [`PENDING6`].
    EXCESS6 = PENDING6;
    /// LRU hash: [`crate::FragmentKey4`] → [`crate::FragmentPorts`].
    FRAGMENTS4 = 2_048;
    /// LRU hash: [`crate::FragmentKey6`] → [`crate::FragmentPorts`].
    FRAGMENTS6 = 2_048;
    /// Per-CPU array by [`crate::counter_index`] → [`crate::Counter`].
    COUNTERS = super::ENDPOINTS * 2 * crate::Reason::ROOM;
    /// Per-CPU array with one u32: the rule that allowed the packet that the CPU is at; see [`crate::Flow::rule`].
    JUDGED = 1;
    /// Per-CPU hash: rule (u32) → how many flows it has allowed (u64).
    RULES = 16_384;
    /// Ring buffer (its capacity is in bytes) of [`crate::FlowEvent`].
    EVENTS = 262_144;
    /// Per-CPU array by [`crate::budget_index`] → u64: when the current second began (lower half of jiffies, as the upper
    /// half) and the events emitted in it (as the lower half).
    EVENT_BUDGET = super::ENDPOINTS * 2;
    /// Per-CPU array of u64 by the indexes in [`crate::lost`].
    EVENTS_LOST = 3;
    /// Per-CPU array of u64 by the indexes in [`crate::exits`]: packets at exit hooks.
    EXITS = 4;
}

/// The maps that outlive a start of the agent: flows and counts, which the programs of the next one go on with. All other
/// maps belong to the programs of one start.
pub const KEPT: [&str; 11] =
    [FLOWS4, FLOWS6, PENDING4, PENDING6, FRAGMENTS4, FRAGMENTS6, EPOCHS, COUNTERS, EVENTS, EVENTS_LOST, EXITS];

/// The version of what is in the maps of [`KEPT`], and of [`crate::Resident`]. What another version has left is not used.
pub const KEPT_VERSION: u32 = 3;

/// Names of the programs in the eBPF object.
pub mod program {
    /// Attached to the TC egress hook of a pod's host-side veth: judges what enters the pod.
    pub const INGRESS: &str = "podgate_ingress";
    /// Attached to the TC ingress hook of a pod's host-side veth: judges what leaves the pod.
    pub const EGRESS: &str = "podgate_egress";
    /// Attached to the TC egress hook of the devices that are no pod's: judges what pods sent to addresses that defer.
    pub const EXIT: &str = "podgate_exit";
    /// The same for devices without link-layer headers, as many tunnels are.
    pub const EXIT_BARE: &str = "podgate_exit_bare";
    /// Attached to the TC ingress hook of the devices that are no pod's: takes off tags that are not this host's.
    pub const ENTRY: &str = "podgate_entry";
    /// The same for the devices of tunnels, by which what pods sent to this host may come out: its tag is kept.
    pub const INNER: &str = "podgate_inner";
    /// The same for those without link-layer headers.
    pub const INNER_BARE: &str = "podgate_inner_bare";
    /// Never attached: returns the lower half of jiffies, for calibrating HZ by BPF_PROG_TEST_RUN.
    pub const JIFFIES: &str = "podgate_jiffies";
}

/// Stands in the object for the number of the kernel's function `bpf_cast_to_kern_ctx`, which the loader puts in its place:
/// the number is another one in each kernel. No helper of the kernel has this one.
pub const CAST: u32 = 0x7fff_ca57;

/// Bytes of `struct sk_buff`, from `ip_summed` on, in which the programs look for what it says of a checksum.
pub const SUM_WINDOW: u32 = 64;

/// Names of the constants that the loader sets before the programs are loaded.
pub mod constant {
    /// Jiffies per second (u32), CONFIG_HZ of the running kernel.
    pub const HZ: &str = "HZ";
    /// Events about denials per second, endpoint and CPU (u32); 0: none.
    pub const EVENT_RATE: &str = "EVENT_RATE";
    /// Events about allowed flows per second, endpoint and CPU (u32); 0: none.
    pub const FLOW_RATE: &str = "FLOW_RATE";
    /// The number of this set of tables (u32), in the tags of packets.
    pub const SET: &str = "SET";
    /// How many half-open or unanswered IPv4 flows a pod may have that were opened in one direction (u32).
    pub const SHARE4: &str = "SHARE4";
    /// The same for IPv6 (u32).
    pub const SHARE6: &str = "SHARE6";
    /// Where `struct sk_buff` of the running kernel has its field `_nfct`, in bytes (u32); 0: unknown.
    pub const CONNTRACK: &str = "CONNTRACK";
    /// Where it has its field `ip_summed`, in bits (u32); 0: unknown.
    pub const SUMMED: &str = "SUMMED";
    /// Where it has its field `csum_start`, which `csum_offset` follows, in bytes (u32).
    pub const SUM_START: &str = "SUM_START";
    /// Where it has its field `network_header`, in bytes (u32).
    pub const NETWORK: &str = "NETWORK";
    /// 1: calls of [`super::CAST`] are calls of the kernel's function (u32). 0: the kernel's verifier removes them.
    pub const MAY_CAST: &str = "MAY_CAST";
    /// 1: the programs log every verdict through aya-log (u32). 0: the kernel's verifier removes that code.
    pub const TRACE: &str = "TRACE";
}
