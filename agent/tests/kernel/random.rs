//! Random clusters: the programs against the evaluator, packet by packet.

use std::cell::Cell;

use podgate_policy::evaluate::Traffic;
use podgate_policy::model::Direction;

use crate::generate::remotes;
use crate::judge::{Probe, expected, probes};
use crate::node::Node;
use crate::packets;
use crate::session::{Fresh, Tally, play};
use crate::show;

#[test]
fn opening_packets_get_the_evaluators_verdict_in_every_cluster_and_after_every_change() {
    let asker = Asker::default();
    play(80, 6, || {
        |node: &Node| {
            asker.worlds.set(asker.worlds.get() + 1);
            let probes = probes(node.world().endpoints.keys().copied(), &remotes());
            probes.into_iter().flat_map(|probe| asker.wrong_verdicts(node, probe)).collect()
        }
    });
    asker.tally.assert_at_least_of_each_kind(100_000);
}

#[derive(Default)]
struct Asker {
    fresh: Fresh,
    worlds: Cell<usize>,
    tally: Tally,
}

impl Asker {
    /// Sends every kind of packet that a question is about.
    fn wrong_verdicts(&self, node: &Node, probe: Probe) -> Vec<String> {
        let expected = expected(node.world(), probe);
        let mut wrong = Vec::new();
        for frame in self.frames(node, probe) {
            let passes = node.passes(probe.slot, probe.direction, &frame);
            self.tally.count(passes);
            if !expected.permits(passes) {
                wrong.push(show::packet(node.world(), probe, &frame, passes));
            }
        }
        wrong
    }

    fn frames(&self, node: &Node, probe: Probe) -> Vec<Vec<u8>> {
        let local = node.local(probe.slot, probe.remote);
        let (from, to) = match probe.direction {
            Direction::Ingress => (probe.remote, local),
            Direction::Egress => (local, probe.remote),
        };
        let mut frames = vec![packets::opening(from, to, probe.traffic, self.fresh.next())];
        if probe.traffic == Traffic::Other {
            // Flows of these protocols differ by nothing but the protocol: each direction of each world takes another.
            frames.push(packets::portless(from, to, self.worlds.get() * 2 + probe.direction as usize));
        }
        frames
    }
}
