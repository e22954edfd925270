//! Reported drops: a log line each, and the last ones kept for the status.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crate::flows::{End, EndKind, Flow, Rule};
use crate::status::{DropStatus, EndStatus};

/// How many drops are kept.
const KEPT: usize = 100;

/// The last drops.
#[derive(Debug, Default)]
pub(super) struct Drops {
    last: VecDeque<(Instant, DropStatus)>,
}

impl Drops {
    /// Logs a drop and keeps it.
    pub(super) fn push(&mut self, flow: &Flow, now: Instant) {
        let drop = status(flow);
        log(&drop);
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((now, drop));
    }

    /// The kept drops, oldest first.
    pub(super) fn status(&self, now: Instant) -> Vec<DropStatus> {
        let ago = |at: &Instant| now.saturating_duration_since(*at).as_secs_f64();
        self.last.iter().map(|(at, drop)| DropStatus { seconds_ago: ago(at), ..drop.clone() }).collect()
    }
}

fn status(flow: &Flow) -> DropStatus {
    DropStatus {
        seconds_ago: 0.0,
        direction: flow.direction.clone(),
        reason: flow.reason.clone(),
        rule: flow.rule.as_ref().map(|Rule { policy, direction, index }| format!("{policy} {direction}[{index}]")),
        pod: flow.pod.clone().unwrap_or_default(),
        source: end(&flow.source),
        destination: end(&flow.destination),
        protocol: flow.protocol.clone(),
        detail: flow.detail.clone(),
        length: flow.length,
        connection: flow.connection,
        reply: flow.reply,
    }
}

fn end(end: &End) -> EndStatus {
    let name = end.name.as_ref().map(|name| match end.kind {
        EndKind::Node => format!("node {name}"),
        EndKind::Service => format!("service {name}"),
        EndKind::Pod | EndKind::Other => name.clone(),
    });
    EndStatus { address: end.address, port: end.port, name }
}

fn log(drop: &DropStatus) {
    tracing::debug!(
        target: "podgate::drop",
        pod = drop.pod,
        direction = drop.direction,
        reason = drop.reason,
        rule = drop.rule,
        protocol = drop.protocol,
        detail = drop.detail,
        source = socket(&drop.source),
        source_name = drop.source.name,
        destination = socket(&drop.destination),
        destination_name = drop.destination.name,
        length = drop.length,
        "packet dropped"
    );
}

/// Address and port, as far as they are known.
fn socket(end: &EndStatus) -> Option<String> {
    let address = end.address?;
    Some(end.port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::Connection;

    fn flow(length: u32) -> Flow {
        let end = |address: &str, port, kind, name: &str| End {
            address: address.parse().ok(),
            port: Some(port),
            kind,
            name: Some(name.to_owned()),
        };
        Flow {
            time: String::new(),
            node: "node-a".to_owned(),
            verdict: "denied".to_owned(),
            reason: "rule_denied".to_owned(),
            direction: "ingress".to_owned(),
            pod: Some("shop/api".to_owned()),
            source: end("192.0.2.1", 40_000, EndKind::Node, "node-b"),
            destination: end("10.0.0.2", 80, EndKind::Pod, "shop/api"),
            protocol: "TCP".to_owned(),
            detail: "SYN".to_owned(),
            length,
            policies: vec![],
            rule: Some(Rule { policy: "guard".to_owned(), direction: "ingress".to_owned(), index: 2 }),
            connection: Connection::Earlier,
            reply: true,
        }
    }

    #[test]
    fn a_drop_tells_both_ends_and_the_reason() {
        let end = |address: &str, port, name: &str| EndStatus {
            address: address.parse().ok(),
            port: Some(port),
            name: Some(name.to_owned()),
        };
        let expected = DropStatus {
            seconds_ago: 0.0,
            direction: "ingress".to_owned(),
            reason: "rule_denied".to_owned(),
            rule: Some("guard ingress[2]".to_owned()),
            pod: "shop/api".to_owned(),
            source: end("192.0.2.1", 40_000, "node node-b"),
            destination: end("10.0.0.2", 80, "shop/api"),
            protocol: "TCP".to_owned(),
            detail: "SYN".to_owned(),
            length: 74,
            connection: Connection::Earlier,
            reply: true,
        };
        assert_eq!(status(&flow(74)), expected);
    }

    #[test]
    fn only_the_last_drops_are_kept() {
        let mut drops = Drops::default();
        let now = Instant::now();
        (0..150).for_each(|length| drops.push(&flow(length), now));
        let lengths: Vec<_> = drops.status(now).iter().map(|drop| drop.length).collect();
        assert_eq!(lengths, (50..150).collect::<Vec<_>>());
    }
}
