//! `podgate flows`.

mod everywhere;

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use podgate_common::Verdict;
use podgate_policy::model::ObjectKey;

use super::FAILED;
use super::agent::{DEFAULT_SOCKET, object_key};
use super::output::Format;
use crate::admin::{self, FlowsQuery};
use everywhere::Agents;
use podgate_engine::flows::{Filter, Line, render};

/// Show which flows were allowed and which packets were dropped, and why
///
/// The last ones that the agent of this node keeps, and with --follow those that come. They are samples: each pod reports so
/// many a second (--event-rate and --flow-rate of the agent), and lines say how many are missing; what is counted exactly is
/// in `podgate status` and /metrics. Packets of established flows, and of pods that no policy isolates, are not reported.
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

    /// Only flows with this verdict; repeatable
    #[arg(long, value_enum, value_name = "VERDICT")]
    verdict: Vec<VerdictArg>,

    /// Only flows from or to this pod
    #[arg(long, value_name = "NS/POD", value_parser = object_key)]
    pod: Option<ObjectKey>,

    /// Only the last N of the kept flows
    #[arg(long, value_name = "N")]
    last: Option<usize>,

    #[command(flatten)]
    agents: Agents,

    /// How to print them: text, or one JSON object for each line
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VerdictArg {
    /// It went on
    Allowed,
    /// It was dropped
    Denied,
    /// It went on, because the policies that deny it are in audit mode
    WouldDeny,
}

impl VerdictArg {
    fn name(self) -> String {
        let verdict = match self {
            Self::Allowed => Verdict::Allowed,
            Self::Denied => Verdict::Denied,
            Self::WouldDeny => Verdict::WouldDeny,
        };
        verdict.as_str().to_owned()
    }
}

impl FlowsArgs {
    /// Prints flows.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.agents.all_nodes {
            return self.run_everywhere();
        }
        admin::flows(&self.socket, self.query(), |line| print_line(&self.line(&line, false)?))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Prints the flows of all nodes.
    fn run_everywhere(&self) -> anyhow::Result<ExitCode> {
        let print = |line| print_line(&self.line(&line, true)?);
        let all_were_heard = if self.follow {
            self.agents.follow(&self.arguments(), print, |wrong| eprintln!("{wrong}"))?
        } else {
            let wrong = self.agents.ask(&self.arguments(), self.last, print)?;
            wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
            wrong.is_empty()
        };
        Ok(if all_were_heard { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    /// What agents of other nodes are to be told.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut push = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        self.verdict.iter().for_each(|verdict| push("--verdict", verdict.name().replace('_', "-")));
        self.pod.iter().for_each(|pod| push("--pod", pod.to_string()));
        self.last.iter().for_each(|last| push("--last", last.to_string()));
        if self.follow {
            arguments.push("--follow".to_owned());
        }
        arguments
    }

    fn query(&self) -> FlowsQuery {
        let verdicts = self.verdict.iter().map(|verdict| verdict.name()).collect();
        let filter = Filter { verdicts, pod: self.pod.as_ref().map(ToString::to_string) };
        FlowsQuery { filter, last: self.last, follow: self.follow }
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
