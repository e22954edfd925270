//! `podgate mount-bpffs`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use podgate_datapath::{DEFAULT_BPFFS, ensure_bpffs};

/// Mount the BPF file system that the agent needs, where nobody has
///
/// For nodes whose system does not mount it at /sys/fs/bpf. Needs CAP_SYS_ADMIN, which the agent does without; in a
/// container, the mount must be handed on to the host. Where there is one, nothing is done. Exit status: 0 it is mounted, 2
/// it is not.
#[derive(Args, Debug)]
pub(crate) struct MountBpffsArgs {
    /// Where the agent pins programs and tables
    #[arg(long, env = "PODGATE_BPFFS", value_name = "DIR", default_value = DEFAULT_BPFFS)]
    bpffs: PathBuf,
}

impl MountBpffsArgs {
    /// Mounts it.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        ensure_bpffs(&self.bpffs)?;
        Ok(ExitCode::SUCCESS)
    }
}
