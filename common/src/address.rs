//! Addresses and ports as they stand in packets.

/// An IPv4 address in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Addr4(u32);

impl Addr4 {
    /// The address with these octets.
    #[must_use]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(octets))
    }

    /// The octets in the order in which they stand in a packet.
    #[must_use]
    pub const fn octets(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// A hash whose upper bits depend on every bit of the address.
    #[must_use]
    #[inline(always)]
    pub const fn hash(self) -> u32 {
        spread(self.0)
    }

    /// Whether this is 0.0.0.0.
    #[must_use]
    pub const fn is_unspecified(self) -> bool {
        self.0 == 0
    }

    /// Whether this stands for a group (224.0.0.0/4, RFC 5771) or for everybody on the link (255.255.255.255, RFC 919).
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.octets()[0] >> 4 == 0xe || u32::from_ne_bytes(self.octets()) == u32::MAX
    }
}

/// An IPv6 address in network byte order, as four words, because packets and stack keep it aligned to four bytes only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Addr6([u32; 4]);

impl Addr6 {
    /// The address with these octets.
    #[must_use]
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// The address from the four words of a packet, each in network byte order.
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The four words, each in network byte order.
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The octets in the order in which they stand in a packet.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d] =
            [self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes(), self.0[2].to_ne_bytes(), self.0[3].to_ne_bytes()];
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// A hash whose upper bits depend on every bit of the address.
    #[must_use]
    #[inline(always)]
    pub const fn hash(self) -> u32 {
        let [a, b, c, d] = self.0;
        spread(a.rotate_left(7) ^ b.rotate_left(14) ^ c.rotate_left(21) ^ d)
    }

    /// Whether this is `::`.
    #[must_use]
    pub const fn is_unspecified(self) -> bool {
        (self.0[0] | self.0[1] | self.0[2] | self.0[3]) == 0
    }

    /// Whether this stands for a group (ff00::/8, RFC 4291, section 2.7).
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.octets()[0] == 0xff
    }

    /// Whether this lies in fe80::/10.
    #[must_use]
    pub const fn is_link_local(self) -> bool {
        u32::from_be(self.0[0]) >> 22 == 0xfe80 >> 6
    }
}

/// The data of a key of [`crate::map::BLOCKS4`]; the prefix length stands before it in the trie's key.
pub type Block4 = Addr4;
/// The data of a key of [`crate::map::BLOCKS6`]; the prefix length stands before it in the trie's key.
pub type Block6 = Addr6;

/// A TCP, UDP or SCTP port in network byte order, or the identifier of an ICMP echo as it stands in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NetPort(u16);

impl NetPort {
    /// The port with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// The port from the field of a packet, in network byte order.
    #[must_use]
    pub const fn from_network(field: u16) -> Self {
        Self(field)
    }

    /// The port as a field of a packet, in network byte order.
    #[must_use]
    pub const fn to_network(self) -> u16 {
        self.0
    }

    /// The port's number in host byte order.
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// How many address epochs there are; see [`crate::map::EPOCHS`].
pub const EPOCHS: u32 = 4096;

/// The epoch that flows with this remote address carry. Both sides of the boundary compute it here.
#[must_use]
#[inline(always)]
pub const fn epoch_index4(address: Addr4) -> u32 {
    epoch_index(address.hash())
}

/// The epoch that flows with this remote address carry.
#[must_use]
#[inline(always)]
pub const fn epoch_index6(address: Addr6) -> u32 {
    epoch_index(address.hash())
}

#[inline(always)]
const fn epoch_index(hash: u32) -> u32 {
    hash >> (32 - EPOCHS.trailing_zeros())
}

/// Fibonacci hashing: the upper bits of the product depend on every bit of the input.
#[inline(always)]
const fn spread(word: u32) -> u32 {
    word.wrapping_mul(0x9e37_79b1)
}
