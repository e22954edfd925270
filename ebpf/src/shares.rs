//! Pending flows, which are half open or unanswered. They stand in one table with the lasting ones, and floods must evict none
//! of those: so each has a place in a ring, and its entry goes when the place is another's. Each pod has a share of the
//! places, so that a flood at one pod takes no other's.
//!
//! ```text
//! within its share:  a ring of each CPU        for all pods; entries are counted by pod
//! above it:          rings by remote address   of the pod's own
//! ```
//!
//! Above the share, an entry takes the place of the oldest of its group. Nobody is refused, and who floods a pod ends
//! flows of its own, and of the few addresses with the same hash.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::maps::Array;
use podgate_common::map::PENDING_SHARES;
use podgate_common::{
    EXCESS_GROUPS, Flow, FlowKey, Holder, Reason, Share, excess_group, excess_place, share_index, state,
};

use crate::clock;
use crate::family::Family;
use crate::maps;
use crate::rules;
use crate::scene::Scene;

/// Writes the entry of a pending flow. What the node opens is not counted: its probes must find room. Nor is the second entry
/// of a flow to a Service, at the exit hook: no answer comes by there, so it stays pending, and going costs it nothing, since
/// policy is asked again. It takes the place of the pod's own oldest from the start. One that is pending already has its
/// place, and goes on being counted or not.
#[inline(never)]
pub(crate) fn record<F: Family>(scene: &Scene<'_, F>, flow: &mut Flow, reason: Reason) -> Reason {
    // SAFETY: the map's element, of which a u32 is copied at once.
    let former = F::flows().get_ptr(&scene.key).map_or(0, |former| unsafe { (*former).state });
    if former & state::PENDING != 0 {
        flow.state |= former & state::OF_PENDING;
        return scene.store(flow, reason);
    }
    let is_counted = flow.state & state::NODE == 0;
    if scene.at_exit || is_counted && podgate_has_share(share_of(scene, flow.state), F::share() / 2, scene.now) == 0 {
        return exceed(scene, flow, reason);
    }
    let pending = state::PENDING | state::at_place(next_place::<F>());
    take_place(scene, F::pending(), pending);
    flow.state |= pending;
    let reason = scene.store(flow, reason);
    if is_counted && reason != Reason::FlowTable {
        count(share_of(scene, flow.state), 1);
    }
    reason
}

/// The same in place of the oldest of its group, of the pod's own.
#[inline(never)]
fn exceed<F: Family>(scene: &Scene<'_, F>, flow: &mut Flow, reason: Reason) -> Reason {
    let group = excess_group(share_of(scene, flow.state), scene.key.remote.epoch_index());
    // Two CPUs at once may get the same turn: one of their entries then has no place, and lives until it is evicted.
    let turn = maps::EXCESS_TURNS.get_ptr_mut(group).map_or(0, next_turn);
    let share = F::share();
    let place = excess_place(group, turn, share / 2 / EXCESS_GROUPS, share * PENDING_SHARES);
    let pending = state::PENDING | state::EXCESS | state::at_place(place);
    take_place(scene, F::excess(), pending);
    flow.state |= pending;
    let is_told = !scene.at_exit && matches!(reason, Reason::Rule | Reason::DirectionNotIsolated);
    scene.store(flow, if is_told { Reason::OverShare } else { reason })
}

/// A place in the ring of this CPU: the one whose turn it is, unless that is taken and another is free. Flows that were
/// answered at once have left many, and must not end those that wait longer.
#[inline(always)]
fn next_place<F: Family>() -> u32 {
    /// Leads to places all over the ring, whatever was opened in a row.
    const STRIDES: [u32; 3] = [0x9e37_79b1, 0x85eb_ca6b, 0xc2b2_ae35];
    let turn = maps::PENDING_TURNS.get_ptr_mut(u32::from(F::IS_V6)).map_or(0, next_turn);
    // SAFETY: asks which CPU this is.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let ring = F::ring().max(1);
    let in_turn = cpu * ring + turn % ring;
    if is_free::<F>(in_turn) {
        return in_turn;
    }
    let elsewhere = STRIDES.map(|stride| cpu * ring + (turn.wrapping_mul(stride) >> 8) % ring);
    elsewhere.into_iter().find(|&place| is_free::<F>(place)).unwrap_or(in_turn)
}

/// Whether no flow has a place in the rings.
#[inline(always)]
fn is_free<F: Family>(place: u32) -> bool {
    // SAFETY: the map's element, of which a u32 is copied at once.
    F::pending().get_ptr(place).is_some_and(|key| unsafe { (*key).holder } == Holder::NONE)
}

/// Whose turn it is, by a counter of the kernel's maps.
#[inline(always)]
fn next_turn(turns: *mut u32) -> u32 {
    // SAFETY: an aligned u32 of an array map, loaded and stored whole.
    unsafe {
        let turn = turns.read_volatile();
        turns.write_volatile(turn.wrapping_add(1));
        turn
    }
}

/// Gives a place to the flow of a packet, whose entry is to have these bits of its state. The entry that has them goes.
#[inline(always)]
fn take_place<F: Family>(scene: &Scene<'_, F>, places: &Array<FlowKey<F>>, pending: u32) {
    let Some(place) = places.get_ptr_mut(state::place(pending)) else { return };
    // SAFETY: the map's element. Another CPU may write it at the same time: what is then left there is the key of a
    // flow that is no more, or a mixture that is most likely no flow's.
    let place = unsafe { &mut *place };
    if place.holder != Holder::NONE {
        // SAFETY: the map's element, of which a u32 is copied at once.
        let former = F::flows().get_ptr(&*place).map_or(0, |flow| unsafe { (*flow).state });
        if former & state::OF_PENDING == pending {
            // Err means that it has gone meanwhile, which is what is wanted.
            let _absent = F::flows().remove(&*place);
        }
    }
    *place = scene.key;
}

/// Gives up the place of a flow that had this state and has become lasting, and no longer counts it.
#[inline(never)]
pub(crate) fn strike<F: Family>(scene: &Scene<'_, F>, former: u32) {
    let is_excess = former & state::EXCESS != 0;
    let places = if is_excess { F::excess() } else { F::pending() };
    if let Some(place) = places.get_ptr_mut(state::place(former)) {
        // SAFETY: as in `take_place`.
        let place = unsafe { &mut *place };
        if *place == scene.key {
            place.holder = Holder::NONE;
        }
    }
    if !is_excess && former & state::NODE == 0 {
        count(share_of(scene, former), -1);
    }
}

/// Where the share that a flow with this state counts for stands.
#[inline(always)]
fn share_of<F: Family>(scene: &Scene<'_, F>, flow_state: u32) -> u32 {
    share_index(scene.key.holder.slot(), state::opened(flow_state), F::IS_V6)
}

/// Whether a share has room for one more entry; 0: it has not. A global function: see `events::podgate_report`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn podgate_has_share(index: u32, limit: u32, now: u64) -> u32 {
    let Some(share) = maps::SHARES.get_ptr_mut(index) else { return 0 };
    u32::from(rules::has_room(&refresh(share, now), limit))
}

/// The share as it is now; where a new stretch begins, notes it. Two CPUs that do so at once may lose what the former
/// stretch ended with: the pod then has its share once more.
#[inline(always)]
fn refresh(share: *mut Share, now: u64) -> Share {
    // SAFETY: an element of an array map, whose fields are loaded and stored whole.
    unsafe {
        let held = Share {
            since: (&raw const (*share).since).read_volatile(),
            current: (&raw const (*share).current).read_volatile(),
            previous: (&raw const (*share).previous).read_volatile(),
        };
        let fresh = rules::share_now(&held, now, clock::hz());
        if fresh.since != held.since {
            (&raw mut (*share).since).write_volatile(fresh.since);
            (&raw mut (*share).previous).write_volatile(fresh.previous);
            (&raw mut (*share).current).write_volatile(0);
        }
        fresh
    }
}

/// Counts an entry. Two CPUs that do so at once may lose one of the two, which a share can bear.
#[inline(always)]
fn count(index: u32, more: i64) {
    let Some(share) = maps::SHARES.get_ptr_mut(index) else { return };
    // SAFETY: an aligned i64 of an array map, loaded and stored whole.
    unsafe {
        let current = &raw mut (*share).current;
        current.write_volatile(current.read_volatile().wrapping_add(more));
    }
}
