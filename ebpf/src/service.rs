//! Egress to addresses of Services and of the host, where it leaves the pod: left to the exit hook, or judged by all the
//! backends of a Service, since nobody can tell here to which of them it goes.

use podgate_common::{
    Addr4, Addr6, Asked, BackendKey, Direction, EndpointConfig, Frontend, FrontendKey6, MAX_BACKENDS, NetPort, Reason,
    VERDICT_DEFERRED, VERDICT_ITSELF, deferring,
};

use crate::classes::{class_of_block, class_of_group};
use crate::endpoint::is_audited;
use crate::family::Family;
use crate::maps;
use crate::verdict::{Verdict, by_class};

/// What is said of egress to an address with these bits of [`deferring`]. The verifier follows what stands behind this once,
/// though many places ask, and takes the answer for any number.
#[inline(always)]
pub(crate) fn elsewhere<F: Family>(
    config: &EndpointConfig,
    slot: u32,
    remote: &F,
    protocol: u8,
    port: NetPort,
    deferring: u32,
) -> Verdict {
    let Some(asked) = maps::ASKED.get_ptr_mut(0) else { return Verdict::denied(Reason::Internal) };
    let ([_, policy], [_, default_row]) = (config.policy, config.default_row);
    let address = Addr6::from_words(remote.in_words());
    let frontend = FrontendKey6 { address, port, protocol: u16::from(protocol) };
    let audited = u32::from(is_audited(config, Direction::Egress));
    // SAFETY: the map's element, this CPU's own.
    unsafe { asked.write(Asked { frontend, policy, default_row, slot, deferring, audited, block: [0; 5] }) };
    Verdict(if F::IS_V6 { podgate_elsewhere6() } else { podgate_elsewhere4() })
}

#[inline(always)]
fn answer<F: Family>() -> Verdict {
    let Some(asked) = maps::ASKED.get(0) else { return Verdict::denied(Reason::Internal) };
    if asked.deferring & deferring::FRONTENDS != 0 {
        let said = by_backends::<F>(asked).in_mode(asked.audited != 0);
        if !said.is_plain() {
            return said;
        }
    }
    if asked.deferring & (deferring::HOST | deferring::SERVICE) == 0 {
        return Verdict::PLAIN;
    }
    Verdict::allowed(VERDICT_DEFERRED)
}

/// Whether every backend behind a port is allowed: the rule of the first, or of the last where the first is the pod itself,
/// which needs none; or why not. What is no port of a Service, or of one without backends, is judged as any other address.
#[inline(always)]
fn by_backends<F: Family>(asked: &Asked) -> Verdict {
    let Some(Frontend { set, backends }) = F::frontend(&asked.frontend) else {
        let short = asked.deferring & deferring::SHORT != 0;
        return if short { Verdict::denied(Reason::BackendsUnknown) } else { Verdict::PLAIN };
    };
    if !(1..=MAX_BACKENDS).contains(&backends) {
        return Verdict::denied(Reason::BackendsUnknown);
    }
    let (mut first, mut last) = (Verdict::allowed(VERDICT_ITSELF), Verdict::allowed(VERDICT_ITSELF));
    for index in 0..MAX_BACKENDS {
        if index >= backends {
            break;
        }
        last = Verdict(if F::IS_V6 { podgate_backend6(set, index) } else { podgate_backend4(set, index) });
        if last.is_denied() {
            return last;
        }
        if index == 0 {
            first = last;
        }
    }
    if first.is_itself() { last } else { first }
}

#[inline(always)]
fn backend_allowed<F: Family>(set: u32, index: u32) -> Verdict {
    let Some(asked) = maps::ASKED.get_ptr_mut(0) else { return Verdict::denied(Reason::Internal) };
    // SAFETY: the map's element, this CPU's own.
    let asked = unsafe { &mut *asked };
    let Some((address, port)) = F::backend(&BackendKey { set, index }) else {
        return Verdict::denied(Reason::Internal);
    };
    let class = class_of_group(address).unwrap_or_else(|| class_of_block(F::block_in(&mut asked.block, address)));
    match by_class(asked.policy, asked.default_row, class, asked.frontend.protocol as u8, port.number()) {
        Ok(rule) => Verdict::allowed(rule),
        Err(Reason::NoRule) if address.origin() == Some(asked.slot) => Verdict::allowed(VERDICT_ITSELF),
        Err(reason) => Verdict::denied(reason),
    }
}

/// The answer to the question in [`maps::ASKED`] about an IPv4 address, as the word of a [`Verdict`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_elsewhere4() -> u64 {
    answer::<Addr4>().0
}

/// The same about an IPv6 address.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_elsewhere6() -> u64 {
    answer::<Addr6>().0
}

/// Whether an IPv4 backend is allowed for the pod that [`maps::ASKED`] is about, likewise: a function of its own, so that the
/// verifier need not follow the loop over them into what is asked of each.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_backend4(set: u32, index: u32) -> u64 {
    backend_allowed::<Addr4>(set, index).0
}

/// The same of an IPv6 backend.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_backend6(set: u32, index: u32) -> u64 {
    backend_allowed::<Addr6>(set, index).0
}
