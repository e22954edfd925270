//! Connections of which podgate knows nothing: older than their pod's isolation, or lost with the agent's tables. The
//! pod's own sockets tell what they are.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use podgate_lab::{Namespace, Result};

use crate::connections::{ARRIVES, CLIENT_TO_SERVER, Pair, SERVER_MAY_SPEAK, STAYS_AWAY, assert_alive, assert_cut};

#[test]
fn a_connection_older_than_its_pods_isolation_goes_on_whichever_end_speaks_first() -> Result<()> {
    let mut pair = Pair::new("older", &[])?;
    let (mut server_first, mut client_first) = (pair.connect()?, pair.connect()?);
    pair.world.write("policies.yaml", CLIENT_TO_SERVER)?;
    for connection in &mut server_first {
        assert!(connection.server_reaches_client(ARRIVES), "the server speaks first: {connection:?}");
    }
    for connection in &mut client_first {
        assert!(connection.client_reaches_server(ARRIVES), "the client speaks first: {connection:?}");
    }
    assert_alive(&mut server_first, "after the first word");
    assert_alive(&mut client_first, "after the first word");
    for pod in [&pair.client, &pair.server] {
        for direction in ["ingress", "egress"] {
            assert_eq!(pair.world.denied(pod, direction)?, [].into(), "{direction} of {:?}", pod.name());
        }
    }
    Ok(())
}

#[test]
fn a_connection_older_than_its_pods_isolation_is_cut_if_it_was_opened_against_the_policies() -> Result<()> {
    let mut pair = Pair::new("older-denied", &[])?;
    let mut connections = pair.connect()?;
    pair.world.write("policies.yaml", SERVER_MAY_SPEAK)?;
    // The server may open connections, but this one the client has opened.
    assert_cut(&mut connections, "though the server may speak");
    Ok(())
}

#[test]
fn connections_outlive_the_agents_tables() -> Result<()> {
    let mut pair = Pair::new("lost", &[])?;
    pair.world.write("policies.yaml", CLIENT_TO_SERVER)?;
    let mut connections = pair.connect()?;
    assert_alive(&mut connections, "before");
    for round in 0..2 {
        pair.world.take_agent().kill()?;
        pair.world.restart()?;
        assert_alive(&mut connections, &format!("after restart {round}"));
    }
    Ok(())
}

/// A UDP socket in a namespace.
fn socket(namespace: &Namespace, local: SocketAddr) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind(local)).expect("a free port");
    socket.set_read_timeout(Some(STAYS_AWAY)).expect("a socket option");
    socket
}

/// Whether a datagram reaches a socket in time.
fn hears(socket: &UdpSocket, limit: Duration) -> bool {
    socket.set_read_timeout(Some(limit)).expect("a socket option");
    match socket.recv(&mut [0; 64]) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

/// The client may ask the server by UDP; nothing else may go in or out of it. The server is not isolated.
const CLIENT_MAY_ASK: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: shop}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Ingress, Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: 8080, protocol: UDP}]}]
";

#[test]
fn a_datagram_for_a_connected_socket_is_an_answer_though_nothing_was_seen_of_the_question() -> Result<()> {
    let mut pair = Pair::new("udp-older", &[])?;
    pair.world.write("policies.yaml", CLIENT_MAY_ASK)?;
    for (client, server) in pair.client.addresses().both().into_iter().zip(pair.server.addresses().both()) {
        let at = |port| SocketAddr::new(client, port);
        let serving = socket(&pair.server, SocketAddr::new(server, 8080));
        let asking = socket(&pair.client, at(5000));
        asking.connect((server, 8080)).expect("connecting sends nothing");
        let waiting = socket(&pair.client, at(5001));
        let asking_another = socket(&pair.client, at(5002));
        asking_another.connect((server, 8081)).expect("connecting sends nothing");
        for port in [5000, 5001, 5002] {
            serving.send_to(b"answer", at(port)).expect("a datagram leaves");
        }
        assert!(hears(&asking, ARRIVES), "connected to the sender");
        assert!(!hears(&waiting, STAYS_AWAY), "connected to nobody");
        assert!(!hears(&asking_another, STAYS_AWAY), "connected to another port");
    }
    Ok(())
}
