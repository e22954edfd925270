//! Frames of one's own making get through as they are.

use std::time::Duration;

use etherparse::{Ethernet2Header, IpNumber, Ipv4Header, PacketBuilder};
use podgate_lab::{Lab, LinkSocket, Pod, Result, Wiring};

const LIMIT: Duration = Duration::from_secs(3);
const SCTP_DATA: [u8; 12] = [0, 80, 0, 81, 1, 2, 3, 4, 5, 6, 7, 8];

/// A packet of a protocol for which the kernel may have no sockets.
fn sctp(from: &Pod, to: &Pod) -> Vec<u8> {
    let (source, destination) = (from.addresses().ip4.octets(), to.addresses().ip4.octets());
    let builder = PacketBuilder::ethernet2(from.interface().mac, from.gateway().mac).ipv4(source, destination, 64);
    let mut frame = Vec::new();
    builder.write(&mut frame, IpNumber::SCTP, &SCTP_DATA).expect("a vector takes every frame");
    frame
}

fn is_sctp(frame: &[u8]) -> bool {
    let ip = Ethernet2Header::from_slice(frame).map(|(_, payload)| Ipv4Header::from_slice(payload).ok());
    ip.is_ok_and(|ip| ip.is_some_and(|(header, payload)| header.protocol == IpNumber::SCTP && payload == SCTP_DATA))
}

#[test]
fn a_frame_sent_by_one_pod_is_caught_at_another_of_every_wiring() -> Result<()> {
    let lab = Lab::new("frames")?;
    let node = lab.node("node")?;
    for wiring in Wiring::ALL {
        let from = node.pod(&format!("from-{wiring}"), wiring)?;
        let to = node.pod(&format!("to-{wiring}"), Wiring::Ptp)?;
        let mut arriving = LinkSocket::open(&to, "eth0")?;
        LinkSocket::open(&from, "eth0")?.send(&sctp(&from, &to))?;
        assert!(arriving.catch(LIMIT, is_sctp).is_some(), "{wiring}");
        assert_eq!(arriving.catch(Duration::from_millis(50), is_sctp), None, "{wiring}: one frame was sent");
    }
    Ok(())
}
