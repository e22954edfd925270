//! ICMP errors belong to the flow of the packet that they are about.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};
use podgate_lab::{Interface, LinkSocket, Outside, Pod, Result, UPLINK, Wiring};

use super::{ARRIVES, STAYS_AWAY, carries, ip_header, link};
use crate::support::{World, policy};

/// Less than a pod's 1500.
const SMALL_MTU: u16 = 1400;
const BULK: usize = 300_000;
/// What the datagram carried that an error is about.
const TOO_LARGE: &[u8] = b"too large";

/// The client may ask anybody, and nobody may ask it.
fn client_may_ask() -> String {
    let select = "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Ingress, Egress]";
    policy("shop", "client", &format!("{select}\negress: [{{ports: [{{port: 80}}, {{protocol: UDP, port: 80}}]}}]"))
}

fn client(name: &str) -> Result<(World, Pod)> {
    let mut world = World::new(name)?;
    let client = world.pod("shop/client", Wiring::Ptp)?;
    world.write("policies.yaml", &client_may_ask())?;
    world.run_agent(&[])?;
    Ok((world, client))
}

/// Reads what is sent until the end, for a limited time.
fn receive(mut stream: TcpStream) -> usize {
    let deadline = Instant::now() + ARRIVES;
    let (mut buffer, mut received) = (vec![0; 65536], 0);
    stream.set_read_timeout(Some(ARRIVES)).expect("the limit is not zero");
    while Instant::now() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => received += length,
        }
    }
    received
}

#[test]
fn a_connection_learns_of_a_smaller_mtu_on_its_way() -> Result<()> {
    let (mut world, client) = client("path-mtu")?;
    let far = world.lab.node("node-2")?;
    world.lab.outside().ip(&[format!("link set node2 mtu {SMALL_MTU}")])?;
    for address in [far.ip4(), far.ip6()] {
        let listener = far.listen(80)?;
        listener.set_nonblocking(false).expect("a listener can block");
        let mut stream =
            client.run(|| TcpStream::connect_timeout(&SocketAddr::new(address, 80), ARRIVES)).expect("it may connect");
        let (accepted, _) = listener.accept().expect("the client is connected");
        let reader = thread::spawn(|| receive(accepted));
        stream.set_write_timeout(Some(ARRIVES)).expect("the limit is not zero");
        stream.write_all(&vec![7; BULK]).and_then(|()| stream.shutdown(Shutdown::Write)).expect("buffers take it");
        assert_eq!(reader.join().expect("reading does not panic"), BULK, "{address}");
    }
    let related = world.allowed(&client, "ingress")?.get("related").copied();
    assert!(related.is_some_and(|packets| packets >= 2), "an error of each family came from the router: {related:?}");
    Ok(())
}

/// Says, from an address, that a datagram from `pod` to port 80 of another was too large.
fn too_large(macs: ([u8; 6], [u8; 6]), from: IpAddr, pod: SocketAddr, to: IpAddr) -> Vec<u8> {
    let mut about = Vec::new();
    let datagram = PacketBuilder::ip(ip_header(pod.ip(), to)).udp(pod.port(), 80);
    datagram.write(&mut about, TOO_LARGE).expect("a vector takes every packet");
    let error = PacketBuilder::ethernet2(macs.0, macs.1).ip(ip_header(from, pod.ip()));
    let mut frame = Vec::new();
    let written = match pod.ip() {
        IpAddr::V4(_) => {
            let what = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: SMALL_MTU };
            error.icmpv4(Icmpv4Type::DestinationUnreachable(what)).write(&mut frame, &about)
        }
        IpAddr::V6(_) => error.icmpv6(Icmpv6Type::PacketTooBig { mtu: SMALL_MTU.into() }).write(&mut frame, &about),
    };
    written.expect("a vector takes every packet");
    frame
}

#[test]
fn an_error_about_a_flow_that_is_allowed_enters_and_any_other_does_not() -> Result<()> {
    let (mut world, client) = client("errors")?;
    let outside = world.lab.outside().clone();
    let (near, far) = (Interface::find(&outside, "node1")?, Interface::find(&world.node, UPLINK)?);
    let (sending, mut arriving) = (LinkSocket::open(&outside, "node1")?, link(&client)?);
    for (pod, outside) in client.addresses().both().into_iter().zip([Outside::IP4, Outside::IP6]) {
        let socket = client.run(|| UdpSocket::bind((pod, 4000))).expect("the port is free");
        socket.send_to(b"a question", (outside, 80)).expect("the kernel takes the datagram");
        for (port, known) in [(4001, false), (4000, true)] {
            let error = too_large((near.mac, far.mac), outside, SocketAddr::new(pod, port), outside);
            sending.send(&error)?;
            let limit: Duration = if known { ARRIVES } else { STAYS_AWAY };
            let caught = arriving.catch(limit, |frame| carries(frame, TOO_LARGE));
            assert_eq!(caught.is_some(), known, "about {pod} port {port}");
        }
    }
    assert_eq!(world.denied(&client, "ingress")?, [("icmp_unrelated".to_owned(), 2)].into());
    Ok(())
}

/// A pod without policies sends the client errors about what the client has sent to another pod, and to itself.
fn only_an_end_of_a_flow_tells_of_it(name: &str, wiring: Wiring, hook: &str) -> Result<()> {
    let mut world = World::new(name)?;
    let [client, server, neighbour] =
        ["client", "server", "neighbour"].map(|pod| world.pod(&format!("shop/{pod}"), wiring));
    let (client, server, neighbour) = (client?, server?, neighbour?);
    world.write("policies.yaml", &client_may_ask())?;
    world.run_agent(&["--hook", hook])?;
    let next = if wiring == Wiring::Bridge { client.interface() } else { neighbour.gateway() };
    let macs = (neighbour.interface().mac, next.mac);
    let (sending, mut arriving) = (link(&neighbour)?, link(&client)?);
    let [clients, servers, neighbours] = [&client, &server, &neighbour].map(|pod| pod.addresses().both());
    for ((pod, server), neighbour) in clients.into_iter().zip(servers).zip(neighbours) {
        let socket = client.run(|| UdpSocket::bind((pod, 4000))).expect("the port is free");
        for to in [server, neighbour] {
            socket.send_to(b"a question", (to, 80)).expect("the kernel takes the datagram");
            sending.send(&too_large(macs, neighbour, SocketAddr::new(pod, 4000), to))?;
            let told =
                arriving.catch(if to == neighbour { ARRIVES } else { STAYS_AWAY }, |frame| carries(frame, TOO_LARGE));
            assert_eq!(told.is_some(), to == neighbour, "{neighbour} about a datagram from {pod} to {to}");
        }
    }
    assert_eq!(world.denied(&client, "ingress")?, [("icmp_unrelated".to_owned(), 2)].into());
    Ok(())
}

#[test]
fn a_pod_tells_another_nothing_of_what_that_has_sent_to_a_third() -> Result<()> {
    only_an_end_of_a_flow_tells_of_it("third", Wiring::Ptp, "tcx")
}

#[test]
fn a_pod_tells_another_nothing_of_what_that_has_sent_to_a_third_on_a_bridge_by_clsact() -> Result<()> {
    only_an_end_of_a_flow_tells_of_it("third-bridge", Wiring::Bridge, "clsact")
}
