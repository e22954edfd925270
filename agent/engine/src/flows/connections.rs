//! Which packets open a connection, and which belong to one that was open before: a reply that is dropped is no new
//! connection in the other direction.
//!
//! TCP says it in its flags. A datagram does not, so connections that were allowed are remembered for a while.

use std::collections::{BTreeMap, VecDeque};

use podgate_common::{FlowEvent, Reason, Verdict, protocol};
use serde::{Deserialize, Serialize};

/// How many connections are remembered.
const REMEMBERED: usize = 4096;

/// How long a connection without an end of its own is remembered, in nanoseconds: as long as programs keep the flow of an
/// answered datagram.
const DATAGRAMS: u64 = 180_000_000_000;

/// The flags of TCP that tell how a connection begins.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// It opens one.
    #[default]
    New,
    /// It belongs to one that was allowed and no longer is.
    Cut,
    /// It opens none, and nothing is known of the one that it belongs to: most often that one has ended.
    Earlier,
}

/// What a packet is to its connection, and on which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub connection: Connection,
    /// Whether it goes to the end that opened the connection.
    pub reply: bool,
}

/// Two ends, as a packet has them: the sender first.
type Ends = ([u8; 16], u16, [u8; 16], u16, u8);

/// A hook of a pod, by slot and direction. A packet between two pods of a node passes hooks of both, and what one of them
/// allows the other may deny.
type Hook = (u32, u8);

/// The last connections that were allowed, by their first packet.
#[derive(Debug, Default)]
pub struct Connections {
    opened: BTreeMap<(Hook, Ends), u64>,
    order: VecDeque<((Hook, Ends), u64)>,
}

impl Connections {
    /// What a packet is to its connection. Events come in the order of time.
    pub fn see(&mut self, event: &FlowEvent) -> Part {
        let ends = ends(event);
        let there = ((event.slot, event.direction), ends);
        // What answers passes the same pod the other way.
        let back = ((event.slot, event.direction ^ 1), (ends.2, ends.3, ends.0, ends.1, ends.4));
        let verdict = Reason::from_code(event.reason).map(Reason::verdict);
        let denied = matches!(verdict, Some(Verdict::Denied | Verdict::WouldDeny));
        let was_opened = |way| self.opened.get(way).is_some_and(|at| is_remembered(event, *at));
        let (ours, theirs) = (was_opened(&there), was_opened(&back));
        let part = Part { connection: connection(event, denied, ours, theirs), reply: is_reply(event, ours, theirs) };
        if !denied && !theirs && part == Part::default() {
            self.remember(there, event.time);
        }
        part
    }

    fn remember(&mut self, way: (Hook, Ends), time: u64) {
        self.opened.insert(way, time);
        self.order.push_back((way, time));
        while self.order.len() > REMEMBERED {
            // One that was opened again meanwhile stays.
            if let Some((oldest, at)) = self.order.pop_front()
                && self.opened.get(&oldest) == Some(&at)
            {
                self.opened.remove(&oldest);
            }
        }
    }
}

fn is_remembered(event: &FlowEvent, at: u64) -> bool {
    event.protocol == protocol::TCP || event.time.saturating_sub(at) < DATAGRAMS
}

fn connection(event: &FlowEvent, denied: bool, ours: bool, theirs: bool) -> Connection {
    let is_cut = matches!(Reason::from_code(event.reason), Some(Reason::Cut | Reason::CutAudited));
    match event.protocol {
        _ if event.family == 0 => Connection::New,
        protocol::TCP if event.tcp_flags & (SYN | ACK) == SYN => Connection::New,
        _ if is_cut => Connection::Cut,
        // Its end is not reported, so that it was open once does not tell that policies cut it.
        protocol::TCP => Connection::Earlier,
        _ if denied && (ours || theirs) => Connection::Cut,
        _ if theirs && !ours => Connection::Earlier,
        protocol::ICMP | protocol::ICMPV6 if is_echo_reply(event) => Connection::Earlier,
        _ => Connection::New,
    }
}

/// `ours`: the sender opened a connection between these ends; `theirs`: the receiver did.
fn is_reply(event: &FlowEvent, ours: bool, theirs: bool) -> bool {
    match event.protocol {
        protocol::TCP if event.tcp_flags & (SYN | ACK) == SYN => false,
        protocol::TCP if event.tcp_flags & SYN != 0 => true,
        protocol::ICMP | protocol::ICMPV6 => is_echo_reply(event),
        _ => theirs && !ours,
    }
}

fn is_echo_reply(event: &FlowEvent) -> bool {
    let [kind, _] = event.destination_port.number().to_be_bytes();
    (event.family, kind) == (4, 0) && event.protocol == protocol::ICMP
        || (event.family, kind) == (6, 129) && event.protocol == protocol::ICMPV6
}

fn ends(event: &FlowEvent) -> Ends {
    (event.source, event.source_port.number(), event.destination, event.destination_port.number(), event.protocol)
}

#[cfg(test)]
mod tests {
    use podgate_common::NetPort;

    use super::super::describe::tests::event;
    use super::*;

    fn back(event: FlowEvent) -> FlowEvent {
        FlowEvent {
            source: event.destination,
            source_port: event.destination_port,
            destination: event.source,
            destination_port: event.source_port,
            direction: event.direction ^ 1,
            ..event
        }
    }

    fn tcp(flags: u8, reason: Reason) -> FlowEvent {
        FlowEvent { tcp_flags: flags, reason: reason as u8, ..event() }
    }

    fn udp(time: u64, reason: Reason) -> FlowEvent {
        FlowEvent { protocol: protocol::UDP, tcp_flags: 0, time, reason: reason as u8, ..event() }
    }

    fn part(connection: Connection, reply: bool) -> Part {
        Part { connection, reply }
    }

    #[test]
    fn only_the_opening_packet_of_tcp_is_new() {
        let mut seen = Connections::default();
        let cases = [
            (tcp(SYN, Reason::NoRule), part(Connection::New, false)),
            (tcp(SYN | ACK, Reason::NoRule), part(Connection::Earlier, true)),
            (tcp(ACK, Reason::NoRule), part(Connection::Earlier, false)),
            (tcp(ACK, Reason::Cut), part(Connection::Cut, false)),
            (tcp(ACK, Reason::CutAudited), part(Connection::Cut, false)),
        ];
        for (event, expected) in cases {
            assert_eq!(seen.see(&event), expected, "{event:?}");
        }
    }

    #[test]
    fn what_goes_back_in_a_connection_that_was_allowed_is_its_reply() {
        let mut seen = Connections::default();
        assert_eq!(seen.see(&tcp(SYN, Reason::Rule)), Part::default());
        assert_eq!(seen.see(&tcp(ACK, Reason::Cut)), part(Connection::Cut, false));
        assert_eq!(seen.see(&back(tcp(ACK, Reason::Cut))), part(Connection::Cut, true));
        assert_eq!(seen.see(&back(tcp(SYN, Reason::NoRule))), Part::default(), "the other side opens one of its own");
    }

    #[test]
    fn a_datagram_back_is_no_new_connection_for_as_long_as_the_one_there_is_remembered() {
        let mut seen = Connections::default();
        assert_eq!(seen.see(&back(udp(0, Reason::NoRule))), Part::default(), "nothing was there before");
        assert_eq!(seen.see(&udp(1, Reason::Rule)), Part::default());
        assert_eq!(seen.see(&back(udp(2, Reason::Rule))), part(Connection::Earlier, true));
        assert_eq!(seen.see(&back(udp(2, Reason::NoRule))), part(Connection::Cut, true));
        assert_eq!(seen.see(&udp(3, Reason::NoRuleAudited)), part(Connection::Cut, false));
        assert_eq!(seen.see(&back(udp(DATAGRAMS + 1, Reason::NoRule))).connection, Connection::New);
    }

    #[test]
    fn what_one_pods_hook_allows_and_anothers_denies_was_never_open() {
        let mut seen = Connections::default();
        let left = FlowEvent { slot: 7, direction: 1, ..udp(1, Reason::DirectionNotIsolated) };
        assert_eq!(seen.see(&left), Part::default());
        let entered = FlowEvent { slot: 8, direction: 0, ..udp(2, Reason::NoRule) };
        assert_eq!(seen.see(&entered), Part::default());
        assert_eq!(seen.see(&back(FlowEvent { reason: Reason::Rule as u8, ..left })), part(Connection::Earlier, true));
    }

    #[test]
    fn a_late_packet_of_tcp_is_not_taken_for_one_of_a_connection_that_was_cut() {
        let mut seen = Connections::default();
        assert_eq!(seen.see(&tcp(SYN, Reason::Rule)), Part::default());
        assert_eq!(seen.see(&back(tcp(ACK, Reason::NoRule))), part(Connection::Earlier, true));
    }

    #[test]
    fn an_echo_reply_is_a_reply() {
        let echo = |kind: u8| FlowEvent {
            protocol: protocol::ICMP,
            destination_port: NetPort::new(u16::from(kind) << 8),
            ..event()
        };
        let mut seen = Connections::default();
        assert_eq!(seen.see(&echo(8)), Part::default());
        assert_eq!(seen.see(&echo(0)), part(Connection::Earlier, true));
    }

    #[test]
    fn only_the_last_connections_are_remembered() {
        let mut seen = Connections::default();
        let from = |port: u16| FlowEvent { source_port: NetPort::new(port), ..udp(1, Reason::Rule) };
        for port in 0..=u16::try_from(REMEMBERED).unwrap() {
            seen.see(&from(port));
        }
        let denied = |port| FlowEvent { reason: Reason::NoRule as u8, ..back(from(port)) };
        assert_eq!(
            (seen.see(&denied(0)).connection, seen.see(&denied(1)).connection),
            (Connection::New, Connection::Cut)
        );
        assert_eq!((seen.opened.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
    }
}
