//! Who waits for a pod to be enforced. Pure: time and what is so come in, answers go out.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::handovers::Standing;

/// What became of a pod that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandedOverOutcome {
    /// It is enforced as its policies say.
    Enforced,
    /// It is isolated in both directions, since it did not become known in time.
    Isolated,
    /// It is not enforced, and why.
    Failed(String),
}

/// After this long a pod that is not enforced will not be, as far as its runtime is concerned.
const PATIENCE: Duration = Duration::from_secs(10);

/// Someone who waits.
#[derive(Debug)]
struct Waiter {
    ifindex: u32,
    /// Until when to wait for the pod to be known.
    known_by: Instant,
    reply: oneshot::Sender<HandedOverOutcome>,
}

/// All who wait.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiters {
    /// Lets someone wait for the pod on an interface; until `known_by`, for it to be known.
    pub(super) fn add(&mut self, ifindex: u32, known_by: Instant, reply: oneshot::Sender<HandedOverOutcome>) {
        self.0.push(Waiter { ifindex, known_by, reply });
    }

    /// Answers those for whom something is settled.
    pub(super) fn settle(&mut self, now: Instant, standing: impl Fn(u32) -> Standing) {
        for waiter in std::mem::take(&mut self.0) {
            match outcome(standing(waiter.ifindex), waiter.known_by, now) {
                // Whoever asked may have gone.
                Some(outcome) => drop(waiter.reply.send(outcome)),
                None => self.0.push(waiter),
            }
        }
    }

    /// When something may be settled by time alone.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let times = self.0.iter().flat_map(|waiter| [waiter.known_by, waiter.known_by + PATIENCE]);
        times.filter(|time| *time > now).min()
    }
}

fn outcome(standing: Standing, known_by: Instant, now: Instant) -> Option<HandedOverOutcome> {
    match standing {
        Standing::Enforced => Some(HandedOverOutcome::Enforced),
        Standing::Isolated => (now >= known_by).then_some(HandedOverOutcome::Isolated),
        Standing::Pending(reason) => (now >= known_by + PATIENCE).then_some(HandedOverOutcome::Failed(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered on an interface with this standing, so many seconds after the time for the pod to be known.
    fn answer(standing: &Standing, seconds: i64) -> Option<HandedOverOutcome> {
        let start = Instant::now() + Duration::from_secs(100);
        let now = if seconds < 0 {
            start - Duration::from_secs(seconds.unsigned_abs())
        } else {
            start + Duration::from_secs(seconds.unsigned_abs())
        };
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.add(7, start, reply);
        waiters.settle(now, |_| standing.clone());
        answer.try_recv().ok()
    }

    #[test]
    fn who_is_known_is_answered_at_once_and_who_is_not_when_the_time_is_over() {
        assert_eq!(answer(&Standing::Enforced, -5), Some(HandedOverOutcome::Enforced));
        assert_eq!(answer(&Standing::Isolated, -1), None);
        assert_eq!(answer(&Standing::Isolated, 0), Some(HandedOverOutcome::Isolated));
        let pending = Standing::Pending("no room".to_owned());
        assert_eq!(answer(&pending, 9), None);
        assert_eq!(answer(&pending, 10), Some(HandedOverOutcome::Failed("no room".to_owned())));
    }

    #[test]
    fn the_next_deadline_is_that_of_the_pod_to_be_known_then_that_of_giving_up() {
        let now = Instant::now();
        let mut waiters = Waiters::default();
        assert_eq!(waiters.deadline(now), None);
        let known_by = now + Duration::from_secs(3);
        waiters.add(7, known_by, oneshot::channel().0);
        assert_eq!(waiters.deadline(now), Some(known_by));
        assert_eq!(waiters.deadline(known_by), Some(known_by + PATIENCE));
    }
}
