//! Checksums that the kernel is yet to write: not where one belongs, they overwrite what a packet is judged by.

use aya_ebpf::bindings::__sk_buff;

use crate::maps;
use crate::packet::{ETHERNET, Frame, Packet};
use crate::parse::{self, Headers};

/// Where the kernel is yet to write a checksum, in bytes from the IP header on; [`NO_SUM`]: nowhere, or it does not tell.
#[inline(always)]
fn sum_place<const L3: u32>(packet: &Packet<'_, L3>) -> u32 {
    let [summed, start, network] = sum_fields();
    if summed == 0 {
        return NO_SUM;
    }
    if maps::MAY_CAST.load() == 0 {
        return podgate_sum_place(packet.context());
    }
    packet.sum_place(summed, start, network).unwrap_or(NO_SUM)
}

/// The same where it has to be copied. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_sum_place(context: *mut __sk_buff) -> u32 {
    let [summed, start, network] = sum_fields();
    if maps::MAY_CAST.load() != 0 {
        return NO_SUM;
    }
    Frame::new(context).copied_sum_place(summed, start, network).unwrap_or(NO_SUM)
}

#[inline(always)]
fn sum_fields() -> [u32; 3] {
    [maps::SUMMED.load(), maps::SUM_START.load(), maps::NETWORK.load()]
}

const NO_SUM: u32 = u32::MAX;

/// Whether the kernel is yet to write a checksum over what a packet is judged by.
#[inline(always)]
pub(crate) fn is_overwritten<const L3: u32>(packet: &Packet<'_, L3>, headers: &Headers) -> bool {
    let place = sum_place(packet);
    place != NO_SUM && !may_be_summed::<L3>(place, headers)
}

#[inline(always)]
const fn may_be_summed<const L3: u32>(place: u32, headers: &Headers) -> bool {
    parse::may_be_summed(place, headers.l4 - L3, headers.protocol, headers.fragment)
}

/// The same without calling a function, at the price of stack.
#[inline(always)]
pub(crate) fn is_overwritten_here(packet: &Frame<'_>, headers: &Headers) -> bool {
    let [summed, start, network] = sum_fields();
    if summed == 0 {
        return false;
    }
    let place = match maps::MAY_CAST.load() {
        0 => packet.copied_sum_place(summed, start, network),
        _ => packet.sum_place(summed, start, network),
    };
    place.is_some_and(|place| !may_be_summed::<ETHERNET>(place, headers))
}

/// Whether the kernel is yet to write a checksum into a packet.
#[inline(always)]
pub(crate) fn is_unsummed(packet: &Packet<'_>) -> bool {
    sum_place(packet) != NO_SUM
}
