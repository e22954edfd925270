//! Servers that send back what they get.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{During, Result, is_passing};
use crate::namespace::Namespace;
use crate::stop::{Stop, TICK};

/// An echo server in a namespace, on both families. It serves until it or the lab is dropped.
#[derive(Debug)]
#[must_use = "the server ends when this is dropped"]
pub struct Server {
    stop: Stop,
    port: u16,
}

impl Server {
    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets it serve until the lab ends.
    pub fn detach(self) {
        std::mem::forget(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.give();
    }
}

impl Namespace {
    /// Serves TCP echo on a port of all addresses; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_tcp(&self, port: u16) -> Result<Server> {
        let listener = self.listen(port)?;
        let (port, stop) = (listener.local_addr().during(socket_address)?.port(), self.stop().child());
        let signal = stop.clone();
        thread::spawn(move || serve_streams(&listener, &signal));
        Ok(Server { stop, port })
    }

    /// Serves UDP echo on a port of all addresses; port 0 takes a free one. Answers come from the address that was asked
    /// as long as the namespace has one address of the family.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_udp(&self, port: u16) -> Result<Server> {
        let socket = self.run(|| datagrams(port))?;
        let (port, stop) = (socket.local_addr().during(socket_address)?.port(), self.stop().child());
        let signal = stop.clone();
        thread::spawn(move || serve_datagrams(&socket, &signal));
        Ok(Server { stop, port })
    }

    /// Listens on a TCP port of all addresses, without accepting. The listener does not block.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn listen(&self, port: u16) -> Result<TcpListener> {
        self.run(|| listen(port))
    }
}

/// Serves echo on these ports of the network namespace that the process is in, for ever: for servers that are to be
/// processes of their own.
///
/// # Errors
/// When a port is taken.
pub fn serve_here(tcp: &[u16], udp: &[u16]) -> Result<()> {
    let stop = Stop::new();
    for &port in tcp {
        let (listener, stop) = (listen(port)?, stop.clone());
        thread::spawn(move || serve_streams(&listener, &stop));
    }
    for &port in udp {
        let (socket, stop) = (datagrams(port)?, stop.clone());
        thread::spawn(move || serve_datagrams(&socket, &stop));
    }
    loop {
        thread::park();
    }
}

fn listen(port: u16) -> Result<TcpListener> {
    let make = || -> io::Result<Socket> {
        let socket = bound(Type::STREAM, Protocol::TCP, port)?;
        socket.listen(128)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    Ok(make().during(|| format!("listen on TCP port {port}"))?.into())
}

fn datagrams(port: u16) -> Result<UdpSocket> {
    let make = || -> io::Result<Socket> {
        let socket = bound(Type::DGRAM, Protocol::UDP, port)?;
        socket.set_read_timeout(Some(TICK))?;
        Ok(socket)
    };
    Ok(make().during(|| format!("bind UDP port {port}"))?.into())
}

/// A socket for both families.
fn bound(kind: Type, protocol: Protocol, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, kind, Some(protocol))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}

fn socket_address() -> String {
    "read a socket's own address".to_owned()
}

fn serve_streams(listener: &TcpListener, stop: &Stop) {
    while !stop.given() {
        match listener.accept() {
            Ok((stream, _)) => {
                let stop = stop.clone();
                thread::spawn(move || echo(stream, &stop));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Until the peer closes, or an error other than a time-out.
fn echo(mut stream: TcpStream, stop: &Stop) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(TICK)).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut buffer = [0; 4096];
    while !stop.given() {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(length) => stream.write_all(buffer.get(..length)?).ok()?,
            Err(error) if is_passing(&error) => {}
            Err(_) => return None,
        }
    }
    Some(())
}

fn serve_datagrams(socket: &UdpSocket, stop: &Stop) {
    let mut buffer = [0; 65536];
    while !stop.given() {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], peer);
        }
    }
}
