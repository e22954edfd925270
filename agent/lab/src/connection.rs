//! Long-lived TCP connections of which a test holds both ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{During, Error, Result, is_passing};
use crate::namespace::Namespace;
use crate::probe::any;
use crate::stop::TICK;

const OPENING: Duration = Duration::from_secs(5);

/// An established TCP connection. Each end can be made to speak, and the other to listen.
#[derive(Debug)]
pub struct Connection {
    /// The end that opened it.
    pub client: End,
    /// The end that accepted it.
    pub server: End,
}

/// One end of a connection: messages are numbers, so that what arrives late is told from what was lost.
#[derive(Debug)]
pub struct End {
    stream: TcpStream,
    said: u64,
}

impl Connection {
    /// Opens a connection to a port on which `server` does not listen yet; the listener is closed again.
    ///
    /// # Errors
    /// When the port is taken or the connection does not come about.
    pub fn open(client: &Namespace, server: &Namespace, to: SocketAddr) -> Result<Self> {
        let listener = server.listen(to.port())?;
        Self::open_to(client, &listener, to, 0)
    }

    /// Opens a connection from a source port (0: any) to a listener that the caller keeps.
    ///
    /// # Errors
    /// When the connection does not come about.
    pub fn open_to(client: &Namespace, listener: &TcpListener, to: SocketAddr, source_port: u16) -> Result<Self> {
        let stream = connect(client, to, source_port)?;
        let server = accept(listener)?;
        Ok(Self { client: End::new(stream)?, server: End::new(server)? })
    }

    /// Whether something that the client says now arrives within `limit`.
    #[must_use]
    pub fn client_reaches_server(&mut self, limit: Duration) -> bool {
        self.client.say().is_ok_and(|message| self.server.hears(message, limit))
    }

    /// Whether something that the server says now arrives within `limit`.
    #[must_use]
    pub fn server_reaches_client(&mut self, limit: Duration) -> bool {
        self.server.say().is_ok_and(|message| self.client.hears(message, limit))
    }
}

impl End {
    fn new(stream: TcpStream) -> Result<Self> {
        let prepare = || -> io::Result<()> {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
            stream.set_write_timeout(Some(TICK))
        };
        prepare().during(|| "prepare a connection".to_owned())?;
        Ok(Self { stream, said: 0 })
    }

    /// Sends the next message and returns it, without waiting for anything.
    ///
    /// # Errors
    /// When the connection is gone or its buffer is full.
    pub fn say(&mut self) -> io::Result<u64> {
        self.said += 1;
        self.stream.write_all(&self.said.to_be_bytes())?;
        Ok(self.said)
    }

    /// Whether `message` arrives within `limit`; earlier ones are skipped.
    #[must_use]
    pub fn hears(&mut self, message: u64, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut heard = [0; 8];
        let mut length = 0;
        while Instant::now() < deadline {
            match self.stream.read(&mut heard[length..]) {
                Ok(0) => return false,
                Ok(more) => length += more,
                Err(error) if is_passing(&error) => {}
                Err(_) => return false,
            }
            if length == heard.len() {
                length = 0;
                if u64::from_be_bytes(heard) == message {
                    return true;
                }
            }
        }
        false
    }

    /// The stream itself, for closing, resetting or reading options.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

fn connect(client: &Namespace, to: SocketAddr, source_port: u16) -> Result<TcpStream> {
    let make = || Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP));
    let socket = client.run(make).during(|| "make a socket".to_owned())?;
    socket.set_reuse_address(true).during(|| "set a socket option".to_owned())?;
    let source = SocketAddr::new(any(to.ip()), source_port);
    socket.bind(&source.into()).during(|| format!("bind source port {source_port}"))?;
    socket.connect_timeout(&to.into(), OPENING).during(|| format!("connect to {to}"))?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let deadline = Instant::now() + OPENING;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if is_passing(&error) => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error).during(|| "accept a connection".to_owned()),
        }
    }
    Err(Error::Timeout("the client's connection did not reach the listener".to_owned()))
}
