//! What one agent says.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::Context;

use podgate_engine::flows::Line;

use crate::cli::everywhere::{Agent, complaint};

/// What comes from the agents, each known by a number.
pub(super) enum Heard {
    Line(usize, Box<Line>),
    /// It has nothing more to say.
    End(usize, End),
}

/// How an agent's lines ended.
pub(super) struct End {
    /// What it said that is no line.
    unreadable: Option<anyhow::Error>,
    /// What kubectl said.
    complaint: String,
}

/// An agent that is being listened to. kubectl ends with it.
pub(super) struct Stream {
    pub(super) agent: Agent,
    child: Child,
}

impl Stream {
    /// Runs `podgate flows` in an agent's pod, by this kubectl, and sends on what it says.
    ///
    /// # Errors
    /// kubectl can't be run.
    pub(super) fn open(
        mut kubectl: Command,
        agent: Agent,
        arguments: &[String],
        number: usize,
        sender: Sender<Heard>,
    ) -> anyhow::Result<Self> {
        kubectl.args(["--output", "json"]).args(arguments);
        let mut child = kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("kubectl has an output")?;
        let stderr = child.stderr.take().context("kubectl has an error output")?;
        let complaint = thread::spawn(move || complaint(stderr));
        thread::spawn(move || {
            let unreadable = send_on(BufReader::new(stdout), number, &sender).err();
            let complaint = complaint.join().unwrap_or_default();
            // Err means that nobody listens any longer.
            drop(sender.send(Heard::End(number, End { unreadable, complaint })));
        });
        Ok(Self { agent, child })
    }

    /// Waits for kubectl's end; what was wrong, with the node, if anything was.
    pub(super) fn failure(&mut self, end: End) -> Option<String> {
        let why = match (end.unreadable, self.child.wait()) {
            (Some(unreadable), _) => format!("{unreadable:#}"),
            (None, Ok(status)) if status.success() => return None,
            (None, Ok(status)) if end.complaint.is_empty() => format!("kubectl exec failed: {status}"),
            (None, Ok(_)) => format!("kubectl exec: {}", end.complaint),
            (None, Err(error)) => error.to_string(),
        };
        Some(format!("node {}: {why}", self.agent.node))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Err means that it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends on the lines of an agent.
///
/// # Errors
/// It says something else.
fn send_on(output: impl BufRead, number: usize, sender: &Sender<Heard>) -> anyhow::Result<()> {
    for line in output.lines() {
        let line: Line = serde_json::from_str(&line?).context("its agent speaks another language")?;
        if sender.send(Heard::Line(number, Box::new(line))).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
