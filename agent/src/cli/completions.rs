//! `podgate completions` and `podgate man`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap_complete::Shell;

use super::output::print;

/// Print what makes a shell complete podgate's commands
///
/// For bash: `podgate completions bash > /etc/bash_completion.d/podgate`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(None), "podgate", &mut script);
        print(&String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write the manual pages of all commands into a directory
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// The directory, which is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl ManArgs {
    /// Writes the pages.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let cannot = || format!("cannot write manual pages into {}", self.directory.display());
        fs::create_dir_all(&self.directory).with_context(cannot)?;
        clap_mangen::generate_to(super::command(None), &self.directory).with_context(cannot)?;
        Ok(ExitCode::SUCCESS)
    }
}
