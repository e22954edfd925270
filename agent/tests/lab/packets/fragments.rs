//! Datagrams that are larger than the MTU.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use podgate_lab::{Namespace, Pod, Result, Wiring};

use super::{ARRIVES, Pair, STAYS_AWAY, ends_of, link};
use crate::support::policy;

/// Three fragments in either family.
const LARGE: usize = 4000;

/// The server may be asked by UDP on port 80 only, and the client may ask only there.
fn udp_80() -> String {
    let server = "podSelector: {matchLabels: {app: server}}\ningress: [{ports: [{protocol: UDP, port: 80}]}]";
    let client = "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\n\
                  egress: [{ports: [{protocol: UDP, port: 80}]}]";
    [policy("shop", "server", server), policy("shop", "client", client)].join("---\n")
}

/// Sends a large datagram and returns the socket, for the answer.
fn send(from: &Namespace, source: IpAddr, to: SocketAddr) -> UdpSocket {
    let socket = from.run(|| UdpSocket::bind((source, 0))).expect("the address is the namespace's own");
    socket.connect(to).and_then(|()| socket.send(&payload())).expect("the kernel takes the datagram");
    socket
}

fn payload() -> Vec<u8> {
    (0..LARGE).map(|place| (place % 251) as u8).collect()
}

fn is_answered(socket: &UdpSocket, limit: Duration) -> bool {
    socket.set_read_timeout(Some(limit)).expect("the limit is not zero");
    let mut answer = vec![0; LARGE + 1];
    socket.recv(&mut answer).is_ok_and(|length| answer[..length] == payload())
}

#[test]
fn an_allowed_datagram_larger_than_the_mtu_arrives_and_so_does_its_answer() -> Result<()> {
    for wiring in [Wiring::Ptp, Wiring::Bridge] {
        let pair = Pair::started("large-allowed", wiring, &udp_80())?;
        for (client, server) in pair.ends() {
            let socket = send(&pair.client, client, SocketAddr::new(server, 80));
            assert!(is_answered(&socket, ARRIVES), "{server} on {wiring}");
        }
    }
    Ok(())
}

#[test]
fn of_a_denied_datagram_larger_than_the_mtu_no_fragment_enters() -> Result<()> {
    let mut pair = Pair::started("large-denied-in", Wiring::Ptp, &udp_80())?;
    let stranger = pair.world.pod("other/stranger", Wiring::Ptp)?;
    assert_nothing_arrives(&mut pair, &stranger.clone(), stranger.addresses().both())?;
    assert_eq!(pair.world.denied(&pair.server, "ingress")?, [("no_rule".to_owned(), 6)].into());
    Ok(())
}

#[test]
fn of_a_denied_datagram_larger_than_the_mtu_no_fragment_leaves() -> Result<()> {
    let mut pair = Pair::started("large-denied-out", Wiring::Ptp, &udp_80())?;
    let client = pair.client.clone();
    assert_nothing_arrives(&mut pair, &client, client.addresses().both())?;
    assert_eq!(pair.world.denied(&client, "egress")?, [("no_rule".to_owned(), 6)].into());
    Ok(())
}

/// Sends a large datagram of each family to the server's port 81, of which not a byte arrives.
fn assert_nothing_arrives(pair: &mut Pair, from: &Pod, sources: [IpAddr; 2]) -> Result<()> {
    let mut arriving = link(&pair.server)?;
    for (source, to) in sources.into_iter().zip(pair.server.addresses().both()) {
        let socket = send(from, source, SocketAddr::new(to, 81));
        let fragment = arriving.catch(STAYS_AWAY, |frame| ends_of(frame) == Some((source, to)));
        assert_eq!(fragment, None, "from {source}");
        assert!(!is_answered(&socket, Duration::from_millis(1)));
    }
    Ok(())
}
