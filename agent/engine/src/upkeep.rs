//! What is done when nothing else is: clearing up after a former agent, and seeing that our programs still come first.

use std::time::{Duration, Instant};

use podgate_datapath::Guard;

use super::backoff::Backoff;
use super::command::{Command, Outcome};
use super::endpoints::{Endpoints, Stage};
use super::guards::Guards;
use super::state::State;

/// A former agent's programs stay at most this long on interfaces that have no pod, while some pod has no interface:
/// one of them may be that pod's.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two rounds of checks: what somebody changes is put right within a second.
const CHECK_INTERVAL: Duration = Duration::from_millis(700);

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// The hooks of the pod in a slot.
    Pod(u32),
    /// Those of a pod without a slot.
    Confined(u32),
    /// Those of a device that is no pod's.
    Device(u32, Guard),
    /// What is pinned.
    Pins,
}

/// What is to be done from time to time.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    started: Option<Instant>,
    takeover_done: bool,
    takeover_backoff: Backoff,
    /// The slot, the interface without a slot, and the device that were checked last in this round.
    slot: u32,
    confined: u32,
    device: u32,
    next_round: Option<Instant>,
}

impl Upkeep {
    /// Whether to clear up after a former agent now; `settled`: every pod is enforced.
    pub(super) fn may_finish_takeover(&mut self, settled: bool, now: Instant) -> bool {
        let started = *self.started.get_or_insert(now);
        let patient = !settled && now < started + PATIENCE;
        !self.takeover_done && !patient && self.takeover_backoff.is_over(now)
    }

    /// Notes that nothing of a former agent is left.
    pub(super) fn finished(&mut self) {
        self.takeover_done = true;
    }

    /// Notes that clearing up failed.
    pub(super) fn not_finished(&mut self, now: Instant) {
        self.takeover_backoff.fail(now);
    }

    /// What to check next.
    pub(super) fn next_check(&mut self, endpoints: &Endpoints, guards: &Guards, now: Instant) -> Option<Check> {
        let next_round = *self.next_round.get_or_insert(now + CHECK_INTERVAL);
        if now < next_round {
            return None;
        }
        if let Some((slot, _)) = endpoints.after(self.slot).find(|(_, it)| it.stage == Stage::Attached) {
            self.slot = slot;
            return Some(Check::Pod(slot));
        }
        let mut confined = endpoints.waiting().filter(|it| it.confined && it.tenant.ifindex > self.confined);
        if let Some(waiting) = confined.next() {
            self.confined = waiting.tenant.ifindex;
            return Some(Check::Confined(self.confined));
        }
        if let Some((ifindex, guard)) = guards.next_check(self.device) {
            self.device = ifindex;
            return Some(Check::Device(ifindex, guard));
        }
        (self.slot, self.confined, self.device) = (0, 0, 0);
        self.next_round = Some(now + CHECK_INTERVAL);
        Some(Check::Pins)
    }

    /// When something is to be done.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let patience = self.started.filter(|_| !self.takeover_done).map(|started| started + PATIENCE);
        let takeover = self.takeover_backoff.deadline(now).or(patience);
        [takeover, self.next_round].into_iter().flatten().filter(|deadline| *deadline > now).min()
    }
}

impl State {
    /// What to do when there is nothing else.
    pub(super) fn next_upkeep(&mut self, now: Instant) -> Option<Command> {
        if !self.upkeep.takeover_done && self.planning.is_planned() {
            let settled = self.unbound().is_empty() && self.endpoints.waiting().all(|it| it.confined);
            let settled = settled && self.endpoints.unsettled().all(|(_, it)| it.stage == Stage::Attached);
            if self.upkeep.may_finish_takeover(settled, now) {
                return Some(Command::FinishTakeover);
            }
        }
        self.upkeep.next_check(&self.endpoints, &self.guards, now).map(Command::Check)
    }

    /// Takes in how clearing up after a former agent ended.
    pub(super) fn takeover_reported(&mut self, outcome: &Outcome, now: Instant) {
        if let Outcome::Failed { .. } = outcome {
            return self.upkeep.not_finished(now);
        }
        self.upkeep.finished();
        self.endpoints.forget_former(|_| true);
    }

    /// What is found not to be there, and can't be put there, is like something that never was.
    pub(super) fn checked(&mut self, check: Check, outcome: Outcome, now: Instant) {
        let failure = match outcome {
            Outcome::Done | Outcome::Provisional => return,
            Outcome::Gone => {
                if let Check::Device(ifindex, _) = check {
                    self.guards.gone(ifindex);
                }
                return;
            }
            Outcome::Repaired => None,
            Outcome::Failed { error, .. } => Some(error),
        };
        match (check, failure) {
            (Check::Pod(_) | Check::Confined(_) | Check::Device(..), None) => self.repairs.hooks += 1,
            (Check::Pins, None) => self.repairs.pins += 1,
            (Check::Pod(slot), Some(error)) => self.endpoint_failed(slot, error, now),
            (Check::Confined(ifindex), Some(error)) => self.endpoints.not_confined(ifindex, error, now),
            (Check::Device(ifindex, _), Some(error)) => self.guards.failed(ifindex, error, now),
            (Check::Pins, Some(_)) => {}
        }
    }

    /// Notes that entries of tables were not what had been written, and were put right.
    pub(super) fn tables_repaired(&mut self, entries: u64) {
        self.repairs.tables += entries;
    }
}
