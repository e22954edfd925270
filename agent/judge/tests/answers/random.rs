//! Random small clusters, dense in coincidences.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols, Tier,
};
use podgate_policy::model::{
    ContainerPort, Isolation, Namespaces, Operator, Peer, Peers, Phase, Pod, Policy, PortMatch, PortSpec, Ports,
    Protocol, Requirement, Rule, Selector, Workload,
};

use crate::world::{World, block, key};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const BLOCKS: [&str; 5] = ["0.0.0.0/0", "::/0", "10.0.0.0/30", "10.0.0.1/32", "fd00::/126"];
const NAMES: [&str; 2] = ["http", "dns"];
const PORTS: [u16; 3] = [53, 80, 81];

/// A cluster of up to eight pods, six policies and three ClusterNetworkPolicies in three namespaces, of which one is not
/// described.
pub(crate) fn cluster() -> impl Strategy<Value = World> {
    cluster_with(false)
}

/// The same, where some pods have the first one's address, and some are terminating.
pub(crate) fn contested() -> impl Strategy<Value = World> {
    cluster_with(true)
}

/// The same with replicas: pods that differ from others in name and address, and some in a label that no policy asks
/// for.
pub(crate) fn replicated() -> impl Strategy<Value = World> {
    (contested(), vec((0..8_usize, any::<bool>(), any::<bool>()), 1..12)).prop_map(|(world, replicas)| {
        (16..).zip(replicas).fold(world, |mut world, (number, (of, is_far, is_owned))| {
            let Some(original) = world.cluster.pods.values().nth(of).map(|pod| Pod::clone(pod)) else { return world };
            for pod in replicas_of(original, number, is_far, is_owned) {
                world.cluster.pods.insert(pod.key.clone(), pod.into());
            }
            world
        })
    })
}

/// A pod and another like it.
fn replicas_of(mut pod: Pod, number: u8, is_far: bool, is_owned: bool) -> [Pod; 2] {
    let mut replica = Pod { key: key(&format!("{}-{number}", pod.key)), ..pod.clone() };
    for address in &mut replica.addresses {
        *address = match address {
            IpAddr::V4(_) => [10, 0, u8::from(is_far), number].into(),
            IpAddr::V6(_) => [0xfd00, 0, 0, 0, 0, 0, 0, number.into()].into(),
        };
    }
    if is_owned {
        let workload = Workload { kind: "StatefulSet".into(), name: pod.key.name.clone() };
        replica.labels.insert("replica".into(), number.to_string().into());
        replica.workload = Some(workload.clone());
        pod.workload = Some(workload);
    }
    [pod, replica]
}

/// The same cluster in which no two pods are alike, although every verdict is the same: policies here ask for other
/// labels.
pub(crate) fn all_different(cluster: &Cluster) -> Cluster {
    let different = |pod: &Pod| {
        let mut pod = Pod { workload: None, ..pod.clone() };
        pod.labels.insert("only".into(), pod.key.name.clone());
        (pod.key.clone(), pod.into())
    };
    Cluster { pods: cluster.pods.values().map(|pod| different(pod)).collect(), ..cluster.clone() }
}

fn cluster_with(contested: bool) -> impl Strategy<Value = World> {
    let guards = prop_oneof![1 => Just(vec![]), 2 => vec(guard(), 1..4)];
    (vec(pod(), 1..8), vec(policy(), 0..6), guards, labels(), labels()).prop_map(
        move |(pods, policies, guards, a, b)| {
            let world = World::default().namespace("a", &a).namespace("b", &b);
            let world = guards.into_iter().enumerate().fold(world, |world, (index, policy)| {
                world.guard(ClusterPolicy { name: format!("guard-{index}").into(), ..policy })
            });
            let world = pods.into_iter().enumerate().fold(world, |world, (index, (namespace, labels, change))| {
                let name = format!("{namespace}/pod-{index}");
                world.pod_with(&name, &labels, &format!("10.0.0.{index},fd00::{index}"), |pod| {
                    change.apply(pod, contested)
                })
            });
            policies.into_iter().enumerate().fold(world, |world, (index, (namespace, policy))| {
                world.policy(Policy { key: key(&format!("{namespace}/policy-{index}")), ..policy })
            })
        },
    )
}

/// How a pod differs from the ordinary.
#[derive(Clone, Debug)]
struct Change {
    /// 0 to 3: dual-stack, IPv4, IPv6, no address.
    family: u8,
    kind: u8,
    ports: Vec<ContainerPort>,
}

impl Change {
    fn apply(self, pod: &mut Pod, contested: bool) {
        match self.family {
            1 => pod.addresses.retain(std::net::IpAddr::is_ipv4),
            2 => pod.addresses.retain(std::net::IpAddr::is_ipv6),
            3 => pod.addresses.clear(),
            _ => {}
        }
        if contested && matches!(self.kind, 3 | 4) {
            pod.addresses = ["10.0.0.0", "fd00::0"].map(|address| address.parse().expect("an address")).into();
        }
        pod.terminating = contested && matches!(self.kind, 4 | 5);
        pod.host_network = self.kind == 1;
        pod.phase = if self.kind == 2 { Phase::Finished } else { Phase::Active };
        pod.ports = self.ports;
    }
}

fn pod() -> impl Strategy<Value = (&'static str, String, Change)> {
    let change = (0..6_u8, 0..12_u8, vec(container_port(), 0..3));
    let change = change.prop_map(|(family, kind, ports)| Change { family, kind, ports });
    (select(&NAMESPACES[..]), labels(), change)
}

fn labels() -> impl Strategy<Value = String> {
    vec(select(&["x=1", "x=2", "y=1"][..]), 0..2).prop_map(|pairs| pairs.join(","))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&Protocol::ALL[..2])
}

fn container_port() -> impl Strategy<Value = ContainerPort> {
    (select(&NAMES[..]), protocol(), select(&PORTS[..])).prop_map(|(name, protocol, number)| ContainerPort {
        name: Some(name.into()),
        protocol,
        number,
        host_port: None,
    })
}

fn policy() -> impl Strategy<Value = (&'static str, Policy)> {
    let audit = proptest::bool::weighted(0.3);
    (select(&NAMESPACES[..]), selector(), isolation(), isolation(), audit).prop_map(
        |(namespace, pods, ingress, egress, audit)| {
            (namespace, Policy { key: key("to/replace"), pod_selector: pods, ingress, egress, audit })
        },
    )
}

fn guard() -> impl Strategy<Value = ClusterPolicy> {
    let place = (select(&Tier::ALL[..]), 0..2_u16, proptest::bool::weighted(0.2));
    let rules = || vec(guard_rule(), 0..3);
    (place, selection(), rules(), rules()).prop_map(|((tier, priority, audit), subject, ingress, egress)| {
        ClusterPolicy { name: "to-replace".into(), tier, priority, subject, ingress, egress, audit }
    })
}

fn selection() -> impl Strategy<Value = PodSelection> {
    (selector(), selector()).prop_map(|(namespaces, pods)| PodSelection { namespaces, pods })
}

fn guard_rule() -> impl Strategy<Value = ClusterRule> {
    let network = || select(&BLOCKS[..]).prop_map(|cidr| cidr.parse().expect("a block"));
    let peer = prop_oneof![
        3 => selection().prop_map(ClusterPeer::Pods),
        2 => vec(network(), 1..3).prop_map(ClusterPeer::Networks),
    ];
    let protocol = prop_oneof![
        (protocol(), 53..82_u16).prop_map(|(protocol, last)| ProtocolMatch::Range { protocol, first: 53, last }),
        select(&NAMES[..]).prop_map(|name| ProtocolMatch::Named(name.into())),
    ];
    let protocols = prop_oneof![1 => Just(Protocols::Any), 2 => vec(protocol, 1..3).prop_map(Protocols::Listed)];
    let some = (select(&Action::ALL[..]), vec(peer, 1..3), protocols).prop_map(|(action, peers, protocols)| {
        ClusterRule { name: None, action, matches: Matches::Some { peers, protocols } }
    });
    let closed = |action, matches| Just(ClusterRule { name: None, action, matches });
    prop_oneof![
        12 => some,
        1 => closed(Action::Accept, Matches::Nothing),
        1 => closed(Action::Deny, Matches::Everything),
    ]
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![1 => Just(Isolation::Unaffected), 2 => vec(rule(), 0..3).prop_map(Isolation::Restricted)]
}

fn rule() -> impl Strategy<Value = Rule> {
    let peers = prop_oneof![1 => Just(Peers::Any), 3 => vec(peer(), 1..3).prop_map(Peers::Listed)];
    let ports = prop_oneof![1 => Just(Ports::Any), 2 => vec(port(), 1..3).prop_map(Ports::Listed)];
    (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn peer() -> impl Strategy<Value = Peer> {
    let namespaces = prop_oneof![Just(Namespaces::Own), selector().prop_map(Namespaces::Matching)];
    prop_oneof![
        (namespaces, selector()).prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        select(&BLOCKS[..]).prop_map(|cidr| block(cidr, &[])),
        Just(block("10.0.0.0/24", &["10.0.0.2/31"])),
    ]
}

fn port() -> impl Strategy<Value = PortMatch> {
    let spec = prop_oneof![
        Just(PortSpec::All),
        Just(PortSpec::Range { first: 80, last: 81 }),
        Just(PortSpec::Range { first: 53, last: 53 }),
        select(&NAMES[..]).prop_map(|name| PortSpec::Named(name.into())),
    ];
    (protocol(), spec).prop_map(|(protocol, port)| PortMatch { protocol, port })
}

fn selector() -> impl Strategy<Value = Selector> {
    let operator = (0..4_u8, any::<bool>()).prop_map(|(kind, second)| {
        let values = vec![if second { "2" } else { "1" }.into()];
        match kind {
            0 => Operator::In(values),
            1 => Operator::NotIn(values),
            2 => Operator::Exists,
            _ => Operator::DoesNotExist,
        }
    });
    let requirement = (select(&["x", "y"][..]), operator);
    let requirement = requirement.prop_map(|(key, operator)| Requirement { key: key.into(), operator });
    vec(requirement, 0..2).prop_map(Selector::new)
}
