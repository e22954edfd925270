//! What was denied: why, how often, and who asked whom lately.

use std::net::IpAddr;

use super::table::Table;
use super::{View, none, push};
use crate::flows::{Connection, mark};
use crate::status::{CounterStatus, DropStatus, EndStatus, Status};

/// Rows that are shown of each list unless all are asked for.
const ROWS: usize = 20;

/// Ports from here on are given out by kernels to those who connect (the default of net.ipv4.ip_local_port_range).
const EPHEMERAL: u16 = 32_768;

/// Adds rows, as many as are to be seen, and says how many more there are.
struct Rows<'a> {
    view: &'a View,
    table: Table,
    more: usize,
}

impl<'a> Rows<'a> {
    fn new(view: &'a View, headings: &[&str]) -> Self {
        Self { view, table: Table::new(headings), more: 0 }
    }

    fn fill<const N: usize>(mut self, rows: impl Iterator<Item = [String; N]>) -> Self {
        for (number, row) in rows.enumerate() {
            if self.view.all || number < ROWS {
                self.table.row(row);
            } else {
                self.more += 1;
            }
        }
        self
    }

    fn render(self, out: &mut String, title: &str) {
        super::section(out, title, self.table);
        if self.more > 0 {
            push(out, &format!("  and {} more, --all", self.more));
        }
    }
}

/// Drops that differ in nothing that matters to whoever reads of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    from: String,
    to: String,
    port: String,
    reason: String,
    at: String,
    connection: Connection,
    reply: bool,
}

/// The last drops that were reported, by who asked whom for what, those first that came last.
pub(super) fn recent(out: &mut String, status: &Status, view: &View) {
    let mut kinds: Vec<(Kind, &DropStatus, usize)> = Vec::new();
    for drop in status.recent_drops.iter().rev() {
        let kind = kind(drop);
        match kinds.iter_mut().find(|(known, ..)| *known == kind) {
            Some((_, _, count)) => *count += 1,
            None => kinds.push((kind, drop, 1)),
        }
    }
    let rows = kinds.into_iter().map(|(kind, last, count)| {
        let why =
            mark(kind.connection, kind.reply).map_or(kind.reason.clone(), |mark| format!("{}, {mark}", kind.reason));
        [format!("{:.1}s", last.seconds_ago), count.to_string(), kind.from, kind.to, kind.port, kind.at, why]
    });
    let table = Rows::new(view, &["LAST", "COUNT", "FROM", "TO", "PORT", "AT", "REASON"]).fill(rows);
    table.render(out, "RECENT DROPS (a sample)");
}

fn kind(drop: &DropStatus) -> Kind {
    Kind {
        from: end(&drop.source),
        to: end(&drop.destination),
        port: port(drop),
        reason: drop.rule.as_ref().map_or(drop.reason.clone(), |rule| format!("{} {rule}", drop.reason)),
        at: format!("{} {}", drop.pod, drop.direction).trim_start().to_owned(),
        connection: drop.connection,
        reply: drop.reply,
    }
}

/// Who it is, without a port.
fn end(end: &EndStatus) -> String {
    match (&end.name, end.address) {
        (Some(name), Some(IpAddr::V6(_))) => format!("{name} (IPv6)"),
        (Some(name), _) => name.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => none(),
    }
}

/// The port that was asked for: of what goes back in a connection the sender's.
fn port(drop: &DropStatus) -> String {
    let (protocol, [source, destination]) = (&drop.protocol, [drop.source.port, drop.destination.port]);
    let asked = match (source, destination) {
        (Some(source), Some(_)) if drop.reply => Some(source),
        // Nothing tells who opened it, but who asks has a port of his kernel's choice.
        (Some(source), Some(destination)) if drop.connection != Connection::New => {
            Some(if source < EPHEMERAL && destination >= EPHEMERAL { source } else { destination })
        }
        _ => destination,
    };
    match (protocol.as_str(), asked) {
        ("", _) => "not IP".to_owned(),
        (_, Some(port)) => format!("{protocol}/{port}"),
        (_, None) => format!("{protocol} {}", drop.detail).trim_end().to_owned(),
    }
}

/// Why packets were dropped, the most frequent first.
pub(super) fn denied(out: &mut String, status: &Status, view: &View) {
    let pods = status.pods.iter().map(|pod| (format!("{}/{}", pod.namespace, pod.name), &pod.counters));
    let all = pods.chain([("(no pod)".to_owned(), &status.no_endpoint)]);
    let mut denied: Vec<(String, &CounterStatus)> = all
        .flat_map(|(pod, counters)| counters.iter().map(move |counter| (pod.clone(), counter)))
        .filter(|(_, counter)| counter.verdict == "denied")
        .collect();
    denied.sort_by_key(|(_, counter)| std::cmp::Reverse(counter.packets));
    let rows = denied.into_iter().map(|(pod, counter)| {
        [pod, counter.direction.clone(), counter.reason.clone(), counter.packets.to_string(), counter.bytes.to_string()]
    });
    Rows::new(view, &["POD", "DIRECTION", "REASON", "PACKETS", "BYTES"]).fill(rows).render(out, "DENIED");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(address: &str, port: u16, name: Option<&str>) -> EndStatus {
        EndStatus { address: address.parse().ok(), port: Some(port), name: name.map(str::to_owned) }
    }

    /// From the web to the database, with a port of the kernel's choice.
    fn drop_of(seconds_ago: f64, port: u16) -> DropStatus {
        DropStatus {
            seconds_ago,
            direction: "egress".to_owned(),
            reason: "no_rule".to_owned(),
            rule: None,
            pod: "shop/web".to_owned(),
            source: end_of("10.0.0.1", port, Some("shop/web")),
            destination: end_of("10.0.0.2", 5432, Some("shop/db")),
            protocol: "TCP".to_owned(),
            detail: "SYN".to_owned(),
            length: 74,
            connection: Connection::New,
            reply: false,
        }
    }

    fn shown(recent_drops: Vec<DropStatus>, view: View) -> Vec<String> {
        let mut out = String::new();
        recent(&mut out, &Status { recent_drops, ..Status::default() }, &view);
        out.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn drops_are_grouped_by_who_asks_whom_for_what_and_the_last_come_first() {
        let other = DropStatus { destination: end_of("192.0.2.7", 443, None), ..drop_of(2.0, 40_003) };
        let drops = vec![drop_of(9.0, 40_001), drop_of(4.0, 40_002), other, drop_of(1.0, 40_004)];
        let expected = [
            "1.0s 3 shop/web shop/db TCP/5432 shop/web egress no_rule",
            "2.0s 1 shop/web 192.0.2.7 TCP/443 shop/web egress no_rule",
        ];
        assert_eq!(shown(drops, View::default()), expected);
    }

    #[test]
    fn replies_of_cut_connections_are_marked_and_apart_from_new_ones() {
        let reply = |port| DropStatus {
            reason: "cut".to_owned(),
            source: end_of("10.0.0.2", 5432, Some("shop/db")),
            destination: end_of("10.0.0.1", port, Some("shop/web")),
            detail: "ACK".to_owned(),
            connection: Connection::Cut,
            reply: true,
            ..drop_of(1.0, 0)
        };
        let unknown = DropStatus { reply: false, ..reply(40_003) };
        let expected = [
            "1.0s 1 shop/web shop/db TCP/5432 shop/web egress no_rule",
            "1.0s 1 shop/db shop/web TCP/5432 shop/web egress cut, of a cut connection",
            "1.0s 2 shop/db shop/web TCP/5432 shop/web egress cut, reply of a cut connection",
        ];
        assert_eq!(shown(vec![reply(40_001), reply(40_002), unknown, drop_of(1.0, 40_000)], View::default()), expected);
    }

    #[test]
    fn what_has_no_ports_is_told_by_its_type() {
        let no_port = |end: EndStatus| EndStatus { port: None, ..end };
        let echo = DropStatus {
            source: no_port(end_of("fd00::1", 0, Some("shop/web"))),
            destination: no_port(end_of("fd00::2", 0, None)),
            protocol: "ICMPv6".to_owned(),
            detail: "type 128 code 0".to_owned(),
            ..drop_of(0.0, 0)
        };
        let expected = ["0.0s 1 shop/web (IPv6) fd00::2 ICMPv6 type 128 code 0 shop/web egress no_rule"];
        assert_eq!(shown(vec![echo], View::default()), expected);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let drops =
            || (1..=25).map(|port| DropStatus { destination: end_of("10.0.0.2", port, None), ..drop_of(1.0, 0) });
        let some = shown(drops().collect(), View::default());
        assert_eq!((some.len(), some.last().map(String::as_str)), (ROWS + 1, Some("and 5 more, --all")));
        assert_eq!(shown(drops().collect(), View { all: true, ..View::default() }).len(), 25);
    }
}
