//! The end of a lab, of a namespace or of a server, as background threads see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often background threads look whether they are to end.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// Tells threads to end. Clones are the same signal.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    own: Arc<AtomicBool>,
    above: Vec<Arc<AtomicBool>>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { own: Arc::default(), above: Vec::new() }
    }

    /// A signal that is given alone, or with this one.
    pub(crate) fn child(&self) -> Self {
        let mut above = self.above.clone();
        above.push(Arc::clone(&self.own));
        Self { own: Arc::default(), above }
    }

    pub(crate) fn give(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    pub(crate) fn given(&self) -> bool {
        self.above.iter().chain([&self.own]).any(|signal| signal.load(Ordering::Relaxed))
    }
}
