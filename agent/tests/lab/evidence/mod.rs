//! What licenses a packet is nothing that its sender, or an accident on its way, can make.

mod checksums;
mod origin;
mod translated;
mod tunnels;

use std::net::SocketAddr;

use etherparse::PacketBuilder;
use podgate_lab::{Interface, Pod};

use crate::packets::ip_header;

/// A datagram from one interface to its neighbour, with any addresses.
pub(crate) fn datagram(macs: [[u8; 6]; 2], from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(macs[0], macs[1]).ip(ip_header(from.ip(), to.ip()));
    builder.udp(from.port(), to.port()).write(&mut frame, payload).expect("a vector takes every frame");
    frame
}

/// The hardware addresses of a frame that a pod sends to its gateway.
pub(crate) fn to_gateway(pod: &Pod) -> [[u8; 6]; 2] {
    macs(pod.interface(), pod.gateway())
}

fn macs(from: &Interface, to: &Interface) -> [[u8; 6]; 2] {
    [from.mac, to.mac]
}
