//! Counters, which are exact, and samples of denials and of allowed flows, which are not.

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use aya_ebpf::maps::PerCpuArray;
use podgate_common::{
    Counter, Direction, FlowEvent, NetPort, Reason, VERDICT_NONE, budget_index, counter_index, lost, protocol, word,
};

use crate::clock;
use crate::maps;
use crate::packet::{Frame, Packet};
use crate::parse::{self, ethertype};

/// Counts a verdict. Per CPU, so no other writer; TC programs don't interrupt each other on a CPU.
#[inline(always)]
pub(crate) fn count<const L3: u32>(packet: &Packet<'_, L3>, slot: u32, direction: Direction, reason: Reason) {
    let Some(counter) = maps::COUNTERS.get_ptr_mut(counter_index(slot, direction, reason)) else { return };
    add(counter, u64::from(packet.segments()), u64::from(packet.length()));
}

#[inline(always)]
fn add(counter: *mut Counter, packets: u64, bytes: u64) {
    // SAFETY: this CPU's element of the map.
    unsafe {
        (*counter).packets += packets;
        (*counter).bytes += bytes;
    }
}

/// Reports a packet whose reason [`Reason::is_reported`].
#[inline(always)]
pub(crate) fn report<const L3: u32>(
    packet: &Packet<'_, L3>,
    slot: u32,
    generation: u32,
    direction: Direction,
    reason: Reason,
) {
    if matches!(reason, Reason::RuleDenied | Reason::RuleDeniedAudited) {
        podgate_count_rule();
    }
    let budget = maps::EVENT_BUDGET.get(budget_index(slot, false)).copied();
    if !is_allowed(reason as u8) && budget.is_some_and(|budget| is_used_up(budget, false)) {
        count_up(&maps::EVENTS_LOST, lost::DENIED);
        return;
    }
    podgate_report(packet.context(), slot, generation, (direction as u32) << 8 | reason as u32, L3);
}

/// A global function, as are its like in this crate: the verifier looks at it once, for any arguments, instead of once
/// for each way that leads here. Kernels before 6.4 need that to get through with the programs.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_report(context: *mut __sk_buff, slot: u32, generation: u32, what: u32, l3: u32) -> u32 {
    let packet = Frame::new(context);
    let allowed = is_allowed(what as u8);
    let rule = if allowed {
        count_rule()
    } else if names_rule(what as u8) {
        judged_rule()
    } else {
        VERDICT_NONE
    };
    if !is_within_budget(slot, allowed) || !emit(&packet, slot, generation, what, l3, rule) {
        count_up(&maps::EVENTS_LOST, if allowed { lost::ALLOWED } else { lost::DENIED });
    }
    0
}

/// Whether a reason that is reported is that of an allowed flow.
#[inline(always)]
const fn is_allowed(code: u8) -> bool {
    code == Reason::Rule as u8
        || code == Reason::DirectionNotIsolated as u8
        || code == Reason::Undecided as u8
        || code == Reason::OverShare as u8
}

/// Whether a rule may stand behind a denial with this reason.
#[inline(always)]
const fn names_rule(code: u8) -> bool {
    code == Reason::RuleDenied as u8
        || code == Reason::RuleDeniedAudited as u8
        || code == Reason::Cut as u8
        || code == Reason::CutAudited as u8
}

/// Notes which rule allows or denies the packet that this CPU is at, for [`report`]. Nothing comes between the two: no program
/// interrupts a classifier but what judges nothing.
#[inline(always)]
pub(crate) fn note_rule(rule: u32) {
    if let Some(judged) = maps::JUDGED.get_ptr_mut(0) {
        // SAFETY: this CPU's element of the map.
        unsafe { *judged = rule };
    }
}

/// The rule of this packet, if one is noted.
#[inline(always)]
fn judged_rule() -> u32 {
    let rule = maps::JUDGED.get(0).copied().unwrap_or(VERDICT_NONE);
    if rule > word::RULE { VERDICT_NONE } else { rule }
}

/// Counts that the rule of this packet denies it, or would. Of each, whether or not an event tells of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_count_rule() -> u32 {
    count_rule()
}

/// Counts that the rule of this packet has allowed one more flow or denied one more packet, and returns it.
#[inline(always)]
fn count_rule() -> u32 {
    let rule = judged_rule();
    if rule == VERDICT_NONE {
        return VERDICT_NONE;
    }
    if let Some(counter) = maps::RULES.get_ptr_mut(&rule) {
        // SAFETY: this CPU's element of the map.
        unsafe { *counter += 1 };
    } else if maps::RULES.insert(&rule, &1, u64::from(BPF_NOEXIST)).is_err() {
        count_rule_again(rule);
    }
    rule
}

/// Another CPU has made the rule's counter meanwhile, or there is no room for one.
#[inline(always)]
fn count_rule_again(rule: u32) {
    match maps::RULES.get_ptr_mut(&rule) {
        // SAFETY: this CPU's element of the map.
        Some(counter) => unsafe { *counter += 1 },
        None => count_up(&maps::EVENTS_LOST, lost::RULES),
    }
}

/// Counts a packet at an exit hook, by an index of [`podgate_common::exits`].
#[inline(always)]
pub(crate) fn count_exit(index: u32) {
    count_up(&maps::EXITS, index);
}

#[inline(always)]
fn count_up(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: this CPU's element of the map.
        unsafe { *counter += 1 };
    }
}

/// Whether this endpoint may emit one more event of this kind on this CPU in this second.
#[inline(always)]
fn is_within_budget(slot: u32, allowed: bool) -> bool {
    let Some(budget) = maps::EVENT_BUDGET.get_ptr_mut(budget_index(slot, allowed)) else { return false };
    // SAFETY: this CPU's element of the map.
    let word = unsafe { *budget };
    if is_used_up(word, allowed) {
        return false;
    }
    let now = clock::jiffies() as u32;
    let next = if is_over(word, now) { u64::from(now) << 32 } else { word };
    // SAFETY: as above.
    unsafe { *budget = next + 1 };
    rate(allowed) > 0
}

/// Whether no more events may be emitted in the second that a word of [`maps::EVENT_BUDGET`] is about.
#[inline(always)]
fn is_used_up(word: u64, allowed: bool) -> bool {
    !is_over(word, clock::jiffies() as u32) && word as u32 >= rate(allowed)
}

/// Whether that second is over.
#[inline(always)]
fn is_over(word: u64, now: u32) -> bool {
    now.wrapping_sub((word >> 32) as u32) >= maps::HZ.load()
}

#[inline(always)]
fn rate(allowed: bool) -> u32 {
    if allowed { maps::FLOW_RATE.load() } else { maps::EVENT_RATE.load() }
}

/// Writes an event without waking the reader, who drains the ring by the clock. False: the ring is full.
#[inline(always)]
fn emit(packet: &Packet<'_>, slot: u32, generation: u32, what: u32, l3: u32, rule: u32) -> bool {
    const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;
    let Some(mut entry) = maps::EVENTS.reserve::<FlowEvent>(0) else { return false };
    let time = clock::boot_ns();
    let (direction, reason) = ((what >> 8) as u8, what as u8);
    let (length, set) = (packet.length(), maps::SET.load() as u8);
    let event = FlowEvent { time, slot, generation, length, direction, reason, set, rule, ..FlowEvent::default() };
    // SAFETY: a pointer to the reserved record, which is as large as the event.
    unsafe {
        entry.as_mut_ptr().write(event);
        describe(packet, l3, &mut *entry.as_mut_ptr());
    }
    entry.submit(NO_WAKEUP);
    true
}

/// Fills in addresses and ports as far as they can be read.
#[inline(always)]
fn describe(packet: &Packet<'_>, l3: u32, event: &mut FlowEvent) {
    let l4 = match packet.ethertype() {
        ethertype::IPV4 => describe4(packet, l3, event),
        ethertype::IPV6 => describe6(packet, l3, event),
        _ => None,
    };
    let Some(l4) = l4 else { return };
    let Some([first, second]) = packet.load::<[u16; 2]>(l4) else { return };
    match event.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            event.source_port = NetPort::from_network(first);
            event.destination_port = NetPort::from_network(second);
        }
        protocol::ICMP | protocol::ICMPV6 => event.destination_port = NetPort::from_network(first),
        _ => {}
    }
    if event.protocol == protocol::TCP
        && let Some(offset_and_flags) = packet.load::<u16>(l4 + 12)
    {
        event.tcp_flags = offset_and_flags.to_ne_bytes()[1];
    }
}

/// Where the transport header begins, if this fragment has one.
#[inline(always)]
fn describe4(packet: &Packet<'_>, l3: u32, event: &mut FlowEvent) -> Option<u32> {
    let words = packet.load::<[u32; 5]>(l3)?;
    let [version_ihl, ..] = words[0].to_ne_bytes();
    let [_, _, offset_high, offset_low] = words[1].to_ne_bytes();
    event.family = 4;
    event.protocol = words[2].to_ne_bytes()[1];
    event.source = first_bytes(words[3]);
    event.destination = first_bytes(words[4]);
    let is_later_fragment = u16::from_be_bytes([offset_high, offset_low]) & 0x1fff != 0;
    (!is_later_fragment).then_some(l3 + u32::from(version_ihl & 0xf) * 4)
}

/// Where the transport header begins, if no extension header stands before it.
#[inline(always)]
fn describe6(packet: &Packet<'_>, l3: u32, event: &mut FlowEvent) -> Option<u32> {
    let words = packet.load::<[u32; 10]>(l3)?;
    event.family = 6;
    event.protocol = words[1].to_ne_bytes()[2];
    event.source = podgate_common::Addr6::from_words([words[2], words[3], words[4], words[5]]).octets();
    event.destination = podgate_common::Addr6::from_words([words[6], words[7], words[8], words[9]]).octets();
    Some(l3 + parse::HEADER6)
}

#[inline(always)]
fn first_bytes(word: u32) -> [u8; 16] {
    podgate_common::Addr6::from_words([word, 0, 0, 0]).octets()
}
