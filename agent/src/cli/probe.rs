//! `podgate probe`: what runs in the pods of `helm test`. A server answers on two ports, of which a policy allows one; a
//! client sees that it reaches that one and not the other.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::output::print;

/// How long an attempt waits for an answer: a packet that is dropped is sent again after one second and after three.
const ANSWER: Duration = Duration::from_secs(4);

/// How often the denied connection is tried.
const DENIED: u32 = 2;

/// Serve, or see that one connection is allowed and another one denied: what `helm test` runs
#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accept TCP connections at these ports until stopped
    Serve {
        #[arg(required = true)]
        ports: Vec<u16>,
    },
    /// Exit status: 0 the one is allowed and the other one denied, 1 it is otherwise, 2 it can't be told
    Check(CheckArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// What must answer
    #[arg(long, value_name = "HOST:PORT")]
    allowed: String,

    /// What must not answer, though somebody listens there
    #[arg(long, value_name = "HOST:PORT")]
    denied: String,

    /// How long the first may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seconds: u64,
}

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Connected,
    /// Nothing came back: it was dropped.
    Silent,
    /// Somebody said no, and no policy does that.
    Refused,
}

impl ProbeArgs {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Serve { ports } => serve(ports),
            Command::Check(args) => args.run(ANSWER),
        }
    }
}

/// Accepts and closes connections.
fn serve(ports: &[u16]) -> anyhow::Result<ExitCode> {
    let listeners = ports.iter().map(|port| listen(*port)).collect::<Result<Vec<_>, _>>()?;
    let accept = |listener: TcpListener| {
        thread::spawn(move || {
            for connection in listener.incoming() {
                drop(connection);
            }
        })
    };
    for server in listeners.into_iter().map(accept).collect::<Vec<_>>() {
        let _ = server.join();
    }
    Ok(ExitCode::SUCCESS)
}

/// On both families, where the kernel has both.
fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .with_context(|| format!("cannot listen on port {port}"))
}

impl CheckArgs {
    fn run(&self, answer: Duration) -> anyhow::Result<ExitCode> {
        let (enforced, text) = self.judge(answer)?;
        print(&text)?;
        Ok(if enforced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Whether both are as they should be, and what to say of that.
    fn judge(&self, answer: Duration) -> anyhow::Result<(bool, String)> {
        let Self { allowed, denied, seconds } = self;
        let (open, closed) = (address(allowed)?, address(denied)?);
        if !comes_about(open, Duration::from_secs(*seconds), answer)? {
            return Ok((false, format!("FAILED: {allowed} does not answer, though a policy allows it\n")));
        }
        for _ in 0..DENIED {
            match connect(closed, answer)? {
                Outcome::Silent => {}
                Outcome::Connected => {
                    let told = format!("FAILED: {denied} answers, though no policy allows it: nothing enforces\n");
                    return Ok((false, told));
                }
                Outcome::Refused => bail!("{denied} refuses: nobody listens there, so nothing can be told"),
            }
        }
        Ok((true, format!("{allowed} answers, {denied} does not: NetworkPolicies are enforced\n")))
    }
}

/// The address of what a flag names.
fn address(target: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = target.to_socket_addrs().with_context(|| format!("{target}: the address is not known"))?;
    addresses.next().with_context(|| format!("{target}: it has no address"))
}

/// Whether a connection comes about in time. What serves it may only be starting.
fn comes_about(target: SocketAddr, within: Duration, answer: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + within;
    loop {
        if connect(target, answer)? == Outcome::Connected {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(500).min(within));
    }
}

fn connect(target: SocketAddr, answer: Duration) -> anyhow::Result<Outcome> {
    match TcpStream::connect_timeout(&target, answer) {
        Ok(_) => Ok(Outcome::Connected),
        Err(error) => outcome(&error).with_context(|| format!("cannot try {target}: {error}")),
    }
}

/// What an error says of the attempt; nothing where it was not made.
fn outcome(error: &io::Error) -> Option<Outcome> {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Some(Outcome::Silent),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Some(Outcome::Refused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    fn server() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A port where somebody listens whose queue is full: the kernel drops what comes then, as a policy would.
    fn full() -> (Vec<TcpStream>, TcpListener, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let waiting = (0..4).map_while(|_| TcpStream::connect_timeout(&address, SOON).ok()).collect();
        (waiting, listener, address)
    }

    #[test]
    fn an_answer_and_silence_are_as_they_should_be_and_nothing_else_is() {
        let (_open, open) = server();
        let (_waiting, _full, silent) = full();
        let closed = server().1;
        let check = |allowed: SocketAddr, denied: SocketAddr| {
            let args = CheckArgs { allowed: allowed.to_string(), denied: denied.to_string(), seconds: 0 };
            args.judge(SOON).map_err(|error| error.to_string())
        };
        let said = |enforced: bool, text: String| Ok((enforced, text + "\n"));
        let cases = [
            ((open, silent), said(true, format!("{open} answers, {silent} does not: NetworkPolicies are enforced"))),
            (
                (open, open),
                said(false, format!("FAILED: {open} answers, though no policy allows it: nothing enforces")),
            ),
            ((silent, open), said(false, format!("FAILED: {silent} does not answer, though a policy allows it"))),
            ((closed, silent), said(false, format!("FAILED: {closed} does not answer, though a policy allows it"))),
            // Where nobody listens silence would prove nothing, and a refusal is no policy's.
            ((open, closed), Err(format!("{closed} refuses: nobody listens there, so nothing can be told"))),
        ];
        for ((allowed, denied), expected) in cases {
            assert_eq!(check(allowed, denied), expected);
        }
    }

    #[test]
    fn an_address_that_the_kubelet_did_not_fill_in_is_told() {
        let args =
            CheckArgs { allowed: "$(PODGATE_TEST_SERVICE_HOST):1".to_owned(), denied: String::new(), seconds: 0 };
        assert_eq!(
            args.judge(SOON).unwrap_err().to_string(),
            "$(PODGATE_TEST_SERVICE_HOST):1: the address is not known"
        );
    }
}
