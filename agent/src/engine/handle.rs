//! What the rest of the agent may ask of the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::status::Status;

/// A request for the engine's status.
pub(crate) type StatusRequest = oneshot::Sender<Status>;

/// How long a status may take: a full compile of a large cluster stands before it in the queue.
const STATUS_TIMEOUT: Duration = Duration::from_secs(8);

/// An engine that has done nothing for this long hangs.
const PULSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The engine, seen from the servers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    /// Where requests go.
    pub(crate) requests: mpsc::Sender<StatusRequest>,
    /// Why the agent is not ready, a line each; empty: it is.
    pub(crate) not_ready: watch::Receiver<Vec<String>>,
    /// The engine's sign of life.
    pub(crate) pulse: Pulse,
    /// How long changes took to compile and apply.
    pub(crate) apply_duration: Histogram,
}

impl Handle {
    /// The status, read now; `None` when the engine has ended or takes too long.
    pub(crate) async fn status(&self) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        timeout(STATUS_TIMEOUT, async {
            self.requests.send(reply).await.ok()?;
            status.await.ok()
        })
        .await
        .ok()
        .flatten()
    }
}

/// When the engine was last seen at work.
#[derive(Clone)]
pub(crate) struct Pulse {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// A pulse that beats now.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), last: Arc::new(AtomicU64::new(0)) }
    }

    /// Notes that the engine is at work.
    pub(crate) fn beat(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether the engine was at work lately.
    pub(crate) fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last) < PULSE_TIMEOUT
    }

    /// Since when there is an engine.
    pub(crate) fn uptime(&self) -> Duration {
        self.start.elapsed()
    }
}
