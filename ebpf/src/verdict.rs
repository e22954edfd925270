//! The verdict of policy for a packet that opens a flow: a fixed number of lookups, whatever the policies.

use podgate_common::{
    ClassRowKey, Direction, EndpointConfig, Reason, RowPortKey, VERDICT_AUDITED, VERDICT_ITSELF, VERDICT_NONE,
    VERDICT_RULE_AUDITED, VERDICT_UNDECIDED, protocol, word,
};

use crate::classes::{self, UNKNOWN_CLASS};
use crate::endpoint::is_audited;
use crate::events;
use crate::family::Family;
use crate::maps::{self, lookup};

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

    /// Dropped for a reason. One that is no denial's is an error of the programs, and dropped as that.
    #[inline(always)]
    pub(crate) const fn denied(reason: Reason) -> Self {
        let is_denial = matches!(reason.verdict(), podgate_common::Verdict::Denied);
        Self(Self::DENIED | if is_denial { reason } else { Reason::Internal } as u64)
    }

    /// What a row's word says. The rule of what it denies, or would deny, is noted for the packet's event.
    #[inline(always)]
    fn by(said: u32) -> Self {
        let rule = said & word::RULE;
        if said & word::ALLOWED != 0 {
            return Self::allowed(if rule == VERDICT_NONE { VERDICT_UNDECIDED } else { rule });
        }
        events::note_rule(rule);
        if said & word::AUDITED != 0 {
            return Self::allowed(if rule == VERDICT_NONE { VERDICT_AUDITED } else { VERDICT_RULE_AUDITED });
        }
        Self::denied(if rule == VERDICT_NONE { Reason::NoRule } else { Reason::RuleDenied })
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
        Err(Reason::from_code(self.0 as u8).unwrap_or(Reason::Internal))
    }
}

/// What policy says of a source that is [`BEYOND_BLOCKS`](classes::BEYOND_BLOCKS). `port` is the destination's, in host order.
#[inline(always)]
pub(crate) fn verdict_beyond<F: Family>(config: &EndpointConfig, source: &F, protocol: u8, port: u16) -> Verdict {
    let ([policy, _], [default_row, _]) = (config.policy, config.default_row);
    let around = classes::class(source, Direction::Egress);
    if podgate_denies(policy, default_row, around, u32::from(protocol) << 16 | u32::from(port)) != 0 {
        return Verdict::denied(Reason::RuleDenied);
    }
    match verdict_of_class(config, Direction::Ingress, 0, protocol, port) {
        Ok(rule) => Verdict::allowed(rule),
        Err(reason) => Verdict::denied(reason),
    }
}

/// Whether a rule of a policy denies a class a port, which is asked with its protocol in the upper half; 0: none does. A
/// global function, since few packets come by here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_denies(policy: u32, default_row: u32, class: u32, asked: u32) -> u32 {
    let said = by_class(policy, default_row, class, (asked >> 16) as u8, asked as u16);
    u32::from(said == Err(Reason::RuleDenied))
}

/// What policy says of a flow that is opened in a direction that is isolated, with an address of this class. `port` is the
/// destination's, in host order.
#[inline(always)]
pub(crate) fn verdict_of_class(
    config: &EndpointConfig,
    direction: Direction,
    class: u32,
    protocol: u8,
    port: u16,
) -> Result<u32, Reason> {
    // Hidden from the compiler, which would know that the index is in bounds and leave the verifier without the check.
    let side = core::hint::black_box(direction as usize);
    let (Some(&policy), Some(&default_row)) = (config.policy.get(side), config.default_row.get(side)) else {
        return Err(Reason::Internal);
    };
    let row = row_of(policy, default_row, class)?;
    let audited = is_audited(config, direction);
    if row == EMPTY_ROW {
        return Verdict::by(0).in_mode(audited).rule();
    }
    Verdict(podgate_row_verdict(row, u32::from(protocol), u32::from(port), u32::from(audited))).rule()
}

/// The row that allows nothing.
const EMPTY_ROW: u32 = 0;

/// What a policy says of the port, in host order, of a remote address with this class.
#[inline(always)]
pub(crate) fn by_class(policy: u32, default_row: u32, class: u32, protocol: u8, port: u16) -> Result<u32, Reason> {
    let row = row_of(policy, default_row, class)?;
    said_by_row(row, protocol, port).rule()
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
    Ok(lookup(&maps::CLASS_ROWS, &ClassRowKey { policy, class }).unwrap_or(default_row))
}

/// What a row says of a protocol's port, as the word of a [`Verdict`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_row_verdict(row: u32, protocol: u32, port: u32, audited: u32) -> u64 {
    said_by_row(row, protocol as u8, port as u16).in_mode(audited != 0).0
}

#[inline(always)]
fn said_by_row(row: u32, protocol: u8, port: u16) -> Verdict {
    match word_of(row, protocol, port) {
        Some(said) => Verdict::by(said),
        None => Verdict::denied(Reason::Internal),
    }
}

/// The word of a row for a protocol's port; `None`: the tables have no such row or port.
#[inline(always)]
fn word_of(row: u32, protocol: u8, port: u16) -> Option<u32> {
    let header = maps::ROWS.get(row)?;
    if header.any & word::MORE == 0 {
        return Some(header.any);
    }
    let classes = maps::PORTS.get(u32::from(port))?;
    let (of_others, port_class) = match protocol {
        protocol::TCP => (header.tcp, classes.tcp),
        protocol::UDP => (header.udp, classes.udp),
        protocol::SCTP => (header.sctp, classes.sctp),
        _ => (header.any & !word::MORE, 0),
    };
    let of_port = if of_others & word::MORE == 0 || port_class == 0 {
        None
    } else {
        lookup(&maps::ROW_PORTS, &RowPortKey { row, port_class, protocol: u16::from(protocol) })
    };
    Some(of_port.unwrap_or(of_others & !word::MORE))
}
