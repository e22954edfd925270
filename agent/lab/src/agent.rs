//! Running podgate's agent on a node of the lab.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::capability::{Capability, restrict};
use crate::error::{During, Error, Result};
use crate::http::Response;
use crate::lab::Lab;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::stop::TICK;

const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9417);
/// Loading the programs takes half a minute on an emulated machine, and more where that shares its processors.
const READY: Duration = Duration::from_secs(600);
/// On a busy machine the kernel takes long to free what the process held.
const END: Duration = Duration::from_secs(30);

static LOGS: AtomicU32 = AtomicU32::new(1);

/// How to start the agent. The lab gives it the node's name, the metrics address 127.0.0.1:9417 of the node's namespace,
/// a socket and a bpffs directory of its own.
#[derive(Clone, Debug)]
pub struct Agent {
    binary: PathBuf,
    arguments: Vec<OsString>,
    capabilities: Option<Vec<Capability>>,
}

impl Agent {
    /// An agent that runs this binary with all of the caller's capabilities.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), arguments: Vec::new(), capabilities: None }
    }

    /// Runs another binary.
    #[must_use]
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = binary.into();
        self
    }

    /// Reads objects from a directory.
    #[must_use]
    pub fn manifests(self, directory: &Path) -> Self {
        self.arg("--manifests").arg(directory)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Gives it exactly these capabilities.
    #[must_use]
    pub fn capabilities(mut self, capabilities: &[Capability]) -> Self {
        self.capabilities = Some(capabilities.to_vec());
        self
    }

    /// Starts it on a node, without waiting for anything. A second start on the same node finds what the first pinned.
    ///
    /// # Errors
    /// When the binary can't be run.
    pub fn start(&self, lab: &Lab, node: &Node) -> Result<RunningAgent> {
        let number = LOGS.fetch_add(1, Ordering::Relaxed);
        let log = lab.directory().join(format!("agent-{}-{number}.log", node.name()));
        let socket = lab.directory().join(format!("agent-{}.sock", node.name()));
        let mut command = node.command(&self.binary);
        command.arg("agent").args(["--node-name", node.name()]).args(["--metrics-listen", &METRICS.to_string()]);
        command.arg("--socket").arg(&socket).arg("--bpffs").arg(lab.bpffs()?.join(node.name()));
        command.args(&self.arguments);
        if let Some(capabilities) = &self.capabilities {
            restrict(&mut command, capabilities);
        }
        let child = spawn(&mut command, &log)?;
        Ok(RunningAgent { child, node: node.clone(), binary: self.binary.clone(), socket, log, keep: false })
    }

    /// Starts it on a node and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready within a minute. The error shows its log.
    pub fn start_ready(&self, lab: &Lab, node: &Node) -> Result<RunningAgent> {
        let mut agent = self.start(lab, node)?;
        agent.wait_ready()?;
        Ok(agent)
    }
}

fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let create = || -> std::io::Result<(File, File)> {
        let file = File::create(log)?;
        Ok((file.try_clone()?, file))
    };
    let (stdout, stderr) = create().during(|| format!("create {}", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdout(stdout).stderr(stderr).spawn().during(|| format!("start {program}"))
}

/// An agent that runs on a node. Dropping it kills it; while panicking, its log is shown.
#[derive(Debug)]
pub struct RunningAgent {
    child: Child,
    node: Node,
    binary: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    keep: bool,
}

impl RunningAgent {
    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When it ends or is not ready within a minute. The error shows its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while !self.get("/readyz").is_ok_and(|response| response.status == 200) {
            if let Some(status) = self.child.try_wait().during(|| "look after the agent".to_owned())? {
                return Err(self.failure(&format!("the agent ended with {status}")));
            }
            if Instant::now() > deadline {
                let last = self.get("/readyz").map(|response| response.body).unwrap_or_default();
                return Err(self.failure(&format!("the agent is not ready after {READY:?}: {last}")));
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn failure(&self, what: &str) -> Error {
        Error::Timeout(format!("{what}; its log:\n{}", self.log()))
    }

    /// Asks its HTTP server.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.node.get(METRICS, path)
    }

    /// Reads its metrics.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics")?.body))
    }

    /// A command of the same binary that speaks to it over the admin socket, for instance with `status`.
    #[must_use]
    pub fn podgate(&self, subcommand: &str) -> Command {
        let mut command = self.node.command(&self.binary);
        command.arg(subcommand).arg("--socket").arg(&self.socket);
        command
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The path of its admin socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end by SIGTERM and waits for that.
    ///
    /// # Errors
    /// When it still runs after half a minute. The error shows its log.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// Ends it by SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When it ended before.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait()?;
        if status.signal() == Some(Signal::SIGKILL as i32) {
            return Ok(());
        }
        Err(self.failure(&format!("the agent had ended with {status}")))
    }

    /// Waits for its end, which the caller has brought about.
    ///
    /// # Errors
    /// When it still runs after half a minute. The error shows its log.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().during(|| "wait for the agent".to_owned())? {
                return Ok(status);
            }
            thread::sleep(TICK);
        }
        Err(self.failure(&format!("the agent still runs after {END:?}")))
    }

    /// Lets it run on when this is dropped; it ends with the lab.
    pub fn detach(mut self) {
        self.keep = true;
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).expect("process ids are positive and below 2^22");
        kill(Pid::from_raw(pid), signal).during(|| format!("send {signal} to the agent"))
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        if !self.keep {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("log of the agent on {}:\n{}", self.node.name(), self.log());
        }
    }
}
