//! The verdict of policy for a packet that opens a flow: a fixed number of lookups, whatever the policies.

use aya_ebpf::maps::lpm_trie::Key;
use podgate_common::{
    Addr4, Addr6, ClassRowKey, Direction, EndpointConfig, Reason, RowPortKey, VERDICT_AUDITED, VERDICT_ITSELF,
    VERDICT_NONE, deferring, flags, protocol,
};

use crate::family::Family;
use crate::maps;

/// What policy says: allowed, with the rule's id, or a reason to drop. One word, so that it crosses a function call of
/// the BPF machine.
#[derive(Clone, Copy)]
pub(crate) struct Verdict(pub(crate) u64);

impl Verdict {
    const DENIED: u64 = 1 << 32;

    #[inline(always)]
    pub(crate) const fn allowed(rule: u32) -> Self {
        Self(rule as u64)
    }

    #[inline(always)]
    pub(crate) const fn denied(reason: Reason) -> Self {
        Self(Self::DENIED | reason as u64)
    }

    /// Policy is to be asked as if nothing stood behind the address.
    pub(crate) const PLAIN: Self = Self(1 << 33);

    /// Whether it is dropped.
    #[inline(always)]
    pub(crate) const fn is_denied(self) -> bool {
        self.0 & Self::DENIED != 0
    }

    /// Whether the pod reaches itself.
    #[inline(always)]
    pub(crate) const fn is_itself(self) -> bool {
        self.0 == Self::allowed(VERDICT_ITSELF).0
    }

    /// What becomes of it where the policies that say so are in audit mode.
    #[inline(always)]
    pub(crate) const fn in_mode(self, audited: bool) -> Self {
        if audited && self.is_denied() { Self::allowed(VERDICT_AUDITED) } else { self }
    }

    /// Whether this is [`Self::PLAIN`].
    #[inline(always)]
    pub(crate) const fn is_plain(self) -> bool {
        self.0 == Self::PLAIN.0
    }

    /// The rule that allows it ([`VERDICT_NONE`] where the direction is not isolated), or why it is dropped.
    #[inline(always)]
    pub(crate) fn rule(self) -> Result<u32, Reason> {
        if self.0 & Self::DENIED == 0 {
            return Ok(self.0 as u32);
        }
        Err(match self.0 as u8 {
            code if code == Reason::NoRule as u8 => Reason::NoRule,
            code if code == Reason::BackendsUnknown as u8 => Reason::BackendsUnknown,
            _ => Reason::Internal,
        })
    }
}

/// Whether a direction of an endpoint is isolated.
#[inline(always)]
pub(crate) const fn is_isolated(config: &EndpointConfig, direction: Direction) -> bool {
    config.flags
        & match direction {
            Direction::Ingress => flags::ISOLATED_INGRESS,
            Direction::Egress => flags::ISOLATED_EGRESS,
        }
        != 0
}

/// Whether a direction of an endpoint is isolated by policies in audit mode alone.
#[inline(always)]
pub(crate) const fn is_audited(config: &EndpointConfig, direction: Direction) -> bool {
    config.flags
        & match direction {
            Direction::Ingress => flags::AUDITED_INGRESS,
            Direction::Egress => flags::AUDITED_EGRESS,
        }
        != 0
}

/// Whether a direction of an endpoint is isolated by policies that are in force.
#[inline(always)]
pub(crate) const fn is_enforced(config: &EndpointConfig) -> bool {
    let isolated = [Direction::Ingress, Direction::Egress];
    is_isolated(config, isolated[0]) && !is_audited(config, isolated[0])
        || is_isolated(config, isolated[1]) && !is_audited(config, isolated[1])
}

/// What policy says of a flow that is opened in a direction. `port` is the destination's, in host order.
#[inline(always)]
pub(crate) fn verdict<F: Family>(
    config: &EndpointConfig,
    direction: Direction,
    remote: &F,
    protocol: u8,
    port: u16,
) -> Result<u32, Reason> {
    if !is_isolated(config, direction) {
        return Ok(VERDICT_NONE);
    }
    // Hidden from the compiler, which would know that the index is in bounds and leave the verifier without the check.
    let side = core::hint::black_box(direction as usize);
    let (Some(&policy), Some(&default_row)) = (config.policy.get(side), config.default_row.get(side)) else {
        return Err(Reason::Internal);
    };
    let row = row_of(policy, default_row, remote.class(direction))?;
    let audited = u32::from(is_audited(config, direction));
    Verdict(podgate_row_verdict(row, u32::from(protocol), u32::from(port), audited)).rule()
}

/// What a policy says of the port, in host order, of a remote address with this class.
#[inline(always)]
pub(crate) fn by_class(policy: u32, default_row: u32, class: u32, protocol: u8, port: u16) -> Result<u32, Reason> {
    let row = row_of(policy, default_row, class)?;
    allowed_by_row(row, protocol, port).rule()
}

/// The row of a policy for a class.
#[inline(always)]
fn row_of(policy: u32, default_row: u32, class: u32) -> Result<u32, Reason> {
    if class == UNKNOWN_CLASS {
        return Err(Reason::Internal);
    }
    if class == 0 {
        return Ok(default_row);
    }
    // SAFETY: not preallocated, so the element is not reused while this program runs; copied at once.
    Ok(unsafe { maps::CLASS_ROWS.get(ClassRowKey { policy, class }) }.copied().unwrap_or(default_row))
}

/// A group without a class: the tables contradict each other.
const UNKNOWN_CLASS: u32 = u32::MAX;

/// The class of an address: that of its group, else that of the longest prefix around it, else 0.
///
/// A link-local or missing address, or that of a group, is in no block that merely has room for it: on a bridge it may be
/// any pod's. Only as a destination it is in a block that is narrower than all addresses of the family: so the compiler has
/// made the tables.
#[inline(always)]
fn class<F: Family>(address: F, opened: u32) -> u32 {
    class_of_group(&address).unwrap_or_else(|| {
        let is_source = opened == Direction::Ingress as u32;
        if is_source && address.is_beyond_blocks() { 0 } else { class_of_block(&address.block_key()) }
    })
}

/// The class of an address that is in a group.
#[inline(always)]
pub(crate) fn class_of_group<F: Family>(address: &F) -> Option<u32> {
    // SAFETY: not preallocated, so the element is not reused while this program runs; copied at once.
    let &group = unsafe { F::addresses().get(address) }?;
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
pub(crate) extern "C" fn podgate_class4(address: u32, opened: u32) -> u32 {
    class(Addr4::from_octets(address.to_ne_bytes()), opened)
}

/// The class of an IPv6 address, which is passed as its four words in network byte order, in flows opened in a direction.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_class6(first: u32, second: u32, third: u32, fourth: u32, opened: u32) -> u32 {
    class(Addr6::from_words([first, second, third, fourth]), opened)
}

/// Why egress to an IPv4 address is judged at the exit hook, bits of [`podgate_common::deferring`]. The address is passed
/// as a number in network byte order. Those of loopback (127.0.0.0/8) are this host's: what goes there from elsewhere is
/// dropped by routing, but not before ports of this host are translated (NodePort, hostPort).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_deferring4(address: u32) -> u32 {
    const LOOPBACK: u8 = 127;
    if address.to_ne_bytes()[0] == LOOPBACK {
        return deferring::HOST;
    }
    // SAFETY: not preallocated, so the element is not reused while this program runs; copied at once.
    unsafe { maps::DEFERRING4.get(Addr4::from_octets(address.to_ne_bytes())) }.copied().unwrap_or(0)
}

/// The same of an IPv6 address, which is passed as its four words in network byte order.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_deferring6(first: u32, second: u32, third: u32, fourth: u32) -> u32 {
    // SAFETY: as above.
    unsafe { maps::DEFERRING6.get(Addr6::from_words([first, second, third, fourth])) }.copied().unwrap_or(0)
}

/// What a row says of a protocol's port, as the word of a [`Verdict`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_row_verdict(row: u32, protocol: u32, port: u32, audited: u32) -> u64 {
    allowed_by_row(row, protocol as u8, port as u16).in_mode(audited != 0).0
}

#[inline(always)]
fn allowed_by_row(row: u32, protocol: u8, port: u16) -> Verdict {
    let Some(header) = maps::ROWS.get(row) else { return Verdict::denied(Reason::Internal) };
    if header.any != VERDICT_NONE {
        return Verdict::allowed(header.any);
    }
    let Some(classes) = maps::PORTS.get(u32::from(port)) else { return Verdict::denied(Reason::Internal) };
    let (every_port, port_class) = match protocol {
        protocol::TCP => (header.tcp, classes.tcp),
        protocol::UDP => (header.udp, classes.udp),
        protocol::SCTP => (header.sctp, classes.sctp),
        _ => return Verdict::denied(Reason::NoRule),
    };
    if every_port != VERDICT_NONE {
        return Verdict::allowed(every_port);
    }
    if port_class == 0 {
        return Verdict::denied(Reason::NoRule);
    }
    let key = RowPortKey { row, port_class, protocol: u16::from(protocol) };
    // SAFETY: not preallocated, so the element is not reused while this program runs; copied at once.
    match unsafe { maps::ROW_PORTS.get(key) } {
        Some(&rule) => Verdict::allowed(rule),
        None => Verdict::denied(Reason::NoRule),
    }
}
