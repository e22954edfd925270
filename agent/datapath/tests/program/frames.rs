//! Frames.

use std::net::IpAddr;

use etherparse::err::packet::BuildWriteError;
use etherparse::{
    EtherType, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, PacketBuilderStep,
};

/// TCP flags by letter.
pub(crate) const SYN: &str = "S";
pub(crate) const SYN_ACK: &str = "SA";
pub(crate) const ACK: &str = "A";
pub(crate) const FIN: &str = "FA";
pub(crate) const RST: &str = "R";

/// An IP header without extensions.
pub(crate) fn ip_header(from: IpAddr, to: IpAddr) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(0, 64, IpNumber(0), from.octets(), to.octets()).expect("no payload");
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber(0),
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => panic!("{from} and {to} are of different families"),
    }
}

pub(crate) fn ip(from: IpAddr, to: IpAddr) -> PacketBuilderStep<IpHeaders> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(ip_header(from, to))
}

fn build(write: impl FnOnce(&mut Vec<u8>) -> Result<(), BuildWriteError>) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame).expect("a frame in memory");
    frame
}

/// A TCP segment with the flags of some letters.
pub(crate) fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), flags: &str) -> Vec<u8> {
    let mut step = ip(from.0, to.0).tcp(from.1, to.1, 1000, 65_000);
    for flag in flags.chars() {
        step = match flag {
            'S' => step.syn(),
            'A' => step.ack(2000),
            'F' => step.fin(),
            'R' => step.rst(),
            'P' => step.psh(),
            other => panic!("no flag {other}"),
        };
    }
    build(|frame| step.write(frame, b""))
}

pub(crate) fn udp(from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    build(|frame| ip(from.0, to.0).udp(from.1, to.1).write(frame, b"payload"))
}

/// A packet of any protocol.
pub(crate) fn raw(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    build(|frame| ip(from, to).write(frame, IpNumber(protocol), payload))
}

pub(crate) fn sctp(from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    let mut payload = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    payload.extend([0; 24]);
    raw(from.0, to.0, 132, &payload)
}

/// An ICMP message of the addresses' family.
pub(crate) fn icmp(from: IpAddr, to: IpAddr, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    raw(from, to, if from.is_ipv4() { 1 } else { 58 }, &message)
}

pub(crate) fn echo_request(from: IpAddr, to: IpAddr, id: u16) -> Vec<u8> {
    icmp(from, to, if from.is_ipv4() { 8 } else { 128 }, 0, &[id.to_be_bytes(), [0, 1]].concat())
}

pub(crate) fn echo_reply(from: IpAddr, to: IpAddr, id: u16) -> Vec<u8> {
    icmp(from, to, if from.is_ipv4() { 0 } else { 129 }, 0, &[id.to_be_bytes(), [0, 1]].concat())
}

/// "Fragmentation needed" or "packet too big" about a frame, as a router would send it.
pub(crate) fn too_big(router: IpAddr, to: IpAddr, about: &[u8]) -> Vec<u8> {
    let (kind, code) = if to.is_ipv4() { (3, 4) } else { (2, 0) };
    icmp(router, to, kind, code, &[&[0, 0, 5, 0], &about[14..]].concat())
}

/// "Port unreachable" about a frame.
pub(crate) fn unreachable(from: IpAddr, to: IpAddr, about: &[u8]) -> Vec<u8> {
    let (kind, code) = if to.is_ipv4() { (3, 3) } else { (1, 4) };
    icmp(from, to, kind, code, &[&[0; 4], &about[14..]].concat())
}

/// Cuts the IP payload of a frame into fragments of so many bytes, a multiple of eight, all but the last.
pub(crate) fn fragments(frame: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let header = if frame[12..14] == [0x08, 0x00] { 34 } else { 54 };
    let payload = &frame[header..];
    let parts = payload.chunks(size).count();
    let part = |(index, chunk): (usize, &[u8])| {
        let (offset, more) = (index * size / 8, index + 1 < parts);
        if header == 34 { fragment4(frame, chunk, id, offset, more) } else { fragment6(frame, chunk, id, offset, more) }
    };
    payload.chunks(size).enumerate().map(part).collect()
}

fn fragment4(frame: &[u8], chunk: &[u8], id: u16, offset: usize, more: bool) -> Vec<u8> {
    let mut fragment = frame[..34].to_vec();
    fragment.extend(chunk);
    fragment[16..18].copy_from_slice(&(20 + chunk.len() as u16).to_be_bytes());
    fragment[18..20].copy_from_slice(&id.to_be_bytes());
    fragment[20..22].copy_from_slice(&(offset as u16 | u16::from(more) << 13).to_be_bytes());
    fragment
}

fn fragment6(frame: &[u8], chunk: &[u8], id: u16, offset: usize, more: bool) -> Vec<u8> {
    let mut fragment = frame[..54].to_vec();
    let next = std::mem::replace(&mut fragment[20], 44);
    fragment[18..20].copy_from_slice(&(8 + chunk.len() as u16).to_be_bytes());
    fragment.extend([next, 0]);
    fragment.extend(((offset as u16) << 3 | u16::from(more)).to_be_bytes());
    fragment.extend(u32::from(id).to_be_bytes());
    fragment.extend(chunk);
    fragment
}

/// A frame that is not IP.
pub(crate) fn of_type(ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ethertype.0.to_be_bytes());
    frame.extend(payload);
    frame
}
