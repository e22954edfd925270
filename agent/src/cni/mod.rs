//! The chained CNI plugin `podgate-cni`: the same binary under another name.
//!
//! ```text
//!  runtime ── ADD ──► podgate-cni ── hand-over ──► agent: bind, isolate, attach ──► enforced
//!     ▲                   │  └── no agent answers ──► what was last known, by way of the pinned programs
//!     └── previous result ┘
//! ```
//!
//! It comes after the plugin that wires the pod and changes nothing about what that one did. Facts about the protocol are
//! from the CNI specification, version 1.1 (containernetworking/cni, SPEC.md).

mod absent;
mod arguments;
mod call;
mod config;
mod conflist;
mod failure;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod install;
mod keep;
mod plugin;
mod result;

pub(crate) use config::{Settings, WhenAgentDown};
pub(crate) use install::{Places, remove, write};
pub(crate) use keep::keep;
pub(crate) use plugin::run;

/// The name by which the binary is the plugin.
pub(crate) const NAME: &str = "podgate-cni";
