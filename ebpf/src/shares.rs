//! Half-open and unanswered flows: each pod has a share of their table, so that a flood at one pod takes no other's room.
//!
//! ```text
//! a pod's share:  [ half of it: any, counted ][ half of it: in groups by remote address, each a ring of its own ]
//! ```
//!
//! The second half is used while the first is full. There an entry takes the place of the oldest of its group, so nobody is
//! refused, and who floods a pod ends flows of its own, and of the few addresses with the same hash.

use aya_ebpf::bindings::BPF_NOEXIST;
use podgate_common::{EXCESS_GROUPS, Flow, FlowKey, Reason, Share, excess_group, excess_place, share_index, state};

use crate::clock;
use crate::family::Family;
use crate::maps;
use crate::rules;
use crate::scene::Scene;

/// Writes the entry of a flow that is half open or unanswered, which may be marked as [`state::EXCESS`]. What the node opens
/// is not counted: its probes must find room.
#[inline(never)]
pub(crate) fn record<F: Family>(scene: &Scene<'_, F>, flow: &mut Flow, reason: Reason) -> Reason {
    if flow.state & state::NODE != 0 {
        return scene.store(F::pending(), flow, reason);
    }
    let share = share_of(scene, flow);
    if podgate_has_share(share, F::share() / 2, scene.now) == 0 {
        return exceed(scene, flow, reason);
    }
    if F::pending().insert(&scene.key, &*flow, u64::from(BPF_NOEXIST)).is_ok() {
        count(share, 1);
        return reason;
    }
    rewrite(scene, flow, reason)
}

/// Writes anew an entry that is there, which goes on being counted or not.
#[inline(always)]
fn rewrite<F: Family>(scene: &Scene<'_, F>, flow: &mut Flow, reason: Reason) -> Reason {
    let former = F::pending().get_ptr(&scene.key);
    // SAFETY: the map's element, of which a u32 is copied at once.
    flow.state |= former.map_or(0, |former| unsafe { (*former).state } & state::EXCESS);
    scene.store(F::pending(), flow, reason)
}

/// Writes the entry of a flow above the pod's share, in place of the oldest of its group. One whose connection has become a
/// lasting flow meanwhile, or was made anew within the share, is left alone.
#[inline(never)]
fn exceed<F: Family>(scene: &Scene<'_, F>, flow: &mut Flow, reason: Reason) -> Reason {
    if F::pending().get_ptr(&scene.key).is_some() {
        return rewrite(scene, flow, reason);
    }
    let group = excess_group(share_of(scene, flow), scene.key.remote.epoch_index());
    let place = excess_place(group, next_turn(group), F::share() / 2 / EXCESS_GROUPS);
    match F::excess().get_ptr_mut(&place) {
        Some(oldest) => {
            // SAFETY: the map's element. Another CPU may write it at the same time: what is then left there is the key of a
            // flow that is no more, or a mixture that is most likely no flow's.
            let oldest = unsafe { &mut *oldest };
            remove_excess::<F>(oldest);
            *oldest = scene.key;
        }
        None => {
            // If it fails, the entry stays until the table evicts it.
            let _noted = F::excess().insert(&place, &scene.key, 0);
        }
    }
    flow.state |= state::EXCESS;
    let is_told = matches!(reason, Reason::Rule | Reason::DirectionNotIsolated);
    scene.store(F::pending(), flow, if is_told { Reason::OverShare } else { reason })
}

/// Removes an entry that was made above the share, if it is still that.
#[inline(always)]
fn remove_excess<F: Family>(key: &FlowKey<F>) {
    let Some(flow) = F::pending().get_ptr(key) else { return };
    // SAFETY: as in `rewrite`.
    if unsafe { (*flow).state } & state::EXCESS != 0 {
        // Err means that it has gone meanwhile, which is what is wanted.
        let _absent = F::pending().remove(key);
    }
}

/// Whose turn it is in a group. Two CPUs that ask at once may get the same answer: one entry then goes too soon.
#[inline(always)]
fn next_turn(group: u32) -> u32 {
    let Some(turns) = maps::EXCESS_TURNS.get_ptr_mut(group) else { return 0 };
    // SAFETY: an aligned u32 of an array map, loaded and stored whole.
    unsafe {
        let turn = turns.read_volatile();
        turns.write_volatile(turn.wrapping_add(1));
        turn
    }
}

/// Removes an entry that has moved among the lasting flows.
#[inline(always)]
pub(crate) fn strike<F: Family>(scene: &Scene<'_, F>, flow: &Flow) {
    let is_counted = F::pending().remove(&scene.key).is_ok() && flow.state & (state::NODE | state::EXCESS) == 0;
    if is_counted {
        count(share_of(scene, flow), -1);
    }
}

/// Where the share that a flow counts for stands.
#[inline(always)]
fn share_of<F: Family>(scene: &Scene<'_, F>, flow: &Flow) -> u32 {
    share_index(scene.key.holder.slot(), flow.opened(), F::IS_V6)
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
