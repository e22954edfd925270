//! The `podgate` binary: command line, engine, metrics, admin socket.
//!
//! ```text
//! source ──► engine ──► datapath        explain, matrix: manifests ──► evaluator ──► stdout
//! netlink ──►   │
//!               ├──► /metrics /healthz /readyz
//!               └──► admin socket ◄── podgate status
//! ```
//!
//! [`cli`] is the only way in. The engine's decisions are sans-IO; its thread, the HTTP server and the admin socket are
//! thin shells around them.
#![forbid(unsafe_code)]

mod admin;
mod agent;
pub mod cli;
mod cni;
#[cfg(test)]
mod documented;
mod engine;
mod flows;
mod handover;
mod http;
mod lock;
mod logging;
mod metrics;
mod private;
mod status;
