//! One question to all agents, each of which answers with a document.

use std::io::ErrorKind;
use std::iter;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Agent, Agents, run};

/// How long an agent may take to answer: a node that has died lets kubectl wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many agents are asked at once.
const AT_ONCE: usize = 16;

/// A node's answer.
#[derive(Debug)]
pub(in crate::cli) struct Asked<T> {
    pub(in crate::cli) node: String,
    pub(in crate::cli) answer: Result<T, Silence>,
}

/// Why a node gives none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Silence {
    /// It has no agent.
    NoAgent,
    /// Its agent could not be asked, and why.
    Failed(String),
}

/// Runs a command of podgate, which prints JSON, in the pods of the agents that are asked for, several at once. Every node has
/// an answer, in their order.
///
/// # Errors
/// There is no agent at all, or kubectl can't list them.
pub(in crate::cli) fn ask<T: DeserializeOwned + Send>(agents: &Agents, command: &str) -> anyhow::Result<Vec<Asked<T>>> {
    let found = agents.find()?;
    if let Some(why) = found.unknown {
        eprintln!("nodes without an agent are not shown: {why}");
    }
    let waiting = Mutex::new(found.agents.iter());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let work = || {
        let asked = iter::from_fn(next).map(|agent| (agent.node.clone(), ask_one(agents, agent, command)));
        asked.map(|(node, answer)| Asked { node, answer: answer.map_err(Silence::Failed) }).collect::<Vec<_>>()
    };
    let mut answers: Vec<Asked<T>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE.min(found.agents.len())).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    answers.extend(found.without.into_iter().map(|node| Asked { node, answer: Err(Silence::NoAgent) }));
    answers.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(answers)
}

fn ask_one<T: DeserializeOwned>(agents: &Agents, agent: &Agent, command: &str) -> Result<T, String> {
    if let Some(state) = agent.not_running() {
        return Err(state);
    }
    let mut kubectl = agents.exec(agent, command);
    kubectl.args(["--output", "json"]);
    let ended = run(kubectl, PATIENCE).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => format!("kubectl exec: no answer in {} s", PATIENCE.as_secs()),
        _ => format!("kubectl cannot be run: {error}"),
    })?;
    // What it says counts, also where its exit status tells that something is wrong.
    serde_json::from_slice(&ended.stdout).map_err(|error| {
        if ended.status.success() {
            return format!("its agent speaks another language: {error}");
        }
        let why = if ended.complaint.is_empty() { ended.status.to_string() } else { ended.complaint };
        format!("kubectl exec: {why}")
    })
}
