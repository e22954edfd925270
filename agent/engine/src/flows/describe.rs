//! From an event of the programs to a flow with names.

use std::net::IpAddr;

use jiff::Timestamp;
use podgate_common::{FlowEvent, Reason, protocol};

use super::{End, EndKind, Flow, Part, Rule};

/// What the agent knows of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When it was, in nanoseconds since 1970.
    pub time: i128,
    /// This node.
    pub node: String,
    /// The pod in its slot, as namespace/name.
    pub pod: Option<String>,
    /// The policies that isolate that pod in its direction, as namespace/name.
    pub policies: Vec<String>,
    /// The rule that allows it.
    pub rule: Option<Rule>,
    /// What the packet is to its connection.
    pub part: Part,
}

/// What an event tells; `name` finds who has an address.
pub fn describe(event: &FlowEvent, facts: Facts, name: impl Fn(IpAddr) -> Option<(EndKind, String)>) -> Flow {
    let has_ports = matches!(event.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let end = |octets: [u8; 16], port: u16| {
        let address = address(octets, event.family);
        let (kind, name) = address.and_then(&name).map_or((EndKind::Other, None), |(kind, name)| (kind, Some(name)));
        End { address, port: has_ports.then_some(port), kind, name }
    };
    let reason = Reason::from_code(event.reason);
    Flow {
        time: timestamp(facts.time),
        node: facts.node,
        verdict: reason.map_or("unknown", |reason| reason.verdict().as_str()).to_owned(),
        reason: reason.map_or("unknown", Reason::as_str).to_owned(),
        direction: if event.direction == 0 { "ingress" } else { "egress" }.to_owned(),
        pod: facts.pod,
        source: end(event.source, event.source_port.number()),
        destination: end(event.destination, event.destination_port.number()),
        protocol: protocol_name(event),
        detail: detail(event),
        length: event.length,
        policies: facts.policies,
        rule: facts.rule,
        connection: facts.part.connection,
        reply: facts.part.reply,
    }
}

/// A time as lines have it: always as long, so that times can be compared as texts.
pub fn timestamp(nanoseconds: i128) -> String {
    format!("{:.9}", Timestamp::from_nanosecond(nanoseconds).unwrap_or_default())
}

fn address(octets: [u8; 16], family: u8) -> Option<IpAddr> {
    match family {
        4 => Some(IpAddr::from([octets[0], octets[1], octets[2], octets[3]])),
        6 => Some(IpAddr::from(octets)),
        _ => None,
    }
}

fn protocol_name(event: &FlowEvent) -> String {
    match (event.family, event.protocol) {
        (0, _) => String::new(),
        (_, protocol::TCP) => "TCP".to_owned(),
        (_, protocol::UDP) => "UDP".to_owned(),
        (_, protocol::SCTP) => "SCTP".to_owned(),
        (_, protocol::ICMP) => "ICMP".to_owned(),
        (_, protocol::ICMPV6) => "ICMPv6".to_owned(),
        (_, number) => number.to_string(),
    }
}

/// Flags of TCP, type and code of ICMP.
fn detail(event: &FlowEvent) -> String {
    match event.protocol {
        protocol::TCP => tcp_flags(event.tcp_flags),
        protocol::ICMP | protocol::ICMPV6 => {
            let [kind, code] = event.destination_port.number().to_be_bytes();
            format!("type {kind} code {code}")
        }
        _ => String::new(),
    }
}

fn tcp_flags(flags: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let set = names.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(super) mod tests {
    use podgate_common::NetPort;
    use serde_json::json;

    use super::super::Line;
    use super::*;

    pub(in super::super) fn event() -> FlowEvent {
        let mut event = FlowEvent {
            source_port: NetPort::new(40_000),
            destination_port: NetPort::new(80),
            length: 74,
            direction: 0,
            reason: Reason::NoRule as u8,
            family: 4,
            protocol: protocol::TCP,
            tcp_flags: 0x02,
            ..FlowEvent::default()
        };
        event.source[..4].copy_from_slice(&[10, 0, 0, 1]);
        event.destination[..4].copy_from_slice(&[10, 0, 0, 2]);
        event
    }

    /// The flow of an event at `shop/api`, from `shop/web`.
    pub(in super::super) fn described(event: &FlowEvent) -> Flow {
        let facts = Facts {
            time: 1_767_225_600_000_000_001,
            node: "node-a".to_owned(),
            pod: Some("shop/api".to_owned()),
            policies: vec!["shop/deny".to_owned()],
            rule: None,
            part: Part::default(),
        };
        let names = |address: IpAddr| match address.to_string().as_str() {
            "10.0.0.1" => Some((EndKind::Pod, "shop/web".to_owned())),
            _ => None,
        };
        describe(event, facts, names)
    }

    #[test]
    fn a_flow_has_one_documented_form() {
        let expected = json!({
            "type": "flow",
            "time": "2026-01-01T00:00:00.000000001Z",
            "node": "node-a",
            "verdict": "denied",
            "reason": "no_rule",
            "direction": "ingress",
            "pod": "shop/api",
            "source": {"address": "10.0.0.1", "port": 40000, "kind": "pod", "name": "shop/web"},
            "destination": {"address": "10.0.0.2", "port": 80, "kind": "other", "name": null},
            "protocol": "TCP",
            "detail": "SYN",
            "length": 74,
            "policies": ["shop/deny"],
            "rule": null,
            "connection": "new",
            "reply": false,
        });
        assert_eq!(serde_json::to_value(Line::Flow(Box::new(described(&event())))).unwrap(), expected);
    }

    #[test]
    fn times_are_all_as_long() {
        assert_eq!(
            [0, 1_500_000_000].map(timestamp),
            ["1970-01-01T00:00:00.000000000Z", "1970-01-01T00:00:01.500000000Z"]
        );
    }

    #[test]
    fn audited_denials_have_a_verdict_of_their_own_and_the_reason_of_the_denial() {
        let flow = described(&FlowEvent { reason: Reason::NoRuleAudited as u8, ..event() });
        assert_eq!((flow.verdict.as_str(), flow.reason.as_str()), ("would_deny", "no_rule"));
    }

    #[test]
    fn icmp_has_type_and_code_instead_of_ports() {
        let echo = FlowEvent { protocol: protocol::ICMP, destination_port: NetPort::new(0x0800), ..event() };
        let flow = described(&echo);
        assert_eq!((flow.protocol.as_str(), flow.detail.as_str()), ("ICMP", "type 8 code 0"));
        assert_eq!((flow.source.port, flow.destination.port), (None, None));
    }

    #[test]
    fn what_is_not_ip_has_no_addresses() {
        let flow = described(&FlowEvent { family: 0, protocol: 0, reason: Reason::NotIp as u8, ..event() });
        let nobody = End { address: None, port: None, kind: EndKind::Other, name: None };
        assert_eq!((flow.source, flow.protocol), (nobody, String::new()));
    }
}
