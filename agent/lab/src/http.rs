//! As much of an HTTP client as tests need.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{During, Error, Result};
use crate::namespace::Namespace;

const LIMIT: Duration = Duration::from_secs(5);

/// The answer to a GET request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Namespace {
    /// Asks an HTTP server, from inside the namespace.
    ///
    /// # Errors
    /// When nobody answers within five seconds, or not in HTTP.
    pub fn get(&self, server: SocketAddr, path: &str) -> Result<Response> {
        let text = self.exchange(server, path).during(|| format!("GET http://{server}{path}"))?;
        parse(&text).ok_or_else(|| Error::Answer(format!("GET http://{server}{path}: not HTTP: {text}")))
    }

    fn exchange(&self, server: SocketAddr, path: &str) -> io::Result<String> {
        let make = || Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP));
        let mut socket = self.run(make)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect_timeout(&server.into(), LIMIT)?;
        // 1.0, so that the body comes in one piece and ends with the connection.
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    }
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_split_into_status_and_body() {
        let text = "HTTP/1.0 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nno\r\n\r\n";
        assert_eq!(parse(text), Some(Response { status: 503, body: "no\r\n\r\n".to_owned() }));
    }

    #[test]
    fn what_is_not_http_is_not_a_response() {
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n\r\n"), None);
    }
}
