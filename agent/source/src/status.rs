//! How a source is doing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::problem::{Problem, ProblemKind};

/// How a source is doing, as `podgate status` and the metrics show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// What it reads: `directory /etc/podgate` or `Kubernetes API https://10.0.0.1:6443`.
    pub source: String,
    /// Each thing that is read, by name: `manifests`, or the kind of a watched resource, such as `NetworkPolicy`.
    pub resources: BTreeMap<String, ResourceStatus>,
    /// What is wrong in the input now, sorted; at most [`SourceStatus::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many problems there are now, those left out of `problems` included.
    pub problem_count: usize,
    /// How many problems were met since the start, by kind; every kind is there.
    pub problems_met: BTreeMap<ProblemKind, u64>,
}

impl SourceStatus {
    /// So many problems are listed one by one; all are counted.
    pub const MAX_PROBLEMS: usize = 1000;

    /// Whether every resource has been read completely at least once. The first [`crate::Update`] is sent before this is true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.resources.values().all(|resource| resource.synced.is_some())
    }
}

/// How one resource is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResourceStatus {
    /// When it was first read completely; none: not yet.
    #[serde(serialize_with = "optional_unix_seconds")]
    pub synced: Option<SystemTime>,
    /// What has kept it from being read since, if anything does.
    pub failure: Option<Failure>,
    /// How many objects of it are known.
    pub objects: usize,
    /// How many attempts to read it have failed since the start.
    pub failures: u64,
}

/// What keeps a resource from being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// When it first failed without succeeding since.
    #[serde(serialize_with = "unix_seconds")]
    pub since: SystemTime,
    /// The last error, with what to do where that is known.
    pub message: String,
}

fn seconds(time: &SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn unix_seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(seconds(time))
}

fn optional_unix_seconds<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.as_ref().map(seconds).serialize(serializer)
}
