//! Packets in packets that a pod sends to its own node, which takes the one out of the other.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use podgate_lab::{Interface, LinkSocket, Node, Outside, Pod, Result, Wiring};

use super::datagram;
use crate::packets::{ARRIVES, STAYS_AWAY, carries, link};
use crate::support::{World, policy};

/// The tunnels' devices, over IPv4 and over IPv6, and their network identifiers, as overlay networks have them.
const TUNNELS: [(&str, u8); 2] = [("overlay4", 4), ("overlay6", 6)];
const VXLAN_PORT: u16 = 8472;

fn add_tunnels(node: &Node) -> Result<()> {
    for ((name, id), local) in TUNNELS.into_iter().zip([node.ip4(), node.ip6()]) {
        node.ip(&[
            format!("link add {name} type vxlan id {id} local {local} dstport {VXLAN_PORT} nolearning"),
            format!("addr add 10.255.{id}.1/24 dev {name}"),
            format!("link set {name} up"),
        ])?;
    }
    Ok(())
}

/// The sender may open nothing but what `egress` says, and only the friend may ask the victim, beside whom `ingress` names.
fn policies(egress: &str, ingress: &str) -> String {
    let sender = format!("podSelector: {{matchLabels: {{app: sender}}}}\npolicyTypes: [Egress]\negress: [{egress}]");
    let friend = "{podSelector: {matchLabels: {app: friend}}}";
    let victim = format!("podSelector: {{matchLabels: {{app: victim}}}}\ningress: [{{from: [{friend}{ingress}]}}]");
    [policy("shop", "sender", &sender), policy("shop", "victim", &victim)].join("---\n")
}

/// How an inner frame is wrapped.
#[derive(Clone, Copy, Debug)]
enum Wrap {
    /// In a datagram over IPv4.
    Over4,
    /// In one over IPv6.
    Over6,
    /// In one that is itself in a tunnel's.
    Twice,
}

/// The payload of a datagram to the node's end of a tunnel (RFC 7348).
fn vxlan(id: u8, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0, 0, 0, id, 0], frame].concat()
}

struct Sender {
    pod: Pod,
    node: Node,
    /// The hardware addresses of the tunnels' devices.
    ends: [[u8; 6]; 2],
}

impl Sender {
    fn new(pod: Pod, node: &Node) -> Result<Self> {
        let [over4, over6] = TUNNELS.map(|(name, _)| Interface::find(node, name));
        Ok(Self { pod, node: node.clone(), ends: [over4?.mac, over6?.mac] })
    }

    /// Sends a datagram to the victim's port 53 or to somebody else's, in another one. That takes no privileges.
    fn send(&self, wrap: Wrap, from: IpAddr, to: IpAddr, payload: &[u8]) {
        let (local, node) = match wrap {
            Wrap::Over4 | Wrap::Twice => (self.pod.ip4(), self.node.ip4()),
            Wrap::Over6 => (self.pod.ip6(), self.node.ip6()),
        };
        let [over4, over6] = self.ends;
        let (id, end) = if matches!(wrap, Wrap::Over6) { (TUNNELS[1].1, over6) } else { (TUNNELS[0].1, over4) };
        let frame = |from, to, payload: &[u8]| datagram([[2, 0, 0, 0, 0, 1], end], from, to, payload);
        let mut wrapped = vxlan(id, &frame(SocketAddr::new(from, 4000), SocketAddr::new(to, 53), payload));
        if matches!(wrap, Wrap::Twice) {
            let (from, to) = (SocketAddr::new(local, 4000), SocketAddr::new(node, VXLAN_PORT));
            wrapped = vxlan(id, &frame(from, to, &wrapped));
        }
        let socket = self.pod.run(|| UdpSocket::bind((local, 0))).expect("the address is the pod's own");
        socket.send_to(&wrapped, (node, VXLAN_PORT)).expect("the kernel takes the datagram");
    }
}

/// The end of a tunnel is a port of the pods' bridge, which learns who is behind it.
#[test]
fn nothing_that_a_pod_sends_in_a_tunnels_packet_comes_out_at_a_port_of_its_bridge() -> Result<()> {
    let mut world = World::new("tunnel-port")?;
    let [sender, victim] = ["sender", "victim"].map(|name| world.pod(&format!("shop/{name}"), Wiring::Bridge));
    let (sender, victim) = (sender?, victim?);
    add_tunnels(&world.node)?;
    let bridge = sender.gateway().name.clone();
    let ports = TUNNELS.map(|(name, _)| format!("link set {name} master {bridge}"));
    world.node.ip(&ports)?;
    world.run_agent(&[])?;
    let sending = Sender { pod: sender.clone(), node: world.node.clone(), ends: [victim.interface().mac; 2] };
    let mut at_victim = link(&victim)?;
    for wrap in [Wrap::Over4, Wrap::Over6] {
        sending.send(wrap, sender.ip4(), victim.ip4(), b"to the victim");
    }
    assert_eq!(at_victim.catch(STAYS_AWAY, |frame| carries(frame, b"to the victim")), None);
    assert_eq!(world.denied(&sender, "egress")?, [("neighbour_spoofed".to_owned(), 2)].into());
    Ok(())
}

#[test]
fn what_a_pod_sends_in_a_tunnels_packet_is_judged_as_the_pods_own() -> Result<()> {
    let mut world = World::new("tunnels")?;
    let [sender, friend, victim] =
        ["sender", "friend", "victim"].map(|name| world.pod(&format!("shop/{name}"), Wiring::Ptp));
    let (sender, friend, victim) = (sender?, friend?, victim?);
    add_tunnels(&world.node)?;
    world.write("policies.yaml", &policies("", ""))?;
    world.run_agent(&[])?;
    let sending = Sender::new(sender.clone(), &world.node)?;
    let outside = world.lab.outside().clone();
    let (mut at_victim, mut at_outside) = (link(&victim)?, LinkSocket::open(&outside, "node1")?);
    let both = |pod: &Pod| pod.addresses().both();
    let wraps = [Wrap::Over4, Wrap::Over6, Wrap::Twice];
    for wrap in wraps {
        for source in [both(&sender), both(&friend)].concat() {
            let [to_victim, to_outside] =
                if source.is_ipv4() { [victim.ip4(), Outside::IP4] } else { [victim.ip6(), Outside::IP6] };
            sending.send(wrap, source, to_victim, b"to the victim");
            sending.send(wrap, source, to_outside, b"to the outside");
        }
    }
    assert_eq!(at_victim.catch(STAYS_AWAY, |frame| carries(frame, b"to the victim")), None);
    assert_eq!(at_outside.catch(STAYS_AWAY, |frame| carries(frame, b"to the outside")), None);
    let denied = world.denied(&sender, "egress")?;
    assert_eq!(denied, [("no_rule".to_owned(), 12), ("spoofed".to_owned(), 12)].into());

    let to_victim = "{to: [{podSelector: {matchLabels: {app: victim}}}]}";
    let from_sender = ", {podSelector: {matchLabels: {app: sender}}}";
    world.write("policies.yaml", &policies(to_victim, from_sender))?;
    for wrap in wraps {
        for (own, foreign, to) in
            [(sender.ip4(), friend.ip4(), victim.ip4()), (sender.ip6(), friend.ip6(), victim.ip6())]
        {
            sending.send(wrap, foreign, to, b"as the friend");
            sending.send(wrap, own, to, b"as the sender");
            let first = at_victim.catch(ARRIVES, |frame| carries(frame, b"as the"));
            assert!(first.is_some_and(|frame| carries(&frame, b"as the sender")), "{wrap:?} to {to}");
        }
    }
    Ok(())
}
