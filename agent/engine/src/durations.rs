//! Times that are measured as they pass.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What is measured as it happens.
#[derive(Clone, Debug)]
pub struct Durations {
    /// Of a change's compilation and application.
    pub apply: Histogram,
    /// Between a pod's interface's appearance and its enforcement.
    pub window: Histogram,
    /// Between a change's arrival and its being in force.
    pub change: Histogram,
}

impl Default for Durations {
    fn default() -> Self {
        Self { apply: duration_histogram(), window: duration_histogram(), change: duration_histogram() }
    }
}

/// A histogram for durations between a quarter of a millisecond and about eight seconds.
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}
