//! The two kinds of netlink sockets: one that asks and one that listens.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeVal;

use super::Error;
use super::message::{Message, messages};
use super::request::Request;

/// More than the kernel puts into one datagram (32 KiB for dumps).
const DATAGRAM: usize = 1 << 16;
/// How often a dump is begun anew because the kernel's data changed under it.
const DUMP_ATTEMPTS: usize = 10;
/// How long the kernel may take for an answer; it answers at once unless a lock is held.
const ANSWER_SECONDS: i64 = 10;

/// Puts questions to the kernel and waits for the answers.
pub(super) struct Asker {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Asker {
    /// A socket in the calling thread's network namespace.
    pub(super) fn new() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            // Without it the kernel ignores the namespace id and lists the host's own addresses.
            socket.set_netlink_get_strict_chk(true)?;
            socket.bind_auto()?;
            setsockopt(&socket, ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))?;
            io::Result::Ok(socket)
        };
        Ok(Self { socket: open().map_err(Error::Socket)?, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// The messages of the answer.
    pub(super) fn ask(&mut self, request: Request) -> Result<Vec<Message>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            match self.ask_once(request) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) => return Err(Error::Request { subject: request.subject(), error }),
            }
        }
        Err(Error::Request { subject: request.subject(), error: Errno::EINTR.into() })
    }

    /// The messages of the answer; `None`: they are not consistent, ask again.
    fn ask_once(&mut self, request: Request) -> io::Result<Option<Vec<Message>>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send_to(&request.bytes(self.sequence), &SocketAddr::new(0, 0), 0)?;
        let (mut answer, mut consistent) = (Vec::new(), true);
        loop {
            let (length, _) = self.socket.recv_from(&mut &mut self.buffer[..], 0)?;
            for framed in messages(&self.buffer[..length.min(DATAGRAM)]) {
                if framed.sequence != self.sequence {
                    continue;
                }
                consistent &= !framed.interrupted;
                match framed.message {
                    Message::End(0) => return Ok(consistent.then_some(answer)),
                    Message::End(code) => return Err(io::Error::from_raw_os_error(-code)),
                    message => answer.push(message),
                }
                if !request.is_dump() {
                    return Ok(Some(answer));
                }
            }
        }
    }
}

/// Hears of changes.
pub(super) struct Listener {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What a listener hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing since the last time.
    Nothing,
    /// Messages from the socket's own namespace (`None`) or from the one with this id.
    Messages(Option<i32>, Vec<Message>),
    /// The socket's queue ran over: what happened since is unknown.
    Overrun,
}

impl Listener {
    /// A socket that hears the calling thread's network namespace. `buffer` is the size of its queue in bytes.
    pub(super) fn new(groups: &[u32], buffer: usize) -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            if setsockopt(&socket, RcvBufForce, &buffer).is_err() {
                socket.set_rx_buf_sz(i32::try_from(buffer).unwrap_or(i32::MAX))?;
            }
            socket.set_non_blocking(true)?;
            socket.bind_auto()?;
            for group in groups {
                socket.add_membership(*group)?;
            }
            io::Result::Ok(socket)
        };
        Ok(Self { socket: open().map_err(Error::Socket)?, buffer: vec![0; DATAGRAM] })
    }

    /// Hears every namespace that has an id from now on. Needs CAP_NET_BROADCAST.
    pub(super) fn hear_all_namespaces(&self) -> io::Result<()> {
        self.socket.set_listen_all_namespaces(true)
    }

    /// The next datagram that has arrived.
    pub(super) fn hear(&mut self) -> io::Result<Heard> {
        let mut space = cmsg_space!(i32);
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::empty();
        let (length, netns_id) = match recvmsg::<()>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => (message.bytes, message.cmsgs()?.find_map(|control| namespace_of(&control))),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Heard::Nothing),
            Err(Errno::ENOBUFS) => return Ok(Heard::Overrun),
            Err(error) => return Err(error.into()),
        };
        let heard = messages(&self.buffer[..length]).map(|framed| framed.message).collect();
        Ok(Heard::Messages(netns_id, heard))
    }
}

fn namespace_of(control: &ControlMessageOwned) -> Option<i32> {
    let ControlMessageOwned::Unknown(unknown) = control else { return None };
    let header = &unknown.cmsg_header;
    let is_namespace = (header.cmsg_level, header.cmsg_type) == (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID);
    let bytes = unknown.data_bytes.first_chunk::<4>()?;
    is_namespace.then(|| i32::from_ne_bytes(*bytes))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
