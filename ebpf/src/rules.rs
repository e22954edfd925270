//! The rules of flows that need neither maps nor helpers: states, timeouts, who opened what.

use podgate_common::{Direction, Flow, Share, protocol, state};

/// TCP's flags byte.
pub mod tcp {
    /// The sender has sent all it will send.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends a connection at once.
    pub const RST: u8 = 0x04;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;

    /// What a packet may do to the state of its connection.
    pub const CHANGES: u8 = FIN | SYN | RST;

    /// Whether a packet opens a connection.
    #[must_use]
    #[inline(always)]
    pub const fn opens(flags: u8) -> bool {
        flags & (SYN | ACK) == SYN
    }
}

/// Seconds after which a half-open TCP connection is forgotten.
pub const TCP_HALF_OPEN: u64 = 60;
/// Seconds after which a silent TCP connection is forgotten.
pub const TCP_ESTABLISHED: u64 = 24 * 3600;
/// Seconds after which a TCP connection that both ends have finished, or one has reset, is forgotten.
pub const TCP_CLOSING: u64 = 10;
/// Seconds after which an unanswered flow of UDP, SCTP or a protocol without ports is forgotten.
pub const UNANSWERED: u64 = 30;
/// Seconds after which an answered one is forgotten.
pub const ANSWERED: u64 = 180;
/// Seconds after which an ICMP echo is forgotten.
pub const ICMP: u64 = 30;
/// Seconds for which the first fragment of a packet is remembered (ipfrag_time of Linux).
pub const FRAGMENT: u32 = 30;

/// No flow is forgotten sooner.
const SHORTEST: u64 = TCP_CLOSING;

/// Seconds of silence after which a flow is forgotten.
#[must_use]
#[inline(always)]
pub const fn timeout(protocol: u8, flow_state: u32) -> u64 {
    const BOTH: u32 = state::FIN_LOCAL | state::FIN_REMOTE;
    const RESET: u32 = state::RESET_LOCAL | state::RESET_REMOTE;
    match protocol {
        protocol::TCP if flow_state & RESET != 0 || flow_state & BOTH == BOTH => TCP_CLOSING,
        protocol::TCP if flow_state & state::PENDING != 0 => TCP_HALF_OPEN,
        protocol::TCP => TCP_ESTABLISHED,
        protocol::ICMP | protocol::ICMPV6 => ICMP,
        _ if flow_state & state::ANSWERED != 0 => ANSWERED,
        _ => UNANSWERED,
    }
}

/// Whether a flow has been silent for too long. `now` and [`Flow::seen`] are jiffies, which may wrap.
#[must_use]
#[inline(always)]
pub const fn is_expired(protocol: u8, flow_state: u32, seen: u64, now: u64, hz: u64) -> bool {
    let silent = now.wrapping_sub(seen);
    // First what is true of every flow in use.
    silent > SHORTEST * hz && silent > timeout(protocol, flow_state) * hz
}

/// Whether a flow was allowed for the pod that has the slot now, rather than for a predecessor. Generations may wrap.
#[must_use]
#[inline(always)]
pub const fn is_of_this_pod(generation: u32, birth: u32) -> bool {
    generation.wrapping_sub(birth) as i32 >= 0
}

/// The state of a flow after one more of its packets.
///
/// A pending flow becomes lasting by what shows that both ends mean it. An answer is enough, but for TCP: a SYN-ACK costs
/// its sender nothing, so only what the opener sends after it counts, or a flood of SYNs at a listening pod would fill the
/// table with flows that last.
#[must_use]
#[inline(always)]
pub const fn next_state(current: u32, protocol: u8, direction: Direction, tcp_flags: u8) -> u32 {
    let mut next = current;
    let answers = !is_from_opener(current, direction);
    if answers {
        next |= state::ANSWERED;
    }
    if protocol != protocol::TCP {
        return if answers { next & !state::OF_PENDING } else { next };
    }
    if !answers && current & state::ANSWERED != 0 && tcp_flags & (tcp::SYN | tcp::RST) == 0 {
        next &= !state::OF_PENDING;
    }
    if tcp_flags & tcp::FIN != 0 {
        next |= match direction {
            Direction::Egress => state::FIN_LOCAL,
            Direction::Ingress => state::FIN_REMOTE,
        };
    }
    if tcp_flags & tcp::RST != 0 {
        next |= match direction {
            Direction::Egress => state::RESET_LOCAL,
            Direction::Ingress => state::RESET_REMOTE,
        };
    }
    next
}

/// Whether a packet without flags leaves a flow's state as it is: what [`next_state`] says, soon found out for lasting flows.
#[must_use]
#[inline(always)]
pub const fn stays(current: u32, protocol: u8, direction: Direction) -> bool {
    if current & state::PENDING == 0 {
        return current & state::ANSWERED != 0 || is_from_opener(current, direction);
    }
    next_state(current, protocol, direction, 0) == current
}

/// Whether a packet in this direction was sent by the end that opened the flow.
#[must_use]
#[inline(always)]
const fn is_from_opener(flow_state: u32, direction: Direction) -> bool {
    (flow_state & state::OPENED_EGRESS != 0) == matches!(direction, Direction::Egress)
}

/// The state of a flow that a packet in this direction opens.
#[must_use]
#[inline(always)]
pub const fn opening_state(direction: Direction) -> u32 {
    match direction {
        Direction::Egress => state::OPENED_EGRESS,
        Direction::Ingress => 0,
    }
}

/// What may end in peace with `--live-connections=keep` though it was judged again and denied: connections whose own
/// policies changed. Where the remote address may have changed hands, only TCP, whose connections a new owner of the
/// address can't continue. TCP that nobody has answered is no connection yet.
#[must_use]
#[inline(always)]
pub const fn may_be_kept(protocol: u8, flow: &Flow, epoch: u32) -> bool {
    if protocol == protocol::TCP { flow.state & state::ANSWERED != 0 } else { flow.stamp.epoch() == epoch }
}

/// Whether a TCP flow that has been silent for too long was a connection that may live on, as far as its pod's kernel has it
/// still. A RST of the other end says nothing against that: anybody may have made it up.
#[must_use]
#[inline(always)]
pub const fn may_outlive_its_entry(flow_state: u32) -> bool {
    const BOTH: u32 = state::FIN_LOCAL | state::FIN_REMOTE;
    flow_state & (state::PENDING | state::RESET_LOCAL) == 0 && flow_state & BOTH != BOTH
}

/// A share as it is counted now. Jiffies may wrap.
#[must_use]
#[inline(always)]
pub const fn share_now(share: &Share, now: u64, hz: u64) -> Share {
    // No half-open or unanswered flow lives longer without a packet.
    const STRETCH: u64 = TCP_HALF_OPEN;
    let age = now.wrapping_sub(share.since);
    if age < STRETCH * hz {
        return *share;
    }
    let is_recent = age < 2 * STRETCH * hz && share.current > 0;
    Share { since: now, current: 0, previous: if is_recent { share.current } else { 0 } }
}

/// Whether a share has room for one more entry.
#[must_use]
#[inline(always)]
pub const fn has_room(share: &Share, limit: u32) -> bool {
    share.current.saturating_add(share.previous) < limit as i64
}

#[cfg(test)]
mod tests;
