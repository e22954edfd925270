//! What the rest of the agent may ask of the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use podgate_host::binding::Handover;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::waiters::HandedOverOutcome;
use crate::durations::Durations;
use crate::flows::Feed;
use crate::status::Status;

/// What the engine may be asked.
#[derive(Debug)]
pub enum Request {
    /// Its status.
    Status(oneshot::Sender<Status>),
    /// To enforce a pod that CNI hands over, and to answer when that is done.
    HandOver(Handover, oneshot::Sender<HandedOverOutcome>),
    /// Whether the pod on an interface is enforced, now.
    Check(u32, oneshot::Sender<HandedOverOutcome>),
}

/// How long a status may take: a full compile of a large cluster stands before it in the queue.
const STATUS_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a pod that was handed over may take: the engine answers before, unless it hangs.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(60);

/// An engine that has done nothing for this long hangs.
const PULSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The engine, seen from the servers. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    /// Where requests go.
    pub requests: mpsc::Sender<Request>,
    /// Why the agent is not ready, a line each; empty: it is.
    pub not_ready: watch::Receiver<Vec<String>>,
    /// The engine's sign of life.
    pub pulse: Pulse,
    /// How long things took.
    pub durations: Durations,
    /// Flows, one by one.
    pub flows: Feed,
}

impl Handle {
    /// The status, read now; `None` when the engine has ended or takes too long.
    pub async fn status(&self) -> Option<Status> {
        self.ask(Request::Status, STATUS_TIMEOUT).await
    }

    /// Hands over a pod; `None` when the engine has ended or takes too long.
    pub async fn hand_over(&self, handover: Handover) -> Option<HandedOverOutcome> {
        self.ask(|reply| Request::HandOver(handover, reply), HAND_OVER_TIMEOUT).await
    }

    /// Whether the pod on an interface is enforced; `None` when the engine has ended or takes too long.
    pub async fn check(&self, ifindex: u32) -> Option<HandedOverOutcome> {
        self.ask(|reply| Request::Check(ifindex, reply), STATUS_TIMEOUT).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request, limit: Duration) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        timeout(limit, asked).await.ok().flatten()
    }
}

/// When the engine was last seen at work. A new one says: now.
#[derive(Clone)]
pub struct Pulse {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { start: Instant::now(), last: Arc::new(AtomicU64::new(0)) }
    }
}

impl Pulse {
    /// Notes that the engine is at work.
    pub fn beat(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether the engine was at work lately.
    pub fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last) < PULSE_TIMEOUT
    }

    /// Since when there is an engine.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }
}
