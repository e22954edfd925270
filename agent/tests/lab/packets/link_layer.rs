//! Frames that are not IP, or not only: VLAN tags, other protocols, ARP and neighbour discovery.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use podgate_lab::{LinkSocket, Node, Pod, Result, Seen, Wiring};

use super::{ARRIVES, Pair, STAYS_AWAY, carries, link};
use crate::support::{Questions, World, deny_all, ping};

const PAYLOAD: &[u8] = b"over the bridge";
const VLAN_7: [u8; 4] = [0x81, 0x00, 0, 7];
const OUTER_VLAN_9: [u8; 4] = [0x88, 0xa8, 0, 9];
/// IEEE Std 802 Local Experimental EtherType 1.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
const IPV4: [u8; 2] = [0x08, 0x00];

/// A frame between neighbours, with these bytes between the addresses and the payload.
fn frame(from: &Pod, to: &Pod, ethertypes: &[&[u8]]) -> Vec<u8> {
    [&to.interface().mac, &from.interface().mac, &ethertypes.concat()[..], PAYLOAD].concat()
}

/// Two pods on a bridge; the client is open, the server will deny everything.
struct Neighbours {
    pair: Pair,
    links: [LinkSocket; 2],
}

impl Neighbours {
    fn new(name: &str) -> Result<Self> {
        let mut pair = Pair::new(name, Wiring::Bridge)?;
        pair.world.run_agent(&[])?;
        let links = [link(&pair.client)?, link(&pair.server)?];
        Ok(Self { pair, links })
    }

    /// Whether a frame of the client arrives at the server, and one of the server at the client.
    fn arrive(&mut self, ethertypes: &[&[u8]], limit: Duration) -> Result<[bool; 2]> {
        let (client, server) = (&self.pair.client, &self.pair.server);
        let [at_client, at_server] = &mut self.links;
        at_client.send(&frame(client, server, ethertypes))?;
        at_server.send(&frame(server, client, ethertypes))?;
        Ok([at_server, at_client].map(|link| link.catch(limit, |frame| carries(frame, PAYLOAD)).is_some()))
    }

    /// Asserts that each of these passes as long as the server is open, and neither enters nor leaves it after that, for
    /// this reason.
    fn assert_dropped(mut self, kinds: &[&[&[u8]]], reason: &str) -> Result<()> {
        for kind in kinds {
            assert_eq!(self.arrive(kind, ARRIVES)?, [true, true], "{kind:?} between open pods");
        }
        self.pair.world.write("policies.yaml", &deny_all("shop", "{matchLabels: {app: server}}"))?;
        for kind in kinds {
            assert_eq!(self.arrive(kind, STAYS_AWAY)?, [false, false], "{kind:?} into and out of a closed pod");
        }
        for direction in ["ingress", "egress"] {
            let denied = self.pair.world.denied(&self.pair.server, direction)?;
            assert_eq!(denied, [(reason.to_owned(), kinds.len() as u64)].into(), "{direction}");
        }
        Ok(())
    }
}

#[test]
fn frames_with_vlan_tags_neither_enter_nor_leave_an_isolated_pod() -> Result<()> {
    let tagged: &[&[u8]] = &[&VLAN_7, &IPV4];
    let tagged_twice: &[&[u8]] = &[&OUTER_VLAN_9, &VLAN_7, &IPV4];
    Neighbours::new("vlan")?.assert_dropped(&[tagged, tagged_twice], "vlan")
}

#[test]
fn frames_that_are_not_ip_neither_enter_nor_leave_an_isolated_pod() -> Result<()> {
    Neighbours::new("not-ip")?.assert_dropped(&[&[&EXPERIMENTAL]], "not_ip")
}

/// Forgets all neighbours.
fn flush(pods: &[&Pod], node: &Node) -> Result<()> {
    pods.iter().try_for_each(|pod| pod.ip(&["neigh flush all"]))?;
    node.ip(&["neigh flush all"])
}

/// Whether the Ethernet address of a neighbour is known.
fn knows(pod: &Pod, neighbour: IpAddr) -> Result<bool> {
    let shown = pod.output("ip", &["neigh", "show", "to", &neighbour.to_string()])?;
    Ok(shown.contains("lladdr"))
}

fn learns(pod: &Pod, neighbour: IpAddr) -> Result<bool> {
    let deadline = Instant::now() + ARRIVES;
    while !knows(pod, neighbour)? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

#[test]
fn pods_that_deny_everything_find_their_neighbours() -> Result<()> {
    let pair = Pair::started("neighbours", Wiring::Bridge, &deny_all("shop", "{}"))?;
    flush(&[&pair.client, &pair.server], &pair.world.node)?;
    for (client, server) in pair.ends() {
        assert!(!knows(&pair.client, server)?, "{server}");
        Questions::new().silent(&pair.client, [ping([server; 2])[0]]).ask();
        assert!(learns(&pair.client, server)?, "the client asked for {server}");
        Questions::new().silent(&pair.server, [ping([client; 2])[0]]).ask();
        assert!(learns(&pair.server, client)?, "the server asked for {client}");
    }
    Ok(())
}

#[test]
fn a_node_and_its_pods_that_deny_everything_find_each_other() -> Result<()> {
    let mut world = World::new("fresh")?;
    let pods = Wiring::ALL.map(|wiring| world.pod(&format!("shop/{wiring}"), wiring));
    let pods = pods.into_iter().collect::<Result<Vec<Pod>>>()?;
    world.write("policies.yaml", &deny_all("shop", "{}"))?;
    world.run_agent(&[])?;
    flush(&pods.iter().collect::<Vec<_>>(), &world.node)?;
    let ask =
        |questions, pod: &Pod| Questions::expect(questions, &world.node, ping(pod.addresses().both()), Seen::Answered);
    let questions = pods.iter().fold(Questions::new(), ask);
    questions.ask();
    Ok(())
}
