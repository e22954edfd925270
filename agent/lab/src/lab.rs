//! A lab: everything that one test makes, and its removal.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{During, Error, Result};
use crate::namespace::Namespace;
use crate::node::Node;
use crate::outside::Outside;
use crate::remains::{self, STATE};
use crate::stop::Stop;

/// The file with a lab's name, in its directory.
const NAME: &str = "name";

static LABS: AtomicU32 = AtomicU32::new(1);

/// Network namespaces of one test: nodes with pods, and the world outside of them.
///
/// Dropping the lab ends what runs in it and removes everything it made, also while panicking. What a killed process
/// left is removed when the next lab is made.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    outside: Outside,
    nodes: Mutex<Vec<String>>,
    keep: bool,
    /// Held locked while the process lives: an unlocked lab is a dead one.
    _lock: Option<File>,
}

/// What the parts of a lab share.
#[derive(Debug)]
pub(crate) struct Shared {
    id: String,
    directory: PathBuf,
    stop: Stop,
}

impl Shared {
    pub(crate) fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::create(&format!("{}-{name}", self.id), self.stop.child())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Lab {
    /// Makes an empty lab. `name` shows up in the directory's name only.
    ///
    /// # Errors
    /// When the caller is not root, or `ip` is missing.
    pub fn new(name: &str) -> Result<Self> {
        let id = format!("pg-{}-{}", process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let (directory, lock) = remains::claim(&id)?;
        let shared = Arc::new(Shared { id, directory, stop: Stop::new() });
        // From here on an early return must remove what there is, so the guard exists before the first namespace.
        let guard = Guard { shared: &shared, armed: true };
        fs::write(shared.directory.join(NAME), name).during(|| "write the lab's name".to_owned())?;
        let outside = Outside::create(&shared)?;
        guard.disarm();
        Ok(Self { shared, outside, nodes: Mutex::default(), keep: false, _lock: Some(lock) })
    }

    /// The id by which [`remove`] finds it: the first part of the names of its namespaces.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Adds a node: a namespace that forwards IPv4 and IPv6, with an uplink to the outside and the pod ranges
    /// 10.244.N.0/24 and fd00:10:244:N::/64, where N counts the lab's nodes from 1. Nodes reach each other's pods.
    ///
    /// # Errors
    /// When a namespace or link can't be made.
    pub fn node(&self, name: &str) -> Result<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.push(name.to_owned());
        Node::create(&self.shared, &self.outside, name, nodes.len())
    }

    /// The world outside of the cluster: a router between the nodes that is also a host.
    #[must_use]
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// A directory that is removed with the lab.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// A bpffs of the lab's own, mounted when first asked for. It goes with the lab, and with it all that is pinned there.
    ///
    /// # Errors
    /// When it can't be mounted.
    pub fn bpffs(&self) -> Result<PathBuf> {
        remains::bpffs(&self.shared.directory)
    }

    /// Leaves everything in place when the lab is dropped, until [`remove`] removes it.
    ///
    /// # Errors
    /// When the mark can't be written.
    pub fn keep(&mut self) -> Result<()> {
        remains::mark_kept(&self.shared.directory)?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared.stop.give();
        if !self.keep {
            remains::remove(&self.shared.id);
        }
    }
}

/// Removes a lab by its id: one that was kept, or one of this process that can't be dropped any more.
///
/// # Errors
/// When there is none of this id, or something of it could not be removed.
pub fn remove(id: &str) -> Result<()> {
    let directory = Path::new(STATE).join(id);
    fs::metadata(&directory).during(|| format!("look for a lab in {}", directory.display()))?;
    remains::remove(id);
    match remains::left(id) {
        left if left.is_empty() => Ok(()),
        left => Err(Error::Answer(format!("of lab {id} these could not be removed: {}", left.join(", ")))),
    }
}

/// Removes the labs of processes that were killed. Otherwise the next lab that is made does.
///
/// # Errors
/// When the caller is not root.
pub fn sweep() -> Result<()> {
    remains::sweep()
}

/// The labs that were kept and not removed yet.
#[must_use]
pub fn kept() -> Vec<String> {
    remains::kept()
}

/// Those of them that were made under this name.
#[must_use]
pub fn kept_under(name: &str) -> Vec<String> {
    let mut ids = remains::kept();
    ids.retain(|id| fs::read_to_string(Path::new(STATE).join(id).join(NAME)).is_ok_and(|its| its == name));
    ids
}

struct Guard<'a> {
    shared: &'a Shared,
    armed: bool,
}

impl Guard<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.armed {
            remains::remove(&self.shared.id);
        }
    }
}
