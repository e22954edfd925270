//! Following agents, which are replaced, come and go meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use podgate_engine::flows::{Line, timestamp};
use podgate_engine::now;

use super::some;
use super::stream::{End, Heard, Stream};
use crate::cli::everywhere::{Agent, Agents};

/// How soon agents are looked for when one has ended, twice as long each time that follows.
const SOON: Duration = Duration::from_secs(2);

/// How long an agent was listened to that could be asked, whether it said something or not.
const LIVED: Duration = Duration::from_secs(5);

/// How often agents are looked for on nodes that are new.
const SELDOM: Duration = Duration::from_secs(60);

/// Hands over the lines of all agents as they come, after the `last` ones of those that each has kept. When an agent ends, its
/// node's next is looked for; `tell` is told of each that can't be heard, and of each that can be again. Returns when `handle`
/// has had enough, or false if no agent could ever be heard.
///
/// # Errors
/// There is no agent at the beginning, kubectl fails then, or `handle` does.
pub(in crate::cli::flows) fn follow(
    agents: &Agents,
    arguments: &[String],
    last: Option<usize>,
    mut handle: impl FnMut(Line) -> io::Result<ControlFlow<()>>,
    tell: impl FnMut(&str),
) -> anyhow::Result<bool> {
    let mut followed = Followed::new(agents, arguments, last, tell);
    let (found, wrong) = some(agents)?;
    wrong.iter().for_each(|line| (followed.tell)(line));
    followed.listen_to(found)?;
    while followed.has_hope() {
        let until_look = followed.look_at.saturating_duration_since(Instant::now());
        match followed.heard.recv_timeout(until_look) {
            Ok(Heard::Line(number, line)) => {
                if followed.is_news(number, &line) && handle(*line)?.is_break() {
                    return Ok(true);
                }
            }
            Ok(Heard::End(number, end)) => followed.ended(number, end),
            // Not closed, as a sender is kept for agents to come.
            Err(_) => followed.look()?,
        }
    }
    Ok(false)
}

/// An agent that is listened to.
struct Listening {
    stream: Stream,
    since: Instant,
    /// Its lines are news after this time: an agent that is asked again tells again what it kept.
    after: Option<String>,
}

/// What is known of a node.
#[derive(Default)]
struct Node {
    /// Whether an agent of it was listened to.
    was_asked: bool,
    /// The time of its last line.
    last: Option<String>,
    /// Whether something is wrong that was told, and it was not heard since.
    wrong: bool,
}

struct Followed<'a, T> {
    agents: &'a Agents,
    arguments: &'a [String],
    last: Option<usize>,
    tell: T,
    sender: Sender<Heard>,
    heard: Receiver<Heard>,
    listening: BTreeMap<usize, Listening>,
    next: usize,
    nodes: BTreeMap<String, Node>,
    /// When all this began.
    began: String,
    /// Whether any agent was ever heard.
    any: bool,
    look_at: Instant,
    pause: Duration,
}

impl<'a, T: FnMut(&str)> Followed<'a, T> {
    fn new(agents: &'a Agents, arguments: &'a [String], last: Option<usize>, tell: T) -> Self {
        let (sender, heard) = channel();
        Self {
            agents,
            arguments,
            last,
            tell,
            sender,
            heard,
            listening: BTreeMap::new(),
            next: 0,
            nodes: BTreeMap::new(),
            began: timestamp(now()),
            any: false,
            look_at: Instant::now() + SELDOM,
            pause: SELDOM,
        }
    }

    /// Begins to listen to those of the agents that run and are not listened to.
    fn listen_to(&mut self, agents: Vec<Agent>) -> anyhow::Result<()> {
        for agent in agents {
            if let Some(fault) = agent.fault() {
                self.wrong(&agent.node, &fault);
            } else if self.listening.values().all(|it| it.stream.agent != agent) {
                let again = self.nodes.get(&agent.node).is_some_and(|node| node.was_asked);
                let node = self.nodes.entry(agent.node.clone()).or_default();
                node.was_asked = true;
                let after = node.last.clone().or_else(|| again.then(|| self.began.clone()));
                // What happened meanwhile is news, also where nothing of what is kept was asked for.
                let last = if again { Some(u32::MAX as usize) } else { self.last };
                let last = last.into_iter().flat_map(|last| ["--last".to_owned(), last.to_string()]);
                let arguments: Vec<String> = self.arguments.iter().cloned().chain(last).collect();
                let kubectl = self.agents.exec(&agent, "flows");
                let stream = Stream::open(kubectl, agent, &arguments, self.next, self.sender.clone())?;
                self.listening.insert(self.next, Listening { stream, since: Instant::now(), after });
                self.next += 1;
            }
        }
        Ok(())
    }

    /// Looks for agents again. That the API can't be asked just now is told, and passes.
    fn look(&mut self) -> anyhow::Result<()> {
        match self.agents.list() {
            Ok(agents) => self.listen_to(agents)?,
            Err(error) => (self.tell)(&format!("{error:#}")),
        }
        self.pause = (self.pause * 2).min(SELDOM);
        self.look_at = Instant::now() + self.pause;
        Ok(())
    }

    /// Whether a line was not handed over before.
    fn is_news(&mut self, number: usize, line: &Line) -> bool {
        let Some(Listening { stream, after, .. }) = self.listening.get(&number) else { return false };
        let node = self.nodes.entry(stream.agent.node.clone()).or_default();
        if std::mem::take(&mut node.wrong) {
            (self.tell)(&format!("node {}: its agent is heard again", stream.agent.node));
        }
        self.any = true;
        node.last = node.last.take().max(Some(line.time().to_owned()));
        after.as_deref().is_none_or(|after| line.time() > after)
    }

    /// An agent has nothing more to say.
    fn ended(&mut self, number: usize, end: End) {
        let Some(Listening { mut stream, since, .. }) = self.listening.remove(&number) else { return };
        // One that nothing happened at was heard too.
        self.any |= since.elapsed() > LIVED;
        let why = stream.failure(end).unwrap_or_else(|| format!("node {}: its agent has ended", stream.agent.node));
        self.wrong(&stream.agent.node, &why);
        (self.pause, self.look_at) = (SOON, Instant::now() + SOON);
    }

    /// Tells what is wrong with a node, once until it is heard again.
    fn wrong(&mut self, node: &str, why: &str) {
        let known = self.nodes.entry(node.to_owned()).or_default();
        if !std::mem::replace(&mut known.wrong, true) {
            (self.tell)(why);
        }
    }

    fn has_hope(&self) -> bool {
        self.any || !self.listening.is_empty()
    }
}
