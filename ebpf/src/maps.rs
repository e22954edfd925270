//! The maps: those of the registry in the common crate, and the constants that the loader sets.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf};
use podgate_common::map::capacity;
use podgate_common::{EthernetSource, SlotWord, ethernet_index};

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
/// A pod's share of pending IPv4 flows; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SHARE4: Global<u32> = Global::new(0);
/// A pod's share of pending IPv6 flows; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SHARE6: Global<u32> = Global::new(0);
/// How many pending IPv4 flows each CPU has places for; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static RING4: Global<u32> = Global::new(0);
/// The same of IPv6; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static RING6: Global<u32> = Global::new(0);
/// Where a packet has its connection of connection tracking, in bytes; 0: unknown. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static CONNTRACK: Global<u32> = Global::new(0);
/// Where a connection has the destination of the packets that opened it, in bytes; 0: unknown. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static OPENED_TO: Global<u32> = Global::new(0);
/// Where a connection has its `status`, in bytes. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static STATUS: Global<u32> = Global::new(0);
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
/// Where a packet has its socket, in bytes; 0: unknown, as are the next three. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SOCKET: Global<u32> = Global::new(0);
/// Where a socket has its network namespace, in bytes. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static SOCKET_NET: Global<u32> = Global::new(0);
/// Where a packet has its device, in bytes. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static DEVICE: Global<u32> = Global::new(0);
/// Where a device has its network namespace, in bytes. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static DEVICE_NET: Global<u32> = Global::new(0);
/// The kernel's type as which [`Opening`](crate::packet::Opening) reads a connection; 0: it copies. Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static READ_AS_TYPE: Global<u32> = Global::new(0);
/// Whether verdicts are logged; set by the loader.
#[unsafe(no_mangle)]
pub(crate) static TRACE: Global<u32> = Global::new(0);

/// Makes a static of each map.
macro_rules! statics {
    ($($writer:ident {
        $($(#[$doc:meta])* $field:ident $name:ident: $kind:ident $types:tt = $entries:expr $(, $($trait:ident)+)?;)*
    })*) => { $($(statics!(@ $kind $name $types);)*)* };
    (@ array $name:ident $types:tt) => { statics!(@static Array $name $types, 0); };
    (@ per_cpu_array $name:ident $types:tt) => { statics!(@static PerCpuArray $name $types, 0); };
    // Not preallocated: memory follows the cluster's size, and an element is never reused while a program reads it.
    (@ hash $name:ident $types:tt) => { statics!(@static HashMap $name $types, BPF_F_NO_PREALLOC); };
    (@ per_cpu_hash $name:ident $types:tt) => { statics!(@static PerCpuHashMap $name $types, BPF_F_NO_PREALLOC); };
    (@ trie $name:ident $types:tt) => { statics!(@static LpmTrie $name $types, BPF_F_NO_PREALLOC); };
    (@ preallocated $name:ident $types:tt) => { statics!(@static HashMap $name $types, 0); };
    (@ lru_hash $name:ident $types:tt) => { statics!(@static LruHashMap $name $types, 0); };
    (@ programs $name:ident ()) => {
        #[map]
        pub(crate) static $name: ProgramArray = ProgramArray::with_max_entries(capacity::$name, 0);
    };
    (@ ring $name:ident ()) => {
        #[map]
        pub(crate) static $name: RingBuf = RingBuf::with_byte_size(capacity::$name, 0);
    };
    (@static $map:ident $name:ident ($($type:ty)=>+), $flags:expr) => {
        #[map]
        pub(crate) static $name: $map<$($type),+> = $map::with_max_entries(capacity::$name, $flags);
    };
}

podgate_common::for_each_map!(statics);

/// The value of a key in a map that is not preallocated.
#[inline(always)]
pub(crate) fn element<'m, K, V>(map: &'m HashMap<K, V>, key: &K) -> Option<&'m V> {
    // SAFETY: not preallocated, so the element is not reused while this program runs.
    unsafe { map.get(key) }
}

/// A copy of the value of a key.
#[inline(always)]
pub(crate) fn lookup<K, V: Copy>(map: &HashMap<K, V>, key: &K) -> Option<V> {
    // SAFETY: copied at once. Only maps of single words are preallocated.
    unsafe { map.get(key) }.copied()
}

/// The slot of an interface, if it is known; see [`podgate_common::InterfaceSlot::slot`].
#[inline(always)]
pub(crate) fn slot_of(ifindex: u32) -> Option<u32> {
    let place = INTERFACES.get(ifindex & (capacity::INTERFACES - 1))?;
    if place.ifindex() == ifindex { Some(place.slot()) } else { slot_elsewhere(ifindex) }
}

#[cold]
fn slot_elsewhere(ifindex: u32) -> Option<u32> {
    lookup(&INTERFACES_MORE, &ifindex)
}

/// The word of a slot, loaded once and whole.
#[inline(always)]
pub(crate) fn slot_word(slot: u32) -> Option<SlotWord> {
    // SAFETY: an aligned u64 of an array map; user space stores it whole, and volatile keeps the load single.
    SLOTS.get_ptr(slot).map(|word| unsafe { word.read_volatile() })
}

/// The Ethernet source that a slot's frames must have: the first, or a later one.
#[inline(always)]
pub(crate) fn ethernet_source(slot: u32, later: bool) -> Option<EthernetSource> {
    // SAFETY: as above.
    ETHERNET_SOURCES.get_ptr(ethernet_index(slot, later)).map(|source| unsafe { source.read_volatile() })
}

/// The epoch of a remote address with this index. An index out of range is as good as any: the array has them all.
#[inline(always)]
pub(crate) fn epoch(index: u32) -> u32 {
    // SAFETY: an aligned u32 of an array map, stored whole.
    EPOCHS.get_ptr(index).map_or(0, |epoch| unsafe { epoch.read_volatile() })
}
