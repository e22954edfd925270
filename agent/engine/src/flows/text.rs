//! A flow as people read it: one line.

use std::fmt::Write;
use std::net::SocketAddr;

use super::{Connection, End, EndKind, Flow, Line, Lost, Rule};
use crate::printable;

/// A line as text, without its end. `with_node`: the node is told.
pub fn render(line: &Line, with_node: bool) -> String {
    let mut text = match line {
        Line::Flow(flow) => render_flow(flow),
        Line::Lost(lost) => render_lost(lost),
    };
    if with_node {
        let _ = write!(text, " on {}", line.node());
    }
    // A name comes from the API, but a line stays one line whatever it holds.
    printable(&text)
}

fn render_flow(flow: &Flow) -> String {
    let (verdict, protocol) = (flow.verdict.to_uppercase().replace('_', " "), protocol(flow));
    let (source, destination) = (end(&flow.source), end(&flow.destination));
    let mut text = format!(
        "{} {verdict:<10} {:<7} {source} -> {destination} {protocol}: {}",
        flow.time,
        flow.direction,
        why(flow)
    );
    if let Some(mark) = mark(flow.connection, flow.reply) {
        let _ = write!(text, "; {mark}");
    }
    if let Some(pod) = flow.pod.as_ref().filter(|pod| !is_at_an_end(flow, pod)) {
        let _ = write!(text, ", by the policies of {pod}");
    }
    text
}

/// What is told of a packet that opens no connection.
pub(crate) fn mark(connection: Connection, reply: bool) -> Option<&'static str> {
    match (connection, reply) {
        (Connection::New, _) => None,
        (Connection::Cut, false) => Some("of a cut connection"),
        (Connection::Cut, true) => Some("reply of a cut connection"),
        (Connection::Earlier, false) => Some("of an earlier connection"),
        (Connection::Earlier, true) => Some("reply of an earlier connection"),
    }
}

fn is_at_an_end(flow: &Flow, pod: &str) -> bool {
    [&flow.source, &flow.destination].iter().any(|end| end.kind == EndKind::Pod && end.name.as_deref() == Some(pod))
}

fn protocol(flow: &Flow) -> String {
    let protocol = if flow.protocol.is_empty() { "not IP" } else { &flow.protocol };
    format!("{protocol} {}", flow.detail).trim_end().to_owned()
}

/// Why, with the rule or the policies.
fn why(flow: &Flow) -> String {
    match &flow.rule {
        Some(Rule { policy, direction, index }) => format!("{} {policy} {direction}[{index}]", flow.reason),
        None if flow.policies.is_empty() => flow.reason.clone(),
        None => format!("{}, isolated by {}", flow.reason, flow.policies.join(", ")),
    }
}

fn end(end: &End) -> String {
    let Some(address) = end.address else { return "-".to_owned() };
    let socket = match end.port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    match (end.kind, &end.name) {
        (EndKind::Pod, Some(name)) => format!("{name} ({socket})"),
        (EndKind::Service, Some(name)) => format!("service {name} ({socket})"),
        (EndKind::Node, Some(name)) => format!("node {name} ({socket})"),
        (EndKind::Other, _) | (_, None) => socket,
    }
}

fn render_lost(lost: &Lost) -> String {
    let Lost { time, denied, allowed, unread, .. } = lost;
    let mut text = format!("{time} LOST       {denied} denied and {allowed} allowed were not reported, only counted");
    if *unread > 0 {
        let _ = write!(text, "; {unread} lines came too fast to be read");
    }
    text
}

#[cfg(test)]
mod tests {
    use podgate_common::{FlowEvent, Reason};

    use super::super::describe::tests::{described, event};
    use super::*;

    #[test]
    fn a_denial_names_both_ends_and_the_policies() {
        let expected = "2026-01-01T00:00:00.000000001Z DENIED     ingress shop/web (10.0.0.1:40000) -> 10.0.0.2:80 TCP SYN: \
                        no_rule, isolated by shop/deny, by the policies of shop/api";
        assert_eq!(render(&Line::Flow(Box::new(described(&event()))), false), expected);
    }

    #[test]
    fn an_allow_names_the_rule_and_the_node_where_that_is_asked_for() {
        let rule = Rule { policy: "shop/deny".to_owned(), direction: "ingress".to_owned(), index: 2 };
        let flow = described(&FlowEvent { reason: Reason::Rule as u8, ..event() });
        let flow = Flow { rule: Some(rule), pod: Some("shop/web".to_owned()), ..flow };
        let expected = "2026-01-01T00:00:00.000000001Z ALLOWED    ingress shop/web (10.0.0.1:40000) -> 10.0.0.2:80 TCP SYN: \
                        rule shop/deny ingress[2] on node-a";
        assert_eq!(render(&Line::Flow(Box::new(flow)), true), expected);
    }

    #[test]
    fn what_opens_no_connection_is_marked() {
        let flow = described(&FlowEvent { reason: Reason::Cut as u8, tcp_flags: 0x10, ..event() });
        let flow = Flow { connection: Connection::Cut, reply: true, pod: Some("shop/web".to_owned()), ..flow };
        let expected = "2026-01-01T00:00:00.000000001Z DENIED     ingress shop/web (10.0.0.1:40000) -> 10.0.0.2:80 TCP ACK: \
                        cut, isolated by shop/deny; reply of a cut connection";
        assert_eq!(render(&Line::Flow(Box::new(flow)), false), expected);
    }

    #[test]
    fn what_is_missing_is_told_with_its_number() {
        let lost = Lost { time: "T".to_owned(), node: String::new(), denied: 3, allowed: 1, unread: 2 };
        let expected =
            "T LOST       3 denied and 1 allowed were not reported, only counted; 2 lines came too fast to be read";
        assert_eq!(render(&Line::Lost(lost), false), expected);
    }
}
