//! The status of all nodes: `podgate status -o json` run in every agent's pod.

use podgate_engine::status::{Status, View, line, render};
use serde::Serialize;

use super::{FAILED, NOT_READY};
use crate::cli::everywhere::{Agents, Asked, Silence, ask};

/// What a node says.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    node: String,
    /// Its agent's status.
    status: Option<Status>,
    /// Why there is none.
    error: Option<String>,
    #[serde(skip)]
    outcome: Outcome,
}

/// What a node's answer means for the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Ready,
    NotReady,
    NoAgent,
    Failed,
}

/// Asks all agents.
///
/// # Errors
/// There is no agent at all, or kubectl can't list them.
pub(super) fn answers(agents: &Agents) -> anyhow::Result<Vec<Answer>> {
    Ok(ask::<Status>(agents, "status")?.into_iter().map(Answer::of).collect())
}

impl Answer {
    fn of(Asked { node, answer }: Asked<Status>) -> Self {
        let (status, error, outcome) = match answer {
            Ok(status) => {
                let outcome = if status.ready { Outcome::Ready } else { Outcome::NotReady };
                (Some(status), None, outcome)
            }
            Err(Silence::NoAgent) => (None, Some("has no agent".to_owned()), Outcome::NoAgent),
            Err(Silence::Failed(error)) => (None, Some(error), Outcome::Failed),
        };
        Self { node, status, error, outcome }
    }

    /// One line.
    fn line(&self) -> String {
        match (&self.status, &self.error) {
            (Some(status), _) => line(status),
            (None, _) if self.outcome == Outcome::NoAgent => format!("{}: HAS NO AGENT", self.node),
            (None, error) => format!("{}: NO ANSWER: {}", self.node, error.as_deref().unwrap_or_default()),
        }
    }
}

/// A line for each node.
pub(super) fn in_lines(answers: &[Answer]) -> String {
    answers.iter().map(|answer| answer.line() + "\n").collect()
}

/// The whole status of each node.
pub(super) fn in_full(answers: &[Answer], view: &View) -> String {
    let texts = answers.iter().map(|answer| match &answer.status {
        Some(status) => render(status, view),
        None => answer.line() + "\n",
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// The exit status of the command.
pub(super) fn exit_status(answers: &[Answer]) -> u8 {
    match answers.iter().map(|answer| answer.outcome).max() {
        None | Some(Outcome::Ready) => 0,
        Some(Outcome::NotReady | Outcome::NoAgent) => NOT_READY,
        Some(Outcome::Failed) => FAILED,
    }
}
