//! The cases of ClusterNetworkPolicies through compiler, plan, tables and programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{Party, Reach, Traffic, verdict_by};
use podgate_policy::model::{Direction, ObjectKey, Pod};

use crate::cluster_cases::{self, Case, End, Suite};
use crate::node::Node;
use crate::packets;
use crate::session::Fresh;
use crate::world::World;

/// Addresses outside the cluster that the cases list.
const OUTSIDE: [&str; 2] = ["198.51.100.7", "203.0.113.9"];

/// The cases without `nodes` among the peers, of which the agent knows too little: there its rules fail closed.
fn cases(suite: &Suite) -> impl Iterator<Item = &Case> {
    let names_nodes =
        |case: &Case| case.cluster_policies.iter().any(|policy| policy.to_string().contains(r#""nodes":"#));
    cluster_cases::cases(suite).filter(move |case| !names_nodes(case))
}

#[test]
fn every_pair_gets_the_verdict_of_the_cases() {
    let suite = cluster_cases::suite();
    let mut replay = Replay::new(&suite);
    for case in cases(&suite) {
        replay.enter(case);
        for asked in ["TCP/8080", "TCP/8081", "TCP/9100", "UDP/5300", "SCTP/7000", "ICMP"] {
            let (protocol, port) = asked.split_once('/').unwrap_or((asked, ""));
            let denied = case.denied.get(asked).cloned().unwrap_or_default();
            replay.compare(
                &format!("{}, {asked}", case.id),
                cluster_cases::traffic(protocol, port.parse().ok()),
                &denied,
            );
        }
        case.checks.iter().for_each(|check| replay.check(case, check));
    }
    assert!(replay.differences.is_empty(), "{}", replay.report());
    // The file can't lose cases unnoticed.
    assert_eq!((replay.cases, replay.pairs, replay.checks), (179, 85_920, 954));
}

struct Replay<'s> {
    suite: &'s Suite,
    node: Node,
    slots: BTreeMap<ObjectKey, u32>,
    fresh: Fresh,
    cases: usize,
    pairs: usize,
    checks: usize,
    differences: Vec<String>,
}

impl<'s> Replay<'s> {
    /// Every pod of the pod network is an endpoint in a slot of its own.
    fn new(suite: &'s Suite) -> Self {
        let first = cluster_cases::cluster(&suite.world, &suite.cases[0]);
        let pods = first.pods.values().filter(|pod| pod.is_networked()).map(|pod| pod.key.clone());
        let slots: BTreeMap<ObjectKey, u32> = pods.zip(1..).collect();
        let node = Node::new(u32::try_from(slots.len()).expect("there are few pods"));
        let (cases, pairs, checks, fresh) = Default::default();
        Self { suite, node, slots, fresh, cases, pairs, checks, differences: Vec::new() }
    }

    fn enter(&mut self, case: &Case) {
        let cluster = cluster_cases::cluster(&self.suite.world, case);
        let endpoints = self.slots.iter().map(|(pod, &slot)| (slot, pod.clone())).collect();
        self.node.enter(&World { cluster, endpoints });
        self.cases += 1;
    }

    fn cluster(&self) -> &Cluster {
        &self.node.world().cluster
    }

    /// The endpoints' pods, each at its first address.
    fn pods(&self) -> Vec<(ObjectKey, IpAddr)> {
        let at = |key: &ObjectKey| Some((key.clone(), *self.cluster().pods[key].addresses.first()?));
        self.slots.keys().filter_map(at).collect()
    }

    /// Sends what opens a connection between all pods, and between them and outside.
    fn compare(&mut self, name: &str, traffic: Traffic, denied: &BTreeSet<String>) {
        let outside = OUTSIDE.map(|address| address.parse::<IpAddr>().expect("an address"));
        let pods = self.pods();
        for (from, source) in &pods {
            for (to, target) in pods.iter().filter(|(to, target)| to != from && target.is_ipv4() == source.is_ipv4()) {
                let passes = self.leaves(from, *source, *target, traffic) && self.enters(to, *source, *target, traffic);
                self.note(name, &format!("{from}->{to}"), passes, denied);
            }
            for target in outside.iter().filter(|_| source.is_ipv4()) {
                let passes = self.leaves(from, *source, *target, traffic);
                self.note(name, &format!("{from}->{target}"), passes, denied);
            }
        }
        for (to, target) in pods.iter().filter(|(_, target)| target.is_ipv4()) {
            let passes = self.enters(to, outside[0], *target, traffic);
            self.note(name, &format!("{}->{to}", outside[0]), passes, denied);
        }
    }

    fn note(&mut self, name: &str, pair: &str, passes: bool, denied: &BTreeSet<String>) {
        self.pairs += 1;
        if passes == denied.contains(pair) {
            self.differences.push(format!("{name}: {pair} {}", if passes { "passes" } else { "is dropped" }));
        }
    }

    /// Asks what a check asks at the hooks of its pods, where no Service and no process of a node is in it. What a pod sends to
    /// its own address meets no hook.
    fn check(&mut self, case: &Case, check: &cluster_cases::Check) {
        let (End::Named(from), End::Named(to), None) = (&check.from, &check.to, &check.via) else { return };
        if from == to {
            return;
        }
        let is_ipv6 = [from, to].iter().any(|name| name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()));
        let version = check.version.unwrap_or(if is_ipv6 { 6 } else { 4 });
        let cluster = self.cluster().clone();
        let (Some(from), Some(to)) = (end(&cluster, from, version), end(&cluster, to, version)) else { return };
        let traffic = cluster_cases::traffic(&check.protocol, check.port);
        let stated = verdict_by(&cluster, &from.0, &to.0, traffic, Reach::Directly);
        let of =
            |party: &Party<'_>| party.pod().filter(|pod| self.slots.contains_key(&pod.key)).map(|pod| pod.key.clone());
        let (source, target) = (from.1, to.1);
        let mut answers = vec![];
        if let Some(pod) = of(&from.0).filter(|_| !is_own_node(&cluster, &from.0, target)) {
            answers.push((Direction::Egress, self.leaves(&pod, source, target, traffic)));
        }
        if let Some(pod) = of(&to.0).filter(|_| !is_own_node(&cluster, &to.0, source)) {
            answers.push((Direction::Ingress, self.enters(&pod, source, target, traffic)));
        }
        for (direction, passes) in answers {
            self.checks += 1;
            if passes != stated.direction(direction).is_allowed() {
                self.differences.push(format!("{}: {direction} {passes}: {check:?}", case.id));
            }
        }
    }

    fn leaves(&self, pod: &ObjectKey, source: IpAddr, target: IpAddr, traffic: Traffic) -> bool {
        let frame = packets::opening(source, target, traffic, self.fresh.next());
        self.node.passes(self.slots[pod], Direction::Egress, &frame)
    }

    fn enters(&self, pod: &ObjectKey, source: IpAddr, target: IpAddr, traffic: Traffic) -> bool {
        let frame = packets::opening(source, target, traffic, self.fresh.next());
        self.node.passes(self.slots[pod], Direction::Ingress, &frame)
    }

    fn report(&self) -> String {
        let Self { cases, pairs, checks, differences, .. } = self;
        let mut report = format!("{} of {pairs} pairs and {checks} checks of {cases} cases differ", differences.len());
        for difference in differences {
            write!(report, "\n  {difference}").expect("a string takes everything");
        }
        report
    }
}

/// Whoever an end is, with its address of this version.
fn end<'c>(cluster: &'c Cluster, name: &str, version: u8) -> Option<(Party<'c>, IpAddr)> {
    if let Ok(address) = name.parse() {
        return Some((Party::at(cluster, address).ok()?, address));
    }
    let (namespace, name) = name.split_once('/')?;
    let pod: &Pod = &cluster.pods[&ObjectKey::new(namespace, name)];
    let address = *pod.addresses.iter().find(|address| address.is_ipv4() == (version == 4))?;
    Some((Party::pod_at(pod, Some(address)), address))
}

/// Whether an address is that of a pod's own node, to which nothing is denied here yet.
fn is_own_node(cluster: &Cluster, party: &Party<'_>, address: IpAddr) -> bool {
    let node = party.pod().and_then(|pod| cluster.nodes.get(pod.node.as_ref()?));
    node.is_some_and(|node| node.addresses.contains(&address))
}
