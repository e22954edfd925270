//! SCTP, of which the kernel need not have sockets.

use std::net::IpAddr;

use etherparse::{IpNumber, PacketBuilder};
use podgate_lab::{Pod, Probe, Result, Wiring};

use super::{ARRIVES, Pair, STAYS_AWAY, carries, ends_of, ip_header, link};
use crate::support::{Questions, policy, tcp, udp};

/// An SCTP packet with an INIT chunk (RFC 9260, 3.3.2).
pub(crate) fn init(from: u16, to: u16) -> Vec<u8> {
    const CHECKSUM: [u8; 4] = [0; 4];
    const NO_TAG: [u8; 4] = [0; 4];
    const CHUNK: [u8; 4] = [1, 0, 0, 20];
    const TAG_AND_WINDOW: [u8; 8] = [0, 0, 0, 7, 0, 1, 0, 0];
    const STREAMS_AND_NUMBER: [u8; 8] = [0, 10, 0, 10, 0, 0, 0, 7];
    let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
    let parts: [&[u8]; 7] = [&from, &to, &NO_TAG, &CHECKSUM, &CHUNK, &TAG_AND_WINDOW, &STREAMS_AND_NUMBER];
    parts.concat()
}

pub(crate) fn packet(pod: &Pod, from: IpAddr, to: IpAddr, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(pod.interface().mac, pod.gateway().mac)
        .ip(ip_header(from, to))
        .write(&mut frame, IpNumber::SCTP, message)
        .expect("a vector takes every frame");
    frame
}

/// The server may be asked by SCTP on port 80, and may open nothing; the client may open SCTP to port 80.
fn policies() -> String {
    let rule = "ports: [{protocol: SCTP, port: 80}]";
    let server =
        format!("podSelector: {{matchLabels: {{app: server}}}}\npolicyTypes: [Ingress, Egress]\ningress: [{{{rule}}}]");
    let client =
        format!("podSelector: {{matchLabels: {{app: client}}}}\npolicyTypes: [Ingress, Egress]\negress: [{{{rule}}}]");
    [policy("shop", "server", &server), policy("shop", "client", &client)].join("---\n")
}

#[test]
fn sctp_passes_where_a_rule_names_it_and_so_do_its_answers_and_nothing_else() -> Result<()> {
    let mut pair = Pair::started("sctp", Wiring::Ptp, &policies())?;
    let (mut at_client, mut at_server) = (link(&pair.client)?, link(&pair.server)?);
    for (client, server) in pair.ends() {
        let arrives = |frame: &[u8], ends, message: &[u8]| ends_of(frame) == Some(ends) && carries(frame, message);
        for (port, allowed) in [(81, false), (80, true)] {
            let (question, answer) = (init(4000, port), init(port, 4000));
            at_client.send(&packet(&pair.client, client, server, &question))?;
            let limit = if allowed { ARRIVES } else { STAYS_AWAY };
            let arrived = at_server.catch(limit, |frame| arrives(frame, (client, server), &question));
            assert_eq!(arrived.is_some(), allowed, "question to {server} port {port}");
            at_server.send(&packet(&pair.server, server, client, &answer))?;
            let arrived = at_client.catch(limit, |frame| arrives(frame, (server, client), &answer));
            assert_eq!(arrived.is_some(), allowed, "answer from {server} port {port}");
        }
    }
    let no_rule = |packets: u64| [("no_rule".to_owned(), packets)].into();
    assert_eq!(pair.world.denied(&pair.client, "egress")?, no_rule(2), "questions");
    assert_eq!(pair.world.denied(&pair.server, "egress")?, no_rule(2), "answers to no question");
    Ok(())
}

#[test]
fn a_rule_for_sctp_allows_neither_tcp_nor_udp() -> Result<()> {
    let pair = Pair::started("sctp-only", Wiring::Ptp, &policies())?;
    let to = pair.server.addresses().both();
    let probes: Vec<Probe> = [tcp(to, 80), udp(to, 80)].concat();
    Questions::new().silent(&pair.client, probes).ask();
    Ok(())
}
