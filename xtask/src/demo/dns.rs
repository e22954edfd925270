//! As much of DNS as asking one question takes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use podgate_lab::{Namespace, PATIENCE, Seen};

/// A name that the demo's DNS server knows, and its address.
pub(crate) const NAME: &str = "api.shop.svc.cluster.local";
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
const PORT: u16 = 53;
const ID: [u8; 2] = [0x70, 0x67];
/// Set in the third byte of an answer.
const IS_ANSWER: u8 = 0x80;

/// Asks for the name's address over UDP.
pub(crate) fn ask_udp(from: &Namespace, server: IpAddr) -> Seen {
    let exchange = || -> io::Result<Vec<u8>> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((server, PORT))?;
        socket.send(&question())?;
        let mut answer = vec![0; 512];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    };
    seen(from.run(exchange))
}

/// Asks for the name's address over TCP.
pub(crate) fn ask_tcp(from: &Namespace, server: IpAddr) -> Seen {
    let exchange = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(server, PORT), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let question = question();
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &question].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    seen(from.run(exchange))
}

/// Header with one question, the name, type A, class IN.
fn question() -> Vec<u8> {
    let mut message = [&ID[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in NAME.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// An answer without an error code that has one record, which ends with the name's address.
fn is_good(answer: &[u8]) -> bool {
    let Some(header) = answer.first_chunk::<12>() else { return false };
    header[..2] == ID
        && header[2] & IS_ANSWER != 0
        && header[3] & 0x0f == 0
        && header[6..8] == [0, 1]
        && answer.ends_with(&ADDRESS.octets())
}

fn seen(answer: io::Result<Vec<u8>>) -> Seen {
    match answer {
        Ok(answer) if is_good(&answer) => Seen::Answered,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Seen::Refused,
        _ => Seen::Silence,
    }
}
