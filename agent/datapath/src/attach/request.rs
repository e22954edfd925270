//! One request to the kernel's routing netlink, and its answers.

use std::io;

use netlink_packet_core::{DecodeError, NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The kernel refused it.
    #[error("{0}")]
    Refused(io::Error),
    /// The socket failed.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// The answer makes no sense.
    #[error("netlink: {0}")]
    Answer(#[from] DecodeError),
}

impl Failure {
    /// The kernel's error number; 0 where it is not the kernel's refusal.
    pub(super) fn errno(&self) -> i32 {
        match self {
            Self::Refused(error) => error.raw_os_error().unwrap_or(0),
            Self::Socket(_) | Self::Answer(_) => 0,
        }
    }

    /// As an error of the system's, with its number where it has one.
    pub(super) fn io(&self) -> io::Error {
        match self {
            Self::Refused(_) if self.errno() != 0 => io::Error::from_raw_os_error(self.errno()),
            other => io::Error::other(other.to_string()),
        }
    }
}

/// Sends a request in this thread's network namespace and collects the answers.
pub(super) fn request(message: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>, Failure> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut buffer = vec![0; request.buffer_len()];
    request.serialize(&mut buffer);
    socket.send(&buffer, 0)?;
    answers(&socket)
}

/// Reads until the kernel says that it is done.
fn answers(socket: &Socket) -> Result<Vec<RouteNetlinkMessage>, Failure> {
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if collect(message.payload, &mut answers)? == Progress::Done {
                return Ok(answers);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// Takes one message. What ends an exchange carries an error number: 0 where all is well, also at the end of a dump.
fn collect(
    payload: NetlinkPayload<RouteNetlinkMessage>,
    answers: &mut Vec<RouteNetlinkMessage>,
) -> Result<Progress, Failure> {
    let code = match payload {
        NetlinkPayload::InnerMessage(message) => {
            answers.push(message);
            return Ok(Progress::More);
        }
        NetlinkPayload::Error(error) => error.raw_code(),
        NetlinkPayload::Done(done) => done.code,
        _ => return Ok(Progress::More),
    };
    if code == 0 { Ok(Progress::Done) } else { Err(Failure::Refused(io::Error::from_raw_os_error(code.abs()))) }
}
