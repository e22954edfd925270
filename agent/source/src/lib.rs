//! Where podgate's objects come from.
//!
//! ```text
//! YAML files ──► manifests ──┐
//!                            ├──► decode ──► convert ──► Object ──► Store (only real differences) ──► Update, SourceStatus
//! Kubernetes API ──► api ────┘
//! ```
//!
//! Kubernetes objects become small validated types ([`podgate_policy::model`] and [`podgate_policy::services`]) at this edge, with a
//! [`Problem`] for everything that the API server would have rejected. Nothing behind a [`Source`] knows whether files or
//! the API fed it.
//!
//! A NetworkPolicy that can't be understood never becomes an allow and never disappears: its last good version stays in force,
//! and where there is none, a policy without rules isolates the pods it selects. A rule of a ClusterNetworkPolicy that can't be
//! understood accepts nothing or denies everything.
#![forbid(unsafe_code)]

pub mod api;
mod cluster_policies;
pub mod convert;
pub mod manifests;
mod object;
mod problem;
mod publish;
mod source;
mod status;
mod store;

pub use podgate_policy::services;

pub use cluster_policies::{ClusterPolicies, KnownClusterPolicies};
pub use object::{Change, Kind, Object, ObjectRef, Update};
pub use problem::{Effect, Origin, Problem, ProblemKind};
pub use source::Source;
pub use status::{ErrorClass, Errors, Location, ReadError, ResourceStatus, SourceStatus, Stale};
