//! Strategies: few names, labels, addresses and ports, so that everything meets everything.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podgate_policy::cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterRule, Matches, PodSelection, ProtocolMatch, Protocols, Tier,
};
use podgate_policy::model::{
    ContainerPort, IpBlock, Isolation, Labels, Namespace, Namespaces, ObjectKey, Operator, Peer, Peers, Phase, Pod,
    Policy, PortMatch, PortSpec, Ports, Protocol, Requirement, Rule, Selector,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::world::Edit;

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 3] = ["p", "q", "r"];

/// Addresses that pods have: one of each family for each pod.
fn address(index: usize, v6: bool) -> IpAddr {
    let index = u8::try_from(index).expect("there are few pods");
    if v6 {
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(index) + 1])
    } else {
        IpAddr::from([10, 0, 0, index + 1])
    }
}

/// Addresses to ask about: those of pods, and some that are no pod's.
pub(crate) fn remotes() -> Vec<IpAddr> {
    let pods = (0..NAMESPACES.len() * NAMES.len()).flat_map(|index| [address(index, false), address(index, true)]);
    let networks = ["10.0.0.20", "10.0.1.1", "192.0.2.1", "fd00::20", "2001:db8::1"];
    let links = ["224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1"];
    pods.chain(networks.into_iter().chain(links).map(|address| address.parse().expect("an address"))).collect()
}

fn label(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Option<(Arc<str>, Arc<str>)>> {
    option::of(select(values)).prop_map(move |value| value.map(|value| (Arc::from(key), Arc::from(value))))
}

fn labels() -> impl Strategy<Value = Labels> {
    (label("app", &["x", "y"]), label("tier", &["1", "2", "3"]))
        .prop_map(|(app, tier)| app.into_iter().chain(tier).collect())
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let values = |values: &'static [&'static str]| {
        proptest::sample::subsequence(values, 1..=2).prop_map(|values| values.into_iter().map(Arc::from).collect())
    };
    let operator = |all: &'static [&'static str]| {
        prop_oneof![
            3 => values(all).prop_map(Operator::In),
            1 => values(all).prop_map(Operator::NotIn),
            1 => Just(Operator::Exists),
            1 => Just(Operator::DoesNotExist),
        ]
    };
    let of = |key: &'static str, all| operator(all).prop_map(move |operator| Requirement { key: key.into(), operator });
    prop_oneof![of("app", &["x", "y", "z"]), of("tier", &["1", "2", "3"])]
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![1 => Just(Selector::default()), 3 => vec(requirement(), 1..=2).prop_map(Selector::new)]
}

fn block() -> impl Strategy<Value = IpBlock> {
    let nets = |nets: &'static [&'static str]| select(nets).prop_map(|net| net.parse::<IpNet>().expect("a block"));
    let v4 = &["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/30", "10.0.0.4/30", "10.0.0.1/32", "10.0.1.0/24"];
    let v6 = &["::/0", "fd00::/16", "fd00::/126", "fd00::4/126", "fd00::1/128"];
    // What a block of a whole family leaves out anyhow.
    let links = &["224.0.0.0/3", "fe80::/9"];
    let pair = |all| (nets(all), vec(prop_oneof![5 => nets(all), 1 => nets(links)], 0..=2));
    prop_oneof![2 => pair(v4), 1 => pair(v6)].prop_map(|(cidr, mut except)| {
        except.retain(|net| cidr.contains(net) && *net != cidr);
        except.sort();
        except.dedup();
        IpBlock { cidr, except }
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    let namespaces = prop_oneof![Just(Namespaces::Own), selector().prop_map(Namespaces::Matching)];
    prop_oneof![
        3 => (namespaces, selector()).prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        2 => block().prop_map(Peer::Block),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![4 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

fn port_match() -> impl Strategy<Value = PortMatch> {
    let range = |(first, last): (u16, u16)| PortSpec::Range { first: first.min(last), last: first.max(last) };
    let port = prop_oneof![
        1 => Just(PortSpec::All),
        3 => select(&[80u16, 81, 443][..]).prop_map(|port| PortSpec::Range { first: port, last: port }),
        2 => (select(&[1u16, 79, 80][..]), select(&[80u16, 81, 90][..])).prop_map(range),
        3 => select(&["web", "api"][..]).prop_map(|name| PortSpec::Named(name.into())),
    ];
    (protocol(), port).prop_map(|(protocol, port)| PortMatch { protocol, port })
}

fn rule() -> impl Strategy<Value = Rule> {
    let peers = prop_oneof![1 => Just(Peers::Any), 4 => vec(peer(), 1..=3).prop_map(Peers::Listed)];
    let ports = prop_oneof![1 => Just(Ports::Any), 3 => vec(port_match(), 1..=3).prop_map(Ports::Listed)];
    (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![1 => Just(Isolation::Unaffected), 4 => vec(rule(), 0..=2).prop_map(Isolation::Restricted)]
}

fn key(index: usize) -> ObjectKey {
    ObjectKey::new(NAMESPACES[index % 3], NAMES[index / 3])
}

fn pod_index() -> impl Strategy<Value = usize> {
    0..NAMESPACES.len() * NAMES.len()
}

fn container_port() -> impl Strategy<Value = ContainerPort> {
    (option::of(select(&["web", "api"][..])), protocol(), select(&[80u16, 81, 82][..])).prop_map(
        |(name, protocol, number)| ContainerPort { name: name.map(Arc::from), protocol, number, host_port: None },
    )
}

fn pod() -> impl Strategy<Value = Pod> {
    // A pod mostly has its own addresses, now and then another's.
    let borrowed = option::weighted(0.15, pod_index());
    let phase = prop_oneof![9 => Just(Phase::Active), 1 => Just(Phase::Finished)];
    let kind = (prop::bool::weighted(0.05), prop::bool::weighted(0.2), phase);
    (pod_index(), borrowed, labels(), kind, vec(container_port(), 0..=3), 0..4usize).prop_map(
        |(index, borrowed, labels, (host_network, terminating, phase), ports, families)| {
            let at = borrowed.unwrap_or(index);
            let addresses = [vec![], vec![false], vec![true], vec![false, true]][families].clone();
            Pod {
                key: key(index),
                uid: "".into(),
                labels,
                workload: None,
                node: None,
                host_network,
                phase,
                terminating,
                addresses: addresses.into_iter().map(|v6| address(at, v6)).collect(),
                ports,
            }
        },
    )
}

fn namespace() -> impl Strategy<Value = Namespace> {
    (select(&NAMESPACES[..]), labels()).prop_map(|(name, labels)| Namespace { name: name.into(), labels, audit: false })
}

/// A policy.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let audit = prop::bool::weighted(0.3);
    (select(&NAMESPACES[..]), select(&["n", "m"][..]), selector(), isolation(), isolation(), audit).prop_map(
        |(namespace, name, pod_selector, ingress, egress, audit)| Policy {
            key: ObjectKey::new(namespace, name),
            pod_selector,
            ingress,
            egress,
            audit,
        },
    )
}

fn network() -> impl Strategy<Value = IpNet> {
    let nets: &[&str] =
        &["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/30", "10.0.0.1/32", "224.0.0.0/4", "::/0", "fd00::/126", "fe80::/10"];
    select(nets).prop_map(|net| net.parse().expect("a network"))
}

fn selection() -> impl Strategy<Value = PodSelection> {
    (selector(), selector()).prop_map(|(namespaces, pods)| PodSelection { namespaces, pods })
}

fn cluster_peer() -> impl Strategy<Value = ClusterPeer> {
    let networks = vec(network(), 1..=2).prop_map(|mut networks| {
        networks.sort();
        networks.dedup();
        ClusterPeer::Networks(networks)
    });
    prop_oneof![
        4 => selection().prop_map(ClusterPeer::Pods),
        1 => Just(ClusterPeer::Pods(PodSelection::default())),
        3 => networks,
    ]
}

fn protocol_match() -> impl Strategy<Value = ProtocolMatch> {
    let ports = (select(&[1u16, 79, 80][..]), select(&[80u16, 81, 443][..]));
    prop_oneof![
        3 => (protocol(), ports).prop_map(|(protocol, (first, last))| ProtocolMatch::Range { protocol, first, last }),
        1 => select(&["web", "api"][..]).prop_map(|name| ProtocolMatch::Named(name.into())),
    ]
}

/// What opens is for no source in these, whatever the evaluator says of addresses: only programs know which end one is.
fn is_beyond(network: &IpNet) -> bool {
    ["224.0.0.0/4", "fe80::/10"].iter().any(|beyond| network.to_string() == *beyond)
}

fn with_networks_that_open(action: Action, peer: ClusterPeer) -> ClusterPeer {
    match peer {
        ClusterPeer::Networks(networks) if action != Action::Deny && networks.iter().any(is_beyond) => {
            ClusterPeer::Networks(vec!["10.0.0.0/8".parse().expect("a network")])
        }
        peer => peer,
    }
}

fn cluster_rule() -> impl Strategy<Value = ClusterRule> {
    let protocols =
        prop_oneof![2 => Just(Protocols::Any), 3 => vec(protocol_match(), 1..=2).prop_map(Protocols::Listed)];
    let some = (select(&Action::ALL[..]), vec(cluster_peer(), 1..=2), protocols);
    let some = some.prop_map(|(action, peers, protocols)| {
        let peers = peers.into_iter().map(|peer| with_networks_that_open(action, peer)).collect();
        ClusterRule { name: None, action, matches: Matches::Some { peers, protocols } }
    });
    prop_oneof![
        12 => some,
        1 => Just(ClusterRule { name: None, action: Action::Accept, matches: Matches::Nothing }),
        1 => Just(ClusterRule { name: None, action: Action::Deny, matches: Matches::Everything }),
    ]
}

fn cluster_policy() -> impl Strategy<Value = ClusterPolicy> {
    let rules = || vec(cluster_rule(), 0..=3);
    let place = (select(&["g", "h", "k"][..]), select(&Tier::ALL[..]), 0..3u16, prop::bool::weighted(0.2));
    (place, selection(), rules(), rules()).prop_map(|((name, tier, priority, audit), subject, ingress, egress)| {
        ClusterPolicy { name: name.into(), tier, priority, subject, ingress, egress, audit }
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        2 => namespace().prop_map(Edit::Namespace),
        1 => select(&NAMESPACES[..]).prop_map(Edit::NoNamespace),
        6 => pod().prop_map(Edit::Pod),
        2 => pod_index().prop_map(|index| Edit::NoPod(key(index))),
        6 => policy().prop_map(Edit::Policy),
        2 => policy().prop_map(|policy| Edit::NoPolicy(policy.key)),
        4 => cluster_policy().prop_map(Edit::ClusterPolicy),
        1 => cluster_policy().prop_map(|policy| Edit::NoClusterPolicy(policy.name)),
        3 => (1..4u32, pod_index()).prop_map(|(slot, index)| Edit::Bind(slot, key(index))),
        1 => (1..4u32).prop_map(Edit::Release),
    ]
}

/// A cluster with endpoints, from nothing.
pub(crate) fn beginning() -> impl Strategy<Value = Vec<Edit>> {
    let guards = prop_oneof![1 => Just(vec![]), 2 => vec(cluster_policy(), 1..4)];
    (vec(namespace(), 2..4), vec(pod(), 4..12), vec(policy(), 0..6), guards, vec(pod_index(), 3)).prop_map(
        |(namespaces, pods, policies, guards, endpoints)| {
            let guards = guards.into_iter().map(Edit::ClusterPolicy);
            let bind = (1..).zip(endpoints).map(|(slot, index)| Edit::Bind(slot, key(index)));
            let objects = namespaces.into_iter().map(Edit::Namespace).chain(pods.into_iter().map(Edit::Pod));
            objects.chain(policies.into_iter().map(Edit::Policy)).chain(guards).chain(bind).collect()
        },
    )
}

/// A history: a beginning, then changes, mostly one at a time.
pub(crate) fn history(steps: usize) -> impl Strategy<Value = Vec<Vec<Edit>>> {
    let step = prop_oneof![3 => vec(edit(), 1), 1 => vec(edit(), 2..=5)];
    (beginning(), vec(step, steps)).prop_map(|(first, rest)| [vec![first], rest].concat())
}
