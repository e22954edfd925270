//! What labs leave in the system, and taking it away: state directory, namespaces, processes, mounts.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{io, thread};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command;
use crate::error::{During, Result};
use crate::namespace::NETNS;
use crate::stop::TICK;

/// The directory of all labs' state.
pub(crate) const STATE: &str = "/run/podgate-lab";
const LOCK: &str = "lock";
const KEPT: &str = "kept";
const BPFFS: &str = "bpf";

/// Makes the directory of a new lab and locks it, after the removal of what dead processes left.
pub(crate) fn claim(id: &str) -> Result<(PathBuf, File)> {
    fs::create_dir_all(STATE).during(|| format!("create {STATE} (labs need root)"))?;
    let _turn = locked(&Path::new(STATE).join(LOCK))?;
    remove_dead();
    let directory = Path::new(STATE).join(id);
    fs::create_dir_all(&directory).during(|| format!("create {}", directory.display()))?;
    let lock = locked(&directory.join(LOCK))?;
    Ok((directory, lock))
}

/// Removes what dead processes left.
pub(crate) fn sweep() -> Result<()> {
    let lock = Path::new(STATE).join(LOCK);
    if lock.exists() {
        let _turn = locked(&lock)?;
        remove_dead();
    }
    Ok(())
}

fn remove_dead() {
    dead_labs().iter().for_each(|dead| remove(dead));
}

/// The lock ends with the file, so also with a process that is killed.
fn locked(path: &Path) -> Result<File> {
    let file = File::create(path).during(|| format!("create {}", path.display()))?;
    file.lock().during(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn labs() -> Vec<String> {
    let mut ids: Vec<String> = entries(Path::new(STATE));
    ids.retain(|id| Path::new(STATE).join(id).is_dir());
    ids
}

fn dead_labs() -> Vec<String> {
    let mut ids = labs();
    ids.retain(|id| !is_kept(id) && is_unlocked(&Path::new(STATE).join(id).join(LOCK)));
    ids
}

fn is_unlocked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => !matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Labs that outlive their process on purpose.
pub(crate) fn kept() -> Vec<String> {
    let mut ids = labs();
    ids.retain(|id| is_kept(id));
    ids
}

fn is_kept(id: &str) -> bool {
    Path::new(STATE).join(id).join(KEPT).exists()
}

pub(crate) fn mark_kept(directory: &Path) -> Result<()> {
    let path = directory.join(KEPT);
    fs::write(&path, "").during(|| format!("write {}", path.display()))
}

/// Mounts a bpffs in the lab's directory unless there is one.
pub(crate) fn bpffs(directory: &Path) -> Result<PathBuf> {
    let path = directory.join(BPFFS);
    if !path.exists() {
        fs::create_dir(&path).during(|| format!("create {}", path.display()))?;
        mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), None::<&str>)
            .during(|| format!("mount bpffs at {}", path.display()))?;
    }
    Ok(path)
}

/// Removes all of a lab, as far as it can: whatever fails here leaves the rest to be removed all the same.
pub(crate) fn remove(id: &str) {
    let namespaces = namespaces(id);
    end_processes(&namespaces);
    for name in &namespaces {
        let _ = command::run(Command::new("ip").args(["netns", "del", name]), "");
    }
    let directory = Path::new(STATE).join(id);
    let _ = umount2(&directory.join(BPFFS), MntFlags::MNT_DETACH);
    let _ = fs::remove_dir_all(&directory);
}

/// What is left of a lab.
pub(crate) fn left(id: &str) -> Vec<String> {
    let namespaces = namespaces(id).into_iter().map(|name| format!("network namespace {name}"));
    let directory = Path::new(STATE).join(id);
    let directory = directory.exists().then(|| directory.display().to_string());
    namespaces.chain(directory).collect()
}

fn namespaces(id: &str) -> Vec<String> {
    let prefix = format!("{id}-");
    let mut names = entries(Path::new(NETNS));
    names.retain(|name| name.starts_with(&prefix));
    names
}

/// Kills what still runs in the namespaces: they are the lab's own, so whatever is in them is too.
fn end_processes(namespaces: &[String]) {
    let inodes: Vec<u64> = namespaces.iter().filter_map(|name| inode(&Path::new(NETNS).join(name))).collect();
    for _ in 0..50 {
        let inside = processes_in(&inodes);
        if inside.is_empty() {
            return;
        }
        for pid in inside {
            let _ = kill(pid, Signal::SIGKILL);
        }
        thread::sleep(TICK);
    }
}

fn processes_in(inodes: &[u64]) -> Vec<Pid> {
    let own = process::id();
    let numbers = entries(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<u32>().ok());
    let others = numbers.filter(|pid| *pid != own);
    let inside =
        others.filter(|pid| inode(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|at| inodes.contains(&at)));
    inside.filter_map(|pid| i32::try_from(pid).ok()).map(Pid::from_raw).collect()
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
