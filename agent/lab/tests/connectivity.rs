//! Without enforcement everything reaches everything, whatever the wiring.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use podgate_lab::{Connection, Lab, Namespace, Node, Outside, Pod, Probe, Result, Seen, Wiring};

const LIMIT: Duration = Duration::from_secs(3);

fn reaches(from: &Namespace, to: [IpAddr; 2]) -> Result<()> {
    for address in to {
        for probe in [Probe::tcp(address, 80), Probe::udp(address, 80), Probe::ping(address)] {
            from.expect_within(probe, Seen::Answered, LIMIT)?;
        }
    }
    Ok(())
}

fn serve(namespace: &Namespace) -> Result<()> {
    namespace.serve_tcp(80)?.detach();
    namespace.serve_udp(80)?.detach();
    Ok(())
}

fn served_pod(node: &Node, name: &str, wiring: Wiring) -> Result<Pod> {
    let pod = node.pod(name, wiring)?;
    serve(&pod)?;
    Ok(pod)
}

#[test]
fn pods_of_every_wiring_reach_each_other_on_both_families() -> Result<()> {
    let lab = Lab::new("every-wiring")?;
    let node = lab.node("node-1")?;
    let mut pods = Vec::new();
    for (name, wiring) in ["a", "b"].iter().flat_map(|name| Wiring::ALL.map(|wiring| (name, wiring))) {
        pods.push(served_pod(&node, &format!("{wiring}-{name}"), wiring)?);
    }
    for from in &pods {
        for to in &pods {
            reaches(from, to.addresses().both())?;
        }
    }
    Ok(())
}

#[test]
fn pods_nodes_and_the_outside_reach_each_other() -> Result<()> {
    let lab = Lab::new("two-nodes")?;
    let (one, two) = (lab.node("one")?, lab.node("two")?);
    serve(lab.outside())?;
    serve(&two)?;
    for wiring in Wiring::ALL {
        let near = served_pod(&one, &format!("near-{wiring}"), wiring)?;
        let far = served_pod(&two, &format!("far-{wiring}"), wiring)?;
        reaches(&near, far.addresses().both())?;
        reaches(&near, [Outside::IP4, Outside::IP6])?;
        reaches(&near, [two.ip4(), two.ip6()])?;
        reaches(&one, near.addresses().both())?;
        reaches(&one, far.addresses().both())?;
        reaches(lab.outside(), far.addresses().both())?;
    }
    Ok(())
}

#[test]
fn the_outside_can_ask_from_its_other_addresses() -> Result<()> {
    let lab = Lab::new("other-addresses")?;
    let pod = served_pod(&lab.node("node")?, "pod", Wiring::Ptp)?;
    for (to, source) in [(pod.ip4(), Outside::OTHER_IP4), (pod.ip6(), Outside::OTHER_IP6)] {
        let source = SocketAddr::new(source, 4000);
        let seen = lab.outside().probe_from(Probe::tcp(to, 80), Some(source), LIMIT);
        assert_eq!(seen, Seen::Answered, "{source}");
    }
    Ok(())
}

#[test]
fn probes_tell_refusal_silence_and_missing_routes_apart() -> Result<()> {
    let lab = Lab::new("refusal")?;
    let node = lab.node("node")?;
    let (client, server) = (node.pod("client", Wiring::Ptp)?, node.pod("server", Wiring::Ptp)?);
    let nobody: IpAddr = "10.244.1.50".parse().unwrap();
    server.ip(&["route add blackhole 10.244.1.2/32"])?;
    let seen = [
        client.probe(Probe::tcp(server.ip6(), 81)),
        client.probe(Probe::udp(server.ip6(), 81)),
        client.probe(Probe::ping(server.ip4())),
        client.probe(Probe::tcp(nobody, 80)),
    ];
    assert_eq!(client.ip4().to_string(), "10.244.1.2");
    assert_eq!(seen, [Seen::Refused, Seen::Refused, Seen::Silence, Seen::Unreachable]);
    Ok(())
}

#[test]
fn an_expectation_that_does_not_come_true_is_an_error() -> Result<()> {
    let lab = Lab::new("expectation")?;
    let pod = lab.node("node")?.pod("pod", Wiring::Ptp)?;
    let outcome = pod.expect_within(Probe::tcp(pod.ip4(), 80), Seen::Answered, Duration::from_millis(100));
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains("Refused instead of Answered"), "{message}");
    Ok(())
}

#[test]
fn a_connection_carries_messages_both_ways_until_the_link_is_down_and_again_after() -> Result<()> {
    let lab = Lab::new("connection")?;
    let node = lab.node("node")?;
    let (client, server) = (node.pod("client", Wiring::Routed)?, node.pod("server", Wiring::Bridge)?);
    for (address, port) in server.addresses().both().into_iter().zip(5000..) {
        let mut connection = Connection::open(&client, &server, SocketAddr::new(address, port))?;
        let mut both = |limit| (connection.client_reaches_server(limit), connection.server_reaches_client(limit));
        assert_eq!(both(LIMIT), (true, true), "{address}");
        node.ip(&[format!("link set {} down", server.host_interface().name)])?;
        assert_eq!(both(Duration::from_millis(200)), (false, false), "{address}");
        node.ip(&[format!("link set {} up", server.host_interface().name)])?;
        assert_eq!(both(Duration::from_secs(10)), (true, true), "{address}");
    }
    Ok(())
}

#[test]
fn a_pod_can_take_the_address_of_a_removed_one() -> Result<()> {
    let lab = Lab::new("reuse")?;
    let node = lab.node("node")?;
    let client = node.pod("client", Wiring::Ptp)?;
    for wiring in Wiring::ALL {
        let old = served_pod(&node, "old", wiring)?;
        node.remove(&old)?;
        let new = node.pod_at("new", wiring, old.addresses())?;
        assert_eq!(new.addresses(), old.addresses());
        serve(&new)?;
        reaches(&client, new.addresses().both())?;
        node.remove(&new)?;
    }
    Ok(())
}
