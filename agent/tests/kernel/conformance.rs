//! The shared policy cases through the kernel, played as events: every step is an update of the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use podgate_policy::evaluate::Traffic;
use podgate_policy::model::{Direction, ObjectKey};

use crate::cases::{self, Case, Step};
use crate::node::Node;
use crate::packets;
use crate::world::World;

/// No packet of this test has a source port that an earlier one had between the same pods.
const FIRST_SOURCE_PORT: u16 = 20_000;

#[test]
fn every_pair_of_pods_gets_the_verdict_of_the_shared_cases() {
    let cases = cases::all();
    let mut replay = Replay::new(&cases);
    for case in &cases {
        for (number, step) in (1..).zip(&case.steps) {
            replay.play(&format!("case {} ({}), step {number}", case.case, case.description), step);
        }
    }
    assert_eq!((replay.steps, replay.pairs), (122, 53_040), "every step and pair was played");
    assert!(replay.differences.is_empty(), "{}", replay.report());
}

struct Replay {
    node: Node,
    slots: BTreeMap<ObjectKey, u32>,
    next_source_port: u16,
    steps: usize,
    pairs: usize,
    differences: Vec<String>,
}

impl Replay {
    /// Every pod of the cases is, while it lives, an endpoint in a slot of its own.
    fn new(cases: &[Case]) -> Self {
        let steps = cases.iter().flat_map(|case| &case.steps);
        let pods: BTreeSet<ObjectKey> = steps.flat_map(|step| step.cluster().pods.into_keys()).collect();
        let slots: BTreeMap<ObjectKey, u32> = pods.into_iter().zip(1..).collect();
        let node = Node::new(u32::try_from(slots.len()).expect("there are few pods"));
        Self { node, slots, next_source_port: FIRST_SOURCE_PORT, steps: 0, pairs: 0, differences: Vec::new() }
    }

    fn play(&mut self, name: &str, step: &Step) {
        let cluster = step.cluster();
        let endpoints = cluster.pods.keys().map(|pod| (self.slots[pod], pod.clone())).collect();
        self.node.enter(&World { cluster, endpoints });
        self.steps += 1;
        for (text, allowed) in &step.allowed {
            self.compare(&format!("{name}, {text}"), cases::traffic(text), allowed);
            self.next_source_port += 1;
        }
    }

    fn compare(&mut self, name: &str, traffic: Traffic, allowed: &BTreeSet<String>) {
        for (&from, from_pod) in &self.node.world().endpoints {
            for (&to, to_pod) in self.node.world().endpoints.iter().filter(|&(&to, _)| to != from) {
                let verdict = self.send(from, to, traffic);
                let pair = format!("{from_pod}->{to_pod}");
                self.pairs += 1;
                if verdict.is_allowed() != allowed.contains(&pair) {
                    self.differences.push(format!("{name}: {pair}: {}", verdict.describe()));
                }
            }
        }
    }

    /// Sends a packet that opens a connection out of one pod and into another.
    fn send(&self, from: u32, to: u32, traffic: Traffic) -> Verdict {
        let address = |slot| {
            let pod = &self.node.world().cluster.pods[&self.node.world().endpoints[&slot]];
            pod.addresses[0]
        };
        let frame = packets::opening(address(from), address(to), traffic, self.next_source_port);
        let egress = self.node.passes(from, Direction::Egress, &frame);
        let ingress = self.node.passes(to, Direction::Ingress, &frame);
        Verdict { egress, ingress }
    }

    fn report(&self) -> String {
        let mut report = format!("{} of {} pairs differ", self.differences.len(), self.pairs);
        for difference in &self.differences {
            write!(report, "\n  {difference}").expect("a string takes everything");
        }
        report
    }
}

/// Whether a packet passed the hooks of both ends.
struct Verdict {
    egress: bool,
    ingress: bool,
}

impl Verdict {
    fn is_allowed(&self) -> bool {
        self.egress && self.ingress
    }

    fn describe(&self) -> String {
        let word = |passes| if passes { "passes" } else { "drops it" };
        let expected = if self.is_allowed() { "denied" } else { "allowed" };
        format!("to be {expected}, but egress {}, ingress {}", word(self.egress), word(self.ingress))
    }
}
