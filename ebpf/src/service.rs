//! Egress to a port of a Service that is judged where it leaves the pod: nobody can tell there to which backend it goes, so
//! all of them must be allowed.

use podgate_common::{Addr4, Addr6, EndpointConfig, Frontend, MAX_BACKENDS, NetPort, Reason, VERDICT_ITSELF};

use crate::family::Family;
use crate::maps;
use crate::verdict::{Verdict, by_policy};

/// What the backends come to. What is no port of a Service, or of one without backends, is judged as any other address;
/// `short`: it is denied.
#[inline(always)]
pub(crate) fn verdict<F: Family>(
    config: &EndpointConfig,
    slot: u32,
    remote: &F,
    protocol: u8,
    port: NetPort,
    short: bool,
) -> Verdict {
    let Found { set, backends } = Found::from_word(remote.frontend(protocol, port));
    if set == 0 && !short {
        return Verdict::PLAIN;
    }
    if set == 0 || !(1..=MAX_BACKENDS).contains(&backends) {
        return Verdict::denied(Reason::BackendsUnknown);
    }
    let [_, policy] = config.policy;
    let [_, default_row] = config.default_row;
    Verdict(F::backends_allowed(policy, default_row, set, backends | u32::from(protocol) << 16, slot))
}

/// A frontend in one word, so that it crosses a function call of the BPF machine; 0: none.
struct Found {
    set: u32,
    backends: u32,
}

impl Found {
    #[inline(always)]
    const fn from_word(word: u64) -> Self {
        Self { set: (word >> 32) as u32, backends: word as u32 }
    }

    #[inline(always)]
    fn word(frontend: Option<&Frontend>) -> u64 {
        frontend.map_or(0, |frontend| u64::from(frontend.set) << 32 | u64::from(frontend.backends))
    }
}

/// Whether every backend of a set is allowed: the first one's rule, or why not. The pod itself needs no rule.
#[inline(always)]
fn all_allowed<F: Family>(policy: u32, default_row: u32, set: u32, count_and_protocol: u32, slot: u32) -> Verdict {
    let (count, protocol) = (count_and_protocol & 0xffff, (count_and_protocol >> 16) as u8);
    let mut first = VERDICT_ITSELF;
    for index in 0..MAX_BACKENDS {
        if index >= count {
            break;
        }
        let Some((address, port)) = F::backend(set, index) else { return Verdict::denied(Reason::Internal) };
        match by_policy(policy, default_row, &address, protocol, port.number()) {
            Ok(rule) if first == VERDICT_ITSELF => first = rule,
            Ok(_) => {}
            Err(Reason::NoRule) if address.is_of(slot) => {}
            Err(reason) => return Verdict::denied(reason),
        }
    }
    Verdict::allowed(first)
}

/// [`Found::word`] of a port of an IPv4 address, which is passed as a number in network byte order, as is the port in the
/// upper half of the word after it; the lower half is the protocol.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_frontend4(address: u32, port_and_protocol: u32) -> u64 {
    let key = podgate_common::FrontendKey4 {
        address: Addr4::from_octets(address.to_ne_bytes()),
        port: NetPort::from_network((port_and_protocol >> 16) as u16),
        protocol: port_and_protocol as u16,
    };
    // SAFETY: not preallocated, so the element is not reused while this program runs; copied at once.
    Found::word(unsafe { maps::FRONTENDS4.get(key) })
}

/// The same of an IPv6 address, which is passed as its four words in network byte order.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_frontend6(
    first: u32,
    second: u32,
    third: u32,
    fourth: u32,
    port_and_protocol: u32,
) -> u64 {
    let key = podgate_common::FrontendKey6 {
        address: Addr6::from_words([first, second, third, fourth]),
        port: NetPort::from_network((port_and_protocol >> 16) as u16),
        protocol: port_and_protocol as u16,
    };
    // SAFETY: as above.
    Found::word(unsafe { maps::FRONTENDS6.get(key) })
}

/// Whether a policy allows every IPv4 backend of a set, as the word of a [`Verdict`]: a global function, which the verifier
/// looks at once, though many places call it. The last but one word holds how many backends there are, at most
/// [`MAX_BACKENDS`], and above them the protocol.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_backends4(
    policy: u32,
    default_row: u32,
    set: u32,
    count_and_protocol: u32,
    slot: u32,
) -> u64 {
    all_allowed::<Addr4>(policy, default_row, set, count_and_protocol, slot).0
}

/// The same of IPv6 backends.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn podgate_backends6(
    policy: u32,
    default_row: u32,
    set: u32,
    count_and_protocol: u32,
    slot: u32,
) -> u64 {
    all_allowed::<Addr6>(policy, default_row, set, count_and_protocol, slot).0
}
