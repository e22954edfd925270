//! What tests of this crate share: small clusters and hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ipnet::IpNet;
use podgate_host::netlink::{Device, HostView, Veth};
use podgate_policy::model::{
    IpBlock, Isolation, Labels, Namespaces, ObjectKey, Operator, Peer, Peers, Phase, Pod, Policy, Ports, Requirement,
    Rule, Selector,
};
use podgate_policy::services::{Service, ServiceForm, TrafficPolicy};
use podgate_policy::tables::Limits;
use podgate_source::{Change, Object, ObjectRef};

use super::attribution::{Granularity, Settings};
use super::command::{Command, Outcome};
use super::upkeep::Check;
use super::{Config, Left, Room, Services, State};
use crate::status::Status;

/// The time on the wall, where it does not matter.
pub(super) const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// The node that tests are about.
pub(super) const NODE: &str = "node-a";

/// A state of [`NODE`] with room for `slots` - 1 pods.
pub(super) fn state(slots: u32) -> State {
    state_after(slots, Left::default())
}

/// The same after another agent, which has left something.
pub(super) fn state_after(slots: u32, left: Left) -> State {
    let config = Config {
        node: NODE.into(),
        keep: false,
        routing: BTreeSet::new(),
        services: Services::Exit,
        attribution: Settings { granularity: Granularity::Rule, series: 100 },
        audit: false,
        isolate_unknown: false,
    };
    State::new(config, Room { limits: Limits::each(1024), slots, addresses: 1024 }, left)
}

/// A pod of [`NODE`] in namespace `shop`.
pub(super) fn pod(name: &str, address: &str) -> Pod {
    Pod {
        key: ObjectKey::new("shop", name),
        uid: name.into(),
        labels: Labels::new(),
        workload: None,
        node: Some(NODE.into()),
        host_network: false,
        phase: Phase::Active,
        terminating: false,
        addresses: vec![address.parse().unwrap()],
        ports: vec![],
    }
}

/// The change that brings a pod.
pub(super) fn with_pod(pod: Pod) -> Change {
    Change::Apply(Object::Pod(Arc::new(pod)))
}

/// The change that brings a Service with these cluster IPs.
pub(super) fn with_service(name: &str, addresses: &[&str]) -> Change {
    Change::Apply(Object::Service(Arc::new(service(name, addresses))))
}

/// A Service of namespace `shop` with these cluster IPs.
pub(super) fn service(name: &str, addresses: &[&str]) -> Service {
    Service {
        key: ObjectKey::new("shop", name),
        form: ServiceForm::Virtual,
        cluster_ips: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        external_ips: vec![],
        load_balancer_ips: vec![],
        ports: vec![],
        selector: Labels::new(),
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Cluster,
    }
}

/// An Ethernet device of the host.
pub(super) fn device(ifindex: u32) -> Device {
    Device {
        ifindex,
        name: format!("eth{ifindex}"),
        kind: None,
        loopback: false,
        ethernet: true,
        lower: None,
        up: true,
        master: None,
        mac: None,
    }
}

/// The change that takes a pod of `shop` away.
pub(super) fn without_pod(name: &str) -> Change {
    Change::Delete(ObjectRef::Pod(ObjectKey::new("shop", name)))
}

/// The change that isolates every pod of `shop` for ingress and allows nothing.
pub(super) fn deny_all() -> Change {
    Change::Apply(Object::Policy(Arc::new(Policy {
        key: ObjectKey::new("shop", "deny-all"),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(vec![]),
        egress: Isolation::Unaffected,
        audit: false,
    })))
}

/// The change that isolates the pods of `shop` with this value of the label `app` for ingress and allows nothing.
pub(super) fn deny(app: &str) -> Change {
    let selected = Requirement { key: "app".into(), operator: Operator::In(vec![app.into()]) };
    Change::Apply(Object::Policy(Arc::new(Policy {
        key: ObjectKey::new("shop", format!("deny-{app}")),
        pod_selector: Selector::new(vec![selected]),
        ingress: Isolation::Restricted(vec![]),
        egress: Isolation::Unaffected,
        audit: false,
    })))
}

/// The change that lets every pod of `shop` into every pod of `shop`.
pub(super) fn allow_pods() -> Change {
    let peer = Peer::Pods { namespaces: Namespaces::Own, pods: Selector::default() };
    let rule = Rule { peers: Peers::Listed(vec![peer]), ports: Ports::Any };
    Change::Apply(Object::Policy(Arc::new(Policy {
        key: ObjectKey::new("shop", "pods"),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(vec![rule]),
        egress: Isolation::Unaffected,
        audit: false,
    })))
}

/// The change that lets many blocks into every pod of `shop`.
pub(super) fn allow_blocks(count: u8) -> Change {
    let block = |n: u8| Peer::Block(IpBlock { cidr: IpNet::new([192, 0, n, 0].into(), 24).unwrap(), except: vec![] });
    let rule = Rule { peers: Peers::Listed((0..count).map(block).collect()), ports: Ports::Any };
    Change::Apply(Object::Policy(Arc::new(Policy {
        key: ObjectKey::new("shop", "blocks"),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(vec![rule]),
        egress: Isolation::Unaffected,
        audit: false,
    })))
}

/// A host with a veth for each (ifindex, address).
pub(super) fn host(veths: &[(u32, &str)]) -> Arc<HostView> {
    let veths = veths.iter().map(|&(ifindex, address)| (ifindex, veth(ifindex, address))).collect();
    Arc::new(HostView { veths, ..HostView::default() })
}

pub(super) fn veth(ifindex: u32, address: &str) -> Veth {
    let addresses: BTreeSet<IpAddr> = [address.parse().unwrap()].into();
    Veth {
        ifindex,
        name: format!("veth{ifindex}"),
        netns_id: ifindex as i32,
        peer_index: 2,
        peer_addresses: addresses.clone(),
        interface_addresses: addresses.clone(),
        link_local_addresses: BTreeSet::new(),
        first_addresses: addresses,
        duplicate_addresses: BTreeSet::new(),
        up: true,
        master: None,
        xdp: false,
        peer_mac: None,
    }
}

/// Carries out everything the state asks for now; `fails` names commands that fail, with the operations that are
/// applied all the same. Returns the commands.
pub(super) fn run(state: &mut State, now: Instant, fails: impl Fn(&Command) -> Option<usize>) -> Vec<Command> {
    let mut commands = Vec::new();
    loop {
        let Some(command) = state.next(now) else {
            let Some(work) = state.begin_plan() else { break };
            state.end_plan(work.run());
            continue;
        };
        commands.push(command.clone());
        let outcome = match fails(&command) {
            Some(applied) => Outcome::Failed { applied, error: "refused".to_owned() },
            None => Outcome::Done,
        };
        state.report(command, outcome, now);
        assert!(commands.len() < 1000, "the state asks without end: {commands:?}");
    }
    commands
}

/// For [`run`]: nothing fails.
pub(super) fn never(_: &Command) -> Option<usize> {
    None
}

/// Commands in short: what and which slot, operations as their number.
pub(super) fn short(commands: &[Command]) -> Vec<String> {
    let short = |command: &Command| match command {
        Command::Release { slot } => format!("release {slot}"),
        Command::Identify { slot, identity } => format!("identify {slot} on {}", identity.ifindex),
        Command::Apply { .. } => "apply".to_owned(),
        Command::Isolate { slot } => format!("isolate {slot}"),
        Command::Attach { slot } => format!("attach {slot}"),
        Command::Confine { ifindex } => format!("confine {ifindex}"),
        Command::Unconfine { ifindex } => format!("unconfine {ifindex}"),
        Command::Guard { ifindex, guard: Some(_) } => format!("guard {ifindex}"),
        Command::Guard { ifindex, guard: None } => format!("unguard {ifindex}"),
        Command::Defer { changes } => format!("defer {}", changes.len()),
        Command::Lead { changes } => format!("lead {}", changes.len()),
        Command::Own { changes } => format!("own {}", changes.len()),
        Command::Link { ifindex } => format!("link {ifindex}"),
        Command::FinishTakeover => "finish takeover".to_owned(),
        Command::Check(Check::Pod(slot)) => format!("check {slot}"),
        Command::Check(Check::Confined(ifindex)) => format!("check confined {ifindex}"),
        Command::Check(Check::Device(ifindex, _)) => format!("check device {ifindex}"),
        Command::Check(Check::Pins) => "check pins".to_owned(),
    };
    commands.iter().map(short).collect()
}

/// States of the pods in a status, by name.
pub(super) fn pod_states(status: &Status) -> BTreeMap<&str, crate::status::PodState> {
    status.pods.iter().map(|pod| (pod.name.as_str(), pod.state)).collect()
}
