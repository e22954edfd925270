//! The last flows, for whoever asks, and the next ones as they come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Line, Lost};

/// How many lines a reader may be behind before it loses some.
const BACKLOG: usize = 1024;

/// The last lines, and those who wait for more. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    node: Arc<str>,
    kept: usize,
    last: Arc<Mutex<VecDeque<Arc<Line>>>>,
    next: broadcast::Sender<Arc<Line>>,
}

impl Feed {
    /// A feed of a node that keeps so many lines.
    pub fn new(node: &str, kept: usize) -> Self {
        let (next, _) = broadcast::channel(BACKLOG);
        Self { node: node.into(), kept, last: Arc::default(), next }
    }

    /// Adds a line.
    pub fn push(&self, line: Line) {
        let line = Arc::new(line);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(Arc::clone(&line));
        while last.len() > self.kept {
            last.pop_front();
        }
        // Within the lock, so that a new reader has each line once. Err means that nobody waits.
        drop(self.next.send(line));
    }

    /// The lines that are kept, oldest first, and those that come after them.
    pub fn subscribe(&self) -> Subscription {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Subscription { node: Arc::clone(&self.node), last: last.clone(), next: self.next.subscribe() }
    }
}

/// Lines for one reader.
#[derive(Debug)]
pub struct Subscription {
    node: Arc<str>,
    last: VecDeque<Arc<Line>>,
    next: broadcast::Receiver<Arc<Line>>,
}

impl Subscription {
    /// The next of the lines that were kept.
    pub fn kept(&mut self) -> Option<Arc<Line>> {
        self.last.pop_front()
    }

    /// The next line, once there is one; `now` is the time for what was lost, in nanoseconds since 1970. `None`: there will
    /// be no more.
    pub async fn next(&mut self, now: impl FnOnce() -> i128) -> Option<Arc<Line>> {
        match self.next.recv().await {
            Ok(line) => Some(line),
            Err(RecvError::Lagged(unread)) => {
                let (time, node) = (super::describe::timestamp(now()), self.node.to_string());
                Some(Arc::new(Line::Lost(Lost { time, node, denied: 0, allowed: 0, unread })))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> Line {
        Line::Lost(Lost { time: String::new(), node: String::new(), denied: number, allowed: 0, unread: 0 })
    }

    fn number(line: &Line) -> (u64, u64) {
        match line {
            Line::Lost(lost) => (lost.denied, lost.unread),
            Line::Flow(_) => panic!("none was sent"),
        }
    }

    #[tokio::test]
    async fn a_reader_has_the_last_lines_and_each_after_them_once() {
        let feed = Feed::new("node-a", 2);
        (1..=3).for_each(|it| feed.push(line(it)));
        let mut reader = feed.subscribe();
        feed.push(line(4));
        let kept: Vec<_> = std::iter::from_fn(|| reader.kept()).map(|it| number(&it)).collect();
        assert_eq!(kept, [(2, 0), (3, 0)]);
        assert_eq!(reader.next(|| 0).await.map(|it| number(&it)), Some((4, 0)));
        drop(feed);
        assert_eq!(reader.next(|| 0).await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_lines_it_missed() {
        let feed = Feed::new("node-a", 0);
        let mut reader = feed.subscribe();
        (0..BACKLOG as u64 + 5).for_each(|it| feed.push(line(it)));
        assert_eq!(reader.next(|| 0).await.map(|it| number(&it)), Some((0, 5)));
        assert_eq!(reader.next(|| 0).await.map(|it| number(&it)), Some((5, 0)));
    }
}
