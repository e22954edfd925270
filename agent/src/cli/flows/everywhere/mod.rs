//! The flows of all nodes: `podgate flows` run in every agent's pod.

mod follow;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use podgate_engine::flows::Line;

pub(super) use self::follow::follow;
use self::stream::{Heard, Stream};
use crate::cli::everywhere::{Agent, Agents};

/// How long it may be that no agent says anything: a node that has died lets kubectl wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hands over the last lines that all agents keep, which are told these arguments, by their time. Returns what is wrong with
/// agents that could not be heard.
///
/// # Errors
/// There is no agent, kubectl fails, or `handle` does.
pub(super) fn ask(
    agents: &Agents,
    arguments: &[String],
    last: Option<usize>,
    mut handle: impl FnMut(Line) -> io::Result<ControlFlow<()>>,
) -> anyhow::Result<Vec<String>> {
    let (streams, heard, mut wrong) = open_all(agents, arguments)?;
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
fn open_all(agents: &Agents, arguments: &[String]) -> anyhow::Result<(Streams, Receiver<Heard>, Vec<String>)> {
    let (sender, heard) = channel();
    let (found, mut wrong) = some(agents)?;
    let mut streams = BTreeMap::new();
    for (number, agent) in found.into_iter().enumerate() {
        if let Some(fault) = agent.fault() {
            wrong.push(fault);
            continue;
        }
        let stream = Stream::open(agents.exec(&agent, "flows"), agent, arguments, number, sender.clone())?;
        streams.insert(number, stream);
    }
    Ok((streams, heard, wrong))
}

/// The agents, and what is wrong with nodes that were asked for and have none. Other nodes without one have nothing to tell,
/// and are named.
fn some(agents: &Agents) -> anyhow::Result<(Vec<Agent>, Vec<String>)> {
    let found = agents.find()?;
    let without: Vec<String> = found.without.iter().map(|node| format!("node {node}: has no agent")).collect();
    if agents.named().is_empty() {
        without.iter().for_each(|line| eprintln!("{line}"));
        return Ok((found.agents, Vec::new()));
    }
    Ok((found.agents, without))
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
