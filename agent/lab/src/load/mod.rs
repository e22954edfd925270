//! Many attempts at once, and servers that count what reaches them.
//!
//! Each attempt has a source port of its own, so that [`Node::landings`](crate::Node::landings) tells afterwards to which
//! backend it was sent, whether it was answered or not.

mod attempts;
mod count;
mod exchange;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub use self::count::{Counter, Counts};
use crate::error::{During, Result};
use crate::namespace::Namespace;
use crate::service::Transport;

/// What a client asks: eight bytes that no other attempt of the same load sends in this round.
const QUESTION: usize = 8;
/// What a counting server answers: its identity, then the question.
const ANSWER: usize = 16;

/// Attempts to exchange messages with a counting server, from the source ports `first_port` and on.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// TCP, with a connection for each attempt, or UDP, with a socket for each.
    pub transport: Transport,
    /// The address and port that is asked.
    pub to: SocketAddr,
    /// The source port of the first attempt; each has the next one.
    pub first_port: u16,
    /// How many attempts are made.
    pub attempts: u16,
    /// How many are under way at a time.
    pub at_once: usize,
    /// How long an attempt waits for an answer before it is given up.
    pub patience: Duration,
    /// How many questions an attempt asks one after the other on its connection.
    pub rounds: u32,
    /// How long it rests between an answer and the next question.
    pub pause: Duration,
}

impl Load {
    /// Single exchanges, two hundred at a time, given up after half a second of silence.
    #[must_use]
    pub fn new(transport: Transport, to: SocketAddr, first_port: u16, attempts: u16) -> Self {
        let patience = Duration::from_millis(500);
        Self { transport, to, first_port, attempts, at_once: 200, patience, rounds: 1, pause: Duration::ZERO }
    }
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// From where it was made.
    pub from: SocketAddr,
    /// What came of it.
    pub fate: Fate,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Every question was answered, by the server of this identity.
    Answered(u64),
    /// Nothing came back.
    Silence,
    /// The first so many questions were answered, and the next was not.
    Cut(u32),
    /// The kernel reported this error.
    Failed(i32),
    /// An answer came that belongs to another question, or from another server than before.
    Wrong,
}

/// What the kernel has received in a namespace, on loopback too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// TCP segments.
    pub segments: u64,
    /// UDP datagrams, also those that nobody took.
    pub datagrams: u64,
}

impl Namespace {
    /// Makes the attempts, which ends when the last one is answered or given up.
    ///
    /// # Errors
    /// When the kernel gives no sockets or a source port is taken.
    pub fn load(&self, load: &Load) -> Result<Vec<Attempt>> {
        self.run(|| attempts::make(load)).during(|| format!("make attempts at {}", load.to))
    }

    /// What the kernel has received in the namespace so far.
    ///
    /// # Errors
    /// When it does not say.
    pub fn received(&self) -> Result<Received> {
        let read = |file: &str| {
            let path = Path::new("/proc/thread-self/net").join(file);
            self.run(|| fs::read_to_string(&path)).during(|| format!("read {}", path.display()))
        };
        let (both, v6) = (read("snmp")?, read("snmp6")?);
        let datagrams = ["InDatagrams", "NoPorts", "InErrors"]
            .map(|key| table(&both, "Udp:", key) + list(&v6, &format!("Udp6{key}")));
        Ok(Received { segments: table(&both, "Tcp:", "InSegs"), datagrams: datagrams.iter().sum() })
    }
}

/// A number of `/proc/net/snmp`: a line of names, then one of values.
fn table(text: &str, row: &str, key: &str) -> u64 {
    let mut rows = text.lines().filter(|line| line.starts_with(row)).map(str::split_whitespace);
    let (Some(names), Some(values)) = (rows.next(), rows.next()) else { return 0 };
    names.zip(values).find(|(name, _)| *name == key).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// A number of `/proc/net/snmp6`: a name and a value in each line.
fn list(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().map(str::split_whitespace);
    let found = lines.find_map(|mut words| (words.next() == Some(key)).then(|| words.next())?);
    found.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_found_by_name() {
        let both = "Tcp: RtoMin InSegs\nTcp: 200 17\nUdp: InDatagrams NoPorts InErrors\nUdp: 3 4 5\n";
        let v6 = "Ip6InReceives 1\nUdp6InDatagrams                 7\n";
        let found = [table(both, "Tcp:", "InSegs"), table(both, "Udp:", "NoPorts"), list(v6, "Udp6InDatagrams")];
        assert_eq!((found, list(v6, "Udp6NoPorts")), ([17, 4, 7], 0));
    }
}
