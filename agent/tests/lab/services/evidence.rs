//! Where a packet goes that is sent to a Service's address, or to the node's: what the pod has heard from there before says
//! nothing about it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};
use podgate_lab::{Fate, LinkSocket, Load, Pod, Probe, Result, Seen, Service, ServicePort, Transport, Wiring};

use super::shop::{BOTH, CLUSTER_IPS, NODE_PORT, PORT, Plan, Shop, egress, ips, make, received, to_open_backends};
use crate::evidence::{datagram, to_gateway};
use crate::packets::{ARRIVES, STAYS_AWAY, carries, ends_of, ip_header, link};
use crate::support::policy;

/// The client's port in flows that others began.
const CLIENT_PORT: u16 = 7000;

/// A frame whose checksum is wrong, so that connection tracking does not take note of it.
fn unnoticed(mut frame: Vec<u8>) -> Vec<u8> {
    *frame.last_mut().expect("it has a payload") ^= 0xff;
    frame
}

/// A TCP segment that opens a connection.
pub(super) fn syn(pod: &Pod, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut frame = Vec::new();
    let [from_mac, to_mac] = to_gateway(pod);
    let builder = PacketBuilder::ethernet2(from_mac, to_mac).ip(ip_header(from.ip(), to.ip()));
    builder.tcp(from.port(), to.port(), 1, 65_000).syn().write(&mut frame, b"x").expect("a vector takes every frame");
    frame
}

/// One exchange from the client's port.
fn load(transport: Transport, to: SocketAddr) -> Load {
    Load { patience: Duration::from_millis(300), ..Load::new(transport, to, CLIENT_PORT, 1) }
}

#[test]
fn what_comes_from_a_services_address_opens_no_way_to_its_backends() -> Result<()> {
    let mut shop = Shop::empty("from-service", Plan::ROUTED_NFTABLES)?;
    shop.backend("near-closed", Wiring::Ptp, "closed")?;
    shop.set(&shop.api())?;
    // Not isolated, so it may use any address.
    let accomplice = shop.world.pod("shop/accomplice", Wiring::Ptp)?;
    shop.world.write("policies.yaml", &to_open_backends())?;
    shop.start_agents(&[])?;
    let (sending, mut arriving) = (link(&accomplice)?, link(&shop.client)?);
    let closed = [shop.pod("near-closed")];
    let before = received(&closed)?;
    // The kernel lets nobody from outside use the node's own IPv4 address.
    let [cluster4, cluster6] = ips(CLUSTER_IPS);
    let services = [(cluster4, PORT), (cluster6, PORT), (shop.world.node.ip6(), NODE_PORT)];
    for (address, port) in services {
        let client: IpAddr = if address.is_ipv4() { shop.client.ip4() } else { shop.client.ip6() };
        let (service, client) = (SocketAddr::new(address, port), SocketAddr::new(client, CLIENT_PORT));
        for frame in [datagram(to_gateway(&accomplice), service, client, b"x"), syn(&accomplice, service, client)] {
            sending.send(&unnoticed(frame))?;
            let came = arriving.catch(ARRIVES, |frame| ends_of(frame) == Some((service.ip(), client.ip())));
            assert!(came.is_some(), "from {service}: nobody keeps it from the client");
        }
        let loads = BOTH.map(|transport| load(transport, service));
        let fates: Vec<Fate> = make(&shop.client, &loads)?.concat().into_iter().map(|attempt| attempt.fate).collect();
        assert_eq!(fates, [Fate::Silence; 2], "{service}");
    }
    assert_eq!(received(&closed)?, before, "something reached a backend that is closed");
    Ok(())
}

#[test]
fn a_pod_that_may_open_nothing_answers_clients_that_come_with_the_nodes_address() -> Result<()> {
    // The links of these pods have no address of their own, so the node gives that of its uplink.
    let plan = Plan { wiring: Wiring::Routed, ..Plan::ROUTED_NFTABLES };
    let mut shop = Shop::empty("answers", plan)?;
    shop.backend("near-open", plan.wiring, "open")?;
    shop.set(&shop.api())?;
    let [ip4, ip6] = shop.node_ips();
    let from = format!("[{{ipBlock: {{cidr: {ip4}/32}}}}, {{ipBlock: {{cidr: '{ip6}/128'}}}}]");
    let server = "podSelector: {matchLabels: {access: open}}\npolicyTypes: [Ingress, Egress]";
    shop.world.write("policies.yaml", &policy("shop", "server", &format!("{server}\ningress: [{{from: {from}}}]")))?;
    shop.start_agents(&[])?;
    let loads: Vec<Load> = shop.loads(shop.node_ips(), NODE_PORT, 5).into_iter().map(twice).collect();
    let made = make(shop.world.lab.outside(), &loads)?.concat();
    let unanswered: Vec<_> = made.iter().filter(|attempt| attempt.fate != Fate::Answered(1)).collect();
    assert!(unanswered.is_empty(), "{unanswered:?}");
    Ok(())
}

/// The same with a second exchange, in the flow that the first has opened.
fn twice(load: Load) -> Load {
    Load { rounds: 2, ..load }
}

/// "Fragmentation needed" or "packet too big" about a datagram from the Service to the client, with as much of it as it likes.
pub(super) fn too_large(client: &Pod, service: SocketAddr, port: u16, payload: &[u8]) -> Vec<u8> {
    let local = if service.is_ipv4() { client.ip4() } else { client.ip6() };
    let mut about = Vec::new();
    let datagram = PacketBuilder::ip(ip_header(service.ip(), local)).udp(service.port(), port);
    datagram.write(&mut about, payload).expect("a vector takes every packet");
    let [from_mac, to_mac] = to_gateway(client);
    let error = PacketBuilder::ethernet2(from_mac, to_mac).ip(ip_header(local, service.ip()));
    let mut frame = Vec::new();
    let written = if local.is_ipv4() {
        let what = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1280 };
        error.icmpv4(Icmpv4Type::DestinationUnreachable(what)).write(&mut frame, &about)
    } else {
        error.icmpv6(Icmpv6Type::PacketTooBig { mtu: 1280 }).write(&mut frame, &about)
    };
    written.expect("a vector takes every packet");
    frame
}

#[test]
fn a_backend_that_does_not_serve_says_so_through_its_service() -> Result<()> {
    let client = "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Ingress, Egress]\negress: [{}]";
    for (name, plan) in [("deaf-nftables", Plan::ROUTED_NFTABLES), ("deaf-iptables", Plan::TUNNELLED_IPTABLES)] {
        let mut shop = Shop::empty(name, plan)?;
        shop.backend("near-open", plan.wiring, "open")?;
        let closed = ServicePort::new(Transport::Udp, PORT).to(shop.pod("near-open").backends(9));
        shop.set(&Service::new("shop/deaf").cluster_ips(ips(CLUSTER_IPS)).port(closed))?;
        shop.world.write("policies.yaml", &policy("shop", "client", client))?;
        shop.start_agents(&[])?;
        for address in ips(CLUSTER_IPS) {
            shop.client.expect(Probe::udp(address, PORT), Seen::Refused)?;
        }
    }
    Ok(())
}

#[test]
fn an_error_about_a_service_reaches_only_a_backend_that_the_flow_was_let_reach() -> Result<()> {
    const TOLD: &[u8] = b"whatever the client likes to tell";
    let mut shop = Shop::empty("error-to-service", Plan::ROUTED_NFTABLES)?;
    shop.backend("near-closed", Wiring::Ptp, "closed")?;
    shop.set(&shop.api())?;
    shop.world.write("policies.yaml", &to_open_backends())?;
    shop.start_agents(&[])?;
    let (sending, mut arriving): (LinkSocket, LinkSocket) = (link(&shop.client)?, link(shop.pod("near-closed"))?);
    let mut first_port = CLIENT_PORT..;
    let [cluster4, cluster6] = ips(CLUSTER_IPS);
    let [node4, _] = shop.node_ips();
    for (policies, limit) in [(to_open_backends(), STAYS_AWAY), (egress(""), ARRIVES)] {
        shop.set_policies(&policies)?;
        for (address, port) in [(cluster4, PORT), (cluster6, PORT), (node4, NODE_PORT)] {
            let (service, from) = (SocketAddr::new(address, port), first_port.next().expect("there are enough"));
            make(&shop.client, &[Load { first_port: from, ..load(Transport::Udp, service) }])?;
            sending.send(&too_large(&shop.client, service, from, TOLD))?;
            let came = arriving.catch(limit, |frame| carries(frame, TOLD)).is_some();
            assert_eq!(came, limit == ARRIVES, "{service} with {policies}");
        }
    }
    Ok(())
}
