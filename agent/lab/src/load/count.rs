//! Servers that answer with their identity and count what reaches them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Socket, Type};

use super::QUESTION;
use crate::error::{During, Result};
use crate::namespace::Namespace;
use crate::service::Transport;
use crate::stop::{Stop, TICK};

/// Room for what arrives while the server does not get to run.
const BUFFER: usize = 4 << 20;
const BACKLOG: i32 = 4096;

/// A server that answers every question with its identity. It serves until it or the lab is dropped.
#[derive(Debug)]
#[must_use = "the server ends when this is dropped"]
pub struct Counter {
    stop: Stop,
    tally: Arc<Tally>,
}

/// What has reached a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that it has accepted; 0 for UDP.
    pub connections: u64,
    /// Bytes that it has read.
    pub bytes: u64,
}

#[derive(Debug)]
struct Tally {
    identity: u64,
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    /// What has reached it so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let [connections, bytes] =
            [&self.tally.connections, &self.tally.bytes].map(|number| number.load(Ordering::Relaxed));
        Counts { connections, bytes }
    }

    /// Lets it serve until the lab ends.
    pub fn detach(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.stop.give();
    }
}

impl Namespace {
    /// Serves and counts on a TCP or UDP port of all addresses.
    ///
    /// # Errors
    /// When the port is taken.
    ///
    /// # Panics
    /// When asked for SCTP.
    pub fn count(&self, transport: Transport, port: u16, identity: u64) -> Result<Counter> {
        self.count_at(transport, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), identity)
    }

    /// Serves and counts on a TCP or UDP port of one address.
    ///
    /// # Errors
    /// When the port is taken or the address is not the namespace's.
    ///
    /// # Panics
    /// When asked for SCTP.
    pub fn count_at(&self, transport: Transport, at: SocketAddr, identity: u64) -> Result<Counter> {
        let tally = Arc::new(Tally { identity, connections: AtomicU64::new(0), bytes: AtomicU64::new(0) });
        let counter = Counter { stop: self.stop().child(), tally: Arc::clone(&tally) };
        let stop = counter.stop.clone();
        let what = || format!("serve {transport} at {at}");
        let socket = self.run(|| bound(transport, at)).during(what)?;
        match transport {
            Transport::Tcp => {
                let mut streams = Streams::new(socket.into(), tally).during(what)?;
                thread::spawn(move || streams.serve(&stop));
            }
            Transport::Udp => {
                thread::spawn(move || serve_datagrams(&socket.into(), &tally, &stop));
            }
            Transport::Sctp => panic!("no server for SCTP"),
        }
        Ok(counter)
    }
}

fn bound(transport: Transport, at: SocketAddr) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp | Transport::Sctp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    if at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    socket.bind(&at.into())?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
    } else {
        socket.set_read_timeout(Some(TICK))?;
    }
    Ok(socket)
}

impl Tally {
    /// Counts a question and returns the answer to it.
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        self.bytes.fetch_add(question.len() as u64, Ordering::Relaxed);
        [&self.identity.to_be_bytes()[..], question].concat()
    }
}

fn serve_datagrams(socket: &UdpSocket, tally: &Tally, stop: &Stop) {
    let mut question = vec![0; 65536];
    while !stop.given() {
        if let Ok((length, peer)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&tally.answer(&question[..length]), peer);
        }
    }
}

/// All connections of a server, on one thread.
struct Streams {
    listener: TcpListener,
    ready: Epoll,
    open: BTreeMap<RawFd, TcpStream>,
    tally: Arc<Tally>,
}

impl Streams {
    fn new(listener: TcpListener, tally: Arc<Tally>) -> io::Result<Self> {
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        ready.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, key(&listener)))?;
        Ok(Self { listener, ready, open: BTreeMap::new(), tally })
    }

    fn serve(&mut self, stop: &Stop) {
        let mut events = [EpollEvent::empty(); 256];
        while !stop.given() {
            let count = self.ready.wait(&mut events, TICK.as_millis() as u8).unwrap_or(0);
            for event in &events[..count] {
                if event.data() == key(&self.listener) {
                    self.accept();
                } else {
                    self.answer(event.data() as RawFd);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.tally.connections.fetch_add(1, Ordering::Relaxed);
            let interest = EpollEvent::new(EpollFlags::EPOLLIN, key(&stream));
            if stream.set_nonblocking(true).is_ok() && self.ready.add(&stream, interest).is_ok() {
                let _ = stream.set_nodelay(true);
                self.open.insert(stream.as_raw_fd(), stream);
            }
        }
    }

    /// Answers what has come on a connection. Answers are so small that the kernel always takes them whole.
    fn answer(&mut self, file: RawFd) {
        let Some(stream) = self.open.get_mut(&file) else { return };
        let mut question = [0; QUESTION];
        let is_open = match stream.read(&mut question) {
            Ok(0) => false,
            Ok(length) => stream.write_all(&self.tally.answer(&question[..length])).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if !is_open {
            self.open.remove(&file);
        }
    }
}

fn key(file: &impl AsRawFd) -> u64 {
    u64::try_from(file.as_raw_fd()).expect("descriptors are not negative")
}
