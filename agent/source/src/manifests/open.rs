//! The bytes of a file, or why they can't be had: nothing but regular files is opened, nothing that may never end is waited for.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fstatfs, statfs};

/// The largest file that is read.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// How long the reading of a file may take. Longer takes one on a network's file system whose server is gone.
const DEADLINE: Duration = Duration::from_secs(3);

/// A file of which so many bytes more are there when the time is over is given it again: a large one on a slow disk.
const PROGRESS: u64 = 1 << 20;

/// How long reading may take at all.
const LONGEST: Duration = Duration::from_secs(30);

/// The same while others don't end: many files of one dead server are not waited for one after the other.
const SHORT_DEADLINE: Duration = Duration::from_millis(200);

/// From so many on.
const MANY: usize = 4;

/// File systems whose files are the kernel's own: what looks like a regular file there may block when it is read, never end, or
/// do something. By `f_type` of statfs(2): proc, sysfs, tracefs, debugfs, securityfs, configfs, cgroup, cgroup2, bpffs, efivarfs,
/// selinuxfs, devpts.
const OF_THE_KERNEL: [u32; 12] = [
    0x9fa0,
    0x6265_6572,
    0x7472_6163,
    0x6462_6720,
    0x7363_6673,
    0x6265_6570,
    0x0027_e0eb,
    0x6367_7270,
    0xcafe_4a11,
    0xde5e_81e4,
    0xf97c_ff8c,
    0x1cd1,
];

/// Files that are being read by a thread that does not end.
static UNENDING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Why a file can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is a directory.
    Directory,
    /// What is wrong with it.
    Because(String),
}

impl Unreadable {
    /// What is wrong with it.
    pub(super) fn message(self) -> String {
        match self {
            Self::Directory => not_regular(),
            Self::Because(message) => message,
        }
    }
}

/// The bytes of a file. Waits for them no longer than a while, whatever the file is.
///
/// # Errors
/// It is not a regular file, too large, can't be read, or not in time.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Unreadable> {
    within(path, read)
}

/// Reads a file in a thread of its own, which is left behind if it does not end; until it does the file is not read again.
fn within(
    path: &Path,
    read: impl FnOnce(&Path, &AtomicU64) -> Result<Vec<u8>, Unreadable> + Send + 'static,
) -> Result<Vec<u8>, Unreadable> {
    let others = unending(|paths| if paths.contains(path) { None } else { Some(paths.len()) });
    let Some(others) = others else {
        return Err(Unreadable::Because("its reading has not ended yet: expected a file of a disk".to_owned()));
    };
    let deadline = if others < MANY { DEADLINE } else { SHORT_DEADLINE };
    let (sender, receiver) = sync_channel(1);
    let owned = path.to_owned();
    let progress = Arc::new(AtomicU64::new(0));
    let done = progress.clone();
    unending(|paths| paths.insert(path.to_owned()));
    let spawned = thread::Builder::new().name("manifest".to_owned()).spawn(move || {
        let result = read(&owned, &done);
        unending(|paths| paths.remove(&owned));
        // Whoever asked may have given up.
        drop(sender.send(result));
    });
    if let Err(error) = spawned {
        unending(|paths| paths.remove(path));
        return Err(Unreadable::Because(format!("can't be read: {error}")));
    }
    let begun = Instant::now();
    let mut before = 0;
    loop {
        match receiver.recv_timeout(deadline) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => {
                let now = progress.load(Ordering::Relaxed);
                let waited = begun.elapsed();
                if now - before < PROGRESS || waited >= LONGEST {
                    return Err(too_long(waited));
                }
                before = now;
            }
            Err(RecvTimeoutError::Disconnected) => {
                unending(|paths| paths.remove(path));
                return Err(Unreadable::Because("can't be read: its reader ended early".to_owned()));
            }
        }
    }
}

fn unending<T>(change: impl FnOnce(&mut BTreeSet<PathBuf>) -> T) -> T {
    change(&mut UNENDING.lock().unwrap_or_else(PoisonError::into_inner))
}

fn too_long(waited: Duration) -> Unreadable {
    let tenths = (waited.as_secs_f64() * 10.0).floor();
    Unreadable::Because(format!("can't be read within {} seconds: expected a file of a disk", tenths / 10.0))
}

fn read(path: &Path, progress: &AtomicU64) -> Result<Vec<u8>, Unreadable> {
    let failed = |what: &'static str| move |error: io::Error| Unreadable::Because(format!("can't be {what}: {error}"));
    // Looked at before it is opened, since opening a device may do something, and after that, since it may be another by then.
    expect_file(&fs::metadata(path).map_err(failed("read"))?)?;
    expect_disk(statfs(path).map_err(io::Error::from).map_err(failed("read"))?.f_type)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path).map_err(failed("opened"))?;
    expect_file(&file.metadata().map_err(failed("read"))?)?;
    expect_disk(fstatfs(&file).map_err(io::Error::from).map_err(failed("read"))?.f_type)?;
    contents(file, progress)
        .map_err(failed("read"))?
        .ok_or_else(|| Unreadable::Because(format!("larger than {} MiB: expected smaller files", MAX_BYTES >> 20)))
}

/// What an open file holds; `None`: too much. Tells how many bytes it has so far.
fn contents(mut file: File, progress: &AtomicU64) -> io::Result<Option<Vec<u8>>> {
    if file.metadata()?.len() > MAX_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![];
    while (&mut file).take(PROGRESS).read_to_end(&mut bytes)? > 0 {
        progress.store(bytes.len() as u64, Ordering::Relaxed);
        if bytes.len() as u64 > MAX_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

fn expect_file(found: &Metadata) -> Result<(), Unreadable> {
    match (found.is_file(), found.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(Unreadable::Directory),
        _ => Err(Unreadable::Because(not_regular())),
    }
}

fn not_regular() -> String {
    "not a regular file: expected a file of YAML or JSON".to_owned()
}

fn expect_disk(kind: impl TryInto<u64>) -> Result<(), Unreadable> {
    let of_the_kernel = kind.try_into().is_ok_and(|kind| OF_THE_KERNEL.iter().any(|&of| u64::from(of) == kind));
    if of_the_kernel {
        return Err(Unreadable::Because(
            "on a file system of the kernel, such as /proc: expected a file of a disk".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::channel;

    use tempfile::TempDir;

    use super::*;

    fn because(result: Result<Vec<u8>, Unreadable>) -> String {
        match result.unwrap_err() {
            Unreadable::Because(message) => message,
            Unreadable::Directory => "a directory".to_owned(),
        }
    }

    #[test]
    fn files_are_read_also_through_links() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.yaml"), "kind: Pod").unwrap();
        symlink("a.yaml", path("b.yaml")).unwrap();
        assert_eq!(
            [bytes(&path("a.yaml")), bytes(&path("b.yaml"))],
            [Ok(b"kind: Pod".to_vec()), Ok(b"kind: Pod".to_vec())]
        );
    }

    #[test]
    fn what_looks_like_a_file_and_is_the_kernels_is_not_read() {
        let directory = TempDir::new().unwrap();
        let kernels = "on a file system of the kernel, such as /proc: expected a file of a disk";
        for target in ["/proc/kmsg", "/proc/self/mem", "/proc/cpuinfo", "/sys/kernel/uevent_seqnum"] {
            let link = directory.path().join("k.yaml");
            symlink(target, &link).unwrap();
            let start = Instant::now();
            assert_eq!(because(bytes(&link)), kernels, "{target}");
            assert!(start.elapsed() < Duration::from_secs(1), "{target}");
            fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn pipes_sockets_devices_and_directories_are_not_opened() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        symlink("/dev/zero", path("device")).unwrap();
        for name in ["pipe", "socket", "device"] {
            assert_eq!(because(bytes(&path(name))), not_regular(), "{name}");
        }
        assert_eq!(bytes(directory.path()), Err(Unreadable::Directory));
    }

    #[test]
    fn a_file_that_is_mostly_hole_is_too_large() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("sparse.yaml");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(because(bytes(&path)), "larger than 256 MiB: expected smaller files");
    }

    #[test]
    fn a_large_file_of_a_slow_disk_is_waited_for_as_long_as_it_goes_on() {
        let slow = |_: &Path, progress: &AtomicU64| {
            thread::sleep(DEADLINE / 2);
            progress.store(PROGRESS, Ordering::Relaxed);
            thread::sleep(DEADLINE);
            Ok(vec![3])
        };
        assert_eq!(within(Path::new("/slow/a.yaml"), slow), Ok(vec![3]));
    }

    #[test]
    fn what_is_told_is_how_long_was_waited() {
        let told = |waited| match too_long(waited) {
            Unreadable::Because(message) => message,
            Unreadable::Directory => String::new(),
        };
        let expected = |seconds| format!("can't be read within {seconds} seconds: expected a file of a disk");
        let ends = [SHORT_DEADLINE, DEADLINE + Duration::from_millis(7), LONGEST + Duration::from_millis(250)];
        assert_eq!(ends.map(told), ["0.2", "3", "30.2"].map(expected));
    }

    #[test]
    fn a_file_whose_reading_does_not_end_is_given_up_and_not_tried_again_until_it_does() {
        let path = Path::new("/unending/a.yaml");
        let (end, ended) = channel::<()>();
        let start = Instant::now();
        let hanging = move |_: &Path, _: &AtomicU64| {
            let _ = ended.recv();
            Ok(vec![])
        };
        assert_eq!(because(within(path, hanging)), "can't be read within 3 seconds: expected a file of a disk");
        assert!(start.elapsed() >= DEADLINE);
        let again = Instant::now();
        let expected = "its reading has not ended yet: expected a file of a disk";
        assert_eq!(because(within(path, |_, _| Ok(vec![]))), expected);
        assert!(again.elapsed() < DEADLINE);
        assert_eq!(within(Path::new("/unending/b.yaml"), |_, _| Ok(vec![1])), Ok(vec![1]), "others are read");
        drop(end);
        while unending(|paths| paths.contains(path)) {
            thread::yield_now();
        }
        assert_eq!(within(path, |_, _| Ok(vec![2])), Ok(vec![2]));
    }
}
