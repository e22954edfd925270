//! A directory of manifests as a source.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::folder::Folder;
use super::watch::{DirectoryWatch, Signal};
use crate::cluster_policies::ClusterPolicies;
use crate::object::Kind;
use crate::problem::ProblemKind;
use crate::publish::{Closed, Publisher};
use crate::source::Source;
use crate::status::{ErrorClass, Location};
use crate::store::Store;

/// The name of the directory among the resources of the status.
const RESOURCE: &str = "manifests";
/// How long to wait before trying again what failed, unless the kernel reports a change earlier.
const RETRY: Duration = Duration::from_secs(5);

/// Watches a directory and reads the files that [`super::load`] would read. Must be called in a tokio runtime.
///
/// Changes are heard from the kernel (inotify), and those that come together are handed on together. A file is read when
/// its writer has closed it, or when it is moved into place, which is the better way to change it; the swap that mounted ConfigMaps
/// do is understood. What a link leads to elsewhere is not watched. A file that is left without any object keeps its last
/// good version, as a broken one does; removing the file removes its objects.
///
/// A directory that is missing or goes away shows in the status as a failure; its objects stay until it is there again.
#[must_use]
pub fn spawn(directory: PathBuf, cluster_policies: ClusterPolicies) -> Source {
    let (publisher, updates, status) =
        Publisher::new(Location::Directory(directory.clone()), cluster_policies, [RESOURCE]);
    let store = Store::default();
    let task = Task { directory, cluster_policies, folder: None, store, synced: false, failing: false, publisher };
    let task = tokio::spawn(async {
        if let Err(Closed) = task.run().await {
            tracing::debug!("nobody reads the manifests any more");
        }
    });
    Source::new(updates, status, vec![task.abort_handle()])
}

struct Task {
    directory: PathBuf,
    cluster_policies: ClusterPolicies,
    /// None before the first reading, and while files are being read.
    folder: Option<Folder>,
    store: Store,
    synced: bool,
    failing: bool,
    publisher: Publisher,
}

impl Task {
    async fn run(mut self) -> Result<(), Closed> {
        loop {
            match DirectoryWatch::open(&self.directory) {
                Ok(mut watch) => self.follow(&mut watch).await?,
                Err(error) => {
                    self.failed(&error, "can't be watched", " (sysctl fs.inotify has the limits)");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Follows the directory until it has to be opened again.
    async fn follow(&mut self, watch: &mut DirectoryWatch) -> Result<(), Closed> {
        let mut signal = Signal::All;
        loop {
            match self.read(signal, watch).await {
                Ok(()) => self.publish().await?,
                Err(error) => self.failed(&error, "can't be read", ""),
            }
            let next = if self.failing { timeout(RETRY, watch.next()).await } else { Ok(watch.next().await) };
            signal = match next {
                Ok(Ok(Signal::Reopen)) | Err(_) => return Ok(()),
                Ok(Ok(signal)) => signal,
                Ok(Err(error)) => {
                    self.failed(&error, "can't be watched", "");
                    return Ok(());
                }
            };
        }
    }

    async fn read(&mut self, signal: Signal, watch: &DirectoryWatch) -> io::Result<()> {
        if !watch.is_present() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such directory"));
        }
        let (mut folder, signal) = match self.folder.take() {
            Some(folder) => (folder, signal),
            None => (Folder::new(self.directory.clone(), self.cluster_policies), Signal::All),
        };
        let busy = watch.busy().clone();
        self.reading(Some(SystemTime::now()));
        let reading = spawn_blocking(move || {
            let result = match signal {
                Signal::Files(files) => {
                    files.iter().for_each(|name| folder.read(name));
                    Ok(())
                }
                Signal::All | Signal::Reopen => folder.read_all(&busy),
            };
            (folder, result)
        });
        let read = reading.await.map_err(io::Error::other);
        self.reading(None);
        let (folder, result) = read?;
        self.folder = Some(folder);
        result
    }

    /// Tells that files are being read, which a file system may never let end, or no longer.
    fn reading(&self, since: Option<SystemTime>) {
        self.publisher.status(|status| {
            status.resources.entry(RESOURCE.to_owned()).or_default().reading_since = since;
        });
    }

    async fn publish(&mut self) -> Result<(), Closed> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        let (objects, problems) = folder.state();
        let met = folder.take_met();
        for problem in &met {
            tracing::warn!(%problem, "manifest");
        }
        self.store.replace(|_| true, objects);
        let update = self.store.take_update();
        if !update.is_empty() || !self.synced {
            self.publisher.update(update).await?;
            self.synced = true;
        }
        self.failing = false;
        let objects = self.store.len();
        let not_enforced = problems.iter().filter(|problem| problem.kind == ProblemKind::NotEnforced).count();
        let cluster_policies = self.store.count(Kind::ClusterNetworkPolicy) + not_enforced;
        self.publisher.status(|status| {
            status.set_problems(&problems);
            status.meet(&met);
            status.cluster_policies.objects = cluster_policies;
            let resource = status.resources.entry(RESOURCE.to_owned()).or_default();
            resource.objects = objects;
            resource.succeed(SystemTime::now());
        });
        Ok(())
    }

    fn failed(&mut self, error: &io::Error, what: &str, hint: &str) {
        let message = format!("{} {what}: {error}{hint}", self.directory.display());
        if !self.failing {
            tracing::warn!(message, "manifests");
        }
        self.failing = true;
        let class = class(error);
        self.publisher.status(|status| {
            status.resources.entry(RESOURCE.to_owned()).or_default().fail(class, message, SystemTime::now());
        });
    }
}

fn class(error: &io::Error) -> ErrorClass {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorClass::Missing,
        io::ErrorKind::PermissionDenied => ErrorClass::Forbidden,
        _ => ErrorClass::Other,
    }
}
