//! Source addresses that are not the sender's own.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use podgate_lab::{Outside, Pod, Probe, Result, Seen, Wiring};

use super::{ARRIVES, Pair, STAYS_AWAY, carries, ends_of, ip_header, link};
use crate::support::{Questions, World, everything, policy};

const PAYLOAD: &[u8] = b"from whom?";

/// The client may ask anybody anything, the server may be asked only by it.
fn policies() -> String {
    let client = "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [server]}]}\n\
                  policyTypes: [Egress]\negress: [{}]";
    let server = "podSelector: {matchLabels: {app: server}}\n\
                  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]";
    [policy("shop", "client", client), policy("shop", "server", server)].join("---\n")
}

/// A datagram with any source address, made by the pod itself.
fn datagram(pod: &Pod, source: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(pod.interface().mac, pod.gateway().mac)
        .ip(ip_header(source, to))
        .udp(4000, 80)
        .write(&mut frame, PAYLOAD)
        .expect("a vector takes every frame");
    frame
}

#[test]
fn a_packet_that_leaves_a_pod_with_a_source_address_not_its_own_is_dropped() -> Result<()> {
    let mut pair = Pair::started("spoofed", Wiring::Ptp, &policies())?;
    let other = pair.world.pod("shop/other", Wiring::Ptp)?;
    let node = pair.world.node.clone();
    let (sending, mut arriving) = (link(&pair.client)?, link(&pair.server)?);
    let foreign4 = [other.ip4(), node.ip4(), Outside::IP4, pair.server.ip4()];
    let foreign6 = [other.ip6(), node.ip6(), Outside::IP6, pair.server.ip6()];
    for source in foreign4.into_iter().chain(foreign6) {
        let to = if source.is_ipv4() { pair.server.ip4() } else { pair.server.ip6() };
        sending.send(&datagram(&pair.client, source, to))?;
    }
    assert_eq!(arriving.catch(STAYS_AWAY, |frame| carries(frame, PAYLOAD)), None);
    assert_eq!(pair.world.denied(&pair.client, "egress")?, [("spoofed".to_owned(), 8)].into());
    for (source, to) in pair.ends() {
        sending.send(&datagram(&pair.client, source, to))?;
        assert!(arriving.catch(ARRIVES, |frame| carries(frame, PAYLOAD)).is_some(), "its own address {source}");
    }
    Ok(())
}

#[test]
fn a_pod_that_may_route_sends_packets_of_others() -> Result<()> {
    let mut pair = Pair::new("routing", Wiring::Ptp)?;
    let client = "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{}]";
    pair.world.write("policies.yaml", &policy("shop", "client", client))?;
    pair.world.run_agent(&["--allow-foreign-source", "shop/client"])?;
    let (sending, mut arriving) = (link(&pair.client)?, link(&pair.server)?);
    for (source, to) in [(Outside::IP4, pair.server.ip4()), (Outside::IP6, pair.server.ip6())] {
        sending.send(&datagram(&pair.client, source, to))?;
        assert!(arriving.catch(ARRIVES, |frame| ends_of(frame) == Some((source, to))).is_some(), "from {source}");
    }
    Ok(())
}

/// The stranger gives itself the client's addresses.
fn take_addresses(stranger: &Pod, client: &Pod) -> Result<()> {
    let [ip4, ip6] = client.addresses().both();
    stranger.ip(&[format!("addr add {ip4}/32 dev eth0"), format!("addr add {ip6}/128 dev eth0 nodad")])
}

/// The client has its rights and the stranger has not, at whatever address.
fn assert_identities(world: &World, client: &Pod, stranger: &Pod, server: &Pod) {
    let mut questions = Questions::new()
        .answered(client, everything(server.addresses().both(), 80))
        .silent(stranger, everything(server.addresses().both(), 80))
        .answered(&world.node, everything(client.addresses().both(), 80));
    for (source, to) in client.addresses().both().into_iter().zip(server.addresses().both()) {
        questions = questions.expect_from(stranger, source, Probe::Udp(SocketAddr::new(to, 80)), Seen::Silence);
    }
    questions.ask();
}

#[test]
fn a_pod_that_adds_another_pods_address_to_its_interface_changes_nobodys_identity() -> Result<()> {
    let mut pair = Pair::started("taken-address", Wiring::Ptp, &policies())?;
    let stranger = pair.world.pod("shop/stranger", Wiring::Ptp)?;
    take_addresses(&stranger, &pair.client)?;
    assert_identities(&pair.world, &pair.client, &stranger, &pair.server);
    let status = pair.world.status()?;
    let anomalies = status["anomalies"].as_array().map_or(0, Vec::len);
    assert_ne!(anomalies, 0, "the status tells: {status}");
    pair.world.take_agent().kill()?;
    pair.world.restart()?;
    assert_identities(&pair.world, &pair.client, &stranger, &pair.server);
    Ok(())
}
