//! `podgate status`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::agent::DEFAULT_SOCKET;
use super::output::{Format, print, print_json};
use podgate_engine::status;

use crate::admin;

/// Exit status when the agent says that it is not ready.
const NOT_READY: u8 = 1;

/// Show what the agent on this node enforces
///
/// Every pod of this node with its interface, addresses, policies and packet counters, and everything that is wrong.
/// Exit status: 0 ready, 1 not ready, 2 when there is no agent to ask.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The agent's admin socket
    #[arg(long, env = "PODGATE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// How to print the status
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

impl StatusArgs {
    /// Prints the status.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let answer = admin::fetch_status(&self.socket)?;
        match self.output {
            Format::Text => print(&status::render(&answer))?,
            Format::Json => print_json(&answer)?,
        }
        Ok(if answer.ready { ExitCode::SUCCESS } else { ExitCode::from(NOT_READY) })
    }
}
