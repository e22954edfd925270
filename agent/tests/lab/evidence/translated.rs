//! What is given another destination behind a pod's hook than the one that its policies judged it by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use podgate_lab::{LinkSocket, Node, Outside, Pod, Probe, Result, Seen, Wiring};

use super::{datagram, to_gateway};
use crate::packets::{ARRIVES, STAYS_AWAY, carries, link};
use crate::support::{World, policy};

/// Addresses that are nobody's, and that the client may speak to.
const NOWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 99)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0, 0, 0, 0, 0x99))];
/// An address that is every host's own.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
const PORT: u16 = 53;
const PAYLOAD: &[u8] = b"where does it go?";
const ANSWER: &[u8] = b"here";

/// Everything but pods and the outside, and beside them the pods of an app.
fn policies(node: &Node, app: &str) -> String {
    let [cidr4, cidr6] = node.pod_cidrs();
    let block = |all: &str, cidr: &str, outside: IpAddr| {
        let length = if outside.is_ipv4() { 32 } else { 128 };
        format!("{{ipBlock: {{cidr: '{all}', except: ['{cidr}', '{outside}/{length}']}}}}")
    };
    let to = [
        block("0.0.0.0/0", &cidr4, Outside::IP4),
        block("::/0", &cidr6, Outside::IP6),
        format!("{{podSelector: {{matchLabels: {{app: {app}}}}}}}"),
    ];
    let client = "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]";
    policy("shop", "client", &format!("{client}\negress: [{{to: [{}]}}]", to.join(", ")))
}

/// Rules of the node that are not Kubernetes': what goes to a port of an address goes elsewhere.
fn translate(node: &Node, rules: &[(IpAddr, u16, IpAddr)]) -> Result<()> {
    let family = |address: &IpAddr| if address.is_ipv4() { "ip" } else { "ip6" };
    let mut script = "add table inet moved
flush table inet moved
add chain inet moved prerouting { type nat hook prerouting priority dstnat; }
"
    .to_owned();
    for (address, port, to) in rules {
        let family = family(to);
        let target = SocketAddr::new(*to, PORT);
        script += &format!(
            "add rule inet moved prerouting {family} daddr {address} udp dport {port} dnat {family} to {target}\n"
        );
    }
    let lines: Vec<&str> = script.lines().collect();
    node.output("nft", &[&lines.join("; ")]).map(drop)
}

struct Client {
    pod: Pod,
    sending: LinkSocket,
}

impl Client {
    fn send(&self, from_port: u16, to: SocketAddr) -> Result<()> {
        let own = if to.is_ipv4() { self.pod.ip4() } else { self.pod.ip6() };
        self.sending.send(&datagram(to_gateway(&self.pod), SocketAddr::new(own, from_port), to, PAYLOAD))
    }
}

/// Whether a datagram arrives. Its receiver's errors about it, which carry what it carries, don't count.
fn comes(arriving: &mut LinkSocket, limit: Duration) -> bool {
    /// Where Ethernet says what it carries, and each header of IP what that does.
    const ETHERTYPE: usize = 12;
    const PROTOCOLS: [usize; 2] = [23, 20];
    const UDP: u8 = 17;
    let is_datagram = |frame: &[u8]| frame[PROTOCOLS[usize::from(frame[ETHERTYPE] == 0x86)]] == UDP;
    arriving.catch(limit, |frame| carries(frame, PAYLOAD) && is_datagram(frame)).is_some()
}

fn assert_judged_by_where_it_goes(hook: &str) -> Result<()> {
    let mut world = World::new(&format!("translated-{hook}"))?;
    let [client, open, closed] =
        ["client", "open", "closed"].map(|name| world.pod(&format!("shop/{name}"), Wiring::Ptp));
    let (client, open, closed) = (client?, open?, closed?);
    world.write("policies.yaml", &policies(&world.node, "open"))?;
    world.run_agent(&["--hook", hook])?;
    let both = |pod: &Pod| [pod.ip4(), pod.ip6()];
    let mut rules = Vec::new();
    for (index, address) in NOWHERE.into_iter().enumerate() {
        let outside = [Outside::IP4, Outside::IP6][index];
        let targets = [both(&open)[index], both(&closed)[index], outside];
        rules.extend((1..).zip(targets).map(|(port, target)| (address, port, target)));
    }
    rules.push((LOOPBACK, 2, closed.ip4()));
    translate(&world.node, &rules)?;
    let (mut at_open, mut at_closed) = (link(&open)?, link(&closed)?);
    let mut at_outside = LinkSocket::open(world.lab.outside(), "node1")?;
    let mut client = Client { sending: link(&client)?, pod: client };
    for address in NOWHERE {
        client.send(4001, SocketAddr::new(address, 1))?;
        assert!(comes(&mut at_open, ARRIVES), "{hook}, {address}: to a pod that it may speak to");
        client.send(4001, SocketAddr::new(address, 1))?;
        assert!(comes(&mut at_open, ARRIVES), "{hook}, {address}: and again");
        let ends = both(&open).into_iter().zip(both(&client.pod)).find(|(own, _)| own.is_ipv4() == address.is_ipv4());
        let (own, to) = ends.expect("it has both families");
        let answer = datagram(to_gateway(&open), SocketAddr::new(own, PORT), SocketAddr::new(to, 4001), ANSWER);
        at_open.send(&answer)?;
        let answers = client.sending.catch(ARRIVES, |frame| carries(frame, ANSWER));
        assert!(answers.is_some(), "{hook}, {address}: an answer");
    }
    for address in [NOWHERE[0], NOWHERE[1], LOOPBACK] {
        client.send(4002, SocketAddr::new(address, 2))?;
        assert!(!comes(&mut at_closed, STAYS_AWAY), "{hook}, {address}: to a pod");
    }
    assert_eq!(world.denied(&client.pod, "egress")?, [("no_rule".to_owned(), 3)].into(), "{hook}");
    // What waits for a neighbour's address has not come to the exit hook yet.
    [Outside::IP4, Outside::IP6].into_iter().try_for_each(|at| world.node.expect(Probe::ping(at), Seen::Answered))?;
    for address in NOWHERE {
        client.send(4003, SocketAddr::new(address, 3))?;
        assert!(!comes(&mut at_outside, STAYS_AWAY), "{hook}, {address}: to the outside");
    }
    assert_eq!(world.denied(&client.pod, "egress")?, [("no_rule".to_owned(), 5)].into(), "{hook}");
    // Connection tracking goes on as the rules said when a connection began.
    // A rule is left: without any, it would not go on at all.
    translate(&world.node, &[(NOWHERE[0], 9, open.ip4()), (NOWHERE[1], 9, open.ip6())])?;
    for address in NOWHERE {
        client.send(4002, SocketAddr::new(address, 2))?;
        assert!(!comes(&mut at_closed, STAYS_AWAY), "{hook}, {address}: without a rule");
    }
    assert_eq!(world.denied(&client.pod, "egress")?, [("no_rule".to_owned(), 7)].into(), "{hook}");
    world.write("policies.yaml", &policies(&world.node, "nobody"))?;
    for address in NOWHERE {
        client.send(4001, SocketAddr::new(address, 1))?;
        assert!(!comes(&mut at_open, STAYS_AWAY), "{hook}, {address}: to a pod that it may speak to no more");
    }
    assert_eq!(world.denied(&client.pod, "egress")?, [("no_rule".to_owned(), 9)].into(), "{hook}");
    Ok(())
}

#[test]
fn what_any_rule_gives_another_destination_is_judged_by_that() -> Result<()> {
    assert_judged_by_where_it_goes("auto")
}

#[test]
fn with_clsact_what_any_rule_gives_another_destination_is_judged_by_that() -> Result<()> {
    assert_judged_by_where_it_goes("clsact")
}
