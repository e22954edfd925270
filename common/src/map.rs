//! The registry of the maps: names, types and capacities, written here once.
//!
//! The names are those of the symbols in the eBPF object; pins carry them in lower case. A capacity is the number of
//! entries the map is made with, unless the agent is told otherwise.

/// Slots: 0 counts what has no endpoint, the last is [`SHARED_SLOT`], the rest are endpoints'.
pub const ENDPOINTS: u32 = 512;

/// The slot of all the pods that find no other: who has it may be another pod.
pub const SHARED_SLOT: u32 = ENDPOINTS - 1;

/// A pod may have this part of [`PENDING4`], and of [`PENDING6`], for pending flows that were opened in one direction: half
/// of it for any, and as many places in [`EXCESS4`], once that is used up, for those that take the place of its own
/// older ones.
pub const PENDING_SHARES: u32 = 8;

/// Entries of [`OWN_ADDRESSES`] for each pod.
pub const OWN_ADDRESSES_OF_A_POD: u32 = 8;

/// Hands every map to a macro, which makes of it what its crate needs: constants here, statics of the programs, tables of the
/// agent. A map is declared in this place alone, as
///
/// ```text
/// field NAME: kind(key => value) = entries, traits;
/// ```
///
/// The agent alone writes the maps of the first list, and has what they hold in memory. The programs write the others: flows
/// and fragments, which the agent walks over, and the rest.
///
/// Kinds: `array(value)` and `per_cpu_array(value)`, by a u32; `hash` and `per_cpu_hash`, whose memory follows what they hold;
/// `preallocated`, a hash with all its memory; `trie`, by the longest prefix; `lru_hash`, which drops what was not used for
/// longest; `ring()`, whose capacity is in bytes; `programs()`, to which programs may go on. Traits: `FIXED`, the
/// programs, the layout of what is in it, or other maps depend on its size; `KEPT`, it outlives a start of the agent.
#[macro_export]
macro_rules! for_each_map {
    ($callback:ident) => { $callback! {
        agent {
            /// Array by ifindex modulo its size, a power of two → [`crate::InterfaceSlot`].
            interfaces INTERFACES: array($crate::InterfaceSlot) = 4096, FIXED;
            /// Hash: ifindex (u32) → slot (u32), for interfaces whose place in [`INTERFACES`] is another's.
            interfaces_more INTERFACES_MORE: preallocated(u32 => u32) = 4096;
            /// Array by slot → [`crate::SlotWord`].
            slots SLOTS: array($crate::SlotWord) = $crate::map::ENDPOINTS, FIXED;
            /// Array → [`crate::EndpointConfig`]. Room for the next configuration of every endpoint beside the current one.
            configs CONFIGS: array($crate::EndpointConfig) = $crate::map::ENDPOINTS * 2, FIXED;
            /// Hash: [`crate::Addr4`] → group (u32).
            addresses4 ADDRESSES4: hash($crate::Addr4 => u32) = 131_072;
            /// Hash: [`crate::Addr6`] → group (u32).
            addresses6 ADDRESSES6: hash($crate::Addr6 => u32) = 131_072;
            /// Array by group → class (u32).
            groups GROUPS: array(u32) = 65_536;
            /// Longest-prefix trie: IPv4 block → class (u32) of the addresses in it that no longer prefix and no group covers.
            blocks4 BLOCKS4: trie($crate::Addr4 => u32) = 65_536;
            /// Longest-prefix trie: IPv6 block → class (u32), likewise.
            blocks6 BLOCKS6: trie($crate::Addr6 => u32) = 65_536;
            /// Hash: [`crate::ClassRowKey`] → row (u32).
            class_rows CLASS_ROWS: hash($crate::ClassRowKey => u32) = 65_536;
            /// Array by row → [`crate::Row`]. Row 0 is empty: it allows nothing.
            rows ROWS: array($crate::Row) = 16_384;
            /// Hash: [`crate::RowPortKey`] → rule (u32).
            row_ports ROW_PORTS: hash($crate::RowPortKey => u32) = 65_536;
            /// Array by port number in host order → [`crate::PortClasses`].
            ports PORTS: array($crate::PortClasses) = 65_536, FIXED;
            /// Array of u32 by [`crate::epoch_index4`] or [`crate::epoch_index6`] of a remote address: counts the changes that
            /// may have taken an allow away from an address with this index. Flows carry the value they were allowed under.
            epochs EPOCHS: array(u32) = $crate::EPOCHS, FIXED KEPT;
            /// Hash: [`crate::Addr4`] → bits of [`crate::deferring`]: addresses to which egress is judged elsewhere, or otherwise.
            deferring4 DEFERRING4: hash($crate::Addr4 => u32) = 32_768;
            /// Hash: [`crate::Addr6`] → bits of [`crate::deferring`], likewise.
            deferring6 DEFERRING6: hash($crate::Addr6 => u32) = 32_768;
            /// Hash: [`crate::FrontendKey4`] → [`crate::Frontend`]. Ports of Services that are judged where packets leave the pod.
            frontends4 FRONTENDS4: hash($crate::FrontendKey4 => $crate::Frontend) = 65_536;
            /// Hash: [`crate::FrontendKey6`] → [`crate::Frontend`], likewise.
            frontends6 FRONTENDS6: hash($crate::FrontendKey6 => $crate::Frontend) = 65_536;
            /// Hash: [`crate::BackendKey`] → [`crate::Backend4`]. Half of it is room for the sets that take the place of others.
            backends4 BACKENDS4: hash($crate::BackendKey => $crate::Backend4) = 131_072;
            /// Hash: [`crate::BackendKey`] → [`crate::Backend6`], likewise.
            backends6 BACKENDS6: hash($crate::BackendKey => $crate::Backend6) = 131_072;
            /// Hash: [`crate::Addr4`] → slot (u32) of the pod of this node that has the address.
            origins4 ORIGINS4: hash($crate::Addr4 => u32) = $crate::map::ENDPOINTS;
            /// Hash: [`crate::Addr6`] → slot (u32), likewise.
            origins6 ORIGINS6: hash($crate::Addr6 => u32) = $crate::map::ENDPOINTS;
            /// Hash: [`crate::OwnAddressKey`] → 1 (u32): the addresses that a pod may speak for among its neighbours.
            own_addresses OWN_ADDRESSES: hash($crate::OwnAddressKey => u32) =
                $crate::map::ENDPOINTS * $crate::map::OWN_ADDRESSES_OF_A_POD;
            /// Array by [`crate::ethernet_index`] → [`crate::EthernetSource`]: what a pod's frames may come from.
            ethernet_sources ETHERNET_SOURCES: array($crate::EthernetSource) = $crate::map::ENDPOINTS * 2, FIXED;
            /// Array by slot → [`crate::PodAddresses`].
            pod_addresses POD_ADDRESSES: array($crate::PodAddresses) = $crate::map::ENDPOINTS, FIXED;
        }
        flows {
            /// LRU hash: [`crate::FlowKey4`] → [`crate::Flow`].
            flows4 FLOWS4: lru_hash($crate::FlowKey4 => $crate::Flow) = 81_920, KEPT;
            /// LRU hash: [`crate::FlowKey6`] → [`crate::Flow`], likewise.
            flows6 FLOWS6: lru_hash($crate::FlowKey6 => $crate::Flow) = 40_960, KEPT;
            /// LRU hash: [`crate::FragmentKey4`] → [`crate::FragmentPorts`].
            fragments4 FRAGMENTS4: lru_hash($crate::FragmentKey4 => $crate::FragmentPorts) = 2_048, KEPT;
            /// LRU hash: [`crate::FragmentKey6`] → [`crate::FragmentPorts`].
            fragments6 FRAGMENTS6: lru_hash($crate::FragmentKey6 => $crate::FragmentPorts) = 2_048, KEPT;
        }
        programs {
            /// The programs that judge what [`crate::map::program::INGRESS`] and
            /// [`EGRESS`](crate::map::program::EGRESS) leave, by [`crate::Direction`].
            whole WHOLE: programs() = 2, FIXED;
            /// Per-CPU array with one [`crate::Asked`].
            asked ASKED: per_cpu_array($crate::Asked) = 1, FIXED;
            /// Array → [`crate::FlowKey4`]: the pending flows in [`FLOWS4`], in a ring for each CPU, one after the other.
            pending4 PENDING4: array($crate::FlowKey4) = 16_384;
            /// Array → [`crate::FlowKey6`], likewise in [`FLOWS6`].
            pending6 PENDING6: array($crate::FlowKey6) = 8_192;
            /// Per-CPU array of u32: whose turn it is in the CPU's ring in [`PENDING4`], then in that in [`PENDING6`].
            pending_turns PENDING_TURNS: per_cpu_array(u32) = 2, FIXED;
            /// Array by [`crate::share_index`] → [`crate::Share`]: pending flows of each pod.
            shares SHARES: array($crate::Share) = $crate::map::ENDPOINTS * 4, FIXED;
            /// Array by [`crate::excess_group`] → u32: entries that pods above their share have been given.
            excess_turns EXCESS_TURNS: array(u32) = $crate::map::capacity::SHARES * $crate::EXCESS_GROUPS, FIXED;
            /// Array by [`crate::excess_place`] → [`crate::FlowKey4`]: pending flows of pods above their share.
            excess4 EXCESS4: array($crate::FlowKey4) = $crate::map::capacity::PENDING4, FIXED;
            /// Array by [`crate::excess_place`] → [`crate::FlowKey6`], likewise.
            excess6 EXCESS6: array($crate::FlowKey6) = $crate::map::capacity::PENDING6, FIXED;
            /// Per-CPU array by [`crate::counter_index`] → [`crate::Counter`].
            counters COUNTERS: per_cpu_array($crate::Counter) = $crate::map::ENDPOINTS * 2 * $crate::Reason::ROOM, FIXED KEPT;
            /// Per-CPU array with one u32: the rule that allowed the packet that the CPU is at; see [`crate::Flow::rule`].
            judged JUDGED: per_cpu_array(u32) = 1, FIXED;
            /// Per-CPU hash: rule (u32) → how many flows it has allowed (u64).
            rules RULES: per_cpu_hash(u32 => u64) = 16_384;
            /// Ring buffer (its capacity is in bytes) of [`crate::FlowEvent`].
            events EVENTS: ring() = 262_144, KEPT;
            /// Per-CPU array by [`crate::budget_index`] → u64: when the current second began (lower half of jiffies, as the upper
            /// half) and the events emitted in it (as the lower half).
            event_budget EVENT_BUDGET: per_cpu_array(u64) = $crate::map::ENDPOINTS * 2, FIXED;
            /// Per-CPU array of u64 by the indexes in [`crate::lost`].
            events_lost EVENTS_LOST: per_cpu_array(u64) = 3, FIXED KEPT;
            /// Per-CPU array of u64 by the indexes in [`crate::exits`]: packets at exit hooks.
            exits EXITS: per_cpu_array(u64) = 4, FIXED KEPT;
        }
    } };
}

/// A map, as it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// The name of its symbol in the object.
    pub name: &'static str,
    /// How many entries it has, unless the agent is told otherwise.
    pub entries: u32,
    /// The programs, the layout of what is in it, or other maps depend on its size.
    pub is_fixed: bool,
    /// It outlives a start of the agent: flows and counts, which the programs of the next one go on with. All other maps
    /// belong to the programs of one start.
    pub is_kept: bool,
}

const FIXED: u32 = 1 << 0;
const KEPT: u32 = 1 << 1;

/// Declares the maps' names and capacities.
macro_rules! constants {
    ($($writer:ident {
        $($(#[$doc:meta])* $field:ident $name:ident: $kind:ident($($type:tt)*) = $entries:expr $(, $($trait:ident)+)?;)*
    })*) => {
        $($($(#[$doc])* pub const $name: &str = stringify!($name);)*)*

        /// Entries of each map, under the map's name.
        pub mod capacity {
            $($(#[doc = concat!("Entries of [`super::", stringify!($name), "`].")] pub const $name: u32 = $entries;)*)*
        }

        /// Every map.
        pub const ALL: &[Map] = &[$($({
            let traits = 0 $($(| $trait)+)?;
            Map {
                name: $name,
                entries: capacity::$name,
                is_fixed: traits & FIXED != 0,
                is_kept: traits & KEPT != 0,
            }
        },)*)*];
    };
}

for_each_map!(constants);

/// The maps that outlive a start of the agent.
pub fn kept() -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(|map| map.is_kept).map(|map| map.name)
}

/// The version of what is in the maps that are kept, and of [`crate::Resident`]. What another version has left is not used.
pub const KEPT_VERSION: u32 = 4;

/// Names of the programs in the eBPF object.
pub mod program {
    /// Attached to the TC egress hook of a pod's host-side veth: judges what enters the pod.
    pub const INGRESS: &str = "podgate_ingress";
    /// Attached to the TC ingress hook of a pod's host-side veth: judges what leaves the pod.
    pub const EGRESS: &str = "podgate_egress";
    /// Never attached: judges what [`INGRESS`] leaves.
    pub const WHOLE_INGRESS: &str = "podgate_whole_ingress";
    /// Never attached: judges what [`EGRESS`] leaves.
    pub const WHOLE_EGRESS: &str = "podgate_whole_egress";
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

/// The same for `bpf_rdonly_cast`.
pub const READ_AS: u32 = 0x7fff_ca58;

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
    /// How many pending IPv4 flows a pod may have that were opened in one direction (u32).
    pub const SHARE4: &str = "SHARE4";
    /// The same for IPv6 (u32).
    pub const SHARE6: &str = "SHARE6";
    /// How many places each CPU has in [`super::PENDING4`] (u32).
    pub const RING4: &str = "RING4";
    /// The same in [`super::PENDING6`] (u32).
    pub const RING6: &str = "RING6";
    /// Where `struct sk_buff` of the running kernel has its field `_nfct`, in bytes (u32); 0: unknown.
    pub const CONNTRACK: &str = "CONNTRACK";
    /// Where `struct nf_conn` has the destination of the packets that opened the connection, in bytes (u32); 0: unknown.
    pub const OPENED_TO: &str = "OPENED_TO";
    /// Where `struct nf_conn` has its field `status`, in bytes (u32).
    pub const STATUS: &str = "STATUS";
    /// Where `struct sk_buff` has its field `ip_summed`, in bits (u32); 0: unknown.
    pub const SUMMED: &str = "SUMMED";
    /// Where it has its field `csum_start`, which `csum_offset` follows, in bytes (u32).
    pub const SUM_START: &str = "SUM_START";
    /// Where it has its field `network_header`, in bytes (u32).
    pub const NETWORK: &str = "NETWORK";
    /// 1: calls of [`super::CAST`] are calls of the kernel's function (u32). 0: the kernel's verifier removes them.
    pub const MAY_CAST: &str = "MAY_CAST";
    /// Where `struct sk_buff` has its field `sk`, in bytes (u32); 0: unknown, as are the next three.
    pub const SOCKET: &str = "SOCKET";
    /// Where `struct sock` has its network namespace, in bytes (u32).
    pub const SOCKET_NET: &str = "SOCKET_NET";
    /// Where `struct sk_buff` has its field `dev`, in bytes (u32).
    pub const DEVICE: &str = "DEVICE";
    /// Where `struct net_device` has its network namespace, in bytes (u32).
    pub const DEVICE_NET: &str = "DEVICE_NET";
    /// The number of the kernel's type as which calls of [`super::READ_AS`] let programs read a connection (u32). 0: the
    /// kernel's verifier removes those calls.
    pub const READ_AS_TYPE: &str = "READ_AS_TYPE";
    /// 1: the programs log every verdict through aya-log (u32). 0: the kernel's verifier removes that code.
    pub const TRACE: &str = "TRACE";
}
