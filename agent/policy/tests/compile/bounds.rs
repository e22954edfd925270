//! Policies that are small to write and large to work out: refused before they are, and nothing else with them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use podgate_policy::evaluate::Traffic;
use podgate_policy::model::{
    ContainerPort, Direction, IpBlock, Isolation, Namespaces, Operator, Peer, Peers, Pod, Policy, PortMatch, PortSpec,
    Ports, Protocol, Requirement, Rule, Selector,
};
use podgate_policy::plan::{Planner, Subject, Unfit};
use podgate_policy::tables::{Limits, Mirror, Table};

use crate::support::build::{ingress, key, pod, pods, selector};
use crate::support::world::{Edit, World};

/// The agent's default room.
const LIMITS: Limits = Limits {
    addresses4: 131_072,
    addresses6: 131_072,
    groups: 65_536,
    blocks4: 65_536,
    blocks6: 65_536,
    class_rows: 65_536,
    rows: 16_384,
    row_ports: 65_536,
    port_classes: 65_536,
};

/// Far more than counting takes in a build without optimisation on a busy machine, far less than the work itself.
const LONG: Duration = Duration::from_secs(30);

/// The slots of the pod that policies are about, and of its neighbour in another namespace.
const VICTIM: u32 = 1;
const NEIGHBOUR: u32 = 2;

fn tcp(first: u16, last: u16) -> PortMatch {
    PortMatch { protocol: Protocol::Tcp, port: PortSpec::Range { first, last } }
}

fn named(name: &str) -> PortMatch {
    PortMatch { protocol: Protocol::Tcp, port: PortSpec::Named(name.into()) }
}

fn block(address: [u8; 4], length: u8, except: Vec<IpNet>) -> Peer {
    let cidr = Ipv4Net::new(Ipv4Addr::from(address), length).expect("a length").trunc();
    Peer::Block(IpBlock { cidr: cidr.into(), except })
}

fn net(address: [u8; 4], length: u8) -> IpNet {
    Ipv4Net::new(Ipv4Addr::from(address), length).expect("a length").into()
}

/// Two bytes of a number.
fn bytes(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("two bytes").to_be_bytes()
}

fn rule(peers: Vec<Peer>, ports: Vec<PortMatch>) -> Rule {
    let ports = if ports.is_empty() { Ports::Any } else { Ports::Listed(ports) };
    Rule { peers: Peers::Listed(peers), ports }
}

/// A policy for every pod of namespace `a`.
fn policy(name: &str, rules: Vec<Rule>) -> Edit {
    Edit::Policy(Policy {
        key: key(&format!("a/{name}")),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(rules),
        egress: Isolation::Unaffected,
        audit: false,
    })
}

/// A pod of namespace `a` and its neighbour in `b`, which lets `b/client` in.
fn neighbours() -> Vec<Edit> {
    vec![
        pod("a/victim", &[], "10.9.0.1"),
        pod("b/server", &[("app", "server")], "10.9.0.2"),
        pod("b/client", &[("app", "client")], "10.9.0.3"),
        ingress("b/serve", vec![pods(&[], &[("app", "client")])]),
        Edit::Bind(VICTIM, key("a/victim")),
        Edit::Bind(NEIGHBOUR, key("b/server")),
    ]
}

/// Plans for the neighbours with these beside them. Returns what does not fit, and the tables.
fn plan(edits: Vec<Edit>) -> (Vec<Unfit>, Mirror) {
    let mut world = World::default();
    let changes = world.apply(&[neighbours(), edits].concat());
    let start = Instant::now();
    let plan = Planner::new(LIMITS).update(&world.cluster, &changes);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    let mut mirror = Mirror::default();
    plan.ops.iter().for_each(|op| mirror.apply(op));
    (plan.unfit, mirror)
}

fn enters(mirror: &Mirror, slot: u32, remote: [u8; 4], number: u16) -> bool {
    let traffic = Traffic::Port { protocol: Protocol::Tcp, number };
    mirror.judge(slot, Direction::Ingress, Ipv4Addr::from(remote).into(), traffic).is_allowed()
}

/// The pod is isolated altogether and reported with its steps; its neighbour is enforced as its policy says.
fn assert_refused(edits: Vec<Edit>) {
    let (unfit, mirror) = plan(edits);
    let subjects: Vec<_> = unfit.iter().map(|unfit| (unfit.subject, unfit.table)).collect();
    let expected = Subject::Endpoint { slot: VICTIM, direction: Direction::Ingress };
    assert_eq!(subjects, [(expected, Table::Steps)]);
    assert!(unfit[0].needed > unfit[0].capacity, "{unfit:?}");
    let nothing = [[10, 1, 1, 1], [10, 9, 0, 3]].iter().all(|&remote| !enters(&mirror, VICTIM, remote, 80));
    assert!(nothing && mirror.used(Table::ClassRows) < 10, "of what was refused nothing is in the tables");
    assert!(enters(&mirror, NEIGHBOUR, [10, 9, 0, 3], 80) && !enters(&mirror, NEIGHBOUR, [10, 9, 0, 1], 80));
}

fn assert_accepted(edits: Vec<Edit>) -> Mirror {
    let (unfit, mirror) = plan(edits);
    assert_eq!(unfit, []);
    assert!(enters(&mirror, NEIGHBOUR, [10, 9, 0, 3], 80));
    mirror
}

/// Rules with blocks in each other's blocks and ranges over each other's ranges.
fn overlapping(count: usize) -> Vec<Rule> {
    let rule = |i: usize| {
        let peer = block([10, (i * 7 % 256) as u8, (i * 13 % 256) as u8, 0], (8 + i % 17) as u8, vec![]);
        let first = 1 + i % 60_000;
        rule(vec![peer], vec![tcp(first as u16, (first + i % 5000).min(65_535) as u16)])
    };
    (0..count).map(rule).collect()
}

#[test]
fn rules_that_all_overlap_are_refused_before_they_are_worked_out() {
    assert_refused(vec![policy("overlapping", overlapping(15_000))]);
}

/// Within the steps that are taken, and four times what the table has room for.
#[test]
fn of_what_finds_no_room_only_so_much_is_worked_out_as_tells_that() {
    let wide = |i: u16| Ports::Listed(vec![tcp(30_000 + 10 * i, 40_000 + 10 * i)]);
    let everyone = (0..100).map(|i| Rule { peers: Peers::Any, ports: wide(i) });
    let own = |n: u16| rule(vec![block([10, bytes(n.into())[0], bytes(n.into())[1], 0], 24, vec![])], vec![tcp(n, n)]);
    let rules = everyone.chain((1..=1400).map(own)).collect();
    let (unfit, mirror) = plan(vec![policy("wide", rules)]);
    let [Unfit { subject, table, needed, capacity }] = unfit[..] else { panic!("one direction, not {unfit:?}") };
    assert_eq!((subject, table), (Subject::Endpoint { slot: VICTIM, direction: Direction::Ingress }, Table::RowPorts));
    assert!((2 * capacity..2 * capacity + 1000).contains(&needed), "{needed} of {capacity}");
    assert!(enters(&mirror, NEIGHBOUR, [10, 9, 0, 3], 80) && !enters(&mirror, VICTIM, [10, 0, 7, 1], 7));
    assert!(mirror.used(Table::RowPorts) < 10, "nothing of it is in the tables");
}

#[test]
fn many_policies_for_one_pod_are_counted_as_one() {
    let rules = overlapping(6000).into_iter().enumerate();
    assert_refused(rules.map(|(number, rule)| policy(&format!("p{number}"), vec![rule])).collect());
}

#[test]
fn ranges_over_ranges_are_refused_whoever_they_are_for() {
    let ranges = (1..=10_000u16).map(|first| tcp(first, 65_535)).collect();
    assert_refused(vec![policy("everyone", vec![Rule { peers: Peers::Any, ports: Ports::Listed(ranges) }])]);
}

#[test]
fn blocks_in_each_other_are_refused_though_they_are_one_peer() {
    let peer = |i| block([10, 0, 0, 0], 8, vec![net([10, bytes(i)[0], bytes(i)[1], 0], 24)]);
    assert_refused(vec![policy("exceptions", vec![rule((0..3000).map(peer).collect(), vec![])])]);
}

/// A selector that every pod without this label fulfils.
fn lacks(label: usize) -> Peer {
    let requirement = Requirement { key: format!("k{label}").into(), operator: Operator::DoesNotExist };
    let namespaces = Namespaces::Matching(Selector::default());
    Peer::Pods { namespaces, pods: Selector::new(vec![requirement]) }
}

#[test]
fn selectors_that_all_pods_fulfil_are_refused() {
    let others = (0..1000).map(|n| pod(&format!("c/p{n}"), &[], &format!("10.8.{}.{}", n / 250, 1 + n % 250)));
    let rules = (0..2000).map(|n| rule(vec![lacks(n)], vec![tcp(1 + n as u16, 1 + n as u16)])).collect();
    assert_refused(others.chain([policy("lacks", rules)]).collect());
}

#[test]
fn a_selector_of_thousands_of_requirements_is_counted_for_each_pod() {
    let others = (0..1000).map(|n| pod(&format!("c/p{n}"), &[], &format!("10.8.{}.{}", n / 250, 1 + n % 250)));
    let requirement = |n: usize| Requirement { key: format!("k{n}").into(), operator: Operator::DoesNotExist };
    let pods = Selector::new((0..2000).map(requirement).collect());
    let peer = Peer::Pods { namespaces: Namespaces::Matching(Selector::default()), pods };
    assert_refused(others.chain([policy("requirements", vec![rule(vec![peer], vec![])])]).collect());
}

#[test]
fn named_ports_times_peers_are_refused_before_they_are_compiled() {
    let peers = (0..2000).map(|n| block([10, bytes(n)[0], bytes(n)[1], 0], 24, vec![])).collect();
    let ports = (0..2000).map(|n| named(&format!("p{n}"))).collect();
    let policy = Policy {
        key: key("a/named"),
        pod_selector: Selector::default(),
        ingress: Isolation::Restricted(vec![]),
        egress: Isolation::Restricted(vec![rule(peers, ports)]),
        audit: false,
    };
    let (unfit, mirror) = plan(vec![Edit::Policy(policy)]);
    let subjects: Vec<_> = unfit.iter().map(|unfit| (unfit.subject, unfit.table)).collect();
    let of = |direction| (Subject::Endpoint { slot: VICTIM, direction }, Table::Steps);
    assert_eq!(subjects, [of(Direction::Ingress), of(Direction::Egress)]);
    assert!(enters(&mirror, NEIGHBOUR, [10, 9, 0, 3], 80));
}

#[test]
fn named_ports_times_a_pods_own_ports_are_refused() {
    let Edit::Pod(victim) = pod("a/victim", &[], "10.9.0.1") else { return };
    let port = |number| ContainerPort { name: Some("web".into()), protocol: Protocol::Tcp, number, host_port: None };
    let victim = Edit::Pod(Pod { ports: (1..=2000).map(port).collect(), ..victim });
    let peer = |n: usize| block([10, bytes(n)[0], bytes(n)[1], 0], 24, vec![]);
    let rules = (0..2000).map(|n| rule(vec![peer(n)], vec![named("web")])).collect();
    assert_refused(vec![victim, policy("web", rules)]);
}

/// Each pod's own ranges are few; laid over each other they are not.
#[test]
fn what_takes_too_much_only_together_is_enforced_as_far_as_it_goes_and_again_when_there_is_room() {
    let mut world = World::default();
    let edits = (1..=200u16).flat_map(|n| {
        let name = format!("a/p{n}");
        let ports = (0..60).map(|k| tcp(1 + n * 60 + k, 65_535 - n * 60 - k)).collect();
        let key = key(&name);
        let policy = Policy {
            key: key.clone(),
            pod_selector: selector(&[("name", &name)]),
            ingress: Isolation::Restricted(vec![Rule { peers: Peers::Any, ports: Ports::Listed(ports) }]),
            egress: Isolation::Unaffected,
            audit: false,
        };
        let address = format!("10.7.0.{n}");
        [pod(&name, &[("name", &name)], &address), Edit::Policy(policy), Edit::Bind(n.into(), key)]
    });
    let edits: Vec<_> = edits.collect();
    let mut planner = Planner::new(LIMITS);
    let changes = world.apply(&edits);
    let plan = planner.update(&world.cluster, &changes);
    let refused = plan.unfit.len();
    assert!((1..200).contains(&refused) && plan.unfit.iter().all(|unfit| unfit.table == Table::Steps), "{refused}");
    let enforced: Vec<u32> = (1..=200).filter(|&slot| !plan.unfit.iter().any(|it| is_of(it, slot))).collect();
    let gone = enforced.iter().take(enforced.len() / 2).map(|slot| Edit::Release(*slot)).collect::<Vec<_>>();
    let changes = world.apply(&gone);
    let mut unfit = planner.update(&world.cluster, &changes).unfit;
    for _ in 0..4 {
        unfit = planner.update(&world.cluster, &podgate_policy::compile::Changes::default()).unfit;
    }
    assert!(unfit.len() < refused, "{} of {refused} are left", unfit.len());
}

fn is_of(unfit: &Unfit, slot: u32) -> bool {
    matches!(unfit.subject, Subject::Endpoint { slot: of, .. } if of == slot)
}

#[test]
fn ten_thousand_rules_that_share_nothing_are_enforced() {
    let peer = |n: usize| Peer::Pods {
        namespaces: Namespaces::Own,
        pods: Selector::new(vec![Requirement {
            key: format!("k{n}").into(),
            operator: Operator::In(vec![Arc::from("v")]),
        }]),
    };
    let rules = (0..10_000).map(|n| rule(vec![peer(n)], vec![tcp(1 + n as u16, 1 + n as u16)])).collect();
    let mirror = assert_accepted(vec![pod("a/client", &[("k7", "v")], "10.9.0.4"), policy("own", rules)]);
    assert!(enters(&mirror, VICTIM, [10, 9, 0, 4], 8) && !enters(&mirror, VICTIM, [10, 9, 0, 4], 9));
}

#[test]
fn ten_thousand_blocks_of_one_rule_with_a_hundred_ports_are_enforced() {
    let peers = (0..10_000).map(|n| block([10, bytes(n)[0], bytes(n)[1], 0], 24, vec![])).collect();
    let ports = (1..=100u16).map(|n| tcp(n * 10, n * 10)).collect();
    let mirror = assert_accepted(vec![policy("blocks", vec![rule(peers, ports)])]);
    assert!(enters(&mirror, VICTIM, [10, 0, 7, 1], 10) && !enters(&mirror, VICTIM, [10, 0, 7, 1], 11));
}

#[test]
fn one_block_with_ten_thousand_exceptions_is_enforced() {
    let except: Vec<_> = (0..10_000).map(|n| net([10, bytes(n)[0], bytes(n)[1], 0], 24)).collect();
    let mirror = assert_accepted(vec![policy("except", vec![rule(vec![block([10, 0, 0, 0], 8, except)], vec![])])]);
    assert!(enters(&mirror, VICTIM, [10, 200, 0, 1], 80) && !enters(&mirror, VICTIM, [10, 0, 7, 1], 80));
}

#[test]
fn a_selector_with_ten_thousand_values_is_enforced() {
    let values = (0..10_000).map(|n| Arc::from(format!("v{n}"))).collect();
    let requirement = Requirement { key: "app".into(), operator: Operator::In(values) };
    let peer = Peer::Pods { namespaces: Namespaces::Own, pods: Selector::new(vec![requirement]) };
    let clients = [pod("a/in", &[("app", "v9")], "10.9.0.4"), pod("a/out", &[("app", "x")], "10.9.0.5")];
    let edits = clients.into_iter().chain([policy("values", vec![rule(vec![peer], vec![])])]).collect();
    let mirror = assert_accepted(edits);
    assert!(enters(&mirror, VICTIM, [10, 9, 0, 4], 80) && !enters(&mirror, VICTIM, [10, 9, 0, 5], 80));
}
