//! A network namespace: code, programs and configuration inside it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{fs, io, thread};

use nix::sched::{CloneFlags, setns};

use crate::command;
use crate::error::{During, Result};
use crate::stop::Stop;

/// Where `ip netns` keeps its namespaces, and the lab its own, so that `ip netns exec` works in them.
pub(crate) const NETNS: &str = "/run/netns";

/// Settings of every namespace of a lab: no waiting for duplicate address detection, no router advertisements, no
/// reverse path filter, and ping sockets for everyone.
const SETTINGS: [(&str, &str); 9] = [
    ("ipv4/ping_group_range", "0 2147483647"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
];

/// A handle on a network namespace of a lab. Clones are the same namespace; the lab removes it.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
    stop: Stop,
}

impl Namespace {
    /// Makes the namespace, with the loopback device up.
    pub(crate) fn create(name: &str, stop: Stop) -> Result<Self> {
        command::run(Command::new("ip").args(["netns", "add", name]), "")?;
        let path = Path::new(NETNS).join(name);
        let file = File::open(&path).during(|| format!("open {}", path.display()))?;
        let namespace = Self { name: name.to_owned(), file: Arc::new(file), stop };
        for (key, value) in SETTINGS {
            namespace.set(key, value)?;
        }
        namespace.ip(&["link set lo up"])?;
        Ok(namespace)
    }

    /// The name under which `ip netns` knows it.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, as a container runtime passes it to a CNI plugin.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS).join(&self.name)
    }

    /// Ends with the lab: background work in the namespace watches it.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Runs `work` on a thread inside the namespace and returns what it returns. Sockets made there stay there, so they
    /// may be returned and used from anywhere.
    ///
    /// # Panics
    /// When `work` panics, or when the caller may not enter namespaces.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let outcome = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.file).expect("who may create a namespace may enter it");
                work()
            });
            inside.join()
        });
        outcome.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let file = Arc::clone(&self.file);
        let mut command = Command::new(program);
        // SAFETY: setns is a plain system call on a descriptor that the closure keeps open; it neither allocates nor locks.
        unsafe { command.pre_exec(move || enter(&file)) };
        command
    }

    /// Runs a program inside the namespace to its end and returns its output.
    ///
    /// # Errors
    /// When it can't be started or fails.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        command::run(self.command(program).args(arguments), "")
    }

    /// Runs lines of `ip -batch` inside the namespace.
    ///
    /// # Errors
    /// When one of the lines fails; the rest is not run.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> Result<()> {
        let batch: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
        command::run(self.command("ip").args(["-batch", "-"]), &batch).map(drop)
    }

    /// Writes a setting below /proc/sys/net of the namespace, for instance `ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel does not have it or refuses the value.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        self.run(|| fs::write(&path, value)).during(|| format!("write {value} to {}", path.display()))
    }

    /// Whether the kernel has a setting below /proc/sys/net in the namespace.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.run(|| Path::new("/proc/sys/net").join(key).exists())
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?)
}
