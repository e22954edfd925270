//! The maps, by the names and with the capacities of the common crate.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use podgate_common::map::capacity;
use podgate_common::{
    Addr4, Addr6, Backend4, Backend6, BackendKey, ClassRowKey, Counter, EndpointConfig, EthernetSource, Flow, FlowKey4,
    FlowKey6, FragmentKey4, FragmentKey6, FragmentPorts, Frontend, FrontendKey4, FrontendKey6, InterfaceSlot,
    OwnAddressKey, PortClasses, Row, RowPortKey, Share, ethernet_index,
};

use crate::service::Asked;

/// Jiffies per second; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static HZ: Global<u32> = Global::new(0);
/// Events about denials per second, endpoint and CPU; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static EVENT_RATE: Global<u32> = Global::new(0);
/// Events about allowed flows per second, endpoint and CPU; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static FLOW_RATE: Global<u32> = Global::new(0);
/// The number of this set of tables; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SET: Global<u32> = Global::new(0);
/// A pod's share of half-open IPv4 flows; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SHARE4: Global<u32> = Global::new(0);
/// A pod's share of half-open IPv6 flows; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SHARE6: Global<u32> = Global::new(0);
/// Where a packet has its connection of connection tracking, in bytes; 0: unknown. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static CONNTRACK: Global<u32> = Global::new(0);
/// Where a packet has its `ip_summed`, in bits; 0: unknown. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SUMMED: Global<u32> = Global::new(0);
/// Where a packet has its `csum_start`, which `csum_offset` follows, in bytes. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SUM_START: Global<u32> = Global::new(0);
/// Where a packet has its `network_header`, in bytes. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static NETWORK: Global<u32> = Global::new(0);
/// Whether [`Packet::cast`](crate::packet::Packet) may be called; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static MAY_CAST: Global<u32> = Global::new(0);
/// Whether verdicts are logged; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static TRACE: Global<u32> = Global::new(0);

#[map]
pub(crate) static INTERFACES: Array<InterfaceSlot> = Array::with_max_entries(capacity::INTERFACES, 0);
#[map]
pub(crate) static INTERFACES_MORE: HashMap<u32, u32> = HashMap::with_max_entries(capacity::INTERFACES_MORE, 0);
#[map]
pub(crate) static SLOTS: Array<u64> = Array::with_max_entries(capacity::SLOTS, 0);
#[map]
pub(crate) static CONFIGS: Array<EndpointConfig> = Array::with_max_entries(capacity::CONFIGS, 0);

// Not preallocated: memory follows the cluster's size, and an element is never reused while a program reads it.
#[map]
pub(crate) static ADDRESSES4: HashMap<Addr4, u32> = HashMap::with_max_entries(capacity::ADDRESSES4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static ADDRESSES6: HashMap<Addr6, u32> = HashMap::with_max_entries(capacity::ADDRESSES6, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static GROUPS: Array<u32> = Array::with_max_entries(capacity::GROUPS, 0);
#[map]
pub(crate) static BLOCKS4: LpmTrie<Addr4, u32> = LpmTrie::with_max_entries(capacity::BLOCKS4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static BLOCKS6: LpmTrie<Addr6, u32> = LpmTrie::with_max_entries(capacity::BLOCKS6, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static CLASS_ROWS: HashMap<ClassRowKey, u32> =
    HashMap::with_max_entries(capacity::CLASS_ROWS, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static ROWS: Array<Row> = Array::with_max_entries(capacity::ROWS, 0);
#[map]
pub(crate) static ROW_PORTS: HashMap<RowPortKey, u32> =
    HashMap::with_max_entries(capacity::ROW_PORTS, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PORTS: Array<PortClasses> = Array::with_max_entries(capacity::PORTS, 0);
#[map]
pub(crate) static EPOCHS: Array<u32> = Array::with_max_entries(capacity::EPOCHS, 0);

#[map]
pub(crate) static DEFERRING4: HashMap<Addr4, u32> = HashMap::with_max_entries(capacity::DEFERRING4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static DEFERRING6: HashMap<Addr6, u32> = HashMap::with_max_entries(capacity::DEFERRING6, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static FRONTENDS4: HashMap<FrontendKey4, Frontend> =
    HashMap::with_max_entries(capacity::FRONTENDS4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static FRONTENDS6: HashMap<FrontendKey6, Frontend> =
    HashMap::with_max_entries(capacity::FRONTENDS6, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static BACKENDS4: HashMap<BackendKey, Backend4> =
    HashMap::with_max_entries(capacity::BACKENDS4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static BACKENDS6: HashMap<BackendKey, Backend6> =
    HashMap::with_max_entries(capacity::BACKENDS6, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static ASKED: PerCpuArray<Asked> = PerCpuArray::with_max_entries(capacity::ASKED, 0);

#[map]
pub(crate) static ORIGINS4: HashMap<Addr4, u32> = HashMap::with_max_entries(capacity::ORIGINS4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static ORIGINS6: HashMap<Addr6, u32> = HashMap::with_max_entries(capacity::ORIGINS6, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static OWN_ADDRESSES: HashMap<OwnAddressKey, u32> =
    HashMap::with_max_entries(capacity::OWN_ADDRESSES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static ETHERNET_SOURCES: Array<u64> = Array::with_max_entries(capacity::ETHERNET_SOURCES, 0);

#[map]
pub(crate) static FLOWS4: LruHashMap<FlowKey4, Flow> = LruHashMap::with_max_entries(capacity::FLOWS4, 0);
#[map]
pub(crate) static FLOWS6: LruHashMap<FlowKey6, Flow> = LruHashMap::with_max_entries(capacity::FLOWS6, 0);
#[map]
pub(crate) static PENDING4: LruHashMap<FlowKey4, Flow> = LruHashMap::with_max_entries(capacity::PENDING4, 0);
#[map]
pub(crate) static PENDING6: LruHashMap<FlowKey6, Flow> = LruHashMap::with_max_entries(capacity::PENDING6, 0);
#[map]
pub(crate) static SHARES: Array<Share> = Array::with_max_entries(capacity::SHARES, 0);
#[map]
pub(crate) static EXCESS_TURNS: Array<u32> = Array::with_max_entries(capacity::EXCESS_TURNS, 0);
#[map]
pub(crate) static EXCESS4: LruHashMap<u32, FlowKey4> = LruHashMap::with_max_entries(capacity::EXCESS4, 0);
#[map]
pub(crate) static EXCESS6: LruHashMap<u32, FlowKey6> = LruHashMap::with_max_entries(capacity::EXCESS6, 0);
#[map]
pub(crate) static FRAGMENTS4: LruHashMap<FragmentKey4, FragmentPorts> =
    LruHashMap::with_max_entries(capacity::FRAGMENTS4, 0);
#[map]
pub(crate) static FRAGMENTS6: LruHashMap<FragmentKey6, FragmentPorts> =
    LruHashMap::with_max_entries(capacity::FRAGMENTS6, 0);

#[map]
pub(crate) static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(capacity::COUNTERS, 0);
#[map]
pub(crate) static JUDGED: PerCpuArray<u32> = PerCpuArray::with_max_entries(capacity::JUDGED, 0);
#[map]
pub(crate) static RULES: PerCpuHashMap<u32, u64> = PerCpuHashMap::with_max_entries(capacity::RULES, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(capacity::EVENTS, 0);
#[map]
pub(crate) static EVENT_BUDGET: PerCpuArray<u64> = PerCpuArray::with_max_entries(capacity::EVENT_BUDGET, 0);
#[map]
pub(crate) static EVENTS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(capacity::EVENTS_LOST, 0);
#[map]
pub(crate) static EXITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(capacity::EXITS, 0);

/// The slot of an interface, if it is known; see [`InterfaceSlot::slot`].
#[inline(always)]
pub(crate) fn slot_of(ifindex: u32) -> Option<u32> {
    let place = INTERFACES.get(ifindex & (capacity::INTERFACES - 1))?;
    if place.ifindex() == ifindex { Some(place.slot()) } else { slot_elsewhere(ifindex) }
}

#[cold]
fn slot_elsewhere(ifindex: u32) -> Option<u32> {
    // SAFETY: a u32 is copied out of the value at once.
    unsafe { INTERFACES_MORE.get(&ifindex) }.copied()
}

/// The word of a slot, loaded once and whole.
#[inline(always)]
pub(crate) fn slot_word(slot: u32) -> Option<u64> {
    // SAFETY: an aligned u64 of an array map; user space stores it whole, and volatile keeps the load single.
    SLOTS.get_ptr(slot).map(|word| unsafe { word.read_volatile() })
}

/// The Ethernet source that a slot's frames must have: the first, or a later one.
#[inline(always)]
pub(crate) fn ethernet_source(slot: u32, later: bool) -> Option<EthernetSource> {
    // SAFETY: as above.
    let word = ETHERNET_SOURCES.get_ptr(ethernet_index(slot, later)).map(|word| unsafe { word.read_volatile() });
    word.map(EthernetSource::from_raw)
}

/// The epoch of a remote address with this index. An index out of range is as good as any: the array has them all.
#[inline(always)]
pub(crate) fn epoch(index: u32) -> u32 {
    // SAFETY: an aligned u32 of an array map, stored whole.
    EPOCHS.get_ptr(index).map_or(0, |epoch| unsafe { epoch.read_volatile() })
}
