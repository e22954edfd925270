//! Traffic between two pods.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use podgate_lab::Pod;

/// How long one measurement takes.
const TIME: Duration = Duration::from_millis(100);
/// A packet that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);

const ECHO: u16 = 8001;
const CLOSE: u16 = 8002;
const DATAGRAMS: u16 = 8003;
const SILENT: u16 = 8004;

/// The addresses that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) fn of(self, pod: &Pod) -> IpAddr {
        match self {
            Self::V4 => pod.ip4(),
            Self::V6 => pod.ip6(),
        }
    }
}

/// What is done over and over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// One byte there and back on an open connection.
    RoundTrip,
    /// A connection opened and closed.
    Connection,
    /// A datagram there and back.
    Datagram,
    /// A datagram there, in a flow that is never answered.
    Unanswered,
}

impl Load {
    pub(crate) const ALL: [Self; 4] = [Self::RoundTrip, Self::Connection, Self::Datagram, Self::Unanswered];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RoundTrip => "TCP_RR",
            Self::Connection => "connect+close",
            Self::Datagram => "UDP answered",
            Self::Unanswered => "UDP unanswered",
        }
    }

    /// Of what costs are told, and how many it takes: a packet, or a connection as a whole.
    pub(crate) const fn unit(self) -> (&'static str, f64) {
        match self {
            Self::RoundTrip | Self::Datagram => ("packet", 2.0),
            Self::Connection => ("connection", 1.0),
            Self::Unanswered => ("packet", 1.0),
        }
    }

    /// How often per second it can be done.
    pub(crate) fn rate(self, client: &Pod, server: &Pod, family: Family) -> f64 {
        let to = family.of(server);
        client.run(|| {
            pin();
            match self {
                Self::RoundTrip => round_trips(to),
                Self::Connection => repeated(|| connection(to)),
                Self::Datagram => datagrams(to),
                Self::Unanswered => unanswered(to, server),
            }
        })
    }
}

/// Keeps the calling thread, and those that it starts, on one CPU: client and server take turns there, so that what is
/// measured is the work of the kernel, and not how soon another CPU wakes up. It is the last one, as the first has most
/// of the machine's interrupts.
fn pin() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let last = (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(last).unwrap();
    sched_setaffinity(this, &one).unwrap();
}

/// Serves all loads until the process ends.
pub(crate) fn serve(pod: &Pod) {
    Family::ALL.into_iter().for_each(|family| serve_family(pod, family.of(pod)));
}

fn serve_family(pod: &Pod, address: IpAddr) {
    let (echo, close, datagrams, silent) = pod.run(|| {
        let listen = |port| TcpListener::bind((address, port)).unwrap();
        let bind = |port| UdpSocket::bind((address, port)).unwrap();
        (listen(ECHO), listen(CLOSE), bind(DATAGRAMS), bind(SILENT))
    });
    pinned(move || echo.incoming().flatten().for_each(|stream| drop(thread::spawn(move || answer(stream)))));
    // The server closes first, so that the client's ports are free at once.
    pinned(move || close.incoming().for_each(drop));
    pinned(move || {
        let mut byte = [0];
        while let Ok((_, from)) = datagrams.recv_from(&mut byte) {
            datagrams.send_to(&byte, from).unwrap();
        }
    });
    // Nobody reads from it: once its buffer is full, the kernel drops what comes, and does no more for it.
    std::mem::forget(silent);
}

fn pinned(work: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        pin();
        work();
    });
}

fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn repeated(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < TIME {
        work();
        done += 1;
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}

fn round_trips(to: IpAddr) -> f64 {
    let mut stream = connect(to, ECHO);
    stream.set_nodelay(true).unwrap();
    let mut byte = [7];
    repeated(|| {
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
    })
}

fn connection(to: IpAddr) {
    let read = connect(to, CLOSE).read(&mut [0]).unwrap();
    assert_eq!(read, 0, "the server sends nothing");
}

fn connect(to: IpAddr, port: u16) -> TcpStream {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn socket(to: IpAddr, port: u16) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect((to, port)).unwrap();
    socket
}

fn datagrams(to: IpAddr) -> f64 {
    let socket = socket(to, DATAGRAMS);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [7];
    repeated(|| {
        socket.send(&byte).unwrap();
        socket.recv(&mut byte).unwrap();
    })
}

/// Fails if not nearly all arrive: what is dropped on its way costs less. Those that wait in the server's buffer are not
/// counted as received.
fn unanswered(to: IpAddr, server: &Pod) -> f64 {
    let socket = socket(to, SILENT);
    let received = || server.received().unwrap().datagrams;
    let before = received();
    let mut sent = 0;
    let rate = repeated(|| {
        socket.send(&[7]).unwrap();
        sent += 1;
    });
    let arrived = received() - before;
    assert!(arrived * 10 >= sent * 9, "{arrived} of {sent} datagrams arrived");
    rate
}
