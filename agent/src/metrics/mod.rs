//! `/metrics`: the agent's status in OpenMetrics.
//!
//! Everything is read when it is scraped; nothing is kept beside the state it mirrors. The number of series is bounded:
//! for each pod of this node and each direction packets without a rule have one from the start, others once they
//! happened.

mod collector;
#[cfg(test)]
mod monitoring;
mod names;
#[cfg(test)]
mod promql;
#[cfg(test)]
pub(crate) mod tests;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use collector::StatusCollector;
use podgate_engine::Durations;
use podgate_engine::status::Status;

/// The content type of [`encode`]'s text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a status in OpenMetrics' text format.
///
/// # Errors
/// None that can happen: writing to a string does not fail.
pub(crate) fn encode(status: Status, durations: Durations) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(StatusCollector { status, durations }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}
