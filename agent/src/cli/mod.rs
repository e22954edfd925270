//! The command line: one subcommand per module, each ending in an exit status.

mod agent;
mod check;
mod cleanup;
mod cni;
mod complete;
mod completions;
mod diff;
mod doctor;
mod everywhere;
mod explain;
mod flows;
mod input;
mod install_seccomp;
mod matrix;
mod mount_bpffs;
mod output;
mod probe;
mod progress;
mod report;
mod status;
mod test;

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use agent::{
    AgentArgs, Attribution, ClusterPolicies, DEFAULT_SOCKET, Hook, JudgedAt, LiveConnections, UnknownPods, bindings,
};
use check::CheckArgs;
use cleanup::CleanupArgs;
use cni::CniArgs;
use completions::{CompletionsArgs, ManArgs};
use diff::DiffArgs;
use doctor::DoctorArgs;
use explain::ExplainArgs;
use flows::FlowsArgs;
use install_seccomp::InstallSeccompArgs;
use matrix::MatrixArgs;
use mount_bpffs::MountBpffsArgs;
use probe::ProbeArgs;
use report::ReportArgs;
use status::StatusArgs;
use test::TestArgs;

use crate::cni as plugin;

/// The version, with the commit of a release build.
pub(crate) const VERSION: &str = env!("PODGATE_VERSION");

/// Exit status of a command that could not do its work: bad input, no agent, no permission.
pub(crate) const FAILED: u8 = 2;

/// Exit status of a command that judges where there was nothing to judge.
pub(crate) const NOTHING_JUDGED: u8 = 3;

const ABOUT: &str = "Enforces Kubernetes NetworkPolicy with eBPF beside any CNI that connects pods by veth pairs";

const LONG_ABOUT: &str = "\
Enforces Kubernetes NetworkPolicy with eBPF beside any CNI that connects pods by veth pairs.

One agent runs on each node (`podgate agent`). It reads policies and pods from the Kubernetes API, or from a directory \
of YAML files, and drops in the kernel what the policies do not allow. `podgate status` shows what the agent of this \
node does, `podgate flows` which connections it allows and denies, `podgate doctor` what is in its way. All other \
commands need no cluster, no kernel support and no root: from YAML files alone `explain` and `matrix` \
answer what a set of policies allows, `check` finds probable mistakes, `test` compares with what is expected, \
`diff` tells what opens and closes between two sets, and `report` shows it all on one page.";

const EXAMPLES: &str = "\
Examples:
  podgate agent --node-name node-1                       enforce the cluster's policies on this node
  podgate agent --node-name node-1 --manifests ./yaml    the same from files, without a cluster
  podgate status                                         what the agent on this node enforces
  podgate status --all-nodes                             a line for each node, by kubectl
  podgate flows --follow --verdict denied                what it drops, as it happens
  podgate doctor                                         what is in the way of it on this node, and what to do
  podgate explain -f ./yaml --from shop/web --to shop/api --port 8080
  podgate explain -f ./yaml --from shop/web --to 10.96.0.10 --port 53 --protocol UDP
  podgate matrix -f ./yaml --port TCP/8080
  podgate check -f ./yaml                                probable mistakes
  podgate test expected.yaml -f ./yaml                   whether policies do what is expected
  podgate diff -f ./yaml -f ./changed                    what opens and closes
  podgate report -f ./yaml -o report.html                all of it on one page";

#[derive(Parser)]
#[command(name = "podgate", version = VERSION, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Agent(Box<AgentArgs>),
    Status(StatusArgs),
    Flows(FlowsArgs),
    Doctor(DoctorArgs),
    Explain(ExplainArgs),
    Matrix(MatrixArgs),
    Check(CheckArgs),
    Test(TestArgs),
    Diff(DiffArgs),
    Report(ReportArgs),
    Cleanup(CleanupArgs),
    Cni(CniArgs),
    MountBpffs(MountBpffsArgs),
    InstallSeccomp(InstallSeccompArgs),
    #[command(hide = true)]
    Probe(ProbeArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// The command line of a process that was started under this name: `kubectl podgate` runs a program `kubectl-podgate`.
fn command(started_as: Option<&OsStr>) -> clap::Command {
    let is_plugin =
        started_as.and_then(|path| Path::new(path).file_stem()).is_some_and(|name| name == "kubectl-podgate");
    if is_plugin { Cli::command().bin_name("kubectl podgate") } else { Cli::command() }
}

/// Whether this process was started as the CNI plugin.
fn is_plugin() -> bool {
    let started_as = env::args_os().next();
    started_as.is_some_and(|path| Path::new(&path).file_name().is_some_and(|name| name == plugin::NAME))
}

/// Runs the command of this process' arguments; of the CNI plugin, where the binary was started by its name.
#[must_use]
pub fn run() -> ExitCode {
    if is_plugin() {
        return plugin::run();
    }
    if complete::is_asked(env::args_os().next().as_deref()) {
        let words: Vec<_> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        return ended(
            output::print(&complete::answer(&command(None), &words)).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        );
    }
    let matches = command(env::args_os().next().as_deref()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Agent(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::Flows(args) => args.run(),
        Command::Doctor(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Matrix(args) => args.run(),
        Command::Check(args) => args.run(),
        Command::Test(args) => args.run(),
        Command::Diff(args) => args.run(),
        Command::Report(args) => args.run(),
        Command::Cleanup(args) => args.run(),
        Command::Cni(args) => args.run(),
        Command::MountBpffs(args) => args.run(),
        Command::InstallSeccomp(args) => args.run(),
        Command::Probe(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    };
    ended(result)
}

/// The exit status of a command; why it failed is a line on standard error.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("podgate: {}", in_one_line(&error));
        ExitCode::from(FAILED)
    })
}

/// An error with its causes, but for those that it has in its own words.
fn in_one_line(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_that_an_error_has_in_its_own_words_is_told_once() {
        let error = |words: &'static str| Err::<(), _>(anyhow::anyhow!("no such file")).context(words).unwrap_err();
        assert_eq!(in_one_line(&error("can't be read")), "can't be read: no such file");
        assert_eq!(in_one_line(&error("can't be read: no such file")), "can't be read: no such file");
    }
}
