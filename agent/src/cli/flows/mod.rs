//! `podgate flows`.

mod everywhere;
mod wanted;

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use podgate_engine::flows::{Line, render};

use super::FAILED;
use super::agent::DEFAULT_SOCKET;
use super::everywhere::Agents;
use super::output::Format;
use crate::admin::{self, FlowsQuery};
use wanted::Wanted;

/// Show which flows were allowed and which packets were dropped, and why
///
/// The last ones that the agent of this node keeps; with --follow those that come, and of those that are kept only what --last
/// or --since asks for. They are samples: each pod reports so many a second (--event-rate and --flow-rate of the agent), and
/// lines say how many are missing; what is counted exactly is in `podgate status` and /metrics. Packets of established flows,
/// and of pods that no policy isolates, are not reported.
/// Exit status: 0, or 2 when there is no agent to ask, or with --all-nodes one of them could not be asked (with --follow: none
/// of them).
#[derive(Args, Debug)]
pub(crate) struct FlowsArgs {
    /// The agent's admin socket
    #[arg(long, env = "PODGATE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// Print new flows as they come, until interrupted
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    wanted: Wanted,

    /// Only the last N of the kept flows
    #[arg(long, value_name = "N")]
    last: Option<usize>,

    #[command(flatten)]
    agents: Agents,

    /// How to print them: text, or one JSON object for each line
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

impl FlowsArgs {
    /// Prints flows.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.agents.are_asked() {
            return self.run_everywhere();
        }
        let filter = self.wanted.filter();
        let query = FlowsQuery { filter: filter.clone(), last: self.last(), follow: self.follow };
        admin::flows(&self.socket, query, |line| match filter.takes(&line) {
            true => print_line(&self.line(&line, false)?),
            // An agent of a version that does not know one of the filters.
            false => Ok(ControlFlow::Continue(())),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// Prints the flows of all nodes.
    fn run_everywhere(&self) -> anyhow::Result<ExitCode> {
        let print = |line| print_line(&self.line(&line, true)?);
        let all_were_heard = if self.follow {
            let mut arguments = self.wanted.arguments();
            arguments.push("--follow".to_owned());
            everywhere::follow(&self.agents, &arguments, self.last(), print, |wrong| eprintln!("{wrong}"))?
        } else {
            let last = self.last.into_iter().flat_map(|last| ["--last".to_owned(), last.to_string()]);
            let arguments: Vec<String> = self.wanted.arguments().into_iter().chain(last).collect();
            let wrong = everywhere::ask(&self.agents, &arguments, self.last, print)?;
            wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
            wrong.is_empty()
        };
        Ok(if all_were_heard { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    /// How many of the kept lines are shown: to one who follows none, unless he asks for them.
    fn last(&self) -> Option<usize> {
        self.last.or((self.follow && !self.wanted.asks_for_kept()).then_some(0))
    }

    fn line(&self, line: &Line, with_node: bool) -> io::Result<String> {
        Ok(match self.output {
            Format::Text => render(line, with_node),
            Format::Json => serde_json::to_string(line)?,
        })
    }
}

/// Writes a line at once. A reader that has had enough (`| head`) ends it.
fn print_line(text: &str) -> io::Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        result => result.map(ControlFlow::Continue),
    }
}
