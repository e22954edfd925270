//! What labs need of a kernel: run on every kernel that podgate is tested on, before enforcement is.

use std::net::SocketAddr;
use std::time::Duration;

use podgate_lab::{Connection, Lab, Outside, Probe, Result, Seen, Wiring};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn routed_pods_reach_each_other_and_the_outside_by_tcp_udp_and_icmp() -> Result<()> {
    let lab = Lab::new("routed")?;
    let node = lab.node("node")?;
    let (client, server) = (node.pod("client", Wiring::Routed)?, node.pod("server", Wiring::Routed)?);
    for namespace in [&*server, &**lab.outside()] {
        namespace.serve_tcp(80)?.detach();
        namespace.serve_udp(80)?.detach();
    }
    for address in [server.ip4(), server.ip6(), Outside::IP4, Outside::IP6] {
        for probe in [Probe::tcp(address, 80), Probe::udp(address, 80), Probe::ping(address)] {
            client.expect_within(probe, Seen::Answered, LIMIT)?;
        }
    }
    Ok(())
}

#[test]
fn a_connection_of_routed_pods_carries_messages_both_ways() -> Result<()> {
    let lab = Lab::new("routed-connection")?;
    let node = lab.node("node")?;
    let (client, server) = (node.pod("client", Wiring::Routed)?, node.pod("server", Wiring::Routed)?);
    // A port of its own for each: a program that another test starts meanwhile holds the first listener a moment longer.
    for (address, port) in server.addresses().both().into_iter().zip(5000..) {
        let mut connection = Connection::open(&client, &server, SocketAddr::new(address, port))?;
        let both = (connection.client_reaches_server(LIMIT), connection.server_reaches_client(LIMIT));
        assert_eq!(both, (true, true), "{address}");
    }
    Ok(())
}
