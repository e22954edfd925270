//! TCP connections of which the test holds both ends, under policies that change.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use podgate_lab::{Connection, Pod, Result, Wiring};
use socket2::SockRef;

use crate::support::World;

/// How long a message that must arrive may take: several retransmissions.
pub(crate) const ARRIVES: Duration = Duration::from_secs(6);
/// How long a message that must not arrive is waited for: two retransmissions.
pub(crate) const STAYS_AWAY: Duration = Duration::from_millis(900);
pub(crate) const PORT: u16 = 8080;

/// The server may be asked by the client on [`PORT`]; nothing else may go in or out of either.
pub(crate) const CLIENT_TO_SERVER: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: shop}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: shop}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Ingress, Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: 8080}]}]
";
/// The same by other rules.
pub(crate) const CLIENT_TO_SERVER_OTHERWISE: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: shop}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  ingress: [{ports: [{port: 8000, endPort: 8100}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: shop}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Ingress, Egress]
  egress: [{}]
";
/// Nothing may open a connection to the server, which may open any itself; the client may do anything.
pub(crate) const SERVER_MAY_SPEAK: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: shop}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  egress: [{}]
";

/// A client and a server on one node. The server goes on listening, as servers do.
pub(crate) struct Pair {
    pub(crate) listener: TcpListener,
    pub(crate) world: World,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
}

impl Pair {
    pub(crate) fn new(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut world = World::started(name, arguments)?;
        let client = world.pod("shop/client", Wiring::Ptp)?;
        let server = world.pod("shop/server", Wiring::Ptp)?;
        Ok(Self { listener: server.listen(PORT)?, world, client, server })
    }

    /// A connection from the client to the server for each family.
    pub(crate) fn connect(&self) -> Result<Vec<Connection>> {
        self.addresses().map(|to| Connection::open_to(&self.client, &self.listener, to, 0)).collect()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        self.server.addresses().both().into_iter().map(|ip: IpAddr| SocketAddr::new(ip, PORT))
    }
}

/// Asserts that every connection is alive both ways.
pub(crate) fn assert_alive(connections: &mut [Connection], when: &str) {
    for connection in connections {
        assert!(connection.server_reaches_client(ARRIVES), "server to client {when}: {connection:?}");
        assert!(connection.client_reaches_server(ARRIVES), "client to server {when}: {connection:?}");
    }
}

/// Asserts that nothing arrives on any connection, from either side.
pub(crate) fn assert_cut(connections: &mut [Connection], when: &str) {
    for connection in connections {
        assert!(!connection.client_reaches_server(STAYS_AWAY), "client to server {when}: {connection:?}");
        assert!(!connection.server_reaches_client(STAYS_AWAY), "server to client {when}: {connection:?}");
    }
}

#[test]
fn a_connection_that_a_new_policy_denies_is_cut_and_stays_cut_though_its_server_may_speak() -> Result<()> {
    let mut pair = Pair::new("cut", &[])?;
    pair.world.write("policies.yaml", CLIENT_TO_SERVER)?;
    let mut connections = pair.connect()?;
    assert_alive(&mut connections, "while allowed");
    pair.world.write("policies.yaml", SERVER_MAY_SPEAK)?;
    assert_cut(&mut connections, "once denied");
    // By now the kernels of both ends retransmit, which must not bring it back.
    assert_cut(&mut connections, "after retransmissions");
    let denied = pair.world.denied(&pair.server, "egress")?;
    assert!(denied.get("cut").is_some_and(|&packets| packets > 0), "{denied:?}");
    Ok(())
}

#[test]
fn with_keep_a_connection_that_a_new_policy_denies_ends_in_peace() -> Result<()> {
    let mut pair = Pair::new("keep", &["--live-connections", "keep"])?;
    pair.world.write("policies.yaml", CLIENT_TO_SERVER)?;
    let mut connections = pair.connect()?;
    pair.world.write("policies.yaml", SERVER_MAY_SPEAK)?;
    assert_alive(&mut connections, "kept");
    assert!(pair.connect().is_err(), "a new one is not kept");
    Ok(())
}

#[test]
fn a_connection_that_new_policies_go_on_allowing_is_never_disturbed() -> Result<()> {
    let mut pair = Pair::new("undisturbed", &[])?;
    pair.world.write("policies.yaml", CLIENT_TO_SERVER)?;
    let mut connections = pair.connect()?;
    for round in 0..5 {
        for policies in [CLIENT_TO_SERVER_OTHERWISE, CLIENT_TO_SERVER] {
            pair.world.write("policies.yaml", policies)?;
            assert_alive(&mut connections, &format!("in round {round}"));
        }
    }
    for pod in [&pair.client, &pair.server] {
        for direction in ["ingress", "egress"] {
            assert_eq!(pair.world.denied(pod, direction)?, [].into(), "{direction} of {:?}", pod.name());
        }
    }
    Ok(())
}

#[test]
fn a_source_port_can_be_used_again_at_once_after_a_close_and_after_a_reset() -> Result<()> {
    let mut pair = Pair::new("reuse", &[])?;
    pair.world.write("policies.yaml", CLIENT_TO_SERVER)?;
    for to in pair.addresses() {
        for reset in [true, false, true, true] {
            let mut connection = Connection::open_to(&pair.client, &pair.listener, to, 40_000)?;
            assert!(connection.client_reaches_server(ARRIVES) && connection.server_reaches_client(ARRIVES));
            if reset {
                // A close with linger 0 resets, and leaves no TIME_WAIT that would keep the port.
                SockRef::from(connection.client.stream()).set_linger(Some(Duration::ZERO)).expect("a socket option");
                drop(connection.client);
            } else {
                drop(connection.server);
                drop(connection.client);
            }
        }
    }
    Ok(())
}
