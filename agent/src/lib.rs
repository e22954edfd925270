//! The `podgate` binary: command line, CNI plugin, metrics, admin socket, and what wires them to the engine.
//!
//! ```text
//! source ──► engine ──► datapath        explain, matrix: manifests ──► evaluator ──► stdout
//! netlink ──►   │
//!               ├──► /metrics /healthz /readyz
//!               └──► admin socket ◄── podgate status
//! ```
//!
//! [`cli`] is the only way in. The engine decides; the HTTP server and the admin socket are thin shells around it.
#![forbid(unsafe_code)]

mod admin;
mod agent;
pub mod cli;
mod cni;
mod doctor;
#[cfg(test)]
mod documented;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod lock;
mod logging;
mod metrics;
mod private;
