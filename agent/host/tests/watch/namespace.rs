//! Network namespaces without names: nothing is left of them when the last reference goes, however a test ends.

use std::fs::{DirEntry, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace that lives as long as this value.
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new namespace with its loopback device up.
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            File::open("/proc/thread-self/ns/net").expect("/proc is mounted")
        };
        let namespace = Self(thread::spawn(make).join().expect("the thread made a namespace"));
        namespace.ip("link set lo up");
        namespace
    }

    /// Does something in the namespace.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("these tests need root");
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs lines of `ip` commands in the namespace.
    pub(crate) fn ip(&self, lines: &str) {
        self.enter(|| run_ip(lines));
    }

    /// The threads of watchers in the namespace, by id.
    pub(crate) fn watchers(&self) -> Vec<String> {
        let inode = self.0.metadata().expect("it is open").ino();
        let is_inside = |thread: &DirEntry| {
            let path = thread.path();
            std::fs::metadata(path.join("ns/net")).is_ok_and(|namespace| namespace.ino() == inode)
                && std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "netlink\n")
        };
        let all = std::fs::read_dir("/proc/self/task").expect("/proc is mounted").filter_map(Result::ok);
        all.filter(is_inside).map(|thread| thread.file_name().to_string_lossy().into_owned()).collect()
    }

    /// What `ip link … netns` takes for this namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

fn run_ip(lines: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2 is installed");
    ip.stdin.take().expect("stdin is a pipe").write_all(lines.as_bytes()).expect("ip reads its input");
    let status = ip.wait().expect("ip ends");
    assert!(status.success(), "ip failed on:\n{lines}");
}
