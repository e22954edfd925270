//! Who reaches whom: the verdicts of all pairs of pods, and of pods and Services.

mod fits;
mod render;
mod services;

use std::collections::{BTreeMap, BTreeSet};

use podgate_policy::cluster::Cluster;
use podgate_policy::model::{ObjectKey, Protocol};

pub(crate) use render::names_within;
pub use render::{render, render_services};
pub use services::{ServiceRow, services};

/// Which ports are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// These, of every pod.
    Listed(BTreeSet<(Protocol, u16)>),
    /// Of each destination the ports that its containers declare.
    ContainerPorts,
    /// Of each of these destinations its own.
    Each(BTreeMap<ObjectKey, BTreeSet<(Protocol, u16)>>),
}

/// The verdict of one pair and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The source pod.
    pub from: ObjectKey,
    /// The destination pod.
    pub to: ObjectKey,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// Whether a connection passes over every pair of addresses of one family that the pods have. Pods without a
    /// family in common don't reach each other.
    pub allowed: bool,
}

/// The verdicts of all ordered pairs of pods of the pod network, each with itself included (a pod always reaches
/// itself), sorted.
#[must_use]
pub fn matrix(cluster: &Cluster, ports: &PortChoice) -> Vec<Row> {
    matrix_telling(cluster, ports, &mut |_, _| {})
}

/// As [`matrix`]; tells after each step how many are done, and of how many.
#[must_use]
pub fn matrix_telling(cluster: &Cluster, ports: &PortChoice, tell: &mut dyn FnMut(usize, usize)) -> Vec<Row> {
    fits::rows(cluster, ports, tell)
}
