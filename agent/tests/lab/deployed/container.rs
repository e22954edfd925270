//! Containers run by runc, the OCI runtime under containerd.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{Lab, Node};

/// How long an init container may take.
const END: Duration = Duration::from_secs(30);

/// A container that runs, or has ended. Dropped, it is killed and removed.
pub(crate) struct Container {
    id: String,
    state: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Container {
    /// Starts a bundle on a node, in its network namespace.
    pub(crate) fn start(lab: &Lab, node: &Node, bundle: &Path) -> Self {
        let name = bundle.file_name().unwrap().to_string_lossy();
        let (id, state) = (format!("{}-{name}", lab.id()), lab.directory().join("runc"));
        let log = bundle.with_extension("log");
        let output = File::create(&log).unwrap();
        let mut command = node.command("runc");
        command.arg("--root").arg(&state).args(["run", "--bundle"]).arg(bundle).arg(&id);
        let child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().expect("runc is installed");
        Self { id, state, log, child }
    }

    /// What it has written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} still runs: {}", self.id, self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs a bundle to its end, which must be a good one; what it said.
    pub(crate) fn run(lab: &Lab, node: &Node, bundle: &Path) -> String {
        let mut container = Self::start(lab, node, bundle);
        let status = container.wait(END);
        assert!(status.success(), "{}: {status}: {}", container.id, container.log());
        container.log()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        assert!(self.runc(&["kill", &self.id, signal]).status().unwrap().success());
    }

    /// The process id of its first process.
    pub(crate) fn pid(&self) -> u64 {
        let output = self.runc(&["state", &self.id]).output().unwrap();
        let state: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        state["pid"].as_u64().unwrap()
    }

    fn runc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.state).args(arguments);
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // runc tidies up when the container's process ends; to delete one that still runs leaves its control groups.
        let _ = self.runc(&["kill", &self.id, "KILL"]).output();
        let deadline = Instant::now() + END;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.runc(&["delete", "--force", &self.id]).output();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of {}:\n{}", self.id, self.log());
        }
    }
}

/// The files of the image: those of `PODGATE_IMAGE_ROOT`, where an image was built, else this build's binary and the
/// libraries that it needs, in the same places.
pub(crate) fn image(directory: &Path) -> PathBuf {
    if let Some(root) = std::env::var_os("PODGATE_IMAGE_ROOT") {
        return root.into();
    }
    let root = directory.join("image");
    let binary = Path::new(env!("CARGO_BIN_EXE_podgate"));
    copy(binary, &root.join("usr/bin/podgate"));
    symlink("podgate", root.join("usr/bin/podgate-cni")).unwrap();
    let output = Command::new("ldd").arg(binary).output().expect("ldd comes with the C library");
    let text = String::from_utf8(output.stdout).unwrap();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(library), &root.join(library.trim_start_matches('/')));
    }
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
