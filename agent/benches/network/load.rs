//! Traffic between two pods.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use podgate_lab::Pod;

/// How long one measurement takes.
const TIME: Duration = Duration::from_millis(300);
/// A packet that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);

const ECHO: u16 = 8001;
const CLOSE: u16 = 8002;
const DATAGRAMS: u16 = 8003;

/// What is done over and over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// One byte there and back on an open connection.
    RoundTrip,
    /// A connection opened and closed.
    Connection,
    /// A datagram there and back.
    Datagram,
}

impl Load {
    pub(crate) const ALL: [Self; 3] = [Self::RoundTrip, Self::Connection, Self::Datagram];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RoundTrip => "TCP_RR",
            Self::Connection => "connect+close",
            Self::Datagram => "UDP, answered",
        }
    }

    /// How often per second it can be done.
    pub(crate) fn rate(self, client: &Pod, server: &Pod) -> f64 {
        let to = server.ip4();
        client.run(|| {
            pin();
            match self {
                Self::RoundTrip => round_trips(to),
                Self::Connection => repeated(|| connection(to)),
                Self::Datagram => datagrams(to),
            }
        })
    }
}

/// Keeps the calling thread, and those that it starts, on one CPU: client and server take turns there, so that what is
/// measured is the work of the kernel, and not how soon another CPU wakes up.
fn pin() {
    let mut first = CpuSet::new();
    first.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &first).unwrap();
}

/// Answers all loads until the process ends.
pub(crate) fn serve(pod: &Pod) {
    let address = pod.ip4();
    let (echo, close, datagrams) = pod.run(|| {
        let listen = |port| TcpListener::bind((address, port)).unwrap();
        (listen(ECHO), listen(CLOSE), UdpSocket::bind((address, DATAGRAMS)).unwrap())
    });
    let pinned = |work: Box<dyn FnOnce() + Send>| {
        thread::spawn(move || {
            pin();
            work();
        });
    };
    pinned(Box::new(move || {
        echo.incoming().flatten().for_each(|stream| drop(thread::spawn(move || answer(stream))));
    }));
    // The server closes first, so that the client's ports are free at once.
    pinned(Box::new(move || close.incoming().for_each(drop)));
    pinned(Box::new(move || {
        let mut byte = [0];
        while let Ok((_, from)) = datagrams.recv_from(&mut byte) {
            datagrams.send_to(&byte, from).unwrap();
        }
    }));
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

fn datagrams(to: IpAddr) -> f64 {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((to, DATAGRAMS)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [7];
    repeated(|| {
        socket.send(&byte).unwrap();
        socket.recv(&mut byte).unwrap();
    })
}
