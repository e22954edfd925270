//! `podgate doctor`.

mod everywhere;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use podgate_datapath::DEFAULT_BPFFS;
use serde::{Deserialize, Serialize};

use super::FAILED;
use super::agent::DEFAULT_SOCKET;
use super::cni::PlaceArgs;
use super::everywhere::Agents;
use super::output::{Format, print, print_json};
use crate::doctor::{Check, Question, State, examine, gather, render};

/// Exit status when something is at fault.
const FAULT: u8 = 1;

/// Find out whether this node, or all nodes, are as podgate needs them
///
/// Looks at kernel, BPF file system, capabilities, pins, clock, other enforcers, pods' interfaces, CNI plugin, kube-proxy,
/// settings of the kernel, agent, API and the node's name. What is wrong comes with its remedy; what can't be seen from where
/// this runs is said. Changes nothing. Run it as root on a node, or in the agent's pod, or with --all-nodes from anywhere; then
/// it also asks for what other enforcers leave in the cluster.
/// Exit status: 0 nothing is at fault (there may be warnings), 1 something is, 2 a node can't be asked.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// This node's name in Kubernetes, where no agent answers [env: also NODE_NAME]
    #[arg(long, env = "PODGATE_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,

    /// The agent's admin socket
    #[arg(long, env = "PODGATE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// Where programs and tables are pinned
    #[arg(long, env = "PODGATE_BPFFS", value_name = "DIR", default_value = DEFAULT_BPFFS)]
    bpffs: PathBuf,

    #[command(flatten)]
    places: PlaceArgs,

    #[command(flatten)]
    agents: Agents,

    /// Read files of the host below this directory
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,

    /// How to print what was found
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    output: Format,
}

/// What was found on a node.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// The node's name, where it is known.
    node: Option<String>,
    /// The doctor's version.
    version: String,
    checks: Vec<Check>,
}

impl DoctorArgs {
    /// Prints what was found.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.agents.are_asked() {
            return everywhere::run(&self.agents, self.output);
        }
        let report = self.report();
        match self.output {
            Format::Text => {
                let node = report.node.as_deref().unwrap_or("this node");
                print(&render(node, &report.checks, true))?;
            }
            Format::Json => print_json(&report)?,
        }
        Ok(ExitCode::from(exit_status(&report.checks)))
    }

    fn report(&self) -> Report {
        let node_name = self.node_name.clone().or_else(|| std::env::var("NODE_NAME").ok());
        let question = Question {
            root: self.root.clone(),
            bpffs: self.bpffs.clone(),
            socket: self.socket.clone(),
            places: self.places.places(),
            node_name: node_name.filter(|name| !name.is_empty()),
            kubeconfig: self.agents.kubeconfig(),
        };
        let facts = gather(&question);
        let node = facts.agent.as_ref().ok().map(|status| status.node.clone()).or(question.node_name);
        Report { node, version: facts.version.clone(), checks: examine(&facts) }
    }
}

/// The exit status for these checks.
fn exit_status(checks: &[Check]) -> u8 {
    if checks.iter().any(|check| check.state == State::Fault) { FAULT } else { 0 }
}
