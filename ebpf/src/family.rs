//! What differs between IPv4 and IPv6 once a packet is parsed.

use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LpmTrie, LruHashMap};
use podgate_common::{
    Addr4, Addr6, BackendKey, Direction, EndpointConfig, Flow, FlowKey4, FlowKey6, FlowPorts, FragmentKey4,
    FragmentKey6, FragmentPorts, Frontend, FrontendKey4, FrontendKey6, Holder, NetPort, Reason, epoch_index4,
    epoch_index6,
};

use crate::maps;
use crate::packet::Packet;
use crate::parse::{self, Embedded, FragmentId, Headers};
use crate::program::Endpoint;
use crate::{neighbours, service, verdict};

/// One of the two families, by its address type.
pub(crate) trait Family: Copy + PartialEq + 'static {
    type FlowKey: Copy;
    type FragmentKey;

    /// Bytes of the fixed IP header.
    const HEADER: u32;
    const BITS: u32;

    fn flow_key(remote: Self, ports: (NetPort, NetPort), holder: Holder) -> Self::FlowKey;
    fn slot(key: &Self::FlowKey) -> u32;
    fn remote(key: &Self::FlowKey) -> &Self;
    fn ports(key: &Self::FlowKey) -> (NetPort, NetPort);
    fn fragment_key(ends: (Self, Self), id: u32, protocol: u8, direction: u8, slot: u16) -> Self::FragmentKey;
    fn flows() -> &'static LruHashMap<Self::FlowKey, Flow>;
    fn pending() -> &'static LruHashMap<Self::FlowKey, Flow>;
    fn fragments() -> &'static LruHashMap<Self::FragmentKey, FragmentPorts>;
    /// A pod's share of the pending flows that were opened in one direction.
    fn share() -> u32;
    /// Which pending flow goes when its turn comes again, of a pod above its share.
    fn excess() -> &'static LruHashMap<u32, Self::FlowKey>;
    fn addresses() -> &'static HashMap<Self, u32>;
    fn blocks() -> &'static LpmTrie<Self, u32>;
    fn epoch_index(self) -> u32;
    /// Whose a flow is that has this address as the pod's.
    fn holder(self, endpoint: &Endpoint<'_>, protocol: u8, place: u8) -> Holder;
    /// The class of the other end of a flow that was opened in a direction, by [`verdict`].
    fn class(&self, opened: Direction) -> u32;
    /// Whether this address stands for nodes on a link rather than for one address of a network, so that the blocks of
    /// policies say nothing of who has it.
    fn is_beyond_blocks(self) -> bool;
    /// Why egress to this address is judged at the exit hook, bits of [`podgate_common::deferring`]; 0: it is not.
    fn deferring(&self) -> u32;
    /// This address as four words in network byte order; IPv4's is the first.
    fn in_words(&self) -> [u32; 4];
    /// What is said of egress to an address that defers, by [`service`].
    fn elsewhere() -> u64;
    /// Whether a backend is allowed, by [`service`].
    fn backend_allowed(set: u32, index: u32) -> u64;
    /// A frontend, its address as [`Self::in_words`] gives it.
    fn frontend(key: &FrontendKey6) -> Option<Frontend>;
    /// A backend: its address, where it stands in the map, and its own port.
    fn backend(key: &BackendKey) -> Option<(&'static Self, NetPort)>;
    /// Whether the pod in a slot has this address.
    fn is_of(&self, slot: u32) -> bool;
    fn is_unspecified(self) -> bool;
    /// Whether a pod's DHCP client may send from this address before it has one of its own.
    fn is_dhcp_source(self) -> bool;
    /// Whether this is a link-local address of the pod in a slot.
    fn is_link_local_of(self, slot: u32) -> bool;
    /// Reads the IP headers of a packet of this family.
    fn headers<const L3: u32>(packet: &Packet<'_, L3>, headers: &mut Headers) -> Result<(), Reason>;
    /// What a fragment of this family has in common with the others of its packet.
    fn fragment_id<const L3: u32>(packet: &Packet<'_, L3>) -> Result<FragmentId, Reason>;
    /// The addresses of a packet of this family, the source first.
    fn ends<const L3: u32>(packet: &Packet<'_, L3>) -> Result<(Self, Self), Reason>;
    /// The packet that an ICMP error is about.
    fn embedded(packet: &Packet<'_>, error: &Headers) -> Result<Embedded<Self>, Reason>;
    /// The address of a pod.
    fn of(config: &EndpointConfig) -> Self;

    /// The key of the block that is this address alone.
    fn block_key(self) -> Key<Self> {
        Key::new(Self::BITS, self)
    }

    /// The same, in a place that is not on the stack.
    fn block_in<'p>(place: &'p mut [u32; 5], address: &Self) -> &'p Key<Self> {
        let [first, second, third, fourth] = address.in_words();
        *place = [Self::BITS, first, second, third, fourth];
        // SAFETY: as long as the key of either family, and laid out as it: the prefix's length, then the address.
        unsafe { &*place.as_ptr().cast() }
    }
}

#[inline(always)]
fn class4(address: Addr4, opened: Direction) -> u32 {
    verdict::podgate_class4(u32::from_ne_bytes(address.octets()), opened as u32)
}

#[inline(always)]
fn class6(address: Addr6, opened: Direction) -> u32 {
    let [first, second, third, fourth] = address.words();
    verdict::podgate_class6(first, second, third, fourth, opened as u32)
}

/// As sources IPv4 link-local addresses (169.254.0.0/16, RFC 3927) are too; as destinations they are where clouds serve metadata,
/// of which policies speak.
#[inline(always)]
const fn beyond_blocks4(address: Addr4) -> bool {
    let [first, second, _, _] = address.octets();
    address.is_unspecified() || address.is_group() || first == 169 && second == 254
}

#[inline(always)]
const fn beyond_blocks6(address: Addr6) -> bool {
    address.is_unspecified() || address.is_link_local() || address.is_group()
}

#[inline(always)]
fn deferring4(address: Addr4) -> u32 {
    verdict::podgate_deferring4(u32::from_ne_bytes(address.octets()))
}

#[inline(always)]
fn deferring6(address: Addr6) -> u32 {
    let [first, second, third, fourth] = address.words();
    verdict::podgate_deferring6(first, second, third, fourth)
}

/// IPv4 link-local addresses (RFC 3927) are no pod's.
#[inline(always)]
const fn link_local4(_: Addr4, _: u32) -> bool {
    false
}

#[inline(always)]
fn link_local6(address: Addr6, slot: u32) -> bool {
    let [first, second, third, fourth] = address.words();
    address.is_link_local() && neighbours::podgate_own6(slot, first, second, third, fourth) != 0
}

#[inline(always)]
const fn words4(address: Addr4) -> [u32; 4] {
    [u32::from_ne_bytes(address.octets()), 0, 0, 0]
}

#[inline(always)]
fn frontend4(key: &FrontendKey6) -> Option<Frontend> {
    let [word, ..] = key.address.words();
    let key = FrontendKey4 { address: Addr4::from_octets(word.to_ne_bytes()), port: key.port, protocol: key.protocol };
    // SAFETY: not preallocated, so the element is not reused while this program runs; copied at once.
    unsafe { maps::FRONTENDS4.get(&key) }.copied()
}

#[inline(always)]
fn frontend6(key: &FrontendKey6) -> Option<Frontend> {
    // SAFETY: as above.
    unsafe { maps::FRONTENDS6.get(key) }.copied()
}

macro_rules! family {
    ($address:ty, $flow_key:ident, $fragment_key:ident, $field:ident, $bits:literal, $header:path, $epoch:ident,
     $flows:ident, $pending:ident, $share:ident, $excess:ident, $fragments:ident, $addresses:ident, $blocks:ident, $headers:ident, $fragment_id:ident, $ends:ident, $embedded:ident,
     $class:expr, $deferring:expr, $in_words:expr, $elsewhere:path, $backend_allowed:path, $frontend:path, $backends:ident, $origins:ident,
     $link_local:path, $beyond_blocks:path) => {
        impl Family for $address {
            type FlowKey = $flow_key;
            type FragmentKey = $fragment_key;

            const HEADER: u32 = $header;
            const BITS: u32 = $bits;

            #[inline(always)]
            fn flow_key(remote: Self, ports: (NetPort, NetPort), holder: Holder) -> $flow_key {
                $flow_key { remote, ports: FlowPorts::new(ports.0, ports.1), holder }
            }

            #[inline(always)]
            fn slot(key: &$flow_key) -> u32 {
                key.holder.slot()
            }

            #[inline(always)]
            fn remote(key: &$flow_key) -> &Self {
                &key.remote
            }

            #[inline(always)]
            fn ports(key: &$flow_key) -> (NetPort, NetPort) {
                (key.ports.local(), key.ports.remote())
            }

            #[inline(always)]
            fn fragment_key(ends: (Self, Self), id: u32, protocol: u8, direction: u8, slot: u16) -> $fragment_key {
                $fragment_key { source: ends.0, destination: ends.1, id, protocol, direction, slot }
            }

            #[inline(always)]
            fn flows() -> &'static LruHashMap<$flow_key, Flow> {
                &maps::$flows
            }

            #[inline(always)]
            fn pending() -> &'static LruHashMap<$flow_key, Flow> {
                &maps::$pending
            }

            #[inline(always)]
            fn fragments() -> &'static LruHashMap<$fragment_key, FragmentPorts> {
                &maps::$fragments
            }

            #[inline(always)]
            fn share() -> u32 {
                maps::$share.load()
            }

            #[inline(always)]
            fn excess() -> &'static LruHashMap<u32, $flow_key> {
                &maps::$excess
            }

            #[inline(always)]
            fn addresses() -> &'static HashMap<Self, u32> {
                &maps::$addresses
            }

            #[inline(always)]
            fn blocks() -> &'static LpmTrie<Self, u32> {
                &maps::$blocks
            }

            #[inline(always)]
            fn epoch_index(self) -> u32 {
                $epoch(self)
            }

            #[inline(always)]
            fn holder(self, endpoint: &Endpoint<'_>, protocol: u8, place: u8) -> Holder {
                let holder = Holder::new(protocol, place, endpoint.slot);
                if self == Self::of(endpoint.config) { holder } else { holder.with_other(self.hash()) }
            }

            #[inline(always)]
            fn class(&self, opened: Direction) -> u32 {
                $class(*self, opened)
            }

            #[inline(always)]
            fn is_beyond_blocks(self) -> bool {
                $beyond_blocks(self)
            }

            #[inline(always)]
            fn deferring(&self) -> u32 {
                $deferring(*self)
            }

            #[inline(always)]
            fn in_words(&self) -> [u32; 4] {
                $in_words(*self)
            }

            #[inline(always)]
            fn elsewhere() -> u64 {
                $elsewhere()
            }

            #[inline(always)]
            fn frontend(key: &FrontendKey6) -> Option<Frontend> {
                $frontend(key)
            }

            #[inline(always)]
            fn backend_allowed(set: u32, index: u32) -> u64 {
                $backend_allowed(set, index)
            }

            #[inline(always)]
            fn backend(key: &BackendKey) -> Option<(&'static Self, NetPort)> {
                // SAFETY: not preallocated, so the element is not reused while this program runs.
                let backend = unsafe { maps::$backends.get(key) }?;
                Some((&backend.address, backend.port))
            }

            #[inline(always)]
            fn is_of(&self, slot: u32) -> bool {
                // SAFETY: as above; copied at once.
                let owner = unsafe { maps::$origins.get(self) };
                owner == Some(&slot)
            }

            #[inline(always)]
            fn is_unspecified(self) -> bool {
                <$address>::is_unspecified(self)
            }

            #[inline(always)]
            fn is_dhcp_source(self) -> bool {
                $bits == 32 && <$address>::is_unspecified(self)
            }

            #[inline(always)]
            fn is_link_local_of(self, slot: u32) -> bool {
                $link_local(self, slot)
            }

            #[inline(always)]
            fn headers<const L3: u32>(packet: &Packet<'_, L3>, headers: &mut Headers) -> Result<(), Reason> {
                parse::$headers(packet, headers)
            }

            #[inline(always)]
            fn fragment_id<const L3: u32>(packet: &Packet<'_, L3>) -> Result<FragmentId, Reason> {
                parse::$fragment_id(packet)
            }

            #[inline(always)]
            fn ends<const L3: u32>(packet: &Packet<'_, L3>) -> Result<(Self, Self), Reason> {
                parse::$ends(packet)
            }

            #[inline(always)]
            fn embedded(packet: &Packet<'_>, error: &Headers) -> Result<Embedded<Self>, Reason> {
                parse::$embedded(packet, error)
            }

            #[inline(always)]
            fn of(config: &EndpointConfig) -> Self {
                config.$field
            }
        }
    };
}

family!(
    Addr4,
    FlowKey4,
    FragmentKey4,
    address4,
    32,
    parse::HEADER4,
    epoch_index4,
    FLOWS4,
    PENDING4,
    SHARE4,
    EXCESS4,
    FRAGMENTS4,
    ADDRESSES4,
    BLOCKS4,
    ipv4,
    fragment_id4,
    ends4,
    embedded4,
    class4,
    deferring4,
    words4,
    service::podgate_elsewhere4,
    service::podgate_backend4,
    frontend4,
    BACKENDS4,
    ORIGINS4,
    link_local4,
    beyond_blocks4
);
family!(
    Addr6,
    FlowKey6,
    FragmentKey6,
    address6,
    128,
    parse::HEADER6,
    epoch_index6,
    FLOWS6,
    PENDING6,
    SHARE6,
    EXCESS6,
    FRAGMENTS6,
    ADDRESSES6,
    BLOCKS6,
    ipv6,
    fragment_id6,
    ends6,
    embedded6,
    class6,
    deferring6,
    Addr6::words,
    service::podgate_elsewhere6,
    service::podgate_backend6,
    frontend6,
    BACKENDS6,
    ORIGINS6,
    link_local6,
    beyond_blocks6
);
