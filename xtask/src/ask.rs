//! `xtask ask`: what a pod of the suite does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

const QUESTION: &[u8] = b"anybody there?";

/// Asks an echo server, `tcp:HOST:PORT` or `udp:HOST:PORT`, and says whether it answers.
pub(crate) fn run(target: &str) -> Result<ExitCode> {
    let answered = ask(target)?;
    println!("{}", if answered { "answer" } else { "silence" });
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(target: &str) -> Result<bool> {
    let (protocol, address) = target.split_once(':').context("expected PROTOCOL:HOST:PORT")?;
    let mut addresses = address.to_socket_addrs().with_context(|| format!("find the address of {address}"))?;
    let address = addresses.next().with_context(|| format!("{address} has no address"))?;
    Ok(match protocol {
        "tcp" => tcp(address).is_ok_and(|answer| answer == QUESTION),
        "udp" => udp(address).is_ok_and(|answer| answer == QUESTION),
        other => bail!("{other} is neither tcp nor udp"),
    })
}

fn tcp(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(QUESTION)?;
    let mut answer = vec![0; QUESTION.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn udp(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(QUESTION, address)?;
    let mut answer = vec![0; QUESTION.len()];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_echo_is_an_answer_and_a_closed_port_is_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = format!("tcp:{}", listener.local_addr().unwrap());
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = vec![0; QUESTION.len()];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        });
        assert!(ask(&open).unwrap());
        server.join().unwrap();
        assert!(!ask(&format!("tcp:{closed}")).unwrap());
        assert!(ask("icmp:127.0.0.1:1").is_err() && ask("tcp").is_err());
    }
}
