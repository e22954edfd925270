//! How a source is doing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::cluster_policies::KnownClusterPolicies;
use crate::problem::{Problem, ProblemKind};

/// Where a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The Kubernetes API.
    Api {
        /// The URL of the server.
        url: String,
        /// The host in it: a name or an address, without brackets.
        host: String,
        /// The port in it, or that of its scheme.
        port: u16,
    },
    /// A directory of manifests.
    Directory(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api { url, .. } => write!(f, "Kubernetes API {url}"),
            Self::Directory(path) => write!(f, "directory {}", path.display()),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a source is doing, as `podgate status` and the metrics show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// What it reads: `directory /etc/podgate` or `Kubernetes API https://10.0.0.1:6443`.
    pub source: Location,
    /// Each thing that is read, by name: `manifests`, or the kind of a watched resource, such as `NetworkPolicy`.
    pub resources: BTreeMap<String, ResourceStatus>,
    /// What is known of ClusterNetworkPolicies.
    pub cluster_policies: KnownClusterPolicies,
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
    /// Since when each attempt to read it has failed; none: it can be read, or has not been tried.
    #[serde(serialize_with = "optional_unix_seconds")]
    pub failing_since: Option<SystemTime>,
    /// Since when nothing has shown that changes of it are heard; none: they are. A list alone does not show that: a watch
    /// may fail again right after each.
    #[serde(serialize_with = "optional_unix_seconds")]
    pub unheard_since: Option<SystemTime>,
    /// Since when it is being read, where that can take for ever; none: it is not being read.
    #[serde(serialize_with = "optional_unix_seconds")]
    pub reading_since: Option<SystemTime>,
    /// The last error, also when it is over.
    pub last_error: Option<ReadError>,
    /// How many objects of it are known. A change of this alone does not wake who waits for a change of the status.
    pub objects: usize,
    /// How many attempts to read it have failed since the start, by class; classes that have not come up are not there.
    pub errors: BTreeMap<ErrorClass, Errors>,
}

/// Why what is known of a resource can't be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale<'a> {
    /// It was never read completely. With the error, if there was one.
    Unread(Option<&'a ReadError>),
    /// For so long there were only errors, of which this is the last.
    Unheard(Duration, Option<&'a ReadError>),
    /// Reading it has begun so long ago and has not ended.
    Hangs(Duration),
}

impl ResourceStatus {
    /// Changes may go unheard for so long before what is known counts as stale. Longer than the longest wait between two
    /// attempts, and than the time after which a watch without another error counts as working.
    pub const UNHEARD: Duration = Duration::from_secs(90);

    /// Reading may take so long before it counts as hanging.
    pub const READING: Duration = Duration::from_secs(10);

    /// Why what is known of it can't be relied on; `None`: it can.
    #[must_use]
    pub fn stale(&self, now: SystemTime) -> Option<Stale<'_>> {
        let since = |time: Option<SystemTime>| time.and_then(|time| now.duration_since(time).ok());
        if let Some(elapsed) = since(self.reading_since).filter(|elapsed| *elapsed >= Self::READING) {
            return Some(Stale::Hangs(elapsed));
        }
        if self.synced.is_none() {
            return Some(Stale::Unread(self.failure()));
        }
        let unheard = since(self.unheard_since).filter(|elapsed| *elapsed >= Self::UNHEARD);
        unheard.map(|elapsed| Stale::Unheard(elapsed, self.last_error.as_ref()))
    }

    /// What keeps it from being read now, if anything does.
    #[must_use]
    pub fn failure(&self) -> Option<&ReadError> {
        self.failing_since.and(self.last_error.as_ref())
    }

    /// How many attempts to read it have failed since the start.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }
}

/// Why a resource could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadError {
    /// When.
    #[serde(serialize_with = "unix_seconds")]
    pub at: SystemTime,
    /// What sort of error it is.
    pub class: ErrorClass,
    /// The error in words, with what to do where that is known.
    pub message: String,
}

/// The errors of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// How many.
    pub count: u64,
    /// When the last one was.
    #[serde(serialize_with = "unix_seconds")]
    pub last: SystemTime,
}

/// The sorts of errors for which a resource can't be read, as they are counted: each asks for another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// There is no connection to the API server, or it broke.
    Unreachable,
    /// No answer came in time.
    Timeout,
    /// The two sides don't accept each other's TLS: certificates, authorities, versions.
    Tls,
    /// The API server does not accept the credentials (401), or there are none to be had.
    Unauthorized,
    /// Reading is not permitted: by the API server (403), or by the file system.
    Forbidden,
    /// There is no such resource (404), or no such directory.
    Missing,
    /// The API server has forgotten the place where a watch stood (410): everything is listed again. Now and then this is
    /// as it should be.
    Expired,
    /// The API server asks for patience (429).
    Overloaded,
    /// The API server fails (5xx).
    ServerError,
    /// The API server refuses with another code.
    Refused,
    /// The answer can't be understood.
    Invalid,
    /// Anything else, such as an error of the file system.
    Other,
}

impl ErrorClass {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Tls,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Missing,
        Self::Expired,
        Self::Overloaded,
        Self::ServerError,
        Self::Refused,
        Self::Invalid,
        Self::Other,
    ];

    /// In lower case, for labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::Expired => "expired",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Other => "other",
        }
    }
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
