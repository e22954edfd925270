//! One at a time: an agent for as long as it lives, or a run of the CNI plugin that found no agent.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;

/// Between two attempts.
const TICK: Duration = Duration::from_millis(20);

/// A lock that is held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

impl Lock {
    /// Takes the lock beside a socket; `None`: somebody else has it.
    ///
    /// # Errors
    /// The file can't be made or locked.
    pub(crate) fn attempt(socket: &Path) -> io::Result<Option<Self>> {
        // The file stays: were it removed, two could each have locked one of its name.
        let file = File::options().create(true).truncate(false).write(true).open(socket.with_extension("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes the lock beside a socket, after waiting for it if need be.
    ///
    /// # Errors
    /// The file can't be made or locked, or somebody else keeps it locked.
    pub(crate) async fn wait(socket: &Path, limit: Duration) -> anyhow::Result<Self> {
        let path = socket.with_extension("lock");
        let deadline = Instant::now() + limit;
        loop {
            if let Some(lock) = Self::attempt(socket).with_context(|| format!("cannot lock {}", path.display()))? {
                return Ok(lock);
            }
            if Instant::now() > deadline {
                anyhow::bail!("{} is locked by another agent, or by podgate-cni: end it first", path.display());
            }
            sleep(TICK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn one_has_the_lock_until_it_gives_it_back() {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("podgate.sock");
        let lock = Lock::attempt(&socket).unwrap().unwrap();
        assert!(Lock::attempt(&socket).unwrap().is_none());
        let error = Lock::wait(&socket, TICK).await.unwrap_err().to_string();
        assert!(error.contains("is locked by another agent"), "{error}");
        drop(lock);
        assert!(Lock::wait(&socket, TICK).await.is_ok());
    }
}
