//! Reported drops: a log line each, and the last ones kept for the status.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use podgate_common::{DropEvent, Reason, protocol};

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
    pub(super) fn push(&mut self, drop: DropStatus, now: Instant) {
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

fn log(drop: &DropStatus) {
    tracing::debug!(
        target: "podgate::drop",
        pod = drop.pod,
        direction = drop.direction,
        reason = drop.reason,
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

/// What an event tells; `name` finds the pod or node with an address.
pub(super) fn describe(event: &DropEvent, pod: String, name: impl Fn(IpAddr) -> Option<String>) -> DropStatus {
    let has_ports = matches!(event.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let end = |octets: [u8; 16], port: u16| {
        let address = address(octets, event.family);
        EndStatus { address, port: has_ports.then_some(port), name: address.and_then(&name) }
    };
    DropStatus {
        seconds_ago: 0.0,
        direction: if event.direction == 0 { "ingress" } else { "egress" }.to_owned(),
        reason: Reason::from_code(event.reason).map_or("unknown", Reason::as_str).to_owned(),
        pod,
        source: end(event.source, event.source_port.number()),
        destination: end(event.destination, event.destination_port.number()),
        protocol: protocol_name(event),
        detail: detail(event),
        length: event.length,
    }
}

fn address(octets: [u8; 16], family: u8) -> Option<IpAddr> {
    match family {
        4 => Some(IpAddr::from([octets[0], octets[1], octets[2], octets[3]])),
        6 => Some(IpAddr::from(octets)),
        _ => None,
    }
}

fn protocol_name(event: &DropEvent) -> String {
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
fn detail(event: &DropEvent) -> String {
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
mod tests {
    use podgate_common::NetPort;

    use super::*;

    fn event() -> DropEvent {
        let mut event = DropEvent {
            source_port: NetPort::new(40_000),
            destination_port: NetPort::new(80),
            length: 74,
            direction: 0,
            reason: Reason::NoRule as u8,
            family: 4,
            protocol: protocol::TCP,
            tcp_flags: 0x02,
            ..DropEvent::default()
        };
        event.source[..4].copy_from_slice(&[10, 0, 0, 1]);
        event.destination[..4].copy_from_slice(&[10, 0, 0, 2]);
        event
    }

    fn end(address: &str, port: Option<u16>, name: Option<&str>) -> EndStatus {
        EndStatus { address: address.parse().ok(), port, name: name.map(str::to_owned) }
    }

    fn describe_named(event: &DropEvent) -> DropStatus {
        let web: IpAddr = "10.0.0.1".parse().unwrap();
        describe(event, "shop/api".to_owned(), |address| (address == web).then(|| "shop/web".to_owned()))
    }

    #[test]
    fn both_ends_are_named_where_they_are_known() {
        let expected = DropStatus {
            seconds_ago: 0.0,
            direction: "ingress".to_owned(),
            reason: "no_rule".to_owned(),
            pod: "shop/api".to_owned(),
            source: end("10.0.0.1", Some(40_000), Some("shop/web")),
            destination: end("10.0.0.2", Some(80), None),
            protocol: "TCP".to_owned(),
            detail: "SYN".to_owned(),
            length: 74,
        };
        assert_eq!(describe_named(&event()), expected);
    }

    #[test]
    fn icmp_has_type_and_code_instead_of_ports() {
        let echo = DropEvent { protocol: protocol::ICMP, destination_port: NetPort::new(0x0800), ..event() };
        let described = describe_named(&echo);
        assert_eq!((described.protocol.as_str(), described.detail.as_str()), ("ICMP", "type 8 code 0"));
        assert_eq!(described.destination, end("10.0.0.2", None, None));
    }

    #[test]
    fn what_is_not_ip_has_no_addresses() {
        let frame = DropEvent { family: 0, protocol: 0, reason: Reason::NotIp as u8, ..event() };
        let described = describe_named(&frame);
        assert_eq!((described.source, described.protocol), (end("", None, None), String::new()));
    }

    #[test]
    fn only_the_last_drops_are_kept() {
        let mut drops = Drops::default();
        let now = Instant::now();
        for length in 0..150 {
            drops.push(describe_named(&DropEvent { length, ..event() }), now);
        }
        let lengths: Vec<_> = drops.status(now).iter().map(|drop| drop.length).collect();
        assert_eq!(lengths, (50..150).collect::<Vec<_>>());
    }
}
