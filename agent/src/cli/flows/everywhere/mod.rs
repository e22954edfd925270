//! The flows of all nodes: `podgate flows` run in every agent's pod by `kubectl exec`.
//!
//! kubectl rather than a client of our own: whoever may look into the agents' pods has it, with all ways to log in that his
//! clusters ask for; and no agent has to listen on another port.

mod follow;
mod pods;
mod stream;

use std::io;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::mpsc::channel;

use anyhow::ensure;
use clap::Args;

use self::pods::Agent;
use self::stream::{Heard, Stream};
use crate::flows::Line;

/// Where the agents are.
#[derive(Args, Debug)]
pub(super) struct Agents {
    /// Show the flows of all nodes, by `kubectl exec` in the agents' pods: you need kubectl, and the permissions to list pods
    /// and to create pods/exec
    #[arg(long)]
    pub(super) all_nodes: bool,

    /// With --all-nodes: the labels of the agents' pods
    #[arg(long, value_name = "LABELS", default_value = "app.kubernetes.io/name=podgate")]
    agents: String,

    /// With --all-nodes: the kubeconfig file [default: kubectl's]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,

    /// With --all-nodes: the kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Agents {
    /// Hands over the lines that all agents keep, which are told these arguments, by their time. Returns what is wrong with
    /// agents that could not be heard.
    ///
    /// # Errors
    /// There is no agent, kubectl fails, or `handle` does.
    pub(super) fn ask(
        &self,
        arguments: &[String],
        mut handle: impl FnMut(Line) -> io::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Vec<String>> {
        let agents = self.some()?;
        let (mut kept, mut wrong) = (Vec::new(), Vec::new());
        let (sender, heard) = channel();
        let mut streams = Vec::new();
        for (number, agent) in agents.into_iter().enumerate() {
            match agent.fault() {
                Some(fault) => wrong.push(fault),
                None => streams.push((number, Stream::open(self.kubectl(), agent, arguments, number, sender.clone())?)),
            }
        }
        drop(sender);
        for heard in heard {
            match heard {
                Heard::Line(_, line) => kept.push(*line),
                Heard::End(number, end) => {
                    let stream = streams.iter_mut().find(|(it, _)| *it == number);
                    wrong.extend(stream.and_then(|(_, stream)| stream.failure(end)));
                }
            }
        }
        kept.sort_by(|one, other| one.time().cmp(other.time()));
        for line in kept {
            if handle(line)?.is_break() {
                break;
            }
        }
        Ok(wrong)
    }

    /// The agents, of which there must be some.
    fn some(&self) -> anyhow::Result<Vec<Agent>> {
        let agents = pods::list(self.kubectl(), &self.agents)?;
        ensure!(!agents.is_empty(), "no agent runs: no pod has the labels {}", self.agents);
        Ok(agents)
    }

    fn kubectl(&self) -> Command {
        let mut kubectl = Command::new("kubectl");
        for (flag, value) in [("--kubeconfig", &self.kubeconfig), ("--context", &self.context)] {
            if let Some(value) = value {
                kubectl.args([flag, value]);
            }
        }
        kubectl
    }
}
