//! Packets that open something, and packets of what they opened.

use std::net::IpAddr;

use podgate_policy::evaluate::Traffic;
use podgate_policy::model::Protocol;

use crate::frames;

/// IP numbers that mean nothing, so that no parser looks behind the IP header.
const UNASSIGNED: std::ops::Range<u8> = 150..250;

/// A packet that opens something: a SYN, a datagram, an INIT, or an echo request. `fresh` is its source port, or the
/// echo's identifier.
pub(crate) fn opening(from: IpAddr, to: IpAddr, traffic: Traffic, fresh: u16) -> Vec<u8> {
    match traffic {
        Traffic::Port { protocol: Protocol::Tcp, number } => frames::tcp((from, fresh), (to, number), frames::SYN),
        Traffic::Port { protocol: Protocol::Udp, number } => frames::udp((from, fresh), (to, number)),
        Traffic::Port { protocol: Protocol::Sctp, number } => sctp_init((from, fresh), (to, number)),
        Traffic::Other => frames::echo_request(from, to, fresh),
    }
}

/// A packet of a protocol that has no ports. Numbers that differ by less than a hundred give different protocols.
pub(crate) fn portless(from: IpAddr, to: IpAddr, number: usize) -> Vec<u8> {
    let protocol = UNASSIGNED.cycle().nth(number % UNASSIGNED.len()).expect("the range is not empty");
    frames::raw(from, to, protocol, b"payload")
}

/// An SCTP packet with an INIT chunk (RFC 9260, 3.3.2).
fn sctp_init(from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    const CHECKSUM: [u8; 4] = [0; 4];
    const NO_TAG: [u8; 4] = [0; 4];
    const CHUNK: [u8; 4] = [1, 0, 0, 20];
    const TAG_AND_WINDOW: [u8; 8] = [0, 0, 0, 7, 0, 1, 0, 0];
    const STREAMS_AND_NUMBER: [u8; 8] = [0, 10, 0, 10, 0, 0, 0, 7];
    let (from_port, to_port) = (from.1.to_be_bytes(), to.1.to_be_bytes());
    let parts: [&[u8]; 7] = [&from_port, &to_port, &NO_TAG, &CHECKSUM, &CHUNK, &TAG_AND_WINDOW, &STREAMS_AND_NUMBER];
    frames::raw(from.0, to.0, 132, &parts.concat())
}
