//! What the programs know of a pod of this node.

use crate::{Addr4, Addr6};

/// A value of [`crate::map::SLOTS`]: an endpoint's generation (upper half) and the index of its configuration (lower half).
///
/// One aligned word, so that the kernel reads and writes it whole: changing a pod's policies is one store of it. A flow
/// that was allowed under one generation is judged again under the next. Index 0 of [`crate::map::CONFIGS`] means
/// "isolated in no direction".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct SlotWord(u64);

impl SlotWord {
    /// The word with this generation and configuration index.
    #[must_use]
    pub const fn new(generation: u32, config: u32) -> Self {
        Self((generation as u64) << 32 | config as u64)
    }

    /// The word as it is stored.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The generation that flows are stamped with. Never used twice by one node.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The index into [`crate::map::CONFIGS`]; 0: the pod is isolated in no direction.
    #[must_use]
    pub const fn config(self) -> u32 {
        self.0 as u32
    }
}

/// A value of [`crate::map::INTERFACES`]: which slot the interface with this ifindex has.
///
/// The array is indexed by ifindex modulo its size, so the ifindex stands in the value to be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct InterfaceSlot(u64);

impl InterfaceSlot {
    /// In place of a slot: a bridge, or based on one, so that packets of several pods may come by it.
    pub const BRIDGE: u32 = u32::MAX;
    /// In place of a slot: the end of a tunnel that is a port of a bridge. The bridge believes what comes by it.
    pub const TUNNEL_PORT: u32 = u32::MAX - 1;

    /// The value for an interface.
    #[must_use]
    pub const fn new(ifindex: u32, slot: u32) -> Self {
        Self((ifindex as u64) << 32 | slot as u64)
    }

    /// The interface.
    #[must_use]
    pub const fn ifindex(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Its slot, an index into [`crate::map::SLOTS`]; 0: it is no pod's; [`Self::BRIDGE`] or [`Self::TUNNEL_PORT`].
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// A value of [`crate::map::ETHERNET_SOURCES`]: which Ethernet source address the frames of a pod must have.
///
/// One aligned word, so that the kernel reads and writes it whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct EthernetSource(u64);

impl EthernetSource {
    const ONE: u64 = 1 << 48;

    /// Any: nothing on the pod's link learns from it, or the pod routes.
    pub const ANY: Self = Self(0);
    /// None yet: the address of the pod's interface is not known.
    pub const UNKNOWN: Self = Self(1 << 49);
    /// None: the address of the pod's interface is another's.
    pub const REFUSED: Self = Self(1 << 50);

    /// This address alone.
    #[must_use]
    pub const fn one(o: [u8; 6]) -> Self {
        let halves =
            [u16::from_ne_bytes([o[0], o[1]]), u16::from_ne_bytes([o[2], o[3]]), u16::from_ne_bytes([o[4], o[5]])];
        Self::of(halves)
    }

    /// The same, from the address as it stands in a frame.
    #[must_use]
    #[inline(always)]
    pub const fn of(halves: [u16; 3]) -> Self {
        Self(halves[0] as u64 | (halves[1] as u64) << 16 | (halves[2] as u64) << 32 | Self::ONE)
    }

    /// The address, if there is one.
    #[must_use]
    pub const fn octets(self) -> Option<[u8; 6]> {
        let [a, b, c] = [self.0 as u16, (self.0 >> 16) as u16, (self.0 >> 32) as u16];
        let ([a, b], [c, d], [e, f]) = (a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes());
        if self.0 & Self::ONE == 0 { None } else { Some([a, b, c, d, e, f]) }
    }

    /// The value as it was loaded from the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The value as it is stored.
    #[must_use]
    #[inline(always)]
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// Where [`crate::map::ETHERNET_SOURCES`] has a slot's address: the first that its interface had, or one that it has had
/// since.
#[must_use]
#[inline(always)]
pub const fn ethernet_index(slot: u32, later: bool) -> u32 {
    slot * 2 + later as u32
}

/// Bits of [`EndpointConfig::flags`].
pub mod flags {
    /// The pod is isolated for ingress.
    pub const ISOLATED_INGRESS: u32 = 1 << 0;
    /// The pod is isolated for egress.
    pub const ISOLATED_EGRESS: u32 = 1 << 1;
    /// Packets with foreign source addresses may leave the pod: it routes for others.
    pub const ROUTES: u32 = 1 << 2;
    /// Connections that a change of policy denies may end in peace (`--live-connections=keep`).
    pub const KEEP: u32 = 1 << 3;
    /// With [`ISOLATED_INGRESS`]: only by policies in audit mode. What they deny passes.
    pub const AUDITED_INGRESS: u32 = 1 << 4;
    /// With [`ISOLATED_EGRESS`], likewise.
    pub const AUDITED_EGRESS: u32 = 1 << 5;
}

/// A value of [`crate::map::CONFIGS`]: everything a packet's verdict needs of its endpoint.
///
/// Immutable: it is complete before a [`SlotWord`] points at it, and rewritten only after none does and an RCU grace
/// period is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EndpointConfig {
    /// Zero.
    #[cfg(feature = "other-abi")]
    pub reserved: [u32; 3],
    /// Bits of [`flags`].
    pub flags: u32,
    /// The id, relative to the host's, of the network namespace in which the pod's sockets are (IFLA_LINK_NETNSID);
    /// negative: unknown, the pod's sockets can't be asked.
    pub netns_id: i32,
    /// Policy id by direction, a key of [`crate::map::CLASS_ROWS`]. Meaningful where the direction is isolated.
    pub policy: [u32; 2],
    /// Row by direction for classes without a row of their own: the rules without peers. 0: no such rule.
    pub default_row: [u32; 2],
    /// The first generation of the pod in this slot: flows with an older one belong to a predecessor and are not its.
    pub birth: u32,
    /// The pod's IPv4 address; 0.0.0.0: none.
    pub address4: Addr4,
    /// The pod's IPv6 address; `::`: none.
    pub address6: Addr6,
    /// Until then, in seconds since the host was booted, a connection of which only the pod's own sockets tell may be older
    /// than the pod's isolation. 0: none can be.
    pub older_until: u32,
    /// Zero.
    #[cfg(not(feature = "other-abi"))]
    pub reserved: [u32; 3],
}

/// Who has a slot, for the next start of the agent: the flows and counters of the maps that are kept are its. An
/// array by slot, pinned beside them, which no program reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Resident {
    /// The pod's interface; 0: nobody has the slot.
    pub ifindex: u32,
    /// [`EndpointConfig::birth`]; 0: it has had no policies yet.
    pub birth: u32,
    /// At slot 0: no flow has a later generation. 0 at the others.
    pub last_generation: u32,
    /// [`EndpointConfig::address4`]
    pub address4: Addr4,
    /// [`EndpointConfig::address6`]
    pub address6: Addr6,
    /// The addresses of [`crate::map::ETHERNET_SOURCES`]; zero: none.
    pub ethernet: [[u8; 6]; 2],
    /// Zero.
    pub reserved: u32,
}

/// A value of [`crate::map::POD_ADDRESSES`]: the addresses of the pod that has a slot alone, isolated or not. They are among
/// its [`crate::map::OWN_ADDRESSES`], and found sooner here.
///
/// Not read whole: a pod takes over a slot of which nothing is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PodAddresses {
    /// Its IPv4 address; 0.0.0.0: none.
    pub v4: Addr4,
    /// Its IPv6 address; `::`: none.
    pub v6: Addr6,
}

/// A key of [`crate::map::OWN_ADDRESSES`]: an address that a pod may speak for among its neighbours.
///
/// Those are the pod's IPv4 and IPv6 address and the IPv6 link-local addresses on its interface, which are no identity:
/// another pod may have the same ones on another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct OwnAddressKey {
    /// The pod's slot.
    pub slot: u32,
    /// The address; IPv4's is mapped to IPv6 (RFC 4291, section 2.5.5.2). `::` stands for every address: the pod routes.
    pub address: Addr6,
}

impl OwnAddressKey {
    /// The key of an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn v4(slot: u32, address: Addr4) -> Self {
        const MAPPED: u32 = 0xffff_u32.to_be();
        Self { slot, address: Addr6::from_words([0, 0, MAPPED, u32::from_ne_bytes(address.octets())]) }
    }

    /// The key of an IPv6 address.
    #[must_use]
    #[inline(always)]
    pub const fn v6(slot: u32, address: Addr6) -> Self {
        Self { slot, address }
    }

    /// The key that makes every address the pod's own.
    #[must_use]
    #[inline(always)]
    pub const fn every(slot: u32) -> Self {
        Self { slot, address: Addr6::from_words([0; 4]) }
    }
}

/// A value of [`crate::map::COUNTERS`], one per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    /// Packets as on the wire: a GSO packet counts as its segments.
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}
