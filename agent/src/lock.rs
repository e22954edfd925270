//! One at a time: an agent for as long as it lives, or a run of the CNI plugin that found no agent.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;

use crate::private;

/// Between two attempts.
const TICK: Duration = Duration::from_millis(20);

/// The owner alone opens the file: whoever can open it can lock it.
const MODE: u32 = 0o600;

/// A lock that is held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

/// How an attempt to lock went.
enum Attempt {
    Locked(Lock),
    /// Somebody else has it.
    Taken,
    /// Somebody else has it, who may be anyone: the file could be opened by all.
    TakenByAnyone,
}

impl Lock {
    /// Takes the lock beside a socket; `None`: somebody else has it.
    ///
    /// # Errors
    /// The file can't be made or locked, or is somebody else's.
    pub(crate) fn attempt(socket: &Path) -> io::Result<Option<Self>> {
        match attempt(&path(socket))? {
            Attempt::Locked(lock) => Ok(Some(lock)),
            Attempt::Taken | Attempt::TakenByAnyone => Ok(None),
        }
    }

    /// Takes the lock beside a socket, after waiting for it if need be. A file that anyone could have locked does not count
    /// for longer than that: a new one takes its place.
    ///
    /// # Errors
    /// The file can't be made or locked, or somebody else keeps it locked.
    pub(crate) async fn wait(socket: &Path, limit: Duration) -> anyhow::Result<Self> {
        let path = path(socket);
        let cannot = || format!("cannot lock {}", path.display());
        let deadline = Instant::now() + limit;
        loop {
            let taken = match attempt(&path).with_context(cannot)? {
                Attempt::Locked(lock) => return Ok(lock),
                taken => taken,
            };
            if Instant::now() > deadline {
                if matches!(taken, Attempt::TakenByAnyone) {
                    tracing::warn!(path = %path.display(), "anyone could have locked this file: it is made anew");
                    return replace(&path).with_context(cannot);
                }
                anyhow::bail!("{} is locked by another agent, or by podgate-cni: end it first", path.display());
            }
            sleep(TICK).await;
        }
    }
}

fn path(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

fn attempt(path: &Path) -> io::Result<Attempt> {
    // The file stays: were it removed, two could each have locked one of its name.
    check(path)?;
    let file = File::options().create(true).truncate(false).write(true).mode(MODE).open(path)?;
    let is_closed_to_others = file.metadata()?.permissions().mode() & 0o077 == 0;
    match file.try_lock() {
        // One that was replaced meanwhile is no lock any more, and who replaced it has the other one.
        Ok(()) if fs::symlink_metadata(path)?.ino() != file.metadata()?.ino() => Ok(Attempt::Taken),
        Ok(()) if !is_closed_to_others => replace(path).map(Attempt::Locked),
        Ok(()) => Ok(Attempt::Locked(Lock(file))),
        Err(TryLockError::WouldBlock) if is_closed_to_others => Ok(Attempt::Taken),
        Err(TryLockError::WouldBlock) => Ok(Attempt::TakenByAnyone),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Checks that what is there, if anything, is a file of ours.
fn check(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.is_file() => {
            Err(io::Error::other(format!("{} is no regular file: remove it", path.display())))
        }
        Ok(found) => private::check_owner(path, &found),
    }
}

/// Puts a file that is locked in the place of one that others may have opened, in one step.
fn replace(path: &Path) -> io::Result<Lock> {
    let new = path.with_extension("lock-new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = File::options().create_new(true).write(true).mode(MODE).open(&new)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.try_lock().map_err(io::Error::from)?;
    fs::rename(&new, path)?;
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use tempfile::TempDir;

    use super::*;

    fn socket(directory: &TempDir) -> PathBuf {
        directory.path().join("podgate.sock")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn one_has_the_lock_until_it_gives_it_back() {
        let directory = TempDir::new().unwrap();
        let socket = socket(&directory);
        let lock = Lock::attempt(&socket).unwrap().unwrap();
        assert!(Lock::attempt(&socket).unwrap().is_none());
        let error = Lock::wait(&socket, TICK).await.unwrap_err().to_string();
        assert!(error.contains("is locked by another agent"), "{error}");
        assert_eq!(mode(&path(&socket)), 0o600);
        drop(lock);
        assert!(Lock::wait(&socket, TICK).await.is_ok());
    }

    /// As an older version left it, and somebody without any rights opened it.
    #[tokio::test]
    async fn who_could_open_an_older_file_does_not_keep_the_agent_from_its_lock() {
        let directory = TempDir::new().unwrap();
        let socket = socket(&directory);
        fs::write(path(&socket), "").unwrap();
        fs::set_permissions(path(&socket), Permissions::from_mode(0o644)).unwrap();
        let stranger = File::open(path(&socket)).unwrap();
        stranger.lock().unwrap();
        assert!(Lock::attempt(&socket).unwrap().is_none(), "it may be a run of the plugin");
        let lock = Lock::wait(&socket, TICK).await.unwrap();
        assert!(mode(&path(&socket)) == 0o600 && Lock::attempt(&socket).unwrap().is_none());
        drop(lock);
        assert!(Lock::attempt(&socket).unwrap().is_some(), "the stranger's lock is on another file");
    }

    #[tokio::test]
    async fn a_file_that_others_could_open_is_replaced_before_anyone_locks_it() {
        let directory = TempDir::new().unwrap();
        let socket = socket(&directory);
        fs::write(path(&socket), "").unwrap();
        fs::set_permissions(path(&socket), Permissions::from_mode(0o644)).unwrap();
        let stranger = File::open(path(&socket)).unwrap();
        let lock = Lock::attempt(&socket).unwrap().unwrap();
        assert!(stranger.try_lock().is_ok(), "what the stranger has open is no lock any more");
        drop(lock);
        assert!(Lock::attempt(&socket).unwrap().is_some());
    }

    #[test]
    fn a_link_a_directory_or_somebody_elses_file_in_its_place_is_named() {
        let directory = TempDir::new().unwrap();
        let (socket, precious) = (socket(&directory), directory.path().join("precious"));
        symlink(&precious, path(&socket)).unwrap();
        let refused = || Lock::attempt(&socket).unwrap_err().to_string();
        let expected = format!("{} is no regular file: remove it", path(&socket).display());
        assert_eq!((refused(), precious.exists()), (expected.clone(), false));
        fs::remove_file(path(&socket)).unwrap();
        fs::create_dir(path(&socket)).unwrap();
        assert_eq!(refused(), expected);
        fs::remove_dir(path(&socket)).unwrap();
        fs::write(path(&socket), "").unwrap();
        if chown(path(&socket), Some(65534), None).is_ok() {
            assert_eq!(refused(), format!("{} belongs to user 65534: remove it", path(&socket).display()));
        }
    }
}
