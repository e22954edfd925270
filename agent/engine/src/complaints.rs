//! What the log was told of commands that fail, so that it is told once: they are tried again until they succeed.

use std::collections::{BTreeMap, BTreeSet};

/// So many commands are remembered. Where more fail at once, some are told of again.
const REMEMBERED: usize = 1024;

/// A kind of command, its slot and its interface.
pub(super) type Subject = (&'static str, Option<u32>, Option<u32>);

/// The failures of each command that has not succeeded since.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    failures: BTreeMap<Subject, Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    times: u32,
    /// What was told of them.
    told: BTreeSet<String>,
}

/// So many errors of one command are told.
const ERRORS: usize = 8;

impl Complaints {
    /// Notes a failure; whether to tell it: from the `first` one in a row on, each error once.
    pub(super) fn is_news(&mut self, subject: Subject, error: &str, first: u32) -> bool {
        while self.failures.len() >= REMEMBERED && !self.failures.contains_key(&subject) {
            self.failures.pop_first();
        }
        let failures = self.failures.entry(subject).or_default();
        failures.times = failures.times.saturating_add(1);
        failures.times >= first && failures.told.len() < ERRORS && failures.told.insert(error.to_owned())
    }

    /// Notes that a command has succeeded.
    pub(super) fn over(&mut self, subject: Subject) {
        self.failures.remove(&subject);
    }

    /// Notes that a slot is given back: whoever has it next is another.
    pub(super) fn forget_slot(&mut self, slot: u32) {
        self.failures.retain(|(_, its, _), _| *its != Some(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_told_once_until_the_command_succeeds_or_its_slot_is_anothers() {
        let mut complaints = Complaints::default();
        let (one, other) = (("attach", Some(1), None), ("attach", Some(2), None));
        let mut tell = |subject, error| complaints.is_news(subject, error, 1);
        assert_eq!([tell(one, "no room"), tell(other, "no room"), tell(one, "no room")], [true, true, false]);
        assert_eq!([tell(one, "refused"), tell(one, "no room"), tell(one, "refused")], [true, false, false]);
        complaints.over(one);
        complaints.forget_slot(2);
        let told = [one, other].map(|subject| complaints.is_news(subject, "no room", 1));
        assert_eq!(told, [true, true]);
    }

    #[test]
    fn what_may_pass_is_told_from_the_second_failure_on_whatever_the_first_was() {
        let mut complaints = Complaints::default();
        let errors = ["gone", "refused", "gone", "gone"];
        let told = errors.map(|error| complaints.is_news(("attach", Some(1), None), error, 2));
        assert_eq!(told, [false, true, true, false]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut complaints = Complaints::default();
        for slot in 0..5000 {
            assert!(complaints.is_news(("attach", Some(slot), None), "no room", 1));
        }
        assert!(complaints.failures.len() <= REMEMBERED);
        let told = (0..100).filter(|error| complaints.is_news(("defer", None, None), &error.to_string(), 1)).count();
        assert_eq!(told, ERRORS);
    }
}
