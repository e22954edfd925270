//! Half-open and unanswered flows: each pod has a share of their table, so that a flood at one pod takes no other's room.

use aya_ebpf::bindings::BPF_NOEXIST;
use podgate_common::{Flow, Reason, Share, Verdict, share_index, state};

use crate::family::Family;
use crate::flow::{Scene, hz, store};
use crate::maps;
use crate::rules;

/// Writes the entry of a flow that is half open or unanswered, if the pod's share has room. Without an entry the packet
/// passes all the same. What the node opens is not counted: its probes must find room.
#[inline(never)]
pub(crate) fn record<F: Family>(scene: &Scene<'_, F>, flow: &Flow, reason: Reason) -> Reason {
    if flow.state & state::NODE != 0 {
        return store(F::pending(), scene, flow, reason);
    }
    let share = share_of(scene, flow);
    if podgate_has_share(share, F::share(), scene.now) == 0 {
        if F::pending().get_ptr(&scene.key).is_some() {
            return store(F::pending(), scene, flow, reason);
        }
        let stays = matches!(reason.verdict(), Verdict::Deferred | Verdict::WouldDeny);
        return if stays { reason } else { Reason::Unrecorded };
    }
    if F::pending().insert(&scene.key, flow, u64::from(BPF_NOEXIST)).is_ok() {
        count(share, 1);
        return reason;
    }
    store(F::pending(), scene, flow, reason)
}

/// Removes an entry that has moved among the lasting flows.
#[inline(always)]
pub(crate) fn strike<F: Family>(scene: &Scene<'_, F>, flow: &Flow) {
    let is_counted = F::pending().remove(&scene.key).is_ok() && flow.state & state::NODE == 0;
    if is_counted {
        count(share_of(scene, flow), -1);
    }
}

/// Where the share that a flow counts for stands.
#[inline(always)]
fn share_of<F: Family>(scene: &Scene<'_, F>, flow: &Flow) -> u32 {
    share_index(F::slot(&scene.key), flow.opened(), F::BITS != 32)
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
        let fresh = rules::share_now(&held, now, hz());
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
