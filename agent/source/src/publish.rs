//! The sending half of a source.

use std::time::SystemTime;

use tokio::sync::{mpsc, watch};

use crate::cluster_policies::{ClusterPolicies, KnownClusterPolicies};
use crate::object::Update;
use crate::problem::{Problem, ProblemKind};
use crate::status::{ErrorClass, Errors, Location, ReadError, ResourceStatus, SourceStatus};

/// Updates that may wait for their reader. A source that is ahead of its reader waits, and merges what happens meanwhile.
const QUEUE: usize = 16;

/// Sends updates and keeps the status.
#[derive(Debug)]
pub(crate) struct Publisher {
    updates: mpsc::Sender<Update>,
    status: watch::Sender<SourceStatus>,
}

/// Nobody reads the updates any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl Publisher {
    pub(crate) fn new<'a>(
        source: Location,
        cluster_policies: ClusterPolicies,
        resources: impl IntoIterator<Item = &'a str>,
    ) -> (Self, mpsc::Receiver<Update>, watch::Receiver<SourceStatus>) {
        let (updates, update_receiver) = mpsc::channel(QUEUE);
        let (status, status_receiver) = watch::channel(SourceStatus::new(source, cluster_policies, resources));
        (Self { updates, status }, update_receiver, status_receiver)
    }

    pub(crate) async fn update(&self, update: Update) -> Result<(), Closed> {
        self.updates.send(update).await.map_err(|_| Closed)
    }

    /// Changes the status, and wakes its readers if that made a difference.
    pub(crate) fn status(&self, change: impl FnOnce(&mut SourceStatus)) {
        self.status_if(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// The same for a change that tells whether it made a difference.
    pub(crate) fn status_if(&self, change: impl FnOnce(&mut SourceStatus) -> bool) {
        self.status.send_if_modified(change);
    }
}

impl SourceStatus {
    fn new<'a>(
        source: Location,
        cluster_policies: ClusterPolicies,
        resources: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            source,
            resources: resources.into_iter().map(|name| (name.to_owned(), ResourceStatus::default())).collect(),
            cluster_policies: KnownClusterPolicies::new(cluster_policies),
            problems: vec![],
            problem_count: 0,
            problems_met: ProblemKind::ALL.into_iter().map(|kind| (kind, 0)).collect(),
        }
    }

    /// Lists these problems, in their order.
    pub(crate) fn set_problems<'a>(&mut self, problems: impl IntoIterator<Item = &'a Problem>) {
        let mut problems = problems.into_iter();
        self.problems = problems.by_ref().take(Self::MAX_PROBLEMS).cloned().collect();
        self.problem_count = self.problems.len() + problems.count();
    }

    /// Counts problems that were just met.
    pub(crate) fn meet<'a>(&mut self, problems: impl IntoIterator<Item = &'a Problem>) {
        for problem in problems {
            *self.problems_met.entry(problem.kind).or_default() += 1;
        }
    }
}

impl ResourceStatus {
    pub(crate) fn succeed(&mut self, now: SystemTime) {
        self.synced.get_or_insert(now);
        self.recover();
    }

    /// Notes that a complete list was read: it can be read, but whether changes are heard is still to be seen.
    pub(crate) fn list(&mut self, now: SystemTime) {
        self.synced.get_or_insert(now);
        self.failing_since = None;
    }

    pub(crate) fn recover(&mut self) {
        self.failing_since = None;
        self.unheard_since = None;
    }

    pub(crate) fn fail(&mut self, class: ErrorClass, message: String, now: SystemTime) {
        self.failing_since.get_or_insert(now);
        self.unheard_since.get_or_insert(now);
        let errors = self.errors.entry(class).or_insert(Errors { count: 0, last: now });
        *errors = Errors { count: errors.count + 1, last: now };
        self.last_error = Some(ReadError { at: now, class, message });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::status::Stale;

    #[test]
    fn errors_are_counted_by_class_and_the_last_one_outlives_its_end() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut status = ResourceStatus::default();
        status.fail(ErrorClass::Forbidden, "first".to_owned(), at(1));
        status.fail(ErrorClass::Unreachable, "second".to_owned(), at(2));
        status.fail(ErrorClass::Forbidden, "third".to_owned(), at(3));
        let third = ReadError { at: at(3), class: ErrorClass::Forbidden, message: "third".to_owned() };
        assert_eq!((status.failing_since, status.failure(), status.failures()), (Some(at(1)), Some(&third), 3));

        status.succeed(at(4));
        let expected = ResourceStatus {
            synced: Some(at(4)),
            last_error: Some(third),
            errors: [
                (ErrorClass::Unreachable, Errors { count: 1, last: at(2) }),
                (ErrorClass::Forbidden, Errors { count: 2, last: at(3) }),
            ]
            .into(),
            ..ResourceStatus::default()
        };
        assert_eq!((&status, status.failure()), (&expected, None));
    }

    #[test]
    fn what_lists_and_fails_by_turns_is_stale_until_a_change_is_heard() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let fail = |status: &mut ResourceStatus, second| {
            status.fail(ErrorClass::Expired, format!("error {second}"), at(second));
        };
        let mut status = ResourceStatus::default();
        assert_eq!(status.stale(at(1)), Some(Stale::Unread(None)));
        status.list(at(1));
        assert_eq!(status.stale(at(1000)), None, "nothing has failed");
        for second in [1000, 1030, 1060, 1090] {
            fail(&mut status, second);
            status.list(at(second + 1));
        }
        let last = ReadError { at: at(1090), class: ErrorClass::Expired, message: "error 1090".to_owned() };
        assert_eq!((status.stale(at(1089)), status.failure()), (None, None));
        assert_eq!(status.stale(at(1095)), Some(Stale::Unheard(Duration::from_secs(95), Some(&last))));
        status.recover();
        assert_eq!(status.stale(at(1095)), None);
        fail(&mut status, 2000);
        assert_eq!(status.stale(at(2089)), None, "now and then one fails");
    }

    #[test]
    fn what_is_read_without_end_is_stale_though_it_was_read_before() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut status = ResourceStatus::default();
        status.succeed(at(1));
        status.reading_since = Some(at(100));
        let told = [105, 110].map(|second| status.stale(at(second)).is_some());
        assert_eq!(told, [false, true]);
        assert_eq!(status.stale(at(115)), Some(Stale::Hangs(Duration::from_secs(15))));
    }
}
