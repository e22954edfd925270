//! What the log was told of commands that fail, so that it is told once: they are tried again until they succeed.

use std::collections::BTreeMap;

/// So many commands are remembered. Where more fail at once, some are told of again.
const REMEMBERED: usize = 1024;

/// A kind of command, its slot and its interface.
pub(super) type Subject = (&'static str, Option<u32>, Option<u32>);

/// The last failure of each command that has not succeeded since, and how often it came.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    failures: BTreeMap<Subject, (String, u32)>,
}

impl Complaints {
    /// Notes a failure; how often the command has failed like this since it succeeded, this time included.
    pub(super) fn times(&mut self, subject: Subject, error: &str) -> u32 {
        if self.failures.len() >= REMEMBERED && !self.failures.contains_key(&subject) {
            self.failures.clear();
        }
        let (known, times) = self.failures.entry(subject).or_default();
        if known != error {
            (*known, *times) = (error.to_owned(), 0);
        }
        *times = times.saturating_add(1);
        *times
    }

    /// Notes that a command has succeeded, or has nothing to do any more.
    pub(super) fn over(&mut self, subject: Subject) {
        self.failures.remove(&subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_the_command_succeeds_or_fails_otherwise() {
        let mut complaints = Complaints::default();
        let (one, other) = (("attach", Some(1), None), ("attach", Some(2), None));
        assert_eq!([complaints.times(one, "no room"), complaints.times(other, "no room")], [1, 1]);
        assert_eq!([complaints.times(one, "no room"), complaints.times(one, "no room")], [2, 3]);
        assert_eq!(complaints.times(one, "refused"), 1, "it fails for another reason");
        complaints.over(one);
        assert_eq!([complaints.times(one, "refused"), complaints.times(other, "no room")], [1, 2]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut complaints = Complaints::default();
        for slot in 0..5000 {
            assert_eq!(complaints.times(("attach", Some(slot), None), "no room"), 1);
        }
        assert!(complaints.failures.len() <= REMEMBERED);
    }
}
