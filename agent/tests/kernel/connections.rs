//! Random clusters that change under open connections.

use std::net::IpAddr;

use podgate_policy::evaluate::{Traffic, isolating};
use podgate_policy::model::{Direction, ObjectKey, Protocol};

use crate::frames;
use crate::generate::remotes;
use crate::judge::{Probe, expected};
use crate::node::Node;
use crate::session::{Fresh, Tally, play};
use crate::show;
use crate::world::World;

/// A port that rules name, by number, by name and in ranges.
const SERVED: Traffic = Traffic::Port { protocol: Protocol::Tcp, number: 80 };

#[test]
fn a_connection_lives_exactly_while_policies_allow_its_opening() {
    let (fresh, tally) = (&Fresh::default(), &Tally::default());
    play(40, 8, || {
        let mut connections = Vec::new();
        move |node: &Node| {
            connections.retain(|connection: &Connection| connection.is_still_the_pods(node.world()));
            let mut wrong: Vec<_> = connections.iter().flat_map(|connection| connection.talk(node, tally)).collect();
            for probe in probes(node.world()) {
                match Connection::open(node, probe, fresh.next()) {
                    Ok(opened) => connections.extend(opened),
                    Err(packet) => wrong.push(packet),
                }
            }
            wrong
        }
    });
    tally.assert_at_least_of_each_kind(100);
}

/// Every connection between isolated endpoints and the generator's addresses. Those of endpoints that are isolated in
/// neither direction leave no trace.
fn probes(world: &World) -> Vec<Probe> {
    let is_isolated = |pod: &ObjectKey| {
        let pod = world.cluster.pods.get(pod);
        Direction::ALL.iter().any(|&it| pod.is_some_and(|pod| !isolating(&world.cluster, pod, it).is_empty()))
    };
    let slots = world.endpoints.iter().filter(|(_, pod)| is_isolated(pod)).map(|(&slot, _)| slot);
    let openings = slots.flat_map(|slot| Direction::ALL.map(|direction| (slot, direction)));
    let probe = |(slot, direction), remote| Probe { slot, direction, remote, traffic: SERVED };
    openings.flat_map(|opening| remotes().into_iter().map(move |remote| probe(opening, remote))).collect()
}

/// A TCP connection that was opened in a direction.
struct Connection {
    probe: Probe,
    pod: ObjectKey,
    client: (IpAddr, u16),
    server: (IpAddr, u16),
}

impl Connection {
    /// Shakes hands; `None` if the first packet is dropped. Err: an answer is.
    fn open(node: &Node, probe: Probe, port: u16) -> Result<Option<Self>, String> {
        let local = node.local(probe.slot, probe.remote);
        let (client, server) = match probe.direction {
            Direction::Ingress => (probe.remote, local),
            Direction::Egress => (local, probe.remote),
        };
        let pod = node.world().endpoints[&probe.slot].clone();
        let connection = Self { probe, pod, client: (client, port), server: (server, 80) };
        if !connection.asks(node, frames::SYN) {
            return Ok(None);
        }
        if connection.answers(node, frames::SYN_ACK) && connection.asks(node, frames::ACK) {
            return Ok(Some(connection));
        }
        Err(format!("an answer to this is dropped: {}", show::probe(node.world(), probe)))
    }

    fn is_still_the_pods(&self, world: &World) -> bool {
        world.endpoints.get(&self.probe.slot) == Some(&self.pod)
    }

    /// A packet each way: which of them fares otherwise than the connection's opening would.
    fn talk(&self, node: &Node, tally: &Tally) -> Option<String> {
        let expected = expected(node.world(), self.probe);
        let passes = [self.asks(node, frames::ACK), self.answers(node, frames::ACK)];
        passes.iter().for_each(|&passes| tally.count(passes));
        let wrong = passes.iter().any(|&passes| !expected.permits(passes));
        wrong.then(|| {
            let what = format!("its client's packets pass: {}, its server's: {}", passes[0], passes[1]);
            format!("an open connection, {what}: {}", show::probe(node.world(), self.probe))
        })
    }

    /// Whether a packet of the client passes.
    fn asks(&self, node: &Node, flags: &str) -> bool {
        node.passes(self.probe.slot, self.probe.direction, &frames::tcp(self.client, self.server, flags))
    }

    /// Whether a packet of the server passes.
    fn answers(&self, node: &Node, flags: &str) -> bool {
        let back = match self.probe.direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        node.passes(self.probe.slot, back, &frames::tcp(self.server, self.client, flags))
    }
}
