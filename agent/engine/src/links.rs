//! Filters that judge until a TCX link takes their place.
//!
//! A new link takes a grace period of the kernel, some 10 to 40 ms in which nobody else gets the kernel's lock on its network
//! configuration. A filter takes none. So interfaces begin with filters, and links follow one by one when nothing else is to
//! be done, with pauses for whoever wants that lock: while pods come and go it is wanted much.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::command::{Command, Outcome, Reconciler};

/// Between the end of one link's making and the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Since the last interface came or went.
const QUIET: Duration = Duration::from_millis(500);

/// Interfaces that come and go all the time hold up links no longer than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// The interfaces with such filters.
#[derive(Debug, Default)]
pub(super) struct Links {
    awaited: BTreeMap<u32, Backoff>,
    /// The quiet is waited for until then.
    patience: Option<Instant>,
    /// Not before this.
    next: Option<Instant>,
}

impl Links {
    /// Notes that an interface has such filters.
    pub(super) fn await_on(&mut self, ifindex: u32) {
        self.awaited.entry(ifindex).or_default();
    }

    /// How many interfaces have such filters.
    pub(super) fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Notes that an interface has come or gone.
    pub(super) fn disturbed(&mut self, now: Instant) {
        if self.awaited.is_empty() {
            self.patience = Some(now + PATIENCE);
        }
        if self.patience.is_some_and(|patience| now < patience) {
            self.next = Some(now + QUIET);
        }
    }
}

impl Reconciler for Links {
    fn next(&mut self, now: Instant) -> Option<Command> {
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        let due = self.awaited.iter().find(|(_, backoff)| backoff.is_over(now));
        due.map(|(&ifindex, _)| Command::Link { ifindex })
    }

    /// There may be more filters on the interface.
    fn report(&mut self, command: Command, outcome: Outcome, now: Instant) {
        let Command::Link { ifindex } = command else { return };
        self.next = Some(now + PAUSE);
        match outcome {
            Outcome::Provisional => self.await_on(ifindex),
            Outcome::Done | Outcome::Repaired | Outcome::Gone => drop(self.awaited.remove(&ifindex)),
            Outcome::Failed { .. } => self.awaited.entry(ifindex).or_default().fail(now),
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let pause = self.next.filter(|next| now < *next);
        self.awaited.values().map(|backoff| backoff.deadline(now).max(pause)).min().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn link(ifindex: u32) -> Command {
        Command::Link { ifindex }
    }

    #[test]
    fn each_hook_waits_for_its_turn_and_a_pause_after_the_one_before() {
        let now = Instant::now();
        let mut links = Links::default();
        assert_eq!((links.next(now), links.deadline(now)), (None, None));
        links.await_on(10);
        links.await_on(11);
        assert_eq!(links.next(now), Some(link(10)));
        links.report(link(10), Outcome::Provisional, now);
        assert_eq!((links.next(now), links.deadline(now)), (None, Some(now + PAUSE)));
        assert_eq!(links.next(now + PAUSE), Some(link(10)), "its other hook");
        links.report(link(10), Outcome::Done, now + PAUSE);
        assert_eq!(links.next(now + 2 * PAUSE), Some(link(11)));
        links.report(link(11), Outcome::Gone, now + 2 * PAUSE);
        assert_eq!((links.next(now + 3 * PAUSE), links.deadline(now + 3 * PAUSE)), (None, None));
    }

    #[test]
    fn links_wait_until_no_interface_comes_or_goes_but_not_for_ever() {
        let now = Instant::now();
        let mut links = Links::default();
        links.disturbed(now);
        links.await_on(10);
        assert_eq!((links.next(now), links.next(now + QUIET)), (None, Some(link(10))));
        links.disturbed(now + QUIET);
        assert_eq!(links.next(now + QUIET), None);
        let late = now + PATIENCE;
        links.disturbed(late);
        assert_eq!(links.next(late), Some(link(10)));
        links.report(link(10), Outcome::Done, late);
        links.disturbed(late + PAUSE);
        links.await_on(11);
        assert_eq!(links.next(late + PAUSE), None, "who begins to wait later has patience anew");
    }

    #[test]
    fn an_interface_that_takes_no_link_holds_up_no_other() {
        let now = Instant::now();
        let mut links = Links::default();
        links.await_on(10);
        links.await_on(11);
        for _ in 0..3 {
            links.report(link(10), Outcome::Failed { applied: 0, error: "refused".to_owned() }, now);
        }
        assert_eq!(links.next(now + PAUSE), Some(link(11)));
        links.report(link(11), Outcome::Done, now + PAUSE);
        let later = links.deadline(now + 2 * PAUSE).unwrap();
        assert_eq!((links.next(now + 2 * PAUSE), links.next(later)), (None, Some(link(10))));
    }
}
