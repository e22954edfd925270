//! The agents of all nodes, which are asked by `kubectl exec` in their pods.
//!
//! kubectl rather than a client of our own: whoever may look into the agents' pods has it, with all ways to log in that his
//! clusters ask for; and no agent has to listen on another port.

mod ask;
mod pods;
mod run;

use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use clap::Args;

pub(super) use self::ask::{Asked, Silence, ask};
pub(super) use self::pods::{Agent, get};
pub(super) use self::run::{complaint, run};

/// Where the agents are.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Agents {
    /// Ask the agents of all nodes, by `kubectl exec` in their pods: you need kubectl, and the permissions to list pods and to
    /// create pods/exec
    #[arg(long)]
    all_nodes: bool,

    /// Ask the agent of this node, by kubectl as with --all-nodes; repeatable
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,

    /// With --all-nodes or --node: the labels of the agents' pods
    #[arg(long, value_name = "LABELS", default_value = "app.kubernetes.io/name=podgate")]
    agents: String,

    /// With --all-nodes or --node: the kubeconfig file [default: kubectl's]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,

    /// With --all-nodes or --node: the kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// The agents that are asked, and the nodes that have none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) agents: Vec<Agent>,
    /// Nodes on which an agent could run and none is.
    pub(super) without: Vec<String>,
    /// Why it can't be said which nodes have none.
    pub(super) unknown: Option<String>,
}

impl Agents {
    /// Whether kubectl is to be used.
    pub(super) fn are_asked(&self) -> bool {
        self.all_nodes || !self.node.is_empty()
    }

    /// The nodes that were named.
    pub(super) fn named(&self) -> &[String] {
        &self.node
    }

    /// The agents that are asked for, of which there must be some in the cluster.
    ///
    /// # Errors
    /// There is none, or kubectl fails.
    pub(super) fn find(&self) -> anyhow::Result<Found> {
        let agents = pods::list(self.kubectl(), &self.agents)?;
        ensure!(!agents.is_empty(), "no agent runs: no pod has the labels {}", self.agents);
        if let Some(doubt) = pods::doubt(&agents) {
            eprintln!("warning: {doubt}");
        }
        let (nodes, unknown) = if self.node.is_empty() {
            pods::nodes(self.kubectl()).map_or_else(|error| (Vec::new(), Some(format!("{error:#}"))), |it| (it, None))
        } else {
            (self.node.clone(), None)
        };
        let without = nodes.into_iter().filter(|node| agents.iter().all(|agent| agent.node != *node)).collect();
        Ok(Found { agents: agents.into_iter().filter(|agent| self.wants(agent)).collect(), without, unknown })
    }

    /// The agents that are asked for, there may be none.
    ///
    /// # Errors
    /// kubectl fails.
    pub(super) fn list(&self) -> anyhow::Result<Vec<Agent>> {
        let agents = pods::list(self.kubectl(), &self.agents)?;
        Ok(agents.into_iter().filter(|agent| self.wants(agent)).collect())
    }

    fn wants(&self, agent: &Agent) -> bool {
        self.node.is_empty() || self.node.contains(&agent.node)
    }

    /// The kubeconfig file that was given.
    pub(super) fn kubeconfig(&self) -> Option<PathBuf> {
        self.kubeconfig.as_ref().map(PathBuf::from)
    }

    /// kubectl, for the cluster that was chosen.
    pub(super) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new("kubectl");
        for (flag, value) in [("--kubeconfig", &self.kubeconfig), ("--context", &self.context)] {
            if let Some(value) = value {
                kubectl.args([flag, value]);
            }
        }
        kubectl
    }

    /// kubectl that runs podgate in an agent's pod.
    pub(super) fn exec(&self, agent: &Agent, command: &str) -> Command {
        let mut kubectl = self.kubectl();
        kubectl.args(["exec", "--namespace", &agent.namespace, &agent.name, "--", "podgate", command]);
        kubectl
    }
}
