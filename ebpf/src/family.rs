//! What differs between IPv4 and IPv6 once a packet is parsed.

use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap};
use podgate_common::{
    Addr4, Addr6, BackendKey, EndpointConfig, Flow, FlowKey, FragmentKey, FragmentPorts, Frontend, FrontendKey4,
    FrontendKey6, Holder, NetPort, Reason, epoch_index4, epoch_index6,
};

use crate::endpoint::Endpoint;
use crate::maps::{self, lookup};
use crate::packet::Packet;
use crate::parse::{self, Embedded, FragmentId, Headers};

/// One of the two families, by its address type.
pub(crate) trait Family: Copy + PartialEq + 'static {
    /// Bytes of the fixed IP header.
    const HEADER: u32;
    const BITS: u32;
    const IS_V6: bool = Self::BITS == 128;

    fn flows() -> &'static LruHashMap<FlowKey<Self>, Flow>;
    /// The pending flows, in a ring for each CPU.
    fn pending() -> &'static Array<FlowKey<Self>>;
    /// How many places a ring has.
    fn ring() -> u32;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FragmentPorts>;
    /// A pod's share of the pending flows that were opened in one direction.
    fn share() -> u32;
    /// The pending flows of pods above their share.
    fn excess() -> &'static Array<FlowKey<Self>>;
    fn addresses() -> &'static HashMap<Self, u32>;
    fn blocks() -> &'static LpmTrie<Self, u32>;
    /// A frontend, its address as [`Self::in_words`] gives it.
    fn frontend(key: &FrontendKey6) -> Option<Frontend>;
    /// A backend: its address, where it stands in the map, and its own port.
    fn backend(key: &BackendKey) -> Option<(&'static Self, NetPort)>;
    /// The slot of the pod of this node that has this address.
    fn origin(&self) -> Option<u32>;

    /// This address as four words in network byte order; IPv4's is the first.
    fn in_words(&self) -> [u32; 4];
    fn epoch_index(self) -> u32;
    /// Whether this address stands for nodes on a link rather than for one address of a network, so that the blocks of
    /// policies say nothing of who has it.
    fn is_beyond_blocks(self) -> bool;
    fn is_unspecified(self) -> bool;
    /// Whether a pod's DHCP client may send from this address before it has one of its own.
    fn is_dhcp_source(self) -> bool;
    /// Whether pods may have this address beside their own, on the link alone.
    fn is_link_local(self) -> bool;
    /// Whose a flow is that has this address as the pod's.
    fn holder(self, endpoint: &Endpoint<'_>, protocol: u8, place: u8) -> Holder;
    /// The address of a pod.
    fn of(config: &EndpointConfig) -> Self;

    /// Reads the IP headers of a packet of this family.
    fn headers<const L3: u32>(packet: &Packet<'_, L3>, headers: &mut Headers) -> Result<(), Reason>;
    /// What a fragment of this family has in common with the others of its packet.
    fn fragment_id<const L3: u32>(packet: &Packet<'_, L3>) -> Result<FragmentId, Reason>;
    /// The addresses of a packet of this family, the source first.
    fn ends<const L3: u32>(packet: &Packet<'_, L3>) -> Result<(Self, Self), Reason>;
    /// The packet that an ICMP error is about.
    fn embedded(packet: &Packet<'_>, error: &Headers) -> Result<Embedded<Self>, Reason>;

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

impl Family for Addr4 {
    const HEADER: u32 = parse::HEADER4;
    const BITS: u32 = 32;

    #[inline(always)]
    fn flows() -> &'static LruHashMap<FlowKey<Self>, Flow> {
        &maps::FLOWS4
    }

    #[inline(always)]
    fn pending() -> &'static Array<FlowKey<Self>> {
        &maps::PENDING4
    }

    #[inline(always)]
    fn ring() -> u32 {
        maps::RING4.load()
    }

    #[inline(always)]
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FragmentPorts> {
        &maps::FRAGMENTS4
    }

    #[inline(always)]
    fn share() -> u32 {
        maps::SHARE4.load()
    }

    #[inline(always)]
    fn excess() -> &'static Array<FlowKey<Self>> {
        &maps::EXCESS4
    }

    #[inline(always)]
    fn addresses() -> &'static HashMap<Self, u32> {
        &maps::ADDRESSES4
    }

    #[inline(always)]
    fn blocks() -> &'static LpmTrie<Self, u32> {
        &maps::BLOCKS4
    }

    #[inline(always)]
    fn frontend(key: &FrontendKey6) -> Option<Frontend> {
        let [word, ..] = key.address.words();
        let address = Self::from_octets(word.to_ne_bytes());
        lookup(&maps::FRONTENDS4, &FrontendKey4 { address, port: key.port, protocol: key.protocol })
    }

    #[inline(always)]
    fn backend(key: &BackendKey) -> Option<(&'static Self, NetPort)> {
        let backend = maps::element(&maps::BACKENDS4, key)?;
        Some((&backend.address, backend.port))
    }

    #[inline(always)]
    fn origin(&self) -> Option<u32> {
        lookup(&maps::ORIGINS4, self)
    }

    #[inline(always)]
    fn in_words(&self) -> [u32; 4] {
        [u32::from_ne_bytes(self.octets()), 0, 0, 0]
    }

    #[inline(always)]
    fn epoch_index(self) -> u32 {
        epoch_index4(self)
    }

    /// As sources IPv4 link-local addresses (169.254.0.0/16, RFC 3927) are too; as destinations they are where clouds serve
    /// metadata, of which policies speak.
    #[inline(always)]
    fn is_beyond_blocks(self) -> bool {
        let [first, second, _, _] = self.octets();
        self.is_unspecified() || self.is_group() || first == 169 && second == 254
    }

    #[inline(always)]
    fn is_unspecified(self) -> bool {
        self.is_unspecified()
    }

    #[inline(always)]
    fn is_dhcp_source(self) -> bool {
        self.is_unspecified()
    }

    /// IPv4 link-local addresses (RFC 3927) are no pod's.
    #[inline(always)]
    fn is_link_local(self) -> bool {
        false
    }

    #[inline(always)]
    fn holder(self, endpoint: &Endpoint<'_>, protocol: u8, place: u8) -> Holder {
        let holder = Holder::new(protocol, place, endpoint.slot);
        if self == Self::of(endpoint.config) { holder } else { holder.with_other(self.hash()) }
    }

    #[inline(always)]
    fn of(config: &EndpointConfig) -> Self {
        config.address4
    }

    #[inline(always)]
    fn headers<const L3: u32>(packet: &Packet<'_, L3>, headers: &mut Headers) -> Result<(), Reason> {
        parse::ipv4(packet, headers)
    }

    #[inline(always)]
    fn fragment_id<const L3: u32>(packet: &Packet<'_, L3>) -> Result<FragmentId, Reason> {
        parse::fragment_id4(packet)
    }

    #[inline(always)]
    fn ends<const L3: u32>(packet: &Packet<'_, L3>) -> Result<(Self, Self), Reason> {
        parse::ends4(packet)
    }

    #[inline(always)]
    fn embedded(packet: &Packet<'_>, error: &Headers) -> Result<Embedded<Self>, Reason> {
        parse::embedded4(packet, error)
    }
}

impl Family for Addr6 {
    const HEADER: u32 = parse::HEADER6;
    const BITS: u32 = 128;

    #[inline(always)]
    fn flows() -> &'static LruHashMap<FlowKey<Self>, Flow> {
        &maps::FLOWS6
    }

    #[inline(always)]
    fn pending() -> &'static Array<FlowKey<Self>> {
        &maps::PENDING6
    }

    #[inline(always)]
    fn ring() -> u32 {
        maps::RING6.load()
    }

    #[inline(always)]
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FragmentPorts> {
        &maps::FRAGMENTS6
    }

    #[inline(always)]
    fn share() -> u32 {
        maps::SHARE6.load()
    }

    #[inline(always)]
    fn excess() -> &'static Array<FlowKey<Self>> {
        &maps::EXCESS6
    }

    #[inline(always)]
    fn addresses() -> &'static HashMap<Self, u32> {
        &maps::ADDRESSES6
    }

    #[inline(always)]
    fn blocks() -> &'static LpmTrie<Self, u32> {
        &maps::BLOCKS6
    }

    #[inline(always)]
    fn frontend(key: &FrontendKey6) -> Option<Frontend> {
        lookup(&maps::FRONTENDS6, key)
    }

    #[inline(always)]
    fn backend(key: &BackendKey) -> Option<(&'static Self, NetPort)> {
        let backend = maps::element(&maps::BACKENDS6, key)?;
        Some((&backend.address, backend.port))
    }

    #[inline(always)]
    fn origin(&self) -> Option<u32> {
        lookup(&maps::ORIGINS6, self)
    }

    #[inline(always)]
    fn in_words(&self) -> [u32; 4] {
        self.words()
    }

    #[inline(always)]
    fn epoch_index(self) -> u32 {
        epoch_index6(self)
    }

    #[inline(always)]
    fn is_beyond_blocks(self) -> bool {
        self.is_unspecified() || self.is_link_local() || self.is_group()
    }

    #[inline(always)]
    fn is_unspecified(self) -> bool {
        self.is_unspecified()
    }

    #[inline(always)]
    fn is_dhcp_source(self) -> bool {
        false
    }

    #[inline(always)]
    fn is_link_local(self) -> bool {
        self.is_link_local()
    }

    #[inline(always)]
    fn holder(self, endpoint: &Endpoint<'_>, protocol: u8, place: u8) -> Holder {
        let holder = Holder::new(protocol, place, endpoint.slot);
        if self == Self::of(endpoint.config) { holder } else { holder.with_other(self.hash()) }
    }

    #[inline(always)]
    fn of(config: &EndpointConfig) -> Self {
        config.address6
    }

    #[inline(always)]
    fn headers<const L3: u32>(packet: &Packet<'_, L3>, headers: &mut Headers) -> Result<(), Reason> {
        parse::ipv6(packet, headers)
    }

    #[inline(always)]
    fn fragment_id<const L3: u32>(packet: &Packet<'_, L3>) -> Result<FragmentId, Reason> {
        parse::fragment_id6(packet)
    }

    #[inline(always)]
    fn ends<const L3: u32>(packet: &Packet<'_, L3>) -> Result<(Self, Self), Reason> {
        parse::ends6(packet)
    }

    #[inline(always)]
    fn embedded(packet: &Packet<'_>, error: &Headers) -> Result<Embedded<Self>, Reason> {
        parse::embedded6(packet, error)
    }
}
