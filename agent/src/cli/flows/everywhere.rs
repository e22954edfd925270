//! The flows of all nodes: `podgate flows` run in every agent's pod by `kubectl exec`.
//!
//! kubectl rather than a client of our own: whoever may look into the agents' pods has it, with all ways to log in that his
//! clusters ask for; and no agent has to listen on another port.

use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;

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

/// A running agent's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AgentPod {
    namespace: String,
    name: String,
    node: String,
}

/// What comes from the agents.
enum Heard {
    Line(Box<Line>),
    /// The one with this index has nothing more to say, because of this if it is a failure.
    End(usize, Option<anyhow::Error>),
}

impl Agents {
    /// Hands over the lines of all agents, which are told these arguments: by their time, or with `follow` as they come.
    /// Returns what is wrong with agents that could not be heard.
    ///
    /// # Errors
    /// There is no agent, kubectl fails, or `handle` does.
    pub(super) fn hear(
        &self,
        arguments: &[String],
        follow: bool,
        mut handle: impl FnMut(Line) -> io::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Vec<String>> {
        let pods = self.pods()?;
        ensure!(!pods.is_empty(), "no agent runs: no pod has the labels {}", self.agents);
        let (sender, heard) = channel();
        let mut children = Vec::new();
        for (index, pod) in pods.iter().enumerate() {
            children.push(Running(self.exec(index, pod, arguments, sender.clone())?));
        }
        drop(sender);
        let (mut kept, mut wrong) = (Vec::new(), Vec::new());
        for heard in heard {
            match heard {
                Heard::Line(line) => {
                    if !follow {
                        kept.push(*line);
                    } else if handle(*line)?.is_break() {
                        return Ok(wrong);
                    }
                }
                Heard::End(index, failure) => {
                    let failure = failure.map_or_else(|| children[index].failure(), |error| Some(format!("{error:#}")));
                    wrong.extend(failure.map(|failure| format!("node {}: {failure}", pods[index].node)));
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

    /// The agents' pods that run.
    fn pods(&self) -> anyhow::Result<Vec<AgentPod>> {
        let mut kubectl = self.kubectl();
        kubectl.args(["get", "pods", "--all-namespaces", "--selector", &self.agents, "--output", "json"]);
        kubectl.args(["--field-selector", "status.phase=Running"]);
        let output = kubectl.output().context("--all-nodes needs kubectl, which cannot be run")?;
        if !output.status.success() {
            bail!("kubectl get pods: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let list: Value = serde_json::from_slice(&output.stdout).context("kubectl get pods printed no JSON")?;
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pod = |item: &Value| AgentPod {
            namespace: text(&item["metadata"]["namespace"]),
            name: text(&item["metadata"]["name"]),
            node: text(&item["spec"]["nodeName"]),
        };
        Ok(items.iter().map(pod).collect())
    }

    /// Runs `podgate flows` in a pod, and sends on what it says.
    fn exec(&self, index: usize, pod: &AgentPod, arguments: &[String], sender: Sender<Heard>) -> anyhow::Result<Child> {
        let mut kubectl = self.kubectl();
        kubectl.args(["exec", "--namespace", &pod.namespace, &pod.name, "--"]);
        kubectl.args(["podgate", "flows", "--output", "json"]).args(arguments);
        let mut child = kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("kubectl has an output")?;
        thread::spawn(move || {
            let failure = send_on(BufReader::new(stdout), &sender).err();
            // Err means that nobody listens any longer.
            drop(sender.send(Heard::End(index, failure)));
        });
        Ok(child)
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

/// Sends on the lines of an agent.
///
/// # Errors
/// It says something else.
fn send_on(output: impl BufRead, sender: &Sender<Heard>) -> anyhow::Result<()> {
    for line in output.lines() {
        let line: Line = serde_json::from_str(&line?).context("its agent speaks another language")?;
        if sender.send(Heard::Line(Box::new(line))).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A kubectl that ends with us.
struct Running(Child);

impl Running {
    /// Waits for its end; why that is a failure, if it is. It has told the user more by itself.
    fn failure(&mut self) -> Option<String> {
        match self.0.wait() {
            Ok(status) => (!status.success()).then(|| format!("kubectl exec failed: {status}")),
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Err means that it has ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
