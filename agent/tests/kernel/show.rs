//! Clusters and packets in readable form, for failures.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use podgate_policy::cluster_policy::ClusterPolicy;
use podgate_policy::evaluate::{self, DirectionVerdict, Party};
use podgate_policy::model::{
    ContainerPort, Direction, Isolation, Labels, Namespaces, Operator, Peer, Peers, Phase, Pod, Policy, PortMatch,
    PortSpec, Ports, Requirement, Rule, Selector,
};

use crate::judge::{Probe, expected};
use crate::world::{Edit, World};

/// What went wrong, in which world, and how that came about.
pub(crate) fn failure(history: &[Vec<Edit>], world: &World, wrong: &[String]) -> String {
    let mut text = String::from("the programs contradict the policies\n\nchanges, step by step:\n");
    for (number, edits) in history.iter().enumerate() {
        text.extend(edits.iter().map(|it| format!("  {number}: {}\n", edit(it))));
    }
    format!("{text}\nthe cluster now:\n{}\nwrong:\n  {}\n", cluster(world), wrong.join("\n  "))
}

/// A packet that opens something and got a verdict.
pub(crate) fn packet(world: &World, asked: Probe, frame: &[u8], passes: bool) -> String {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the program {} {}, frame {hex}", if passes { "passes" } else { "drops" }, probe(world, asked))
}

/// What is asked about, with the right answer.
pub(crate) fn probe(world: &World, asked: Probe) -> String {
    let Probe { slot, direction, remote, traffic } = asked;
    let pod = &world.endpoints[&slot];
    let flow = match direction {
        Direction::Ingress => format!("{remote} -> {pod}"),
        Direction::Egress => format!("{pod} -> {remote}"),
    };
    format!("{traffic} {flow} ({direction} of slot {slot}); {:?}: {}", expected(world, asked), evaluator(world, asked))
}

fn evaluator(world: &World, asked: Probe) -> String {
    let Some(pod) = world.cluster.pods.get(&world.endpoints[&asked.slot]) else { return "no such pod".to_owned() };
    let party = match Party::at(&world.cluster, asked.remote) {
        Ok(party) => party,
        Err(shared) => return shared.to_string(),
    };
    match evaluate::judge(&world.cluster, asked.direction, pod, &party, asked.traffic) {
        DirectionVerdict::Open(why) => format!("open, {why:?}"),
        DirectionVerdict::Allowed { by, .. } => {
            format!("allowed by {}", joined(by.iter().map(|allow| &allow.rule), ", "))
        }
        DirectionVerdict::Denied { by } => {
            format!("denied, isolated by {}", joined(by.iter().map(|refusal| &refusal.policy), ", "))
        }
        DirectionVerdict::ByTiers(tiers) => {
            let by = tiers.deciding().map_or_else(String::new, |(_, asked)| format!(" by {}", asked.rule));
            format!("{:?}{by}", tiers.decision)
        }
        DirectionVerdict::WouldDeny { by } => {
            format!("would be denied, isolated by {}", joined(by.iter().map(|refusal| &refusal.policy), ", "))
        }
    }
}

fn cluster(world: &World) -> String {
    let mut text = String::new();
    let mut line = |item: String| writeln!(text, "  {item}").expect("a string takes everything");
    let cluster = &world.cluster;
    cluster.namespaces.values().for_each(|it| line(format!("namespace {} {}", it.name, labels(&it.labels))));
    cluster.pods.values().for_each(|it| line(pod(it)));
    cluster.policies.values().for_each(|it| line(policy(it)));
    cluster.cluster_policies.iter().for_each(|it| line(cluster_policy(it)));
    world.endpoints.iter().for_each(|(slot, pod)| line(format!("slot {slot} is {pod}")));
    text
}

fn edit(edit: &Edit) -> String {
    match edit {
        Edit::Namespace(namespace) => format!("namespace {} {}", namespace.name, labels(&namespace.labels)),
        Edit::NoNamespace(name) => format!("no namespace {name}"),
        Edit::Pod(it) => pod(it),
        Edit::NoPod(key) => format!("no pod {key}"),
        Edit::Policy(it) => policy(it),
        Edit::NoPolicy(key) => format!("no policy {key}"),
        Edit::ClusterPolicy(it) => cluster_policy(it),
        Edit::NoClusterPolicy(name) => format!("no cluster policy {name}"),
        Edit::Bind(slot, key) => format!("slot {slot} is {key}"),
        Edit::Release(slot) => format!("slot {slot} is free"),
    }
}

fn pod(pod: &Pod) -> String {
    let host = if pod.host_network { " on the host's network" } else { "" };
    let finished = if pod.phase == Phase::Finished { ", finished" } else { "" };
    let (addresses, ports) = (joined(&pod.addresses, " "), joined(pod.ports.iter().map(container_port), " "));
    format!("pod {}{host}{finished} {} at [{addresses}] serves [{ports}]", pod.key, labels(&pod.labels))
}

fn container_port(port: &ContainerPort) -> String {
    let name = port.name.as_ref().map_or_else(String::new, |name| format!("{name}="));
    format!("{name}{}/{}", port.protocol, port.number)
}

fn labels(labels: &Labels) -> String {
    format!("{{{}}}", joined(labels.iter().map(|(key, value)| format!("{key}={value}")), ","))
}

fn policy(policy: &Policy) -> String {
    let directions = [("ingress", &policy.ingress), ("egress", &policy.egress)];
    let directions = directions.map(|(name, isolation)| match isolation {
        Isolation::Unaffected => String::new(),
        Isolation::Restricted(rules) => format!(" {name} [{}]", joined(rules.iter().map(rule), "; ")),
    });
    let mode = if policy.audit { "audited " } else { "" };
    format!("{mode}policy {} for {}{}", policy.key, selector(&policy.pod_selector), directions.concat())
}

fn cluster_policy(policy: &ClusterPolicy) -> String {
    let ClusterPolicy { name, tier, priority, subject, ingress, egress, audit } = policy;
    let mode = if *audit { "audited " } else { "" };
    format!("{mode}cluster policy {name} {tier} {priority} for {subject:?} ingress {ingress:?} egress {egress:?}")
}

fn rule(rule: &Rule) -> String {
    let peers = match &rule.peers {
        Peers::Any => "any peer".to_owned(),
        Peers::Listed(peers) => joined(peers.iter().map(peer), " or "),
    };
    let ports = match &rule.ports {
        Ports::Any => "any port".to_owned(),
        Ports::Listed(ports) => joined(ports.iter().map(port), " "),
    };
    format!("{peers}: {ports}")
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Block(block) => format!("{} except [{}]", block.cidr, joined(&block.except, " ")),
        Peer::Pods { namespaces: Namespaces::Own, pods } => format!("pods {}", selector(pods)),
        Peer::Pods { namespaces: Namespaces::Matching(namespaces), pods } => {
            format!("pods {} in namespaces {}", selector(pods), selector(namespaces))
        }
    }
}

fn port(port: &PortMatch) -> String {
    match &port.port {
        PortSpec::All => format!("{}/*", port.protocol),
        PortSpec::Range { first, last } => format!("{}/{first}-{last}", port.protocol),
        PortSpec::Named(name) => format!("{}/{name}", port.protocol),
    }
}

fn selector(selector: &Selector) -> String {
    format!("{{{}}}", joined(selector.requirements().iter().map(requirement), ","))
}

fn requirement(requirement: &Requirement) -> String {
    let (key, values) = (&requirement.key, |values: &[Arc<str>]| joined(values, "|"));
    match &requirement.operator {
        Operator::In(any) => format!("{key}={}", values(any)),
        Operator::NotIn(any) => format!("{key}!={}", values(any)),
        Operator::Exists => key.to_string(),
        Operator::DoesNotExist => format!("!{key}"),
    }
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}
