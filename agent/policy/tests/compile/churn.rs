//! What changes cost: operations that are written, whatever the size of the cluster.

use std::net::IpAddr;

use podgate_policy::model::{IpBlock, Peer};
use podgate_policy::op::{Entry, Key, Op};
use podgate_policy::plan::Planner;

use crate::support::ROOMY;
use crate::support::build::{ingress, key, namespace, pod, pods};
use crate::support::world::{Edit, World};

const X: [(&str, &str); 1] = [("app", "x")];
const Y: [(&str, &str); 1] = [("app", "y")];
const TEAM: [(&str, &str); 1] = [("team", "1")];

/// A hundred pods of app x and a hundred of app y in namespace b; an endpoint in namespace a that x may reach.
fn two_hundred_pods() -> (World, Planner) {
    let peers = (0..100u8).flat_map(|index| {
        [
            pod(&format!("b/x{index}"), &X, &format!("10.1.0.{index}")),
            pod(&format!("b/y{index}"), &Y, &format!("10.2.0.{index}")),
        ]
    });
    let fixed = [
        namespace("b", &TEAM),
        pod("a/p", &[], "10.0.0.1"),
        ingress("a/n", vec![pods(&TEAM, &X), pods(&[], &Y)]),
        Edit::Bind(1, key("a/p")),
    ];
    let mut world = World::default();
    let mut planner = Planner::new(ROOMY);
    let changes = world.apply(&fixed.into_iter().chain(peers).collect::<Vec<_>>());
    planner.update(&world.cluster, &changes);
    (world, planner)
}

/// The operations that a change takes.
fn ops(edit: Edit) -> Vec<Op> {
    let (mut world, mut planner) = two_hundred_pods();
    let changes = world.apply(&[edit]);
    planner.update(&world.cluster, &changes).ops
}

fn address(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

#[test]
fn a_pod_like_others_is_one_write() {
    let ops = ops(pod("b/z", &X, "10.3.0.1"));
    assert!(matches!(ops[..], [Op::Write(Entry::Address { address: it, .. })] if it == address("10.3.0.1")), "{ops:?}");
}

#[test]
fn a_pod_that_goes_is_one_deletion_and_ends_its_flows() {
    let it = address("10.1.0.7");
    assert_eq!(
        ops(Edit::NoPod(key("b/x7"))),
        [Op::Delete(Key::Address { address: it }), Op::Invalidate { address: it }]
    );
}

#[test]
fn a_pod_that_changes_sides_is_one_write_and_ends_its_flows() {
    let ops = ops(pod("b/x7", &Y, "10.1.0.7"));
    assert!(matches!(ops[..], [Op::Write(Entry::Address { .. }), Op::Invalidate { .. }]), "{ops:?}");
}

#[test]
fn a_label_that_no_policy_mentions_is_no_write() {
    assert_eq!(ops(pod("b/x7", &[("app", "x"), ("pod-template-hash", "1")], "10.1.0.7")), []);
}

#[test]
fn a_policy_for_pods_of_other_nodes_is_no_write() {
    assert_eq!(ops(ingress("b/n", vec![pods(&[], &X)])), []);
}

#[test]
fn a_namespace_that_changes_is_a_write_for_each_group_of_its_pods() {
    let ops = ops(namespace("b", &[]));
    let groups = ops.iter().filter(|op| matches!(op, Op::Write(Entry::Group { .. }))).count();
    let addresses = ops.iter().filter(|op| matches!(op, Op::Write(Entry::Address { .. }))).count();
    let invalidated = ops.iter().filter(|op| matches!(op, Op::Invalidate { .. })).count();
    assert_eq!((groups, addresses, invalidated), (1, 0, 100));
}

#[test]
fn a_block_around_all_pods_moves_none_of_them() {
    let (mut world, mut planner) = two_hundred_pods();
    let block = IpBlock { cidr: "10.0.0.0/8".parse().expect("a block"), except: vec![] };
    let changes = world.apply(&[ingress("a/m", vec![Peer::Block(block)])]);
    let ops = planner.update(&world.cluster, &changes).ops;
    let count = |is: fn(&Op) -> bool| ops.iter().filter(|op| is(op)).count();
    assert_eq!(
        count(|op| matches!(op, Op::Write(Entry::Address { .. }) | Op::Delete(Key::Address { .. }))),
        0,
        "{ops:?}"
    );
    assert_eq!(count(|op| matches!(op, Op::Write(Entry::Block { .. }))), 1);
    assert_eq!(count(|op| matches!(op, Op::Write(Entry::Group { .. }))), 3);
}

#[test]
fn many_flows_that_end_at_once_are_ended_by_one_operation() {
    let (mut world, mut planner) = two_hundred_pods();
    let more: Vec<_> = (0..1100)
        .map(|index| pod(&format!("b/m{index}"), &X, &format!("10.4.{}.{}", index / 250, index % 250)))
        .collect();
    let changes = world.apply(&more);
    planner.update(&world.cluster, &changes);
    let changes = world.apply(&[namespace("b", &[])]);
    let ops = planner.update(&world.cluster, &changes).ops;
    assert!(ops.ends_with(&[Op::InvalidateAll]), "{ops:?}");
    assert!(!ops.iter().any(|op| matches!(op, Op::Invalidate { .. })));
}
