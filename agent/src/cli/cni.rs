//! `podgate cni`: the chained CNI plugin on this node.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::output::print;
use crate::cni::{NAME, Places, Settings, WhenAgentDown, keep};
use crate::logging::{self, LogFormat};

/// Install or remove the CNI plugin
///
/// With the plugin, a pod starts only when it is isolated as its policies say. It is chained to the network that the
/// container runtime uses already. Exit status: 0 done, 2 not done.
#[derive(Args, Debug)]
pub(crate) struct CniArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy this binary to the runtime's plugins and add it to the end of the network's list
    ///
    /// The network is that of the first file in the directory, as runtimes choose it; a file with a single plugin is
    /// replaced by one with a list. Run it again to change settings.
    Install(InstallArgs),
    /// Restore the plugin's entry whenever another program rewrites the network's list, until it is stopped
    ///
    /// It needs nothing but that directory, and does nothing where install was not run. `podgate agent --cni-conf-dir` does the
    /// same for an agent that may write there.
    Keep(KeepArgs),
    /// Remove what install has put there, and nothing else
    Uninstall(PlaceArgs),
}

#[derive(Args, Debug)]
struct KeepArgs {
    /// The runtime's directory of networks
    #[arg(long, env = "PODGATE_CNI_CONF_DIR", value_name = "DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,

    /// The format of log lines
    #[arg(long, env = "PODGATE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Args, Debug)]
struct InstallArgs {
    #[command(flatten)]
    places: PlaceArgs,

    /// What becomes of a pod that starts while no agent answers
    #[arg(long, value_enum, default_value = "last-known")]
    when_agent_down: WhenAgentDown,

    /// For how many seconds after the node was booted pods wait for the agent's first start, unless they may start without
    /// it; later, pods of a node where no agent has run start without being enforced [default: 120]
    #[arg(long, value_name = "SECONDS")]
    boot_grace: Option<u32>,

    /// The agent's admin socket, where that is not the default
    #[arg(long, env = "PODGATE_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Where the agent pins programs and tables, where that is not the default
    #[arg(long, env = "PODGATE_BPFFS", value_name = "DIR")]
    bpffs: Option<PathBuf>,

    /// The agent's file of bindings, where that is not beside its socket
    #[arg(long, env = "PODGATE_BINDINGS", value_name = "FILE")]
    bindings: Option<PathBuf>,
}

/// The runtime's directories.
#[derive(Args, Debug)]
pub(super) struct PlaceArgs {
    /// The runtime's directory of CNI plugins
    #[arg(long, env = "PODGATE_CNI_BIN_DIR", value_name = "DIR", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,

    /// The runtime's directory of networks
    #[arg(long, env = "PODGATE_CNI_CONF_DIR", value_name = "DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
}

impl PlaceArgs {
    /// The directories.
    pub(super) fn places(&self) -> Places {
        Places { bin: self.cni_bin_dir.clone(), conf: self.cni_conf_dir.clone() }
    }
}

impl CniArgs {
    /// Does it and says what was done.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let changes = match &self.command {
            Command::Install(args) => args.run()?,
            Command::Keep(args) => return args.run(),
            Command::Uninstall(args) => args.places().uninstall()?,
        };
        let report = if changes.is_empty() { "nothing to do".to_owned() } else { changes.join("\n") };
        print(&(report + "\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl KeepArgs {
    fn run(&self) -> anyhow::Result<ExitCode> {
        logging::init(self.log_format, None, false)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            tracing::info!(path = %self.cni_conf_dir.display(), "keeping podgate-cni in the network's list");
            tokio::select! {
                () = keep(&self.cni_conf_dir) => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl InstallArgs {
    fn run(&self) -> anyhow::Result<Vec<String>> {
        let settings = Settings {
            when_agent_down: self.when_agent_down,
            socket: self.socket.clone(),
            bpffs: self.bpffs.clone(),
            bindings: self.bindings.clone(),
            boot_grace: self.boot_grace,
        };
        let binary = std::env::current_exe().context("cannot tell which binary this is")?;
        self.places.places().install(&binary, &settings.entry(NAME)?)
    }
}
