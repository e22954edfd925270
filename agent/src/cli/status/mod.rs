//! `podgate status`.

mod everywhere;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use podgate_engine::status::{Status, View, render};

use super::FAILED;
use super::agent::DEFAULT_SOCKET;
use super::everywhere::Agents;
use super::output::{Format, print, print_json};
use crate::admin;

/// Exit status when an agent says that it is not ready.
const NOT_READY: u8 = 1;

/// Show what the agent on this node enforces, or the agents of all nodes
///
/// First a line that says what is enforced, since when and what is wrong; then what was dropped lately, all that is wrong, and
/// every pod of this node with its interface, addresses, policies and packet counters. With --all-nodes that line for each
/// node; --node shows the rest.
/// Exit status: 0 ready, 1 not ready or a node has no agent, 2 when there is no agent to ask, or one of them can't be asked.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The agent's admin socket
    #[arg(long, env = "PODGATE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// Show every row of long lists, and every table
    #[arg(long)]
    all: bool,

    /// Show how full every table in use is, not only those above 70 %
    #[arg(long)]
    tables: bool,

    #[command(flatten)]
    agents: Agents,

    /// How to print the status
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

impl StatusArgs {
    /// Prints the status.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.agents.are_asked() {
            return self.run_everywhere();
        }
        let answer = admin::fetch_status(&self.socket)?;
        match self.output {
            Format::Text => print(&render(&answer, &self.view()))?,
            Format::Json => print_json(&answer)?,
        }
        Ok(readiness(&answer))
    }

    fn run_everywhere(&self) -> anyhow::Result<ExitCode> {
        let answers = everywhere::answers(&self.agents)?;
        let is_named = !self.agents.named().is_empty();
        match self.output {
            Format::Text if is_named => print(&everywhere::in_full(&answers, &self.view()))?,
            Format::Text => print(&everywhere::in_lines(&answers))?,
            Format::Json => print_json(&answers)?,
        }
        Ok(ExitCode::from(everywhere::exit_status(&answers)))
    }

    fn view(&self) -> View {
        View { all: self.all, tables: self.tables }
    }
}

fn readiness(status: &Status) -> ExitCode {
    if status.ready { ExitCode::SUCCESS } else { ExitCode::from(NOT_READY) }
}
