//! Who made a packet: the node itself, or somebody from whose packet its kernel has made another.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use podgate_lab::{Interface, LinkSocket, Outside, Pod, Probe, Result, Seen, UPLINK, Wiring};
use socket2::{Domain, Protocol, Socket, Type};

use super::macs;
use crate::packets::{ARRIVES, STAYS_AWAY, ends_of, ip_header, link};
use crate::support::{Questions, World, deny_all, policy};

const PAYLOAD: &[u8] = b"made anew";
/// Bytes of the transport header and payload in the first of two fragments.
const FIRST: usize = 24;
/// With the fragments' own headers the packet fits the link only in pieces.
const LARGE: usize = 1360;

/// A pod that denies everything, on a node whose connection tracking puts fragments together.
fn closed(name: &str) -> Result<(World, Pod)> {
    let mut world = World::new(name)?;
    let pod = world.pod("shop/server", Wiring::Ptp)?;
    world.write("policies.yaml", &deny_all("shop", "{}"))?;
    world.run_agent(&[])?;
    let chain = "add chain ip6 tracked forward { type filter hook forward priority 0; }";
    let rule = "add rule ip6 tracked forward ct state invalid drop";
    world.node.output("nft", &[&format!("add table ip6 tracked; {chain}; {rule}")])?;
    Ok((world, pod))
}

/// Lets this address in.
fn allow(address: IpAddr) -> String {
    policy(
        "shop",
        "allow",
        &format!("podSelector: {{}}\ningress: [{{from: [{{ipBlock: {{cidr: '{address}/128'}}}}]}}]"),
    )
}

/// What the transport layer sends, of more than one link's frame.
#[derive(Clone, Copy)]
enum Transport {
    Udp,
    Syn,
}

fn packet(transport: Transport, source: IpAddr, to: IpAddr) -> Vec<u8> {
    let payload = [PAYLOAD, &[0; LARGE]].concat();
    let builder = PacketBuilder::ip(ip_header(source, to));
    let mut packet = Vec::new();
    let written = match transport {
        Transport::Udp => builder.udp(5555, 53).write(&mut packet, &payload),
        Transport::Syn => builder.tcp(5555, 80, 1000, 65_000).syn().write(&mut packet, &payload),
    };
    written.expect("a vector takes every packet");
    packet
}

/// Two fragments of an IPv6 packet whose first has a header before it that leaves no room for the second: the kernel can't
/// send them on as they are once it has put them together.
fn two_fragments(macs: [[u8; 6]; 2], packet: &[u8], id: u32) -> [Vec<u8>; 2] {
    const HEADER: usize = 40;
    const HOP_BY_HOP: u8 = 0;
    const FRAGMENT: u8 = 44;
    let frame = |next_header: u8, rest: &[u8]| {
        let mut frame = [&macs[1][..], &macs[0], &[0x86, 0xdd], &packet[..HEADER], rest].concat();
        frame[18..20].copy_from_slice(&u16::try_from(rest.len()).expect("less than a packet").to_be_bytes());
        frame[20] = next_header;
        frame
    };
    let header = |offset: usize, more: u16| {
        let field = u16::try_from(offset).expect("less than a packet") | more;
        [&[packet[6], 0][..], &field.to_be_bytes(), &id.to_be_bytes()].concat()
    };
    let (first, second) = packet[HEADER..].split_at(FIRST);
    // 256 bytes: what follows, its length in units of eight bytes less one, and one option that may be skipped.
    let options = [&[FRAGMENT, 31, 0x1e, 252][..], &[0; 252]].concat();
    [
        frame(HOP_BY_HOP, &[&options[..], &header(0, 1), first].concat()),
        frame(FRAGMENT, &[&header(FIRST, 0)[..], second].concat()),
    ]
}

#[test]
fn a_packet_that_the_node_has_put_together_and_cut_again_is_judged_by_its_source() -> Result<()> {
    let (mut world, pod) = closed("cut-again")?;
    let outside = world.lab.outside().clone();
    let (near, far) = (Interface::find(&outside, "node1")?, Interface::find(&world.node, UPLINK)?);
    let (sending, mut arriving) = (LinkSocket::open(&outside, "node1")?, link(&pod)?);
    let mut ids = 1..;
    let mut arrives = |transport, source, limit| -> Result<bool> {
        let packet = packet(transport, source, pod.ip6());
        for fragment in two_fragments(macs(&near, &far), &packet, ids.next().expect("there are enough")) {
            sending.send(&fragment)?;
        }
        Ok(arriving.catch(limit, |frame| ends_of(frame) == Some((source, pod.ip6()))).is_some())
    };
    // The node's own address can't be told from outside by an address: it must not come from there.
    let sources = [Outside::IP6, world.node.ip6(), Outside::OTHER_IP6];
    for source in sources {
        for transport in [Transport::Udp, Transport::Syn] {
            assert!(!arrives(transport, source, STAYS_AWAY)?, "from {source}");
        }
    }
    world.write("more.yaml", &allow(Outside::IP6))?;
    for (source, expected) in sources.into_iter().zip([true, false, false]) {
        let limit = if expected { ARRIVES } else { STAYS_AWAY };
        assert_eq!(arrives(Transport::Udp, source, limit)?, expected, "from {source}");
    }
    Ok(())
}

#[test]
fn a_process_of_the_node_may_ask_from_any_address() -> Result<()> {
    let (mut world, pod) = closed("no-socket")?;
    let mut arriving = link(&pod)?;
    let foreign: IpAddr = [192, 0, 2, 99].into();
    let socket = world.node.run(|| -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_ip_transparent_v4(true)?;
        socket.bind(&SocketAddr::new(foreign, 4000).into())?;
        Ok(socket)
    });
    let socket = socket.expect("root may bind any address");
    socket.send_to(PAYLOAD, &SocketAddr::new(pod.ip4(), 53).into()).expect("there is a way to the pod");
    let is_from = |source: IpAddr| move |frame: &[u8]| ends_of(frame).is_some_and(|ends| ends.0 == source);
    assert!(arriving.catch(ARRIVES, is_from(foreign)).is_some());
    assert_eq!(world.allowed(&pod, "ingress")?.get("node"), Some(&1));
    Ok(())
}

#[test]
fn who_comes_by_a_port_of_the_node_is_let_in_whatever_the_number_of_the_agents_start() -> Result<()> {
    /// A port of the node that leads to the pod's.
    const PORT: u16 = 30_080;
    /// Tags tell so many starts apart.
    const STARTS: u32 = 8;
    let mut world = World::new("starts")?;
    let pod = world.pod("shop/server", Wiring::Ptp)?;
    let (node, at) = (world.node.ip4(), SocketAddr::new(pod.ip4(), 80));
    let chain = "add chain ip ports in { type nat hook prerouting priority dstnat; }";
    let rule = format!("add rule ip ports in ip daddr {node} tcp dport {PORT} dnat to {at}");
    world.node.output("nft", &[&format!("add table ip ports; {chain}; {rule}")])?;
    world.run_agent(&[])?;
    for start in 1..=STARTS {
        println!("start {start}");
        Questions::new().answered(world.lab.outside(), [Probe::tcp(node, PORT)]).ask();
        drop(world.take_agent());
        world.restart()?;
    }
    Ok(())
}

#[test]
fn a_container_on_a_macvlan_over_the_nodes_bridge_is_not_the_node() -> Result<()> {
    let mut world = World::new("macvlan")?;
    let [closed, open] = ["shop/closed", "other/open"].map(|name| world.pod(name, Wiring::Bridge));
    let (closed, open, container) = (closed?, open?, world.pod("other/container", Wiring::Ptp)?);
    world.write("policies.yaml", &deny_all("shop", "{}"))?;
    world.run_agent(&[])?;
    let source = {
        let IpAddr::V4(first) = closed.ip4() else { panic!("it is an IPv4 address") };
        let [a, b, c, _] = first.octets();
        IpAddr::from([a, b, c, 200])
    };
    world.node.ip(&[
        "link add macvlan link cni0 type macvlan mode bridge".to_owned(),
        format!("link set macvlan netns {}", container.netns()),
    ])?;
    let routes = [&closed, &open].map(|pod| format!("route add {} dev macvlan src {source}", pod.ip4()));
    container.ip(&[format!("address add {source}/32 dev macvlan"), "link set macvlan up".to_owned()])?;
    container.ip(&routes)?;
    let probes = |pod: &Pod| [Probe::tcp(pod.ip4(), 80), Probe::udp(pod.ip4(), 80)];
    let mut questions = Questions::new();
    for (pod, seen) in [(&open, Seen::Answered), (&closed, Seen::Silence)] {
        for probe in probes(pod) {
            questions = questions.expect_from(&container, source, probe, seen);
        }
    }
    questions.ask();
    Ok(())
}
