//! Asking with real sockets whether traffic gets through.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Error, Result, is_passing};
use crate::namespace::Namespace;

/// How long one probe waits for an answer unless told otherwise.
pub const PATIENCE: Duration = Duration::from_millis(700);

static NONCES: AtomicU64 = AtomicU64::new(1);

/// One question to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Connects, sends bytes and expects them back.
    Tcp(SocketAddr),
    /// Sends a datagram and expects it back.
    Udp(SocketAddr),
    /// Sends an echo request and expects the reply.
    Ping(IpAddr),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// The answer.
    Answered,
    /// Nothing, as when packets are dropped.
    Silence,
    /// A reset or "port unreachable": it got there, but nobody listens.
    Refused,
    /// A router or the own kernel knows no way.
    Unreachable,
}

impl Probe {
    /// A TCP probe.
    #[must_use]
    pub fn tcp(to: IpAddr, port: u16) -> Self {
        Self::Tcp(SocketAddr::new(to, port))
    }

    /// A UDP probe.
    #[must_use]
    pub fn udp(to: IpAddr, port: u16) -> Self {
        Self::Udp(SocketAddr::new(to, port))
    }

    /// An ICMP or ICMPv6 echo.
    #[must_use]
    pub fn ping(to: IpAddr) -> Self {
        Self::Ping(to)
    }

    fn target(&self) -> SocketAddr {
        match self {
            Self::Tcp(to) | Self::Udp(to) => *to,
            Self::Ping(to) => SocketAddr::new(*to, 0),
        }
    }

    fn socket(&self) -> io::Result<Socket> {
        let domain = Domain::for_address(self.target());
        match self {
            Self::Tcp(_) => Socket::new(domain, Type::STREAM, Some(Protocol::TCP)),
            Self::Udp(_) => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)),
            Self::Ping(to) if to.is_ipv4() => Socket::new(domain, Type::DGRAM, Some(Protocol::ICMPV4)),
            Self::Ping(_) => Socket::new(domain, Type::DGRAM, Some(Protocol::ICMPV6)),
        }
    }

    fn ask(&self, socket: Socket, patience: Duration) -> io::Result<Seen> {
        let deadline = Instant::now() + patience;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        match self {
            Self::Tcp(to) => {
                socket.connect_timeout(&(*to).into(), patience)?;
                ask_stream(socket.into(), deadline)
            }
            Self::Udp(to) => {
                socket.connect(&(*to).into())?;
                ask_datagram(&socket.into(), &nonce(), 0, deadline)
            }
            Self::Ping(to) => {
                socket.connect(&self.target().into())?;
                ask_datagram(&socket.into(), &echo_request(to.is_ipv4()), ICMP_HEADER, deadline)
            }
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(to) => write!(f, "tcp {to}"),
            Self::Udp(to) => write!(f, "udp {to}"),
            Self::Ping(to) => write!(f, "ping {to}"),
        }
    }
}

impl Namespace {
    /// Asks once, waiting up to [`PATIENCE`].
    ///
    /// # Panics
    /// When no socket can be made.
    #[must_use]
    pub fn probe(&self, probe: Probe) -> Seen {
        self.probe_from(probe, None, PATIENCE)
    }

    /// Asks once, from a given address or (with port) socket address where one is given, waiting up to `patience`.
    ///
    /// # Panics
    /// When no socket can be made or bound to `source`.
    #[must_use]
    pub fn probe_from(&self, probe: Probe, source: Option<SocketAddr>, patience: Duration) -> Seen {
        let socket = self.run(|| probe.socket()).expect("a socket can be made");
        if let Some(source) = source {
            socket.set_reuse_address(true).expect("a new socket takes options");
            socket.bind(&source.into()).expect("the source address belongs to the namespace");
        }
        probe.ask(socket, patience).unwrap_or_else(|error| seen(&error))
    }

    /// Asks again and again until `expected` is seen, for changes that take a moment to be applied.
    ///
    /// # Errors
    /// When something else is seen to the end.
    pub fn expect(&self, probe: Probe, expected: Seen) -> Result<()> {
        self.expect_within(probe, expected, Duration::from_secs(10))
    }

    /// As [`Namespace::expect`], with a time limit of one's own.
    ///
    /// # Errors
    /// When something else is seen to the end.
    pub fn expect_within(&self, probe: Probe, expected: Seen, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let seen = self.probe(probe);
            if seen == expected {
                return Ok(());
            }
            if start.elapsed() > limit {
                let from = self.netns();
                return Err(Error::Timeout(format!(
                    "{probe} from {from}: {seen:?} instead of {expected:?} for {limit:?}"
                )));
            }
            std::thread::sleep(crate::stop::TICK);
        }
    }
}

/// Bytes that no other probe sends.
fn nonce() -> [u8; 8] {
    NONCES.fetch_add(1, Ordering::Relaxed).to_be_bytes()
}

const ICMP_HEADER: usize = 8;

/// The kernel fills in identifier and checksum.
fn echo_request(ipv4: bool) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = if ipv4 { 8 } else { 128 };
    message[ICMP_HEADER..].copy_from_slice(&nonce());
    message
}

fn ask_stream(mut stream: TcpStream, deadline: Instant) -> io::Result<Seen> {
    let question = nonce();
    stream.write_all(&question)?;
    let mut answer = [0; 8];
    stream.set_read_timeout(Some(remaining(deadline)))?;
    stream.read_exact(&mut answer)?;
    Ok(if answer == question { Seen::Answered } else { Seen::Silence })
}

/// Sends the message and waits for one that is the same from `skip` on.
fn ask_datagram(socket: &UdpSocket, message: &[u8], skip: usize, deadline: Instant) -> io::Result<Seen> {
    socket.send(message)?;
    let mut answer = [0; 64];
    while Instant::now() < deadline {
        socket.set_read_timeout(Some(remaining(deadline)))?;
        match socket.recv(&mut answer) {
            Ok(length) if answer.get(skip..length) == message.get(skip..) => return Ok(Seen::Answered),
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Seen::Silence)
}

/// Never zero, which would mean "for ever".
fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn seen(error: &io::Error) -> Seen {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
            Seen::Refused
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Seen::Unreachable,
        _ => Seen::Silence,
    }
}

/// The unspecified address of the family of `like`.
pub(crate) fn any(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
