//! The engine: one thread that owns the cluster's state, the bindings, the tables and the datapath.
//!
//! ```text
//!  source: Update ─────┐                                   ┌─► Guard, Release, Identify, … ────► datapath
//!  netlink: HostView ──┼─► State (pure): what to do next? ─┤                                          │
//!  datapath: outcome ──┘                                   └─► readiness, status ◄── counters, events ┘
//! ```
//!
//! [`State`] decides and is tested without a kernel; [`run`] waits, executes and tells the servers. Plans are made on a thread
//! beside it, and what waits for the kernel's lock on its network configuration is done on another.
#![forbid(unsafe_code)]

mod accounting;
mod anomalies;
mod at_source;
mod attribution;
mod backoff;
mod beside_hooks;
mod claims;
mod command;
mod complaints;
mod deferral;
mod departed;
mod drops;
mod durations;
mod endpoints;
mod enforcement_delays;
mod events;
#[cfg(test)]
mod fixtures;
pub mod flows;
mod guards;
mod handle;
pub mod handover;
mod handovers;
mod inputs;
mod interfaces;
mod leases;
mod links;
mod memory;
mod names;
mod neighbours;
mod planning;
mod printable;
mod readiness;
mod reconciled;
mod report;
mod services;
mod setup;
mod shell;
mod stale;
mod state;
pub mod status;
mod tags;
mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod upkeep;
mod waiters;

pub use anomalies::KINDS as ANOMALY_KINDS;
pub use at_source::ServiceRoom;
pub use attribution::{Granularity, Settings as AttributionSettings};
pub use command::{Command, Outcome};
pub use durations::Durations;
pub use events::now;
pub use handle::{Handle, Pulse, Request};
pub use memory::{Enforced, Interface, Memory, PodObject};
pub use planning::{Made, Work};
pub use printable::printable;
pub use setup::{Config, Left, Room, Services};
pub use shell::{Inputs, run};
pub use state::State;
pub use upkeep::Check;
pub use waiters::HandedOverOutcome;
