//! TCP connections that the host's connection tracking knows, and who opened them.
//!
//! The host's own namespace tracks packets as soon as any rule of it asks for that, as kube-proxy's do. Elsewhere there is
//! nothing to read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, parse_ip, parse_u8, parse_u16_be,
    parse_u32_be,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;
use podgate_common::{Direction, protocol};

use super::message::{code, nested};

/// Connections by the address of one of their ends.
pub type Connections = BTreeMap<IpAddr, Vec<Connection>>;

/// A TCP connection, as one of its ends sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The way in which it was opened, seen from that end.
    pub opened: Direction,
    /// Its own port.
    pub local_port: u16,
    /// The other end's address.
    pub remote: IpAddr,
    /// The other end's port.
    pub remote_port: u16,
}

/// More entries are not read: it would take longer than the node can wait.
const MOST: u32 = 1 << 18;
/// How many entries the table has.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const ANSWER_SECONDS: i64 = 2;
const DATAGRAM: usize = 1 << 16;

// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h and nf_conntrack_common.h; not in libc.
const GET_CONNTRACK: u16 = 1 << 8 | 1;
const NEW_CONNTRACK: u16 = 1 << 8;
const NFGEN_HEADER_LENGTH: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const IPS_ASSURED: u32 = 1 << 2;
/// TCP_CONNTRACK_ESTABLISHED, FIN_WAIT, CLOSE_WAIT and LAST_ACK.
const ALIVE: std::ops::RangeInclusive<u8> = 3..=6;

/// The connections in which both ends have spoken and that are not over, in the calling thread's network namespace. None
/// where nothing is tracked, or too much.
///
/// # Errors
/// The kernel refused the question, or gave no answer in time.
pub fn connections() -> io::Result<Connections> {
    let tracked = fs::read_to_string(COUNT).ok().and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    if tracked == 0 {
        return Ok(Connections::new());
    }
    if tracked > MOST {
        tracing::warn!(tracked, most = MOST, "too many tracked connections to look for those older than isolation");
        return Ok(Connections::new());
    }
    ask()
}

/// Has the kernel load its connection tracking, if that is a module. It tracks nothing for that alone.
///
/// # Errors
/// The kernel has none, or gave no answer in time.
pub fn load() -> io::Result<()> {
    ask().map(drop)
}

fn ask() -> io::Result<Connections> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))?;
    socket.send_to(&request(), &SocketAddr::new(0, 0), 0)?;
    let (mut found, mut buffer) = (Connections::new(), vec![0; DATAGRAM]);
    loop {
        let (length, _) = socket.recv_from(&mut &mut buffer[..], 0)?;
        let mut rest = &buffer[..length.min(DATAGRAM)];
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            match message.message_type() {
                NLMSG_ERROR | NLMSG_DONE => match code(message.payload()) {
                    0 => return Ok(found),
                    code => return Err(io::Error::from_raw_os_error(-code)),
                },
                NEW_CONNTRACK => add(&mut found, message.payload()),
                _ => {}
            }
            rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Asks for all entries, of both families.
fn request() -> Vec<u8> {
    const LENGTH: u32 = 16 + NFGEN_HEADER_LENGTH as u32;
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(GET_CONNTRACK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend([0; 8 + NFGEN_HEADER_LENGTH]);
    bytes
}

/// Adds what an entry says to both its ends.
fn add(found: &mut Connections, payload: &[u8]) {
    let entry = payload.get(NFGEN_HEADER_LENGTH..).map_or(Ok(None), entry);
    match entry {
        Ok(Some([original, reply])) => {
            found.entry(original.source.0).or_default().push(original.seen_from_source(Direction::Egress));
            found.entry(reply.source.0).or_default().push(reply.seen_from_source(Direction::Ingress));
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "unreadable entry of connection tracking"),
    }
}

/// The packets of one direction of a connection.
#[derive(Clone, Copy)]
struct Tuple {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
}

impl Tuple {
    fn seen_from_source(self, opened: Direction) -> Connection {
        let ((_, local_port), (remote, remote_port)) = (self.source, self.destination);
        Connection { opened, local_port, remote, remote_port }
    }
}

/// The packets from and to who opened a connection; `None` for what is no TCP connection, or half open, or over.
fn entry(attributes: &[u8]) -> Result<Option<[Tuple; 2]>, DecodeError> {
    let Some(tcp) =
        nested(attributes, CTA_PROTOINFO)?.map(|info| nested(info, CTA_PROTOINFO_TCP)).transpose()?.flatten()
    else {
        return Ok(None);
    };
    let state = nested(tcp, CTA_PROTOINFO_TCP_STATE)?.map(parse_u8).transpose()?;
    let status = nested(attributes, CTA_STATUS)?.map(parse_u32_be).transpose()?;
    if !state.is_some_and(|state| ALIVE.contains(&state)) || status.is_none_or(|status| status & IPS_ASSURED == 0) {
        return Ok(None);
    }
    let [original, reply] = [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY]
        .map(|kind| nested(attributes, kind).and_then(|it| it.map_or(Ok(None), tuple)));
    Ok(original?.zip(reply?).map(|(original, reply)| [original, reply]))
}

fn tuple(attributes: &[u8]) -> Result<Option<Tuple>, DecodeError> {
    let (Some(ip), Some(proto)) = (nested(attributes, CTA_TUPLE_IP)?, nested(attributes, CTA_TUPLE_PROTO)?) else {
        return Ok(None);
    };
    let address = |v4, v6| -> Result<Option<IpAddr>, DecodeError> {
        let found = nested(ip, v4)?.map_or_else(|| nested(ip, v6), |found| Ok(Some(found)))?;
        found.map(parse_ip).transpose()
    };
    let port = |kind| nested(proto, kind)?.map(parse_u16_be).transpose();
    let is_tcp = nested(proto, CTA_PROTO_NUM)?.map(parse_u8).transpose()? == Some(protocol::TCP);
    let source = address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?.zip(port(CTA_PROTO_SRC_PORT)?);
    let destination = address(CTA_IP_V4_DST, CTA_IP_V6_DST)?.zip(port(CTA_PROTO_DST_PORT)?);
    Ok(source.zip(destination).filter(|_| is_tcp).map(|(source, destination)| Tuple { source, destination }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = 4 + value.len();
        let mut bytes = [(length as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(length.next_multiple_of(4), 0);
        bytes
    }

    fn direction(kind: u16, [source, destination]: [(&str, u16); 2]) -> Vec<u8> {
        let octets = |address: &str| match address.parse().unwrap() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (source_kind, destination_kind) =
            if source.0.contains(':') { (CTA_IP_V6_SRC, CTA_IP_V6_DST) } else { (CTA_IP_V4_SRC, CTA_IP_V4_DST) };
        let ip = [attribute(source_kind, &octets(source.0)), attribute(destination_kind, &octets(destination.0))];
        let proto = [
            attribute(CTA_PROTO_NUM, &[protocol::TCP]),
            attribute(CTA_PROTO_SRC_PORT, &source.1.to_be_bytes()),
            attribute(CTA_PROTO_DST_PORT, &destination.1.to_be_bytes()),
        ];
        let parts = [attribute(CTA_TUPLE_IP, &ip.concat()), attribute(CTA_TUPLE_PROTO, &proto.concat())];
        attribute(kind, &parts.concat())
    }

    fn message(original: [(&str, u16); 2], reply: [(&str, u16); 2], status: u32, state: u8) -> Vec<u8> {
        let tcp = attribute(CTA_PROTOINFO_TCP, &attribute(CTA_PROTOINFO_TCP_STATE, &[state]));
        let parts = [
            vec![0; NFGEN_HEADER_LENGTH],
            direction(CTA_TUPLE_ORIG, original),
            direction(CTA_TUPLE_REPLY, reply),
            attribute(CTA_STATUS, &status.to_be_bytes()),
            attribute(CTA_PROTOINFO, &tcp),
        ];
        parts.concat()
    }

    fn found(message: &[u8]) -> Connections {
        let mut found = Connections::new();
        add(&mut found, message);
        found
    }

    #[test]
    fn each_end_of_a_connection_is_told_what_it_sees_of_the_other() {
        // To a Service, and on to a backend that sees the node's address.
        let original = [("10.0.0.1", 5000), ("10.96.0.1", 80)];
        let reply = [("10.0.0.2", 8080), ("192.0.2.1", 6000)];
        let client = Connection {
            opened: Direction::Egress,
            local_port: 5000,
            remote: "10.96.0.1".parse().unwrap(),
            remote_port: 80,
        };
        let server = Connection {
            opened: Direction::Ingress,
            local_port: 8080,
            remote: "192.0.2.1".parse().unwrap(),
            remote_port: 6000,
        };
        let expected = [("10.0.0.1", client), ("10.0.0.2", server)];
        let expected = expected.map(|(address, connection)| (address.parse().unwrap(), vec![connection]));
        assert_eq!(found(&message(original, reply, IPS_ASSURED, 3)), expected.into());
    }

    #[test]
    fn half_open_and_finished_connections_are_left_out() {
        let [client, server] = [("fd00::1", 5000), ("fd00::2", 80)];
        let known = |status, state| found(&message([client, server], [server, client], status, state)).len();
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(|state| known(IPS_ASSURED, state)), [0, 0, 2, 2, 2, 2, 0, 0]);
        assert_eq!(known(0, 3), 0, "one end has not answered");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(found(&[0; NFGEN_HEADER_LENGTH - 1]), Connections::new());
        let whole = message([("10.0.0.1", 1), ("10.0.0.2", 2)], [("10.0.0.2", 2), ("10.0.0.1", 1)], IPS_ASSURED, 3);
        for length in 0..whole.len() {
            let _whatever = found(&whole[..length]);
        }
    }
}
