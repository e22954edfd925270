//! The flows of all nodes: `podgate flows` run in every agent's pod by `kubectl exec`.
//!
//! kubectl rather than a client of our own: whoever may look into the agents' pods has it, with all ways to log in that his
//! clusters ask for; and no agent has to listen on another port.

mod follow;
mod pods;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use self::pods::Agent;
use self::stream::{Heard, Stream};
use podgate_engine::flows::Line;

/// How long it may be that no agent says anything: a node that has died lets kubectl wait.
const PATIENCE: Duration = Duration::from_secs(20);

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
    /// Hands over the last lines that all agents keep, which are told these arguments, by their time. Returns what is wrong
    /// with agents that could not be heard.
    ///
    /// # Errors
    /// There is no agent, kubectl fails, or `handle` does.
    pub(super) fn ask(
        &self,
        arguments: &[String],
        last: Option<usize>,
        mut handle: impl FnMut(Line) -> io::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Vec<String>> {
        let (streams, heard, mut wrong) = self.open_all(arguments)?;
        let (mut kept, silent) = gather(streams, &heard);
        wrong.extend(silent);
        kept.sort_by(|one, other| one.time().cmp(other.time()));
        let before = kept.len().saturating_sub(last.unwrap_or(usize::MAX));
        for line in kept.into_iter().skip(before) {
            if handle(line)?.is_break() {
                break;
            }
        }
        Ok(wrong)
    }

    /// Listens to all agents that run; says what is wrong with the others.
    fn open_all(&self, arguments: &[String]) -> anyhow::Result<(Streams, Receiver<Heard>, Vec<String>)> {
        let (sender, heard) = channel();
        let (mut streams, mut wrong) = (BTreeMap::new(), Vec::new());
        for (number, agent) in self.some()?.into_iter().enumerate() {
            if let Some(fault) = agent.fault() {
                wrong.push(fault);
                continue;
            }
            let stream = Stream::open(self.kubectl(), agent, arguments, number, sender.clone())?;
            streams.insert(number, stream);
        }
        Ok((streams, heard, wrong))
    }

    /// The agents, of which there must be some. Nodes without one have nothing to tell, and are named.
    fn some(&self) -> anyhow::Result<Vec<Agent>> {
        let agents = pods::list(self.kubectl(), &self.agents)?;
        ensure!(!agents.is_empty(), "no agent runs: no pod has the labels {}", self.agents);
        for node in pods::nodes(self.kubectl()).iter().filter(|node| agents.iter().all(|agent| agent.node != **node)) {
            eprintln!("node {node}: has no agent");
        }
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

/// The agents that are listened to, by number.
type Streams = BTreeMap<usize, Stream>;

/// What agents say until all have ended or none says anything more, and what is wrong with those that did not end well.
fn gather(mut streams: Streams, heard: &Receiver<Heard>) -> (Vec<Line>, Vec<String>) {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    while !streams.is_empty() {
        match heard.recv_timeout(PATIENCE) {
            Ok(Heard::Line(_, line)) => lines.push(*line),
            Ok(Heard::End(number, end)) => {
                let stream = streams.remove(&number);
                wrong.extend(stream.and_then(|mut stream| stream.failure(end)));
            }
            Err(_) => {
                let silent = std::mem::take(&mut streams).into_values().map(|stream| stream.agent.node.clone());
                wrong.extend(silent.map(|node| format!("node {node}: no answer in {} s", PATIENCE.as_secs())));
            }
        }
    }
    (lines, wrong)
}
