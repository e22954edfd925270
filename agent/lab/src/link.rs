//! Sending and catching whole Ethernet frames.

use std::io::{self, Read};
use std::mem::size_of;
use std::time::{Duration, Instant};

use libc::{ETH_P_ALL, sockaddr_ll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::{During, Result};
use crate::namespace::Namespace;
use crate::pod::Interface;

/// A packet socket on one interface. It catches what arrives there, from its opening on.
#[derive(Debug)]
pub struct LinkSocket {
    socket: Socket,
}

impl LinkSocket {
    /// Opens one on an interface of the namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let index = Interface::find(namespace, interface)?.index;
        let socket = namespace.run(|| open(index)).during(|| format!("open a packet socket on {interface}"))?;
        Ok(Self { socket })
    }

    /// Sends a frame, Ethernet header included.
    ///
    /// # Errors
    /// When the interface is down or the frame too long.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).map(drop).during(|| format!("send a frame of {} bytes", frame.len()))
    }

    /// Sends one whose checksum is left to the kernel: the sum of the bytes from `start` on goes to `offset` behind that.
    ///
    /// # Errors
    /// When the interface is down, or the place is not in the frame.
    pub fn send_unsummed(&self, frame: &[u8], start: u16, offset: u16) -> Result<()> {
        /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`
        const NEEDS_CSUM: u8 = 1;
        // struct virtio_net_hdr of the kernel's uapi: flags, kind of segments, two lengths of theirs, where to sum.
        let [[first, second], [third, fourth]] = [start, offset].map(u16::to_ne_bytes);
        let header = [NEEDS_CSUM, 0, 0, 0, 0, 0, first, second, third, fourth];
        let sent = option(&self.socket, libc::PACKET_VNET_HDR, 1)
            .and_then(|()| self.socket.send(&[&header, frame].concat()))
            .and_then(|_| option(&self.socket, libc::PACKET_VNET_HDR, 0));
        sent.during(|| format!("send a frame of {} bytes without its checksum", frame.len()))
    }

    /// The first frame to arrive within `limit` that is `wanted`. The kernel has taken an outer VLAN tag off.
    pub fn catch(&mut self, limit: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut frame = vec![0; 65536];
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).ok()?;
            let length = self.socket.read(&mut frame).unwrap_or(0);
            if length > 0 && wanted(&frame[..length]) {
                frame.truncate(length);
                return Some(frame);
            }
        }
    }
}

fn open(index: u32) -> io::Result<Socket> {
    // Without a protocol the socket catches nothing until it is bound to the interface.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    option(&socket, libc::PACKET_IGNORE_OUTGOING, 1)?;
    socket.bind(&address(index)?)?;
    Ok(socket)
}

fn address(index: u32) -> io::Result<SockAddr> {
    let protocol = u16::try_from(ETH_P_ALL).map_err(io::Error::other)?.to_be();
    let family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let address = sockaddr_ll {
        sll_family: family,
        sll_protocol: protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the storage is larger than and aligned for every socket address, and the length is that of what is written.
    let made = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<sockaddr_ll>().write(address);
            *length = size_of::<sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    };
    made.map(|((), address)| address)
}

/// Sets an option of packet sockets.
fn option(socket: &Socket, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the option takes an int, whose address and size are given.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
