//! A running source.

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::object::Update;
use crate::status::SourceStatus;

/// A running source. Dropping it stops it.
///
/// The first update is the complete state, sent once every resource has been read (and even if it is empty); each later one
/// turns what was sent before into the new state and is never empty.
#[derive(Debug)]
pub struct Source {
    /// What changed, in order.
    pub updates: mpsc::Receiver<Update>,
    /// How it is doing.
    pub status: watch::Receiver<SourceStatus>,
    _tasks: Tasks,
}

impl Source {
    pub(crate) fn new(
        updates: mpsc::Receiver<Update>,
        status: watch::Receiver<SourceStatus>,
        tasks: Vec<AbortHandle>,
    ) -> Self {
        Self { updates, status, _tasks: Tasks(tasks) }
    }
}

#[derive(Debug)]
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
