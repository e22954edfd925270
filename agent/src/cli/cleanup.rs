//! `podgate cleanup`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use podgate_datapath::{DEFAULT_BPFFS, Removed, remove_everything};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::agent::{DEFAULT_SOCKET, bindings};
use super::cni::PlaceArgs;
use super::output::print;
use crate::admin;
use crate::cni::remove;

/// Remove everything that podgate has left on this node
///
/// Removes podgate's programs from all interfaces, its pins and files, and the CNI plugin. Then nothing is enforced.
/// The agent must have ended. Doing it again, or on a node where podgate never ran, does nothing. Exit status: 0 when
/// nothing of podgate is left, 2 when something could not be removed.
#[derive(Args, Debug)]
pub(crate) struct CleanupArgs {
    /// Where programs and tables are pinned
    #[arg(long, env = "PODGATE_BPFFS", value_name = "DIR", default_value = DEFAULT_BPFFS)]
    bpffs: PathBuf,

    /// The agent's admin socket
    #[arg(long, env = "PODGATE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// File in which the agent records the interfaces that it enforces [default: beside the socket, named *.bindings]
    #[arg(long, env = "PODGATE_BINDINGS", value_name = "FILE")]
    bindings: Option<PathBuf>,

    #[command(flatten)]
    places: PlaceArgs,

    /// Wait until stopped when nothing is left, as a pod of a DaemonSet must
    #[arg(long)]
    stay: bool,
}

impl CleanupArgs {
    /// Removes everything and says what that was.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        // Fails where an agent is at work.
        admin::remove_stale(&self.socket)?;
        // The plugin goes before what it works with.
        let plugin = self.places.places().uninstall()?;
        let removed = remove_everything(&self.bpffs)?;
        let bindings = bindings(self.bindings.as_ref(), &self.socket);
        let kept = remove(&bindings)?.is_some();
        remove(&self.socket.with_extension("lock"))?;
        print(&report(&removed, &self.bpffs, kept.then_some(&bindings), plugin))?;
        if self.stay {
            wait_until_stopped()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// In a container, whose first process ignores signals that it does not wait for.
fn wait_until_stopped() -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

fn report(removed: &Removed, bpffs: &Path, bindings: Option<&PathBuf>, plugin: Vec<String>) -> String {
    let mut lines = plugin;
    if !removed.interfaces.is_empty() {
        let interfaces: Vec<_> = removed.interfaces.iter().map(u32::to_string).collect();
        lines.push(format!("took programs off {} interfaces: {}", interfaces.len(), interfaces.join(", ")));
    }
    if removed.pins {
        lines.push(format!("removed tables and programs from {}", bpffs.display()));
    }
    lines.extend(bindings.map(|path| format!("removed {}", path.display())));
    if lines.is_empty() {
        lines.push("nothing of podgate is here".to_owned());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_told_line_by_line() {
        let removed = Removed { interfaces: vec![3, 7], pins: true };
        let (bpffs, bindings) = (Path::new("/sys/fs/bpf/podgate"), PathBuf::from("/run/podgate/podgate.bindings"));
        let expected = "removed /opt/cni/bin/podgate-cni\n\
                        took programs off 2 interfaces: 3, 7\n\
                        removed tables and programs from /sys/fs/bpf/podgate\n\
                        removed /run/podgate/podgate.bindings\n";
        assert_eq!(
            report(&removed, bpffs, Some(&bindings), vec!["removed /opt/cni/bin/podgate-cni".to_owned()]),
            expected
        );
        assert_eq!(report(&Removed::default(), bpffs, None, vec![]), "nothing of podgate is here\n");
    }
}
