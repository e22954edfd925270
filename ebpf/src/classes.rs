//! What the tables say of an address: its class, by which policies know it, and whether egress to it is judged elsewhere.

use aya_ebpf::maps::lpm_trie::Key;
use podgate_common::{Addr4, Addr6, Direction, deferring};

use crate::family::Family;
use crate::maps::{self, lookup};

/// A group without a class: the tables contradict each other.
pub(crate) const UNKNOWN_CLASS: u32 = u32::MAX;

/// In place of a class: the address is a source that is in no block which opens something, and in all around it that deny.
pub(crate) const BEYOND_BLOCKS: u32 = u32::MAX - 1;

/// The class of an address in flows opened in a direction.
#[inline(always)]
pub(crate) fn class<F: Family>(address: &F, opened: Direction) -> u32 {
    let [first, second, third, fourth] = address.in_words();
    if F::IS_V6 {
        podgate_class6(first, second, third, fourth, opened as u32)
    } else {
        podgate_class4(first, opened as u32)
    }
}

/// Why egress to an address is judged at the exit hook, bits of [`deferring`]; 0: it is not.
#[inline(always)]
pub(crate) fn deferring_of<F: Family>(address: &F) -> u32 {
    let [first, second, third, fourth] = address.in_words();
    if F::IS_V6 { podgate_deferring6(first, second, third, fourth) } else { podgate_deferring4(first) }
}

/// The class of an address: that of its group, else that of the longest prefix around it, else 0.
///
/// A link-local or missing address, or that of a group, is in no block that merely has room for it: on a bridge it may be
/// any pod's. Only as a destination it is in a block that is narrower than all addresses of the family: so the compiler has
/// made the tables. As a source it is [`BEYOND_BLOCKS`].
#[inline(always)]
fn find<F: Family>(address: F, opened: u32) -> u32 {
    class_of_group(&address).unwrap_or_else(|| {
        let is_source = opened == Direction::Ingress as u32;
        if is_source && address.is_beyond_blocks() { BEYOND_BLOCKS } else { class_of_block(&address.block_key()) }
    })
}

/// The class of an address that is in a group.
#[inline(always)]
pub(crate) fn class_of_group<F: Family>(address: &F) -> Option<u32> {
    let group = lookup(F::addresses(), address)?;
    Some(maps::GROUPS.get(group).copied().unwrap_or(UNKNOWN_CLASS))
}

/// The class of an address that is in no group.
#[inline(always)]
pub(crate) fn class_of_block<F: Family>(key: &Key<F>) -> u32 {
    F::blocks().get(key).copied().unwrap_or(0)
}

/// The class of an IPv4 address, which is passed as a number in network byte order, in flows opened in a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_class4(address: u32, opened: u32) -> u32 {
    find(Addr4::from_octets(address.to_ne_bytes()), opened)
}

/// The class of an IPv6 address, which is passed as its four words in network byte order, in flows opened in a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_class6(first: u32, second: u32, third: u32, fourth: u32, opened: u32) -> u32 {
    find(Addr6::from_words([first, second, third, fourth]), opened)
}

/// Why egress to an IPv4 address is judged at the exit hook, bits of [`podgate_common::deferring`]. The address is passed
/// as a number in network byte order. Those of loopback (127.0.0.0/8) are this host's: what goes there from elsewhere is
/// dropped by routing, but not before ports of this host are translated (NodePort, hostPort).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_deferring4(address: u32) -> u32 {
    const LOOPBACK: u8 = 127;
    if address.to_ne_bytes()[0] == LOOPBACK {
        return deferring::HOST;
    }
    lookup(&maps::DEFERRING4, &Addr4::from_octets(address.to_ne_bytes())).unwrap_or(0)
}

/// The same of an IPv6 address, which is passed as its four words in network byte order.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_deferring6(first: u32, second: u32, third: u32, fourth: u32) -> u32 {
    lookup(&maps::DEFERRING6, &Addr6::from_words([first, second, third, fourth])).unwrap_or(0)
}
