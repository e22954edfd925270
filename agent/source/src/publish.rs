//! The sending half of a source.

use std::time::SystemTime;

use tokio::sync::{mpsc, watch};

use crate::object::Update;
use crate::problem::{Problem, ProblemKind};
use crate::status::{Failure, ResourceStatus, SourceStatus};

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
        source: String,
        resources: impl IntoIterator<Item = &'a str>,
    ) -> (Self, mpsc::Receiver<Update>, watch::Receiver<SourceStatus>) {
        let (updates, update_receiver) = mpsc::channel(QUEUE);
        let (status, status_receiver) = watch::channel(SourceStatus::new(source, resources));
        (Self { updates, status }, update_receiver, status_receiver)
    }

    pub(crate) async fn update(&self, update: Update) -> Result<(), Closed> {
        self.updates.send(update).await.map_err(|_| Closed)
    }

    /// Changes the status, and wakes its readers if that made a difference.
    pub(crate) fn status(&self, change: impl FnOnce(&mut SourceStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }
}

impl SourceStatus {
    fn new<'a>(source: String, resources: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            source,
            resources: resources.into_iter().map(|name| (name.to_owned(), ResourceStatus::default())).collect(),
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
        self.failure = None;
    }

    pub(crate) fn fail(&mut self, message: String, now: SystemTime) {
        self.failures += 1;
        let since = self.failure.as_ref().map_or(now, |failure| failure.since);
        self.failure = Some(Failure { since, message });
    }
}
