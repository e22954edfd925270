//! What the engine starts with.

use std::collections::BTreeSet;
use std::sync::Arc;

use podgate_datapath::FormerSlot;
use podgate_policy::model::ObjectKey;
use podgate_policy::tables::Limits;

use super::at_source::ServiceRoom;
use super::attribution::Settings;
use super::memory::Enforced;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The name of this node.
    pub(crate) node: Arc<str>,
    /// Whether connections that a change of policy denies may end in peace.
    pub(crate) keep: bool,
    /// Pods that may send packets with source addresses that are not their own.
    pub(crate) routing: BTreeSet<ObjectKey>,
    /// Where egress to Services is judged.
    pub(crate) services: Services,
    /// How finely is told which policies are behind what is counted.
    pub(crate) attribution: Settings,
    /// Whether all policies are in audit mode.
    pub(crate) audit: bool,
    /// Whether interfaces that look like pods' are isolated until the pod is known.
    pub(crate) isolate_unknown: bool,
}

/// Where egress to Services is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Services {
    /// Where packets leave the host or enter a pod, by the backend that they go to.
    Exit,
    /// Where they leave the pod, by all backends, for which there is this room.
    Source(ServiceRoom),
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// In the tables that the planner fills.
    pub(crate) limits: Limits,
    /// Slots, slot 0 included, which is never given.
    pub(crate) slots: u32,
    /// Services' and own addresses, of each family.
    pub(crate) addresses: usize,
}

/// What the agent before this one has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// What it enforced.
    pub(crate) enforced: Enforced,
    /// The slots that it gave.
    pub(crate) slots: Vec<FormerSlot>,
}
