//! The pure part of podgate.
//!
//! ```text
//! Cluster, Changes ──► Planner: compile (what addresses fulfil, what endpoints allow) ──► tables (ids, rows) ──► [Op]
//!    └────────────────► evaluate (independent of the compiler: the oracle of tests, what podgate-judge asks)
//! ```
//!
//! Plain data in, plain data out: no Kubernetes client, no kernel, no clock, no logging.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod cluster_policy;
pub mod compile;
pub mod evaluate;
pub mod id;
pub mod model;
pub mod op;
pub mod plan;
pub mod services;
pub mod tables;
