//! The pure part of podgate.
//!
//! ```text
//! Cluster ──► compile ──► Desired ──► Tables::plan ──► Vec<Op>
//!    └──────► evaluate (independent of the compiler: the oracle of tests, the engine of explain)
//! ```
//!
//! Plain data in, plain data out: no Kubernetes client, no kernel, no clock, no logging.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod compile;
pub mod evaluate;
pub mod explain;
pub mod matrix;
pub mod model;
pub mod op;
pub mod plan;
pub mod tables;
