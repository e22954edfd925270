//! The engine: one thread that owns the cluster's state, the bindings, the tables and the datapath.
//!
//! ```text
//!  source: Update ─────┐                                   ┌─► Guard, Release, Identify, … ────► datapath
//!  netlink: HostView ──┼─► State (pure): what to do next? ─┤                                          │
//!  datapath: outcome ──┘                                   └─► readiness, status ◄── counters, events ┘
//! ```
//!
//! [`State`] decides and is tested without a kernel; [`run`] waits, executes and tells the servers. Plans are made on a thread
//! beside it.

mod accounting;
mod anomalies;
mod at_source;
mod attribution;
mod backoff;
mod claims;
mod command;
mod deferral;
mod departed;
mod drops;
mod endpoints;
mod enforcement_delays;
mod events;
mod guards;
mod handle;
mod handovers;
mod leases;
mod memory;
mod names;
mod neighbours;
mod planning;
mod readiness;
mod reconciled;
mod report;
mod setup;
mod shell;
mod state;
mod tags;
mod tenant;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upkeep;
mod waiters;

pub(crate) use anomalies::KINDS as ANOMALY_KINDS;
pub(crate) use at_source::ServiceRoom;
pub(crate) use attribution::{Granularity, Settings as AttributionSettings};
pub(crate) use events::now;
#[cfg(test)]
use handle::Request;
pub(crate) use handle::{Handle, Pulse};
#[cfg(test)]
pub(crate) use memory::Enforced;
pub(crate) use memory::Memory;
pub(crate) use setup::{Config, Left, Room, Services};
pub(crate) use shell::{Inputs, run};
pub(crate) use state::State;
pub(crate) use waiters::HandedOverOutcome;
