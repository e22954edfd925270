//! Whom `from` and `to` match.

use podgate_policy::evaluate::{
    DirectionVerdict, Element, ListOutcome, NamespaceFit, PeerMismatch, PeerMiss, Refusal, RuleMiss, Unmet,
};
use podgate_policy::model::{Operator, Peer, Protocol, Requirement, Selector};

use crate::world::{
    NO, OTHER, World, YES, anything, block, egress, expression, host_on, ingress, key, matching, one, peers, pods,
    pods_in, ports, tcp, values,
};

/// `shop/db` is the pod whose ingress the tests restrict.
fn shop() -> World {
    World::default()
        .namespace("shop", "team=shop,kubernetes.io/metadata.name=shop")
        .namespace("web", "team=web,kubernetes.io/metadata.name=web")
        .pod("shop/db", "app=db", "10.0.0.1")
        .pod("shop/api", "app=api,tier=back", "10.0.0.2")
        .pod("web/api", "app=api", "10.0.1.1")
        .pod("web/front", "app=front,tier=front", "10.0.1.2")
}

fn to_db(from: Vec<Peer>) -> World {
    shop().policy(ingress("shop/db", "app=db", vec![peers(from)]))
}

#[test]
fn rule_without_peers_matches_pods_nodes_and_outside_addresses() {
    shop()
        .pod_with("web/host", "", "192.168.0.2", host_on("node-2"))
        .policy(ingress("shop/db", "app=db", vec![anything()]))
        .expect(&[
            ("own namespace", "shop/api", "shop/db", tcp(80), YES),
            ("another", "web/front", "shop/db", tcp(80), YES),
            ("another node", "web/host", "shop/db", tcp(80), YES),
            ("outside", "192.0.2.1", "shop/db", OTHER, YES),
            ("outside, IPv6", "2001:db8::1", "shop/db", tcp(80), YES),
        ]);
}

#[test]
fn pod_selector_alone_matches_only_the_policys_namespace() {
    to_db(vec![pods(matching("app=api"))]).expect(&[
        ("own namespace", "shop/api", "shop/db", tcp(80), YES),
        ("equal labels elsewhere", "web/api", "shop/db", tcp(80), NO),
        ("outside", "192.0.2.1", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn empty_pod_selector_matches_the_policys_whole_namespace() {
    to_db(vec![pods(matching(""))]).expect(&[
        ("own namespace", "shop/api", "shop/db", tcp(80), YES),
        ("another", "web/api", "shop/db", tcp(80), NO),
        ("outside", "192.0.2.1", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn empty_namespace_selector_matches_every_pod_and_no_outside_address() {
    let world = to_db(vec![pods_in(matching(""), matching(""))]).pod("lost/pod", "", "10.0.9.1");
    world.expect(&[
        ("own namespace", "shop/api", "shop/db", tcp(80), YES),
        ("another", "web/front", "shop/db", tcp(80), YES),
        ("a namespace that nobody described", "lost/pod", "shop/db", tcp(80), YES),
        ("a pod by its address", "10.0.1.2", "shop/db", tcp(80), YES),
        ("outside", "192.0.2.1", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn both_selectors_in_one_element_must_match() {
    to_db(vec![pods_in(matching("team=web"), matching("app=api"))]).expect(&[
        ("both", "web/api", "shop/db", tcp(80), YES),
        ("namespace only", "web/front", "shop/db", tcp(80), NO),
        ("pod only", "shop/api", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn selectors_in_two_elements_match_either() {
    to_db(vec![pods_in(matching("team=web"), matching("")), pods(matching("app=api"))]).expect(&[
        ("both", "web/api", "shop/db", tcp(80), YES),
        ("namespace only", "web/front", "shop/db", tcp(80), YES),
        ("pod only", "shop/api", "shop/db", tcp(80), YES),
        ("neither", "192.0.2.1", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn negative_expressions_match_a_missing_key() {
    for operator in [Operator::NotIn(values(&["front"])), Operator::DoesNotExist] {
        to_db(vec![pods_in(matching(""), expression("tier", operator))]).expect(&[
            ("key missing", "web/api", "shop/db", tcp(80), YES),
            ("key there", "web/front", "shop/db", tcp(80), NO),
        ]);
    }
}

#[test]
fn negative_expressions_match_an_unlabelled_namespace() {
    let selector = expression("team", Operator::NotIn(values(&["web"])));
    to_db(vec![pods_in(selector, matching(""))]).pod("lost/pod", "", "10.0.9.1").expect(&[
        ("labels unknown", "lost/pod", "shop/db", tcp(80), YES),
        ("label excluded", "web/api", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn in_matches_any_of_its_values() {
    to_db(vec![pods_in(matching(""), expression("app", Operator::In(values(&["api", "front"]))))])
        .pod("web/other", "app=other", "10.0.1.3")
        .pod("web/bare", "", "10.0.1.4")
        .expect(&[
            ("first value", "web/api", "shop/db", tcp(80), YES),
            ("second value", "web/front", "shop/db", tcp(80), YES),
            ("another value", "web/other", "shop/db", tcp(80), NO),
            ("key missing", "web/bare", "shop/db", tcp(80), NO),
        ]);
}

#[test]
fn all_expressions_of_a_selector_must_match() {
    let requirement = |key: &str, operator| Requirement { key: key.into(), operator };
    let selector = Selector::new(vec![
        requirement("app", Operator::In(values(&["api", "front"]))),
        requirement("tier", Operator::Exists),
    ]);
    to_db(vec![pods_in(matching(""), selector)])
        .expect(&[("both", "web/front", "shop/db", tcp(80), YES), ("one", "web/api", "shop/db", tcp(80), NO)]);
}

#[test]
fn peers_follow_the_labels_of_their_namespace() {
    let world = to_db(vec![pods_in(matching("team=web"), matching(""))]);
    world.expect(&[("labelled", "web/api", "shop/db", tcp(80), YES)]);
    let relabelled = world.namespace("web", "team=other");
    relabelled.expect(&[("relabelled", "web/api", "shop/db", tcp(80), NO)]);
    let mut deleted = relabelled.namespace("web", "team=web");
    deleted.expect(&[("labelled again", "web/api", "shop/db", tcp(80), YES)]);
    deleted.cluster.namespaces.remove("web");
    deleted.expect(&[("deleted", "web/api", "shop/db", tcp(80), NO)]);
}

#[test]
fn block_matches_addresses_of_pods() {
    to_db(vec![block("10.0.1.0/24", &[])]).expect(&[
        ("a pod in it", "web/api", "shop/db", tcp(80), YES),
        ("a pod outside it", "shop/api", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn except_only_narrows_its_own_block() {
    let narrowed = || block("10.0.0.0/8", &["10.0.1.0/24"]);
    to_db(vec![narrowed()]).expect(&[
        ("in the exception", "web/api", "shop/db", tcp(80), NO),
        ("beside it", "10.0.2.1", "shop/db", tcp(80), YES),
    ]);
    to_db(vec![narrowed(), block("10.0.1.1/32", &[])]).expect(&[(
        "allowed by another element",
        "web/api",
        "shop/db",
        tcp(80),
        YES,
    )]);
    to_db(vec![narrowed()])
        .policy(ingress("shop/more", "app=db", vec![peers(vec![pods_in(matching("team=web"), matching(""))])]))
        .expect(&[("allowed by another policy", "web/api", "shop/db", tcp(80), YES)]);
}

#[test]
fn overlapping_blocks_allow_the_union_of_their_ports() {
    let rule = |cidr: &str, port| {
        let mut rule = peers(vec![block(cidr, &[])]);
        rule.ports = ports(vec![one(Protocol::Tcp, port)]).ports;
        rule
    };
    shop().policy(ingress("shop/db", "app=db", vec![rule("0.0.0.0/0", 53), rule("10.0.0.0/8", 443)])).expect(&[
        ("inner address, inner port", "10.9.9.9", "shop/db", tcp(443), YES),
        ("inner address, outer port", "10.9.9.9", "shop/db", tcp(53), YES),
        ("outer address, inner port", "192.0.2.1", "shop/db", tcp(443), NO),
        ("outer address, outer port", "192.0.2.1", "shop/db", tcp(53), YES),
    ]);
}

#[test]
fn block_with_host_bits_is_the_whole_block() {
    to_db(vec![block("10.1.2.3/8", &[])]).expect(&[
        ("another address of it", "10.200.0.1", "shop/db", tcp(80), YES),
        ("outside", "11.1.2.3", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn except_equal_to_its_block_matches_nothing() {
    to_db(vec![block("10.0.0.0/8", &["10.0.0.0/8"])]).expect(&[("in both", "10.0.2.1", "shop/db", tcp(80), NO)]);
}

#[test]
fn world_block_matches_its_own_family_only() {
    to_db(vec![block("0.0.0.0/0", &[])]).expect(&[
        ("IPv4", "192.0.2.1", "shop/db", tcp(80), YES),
        ("IPv6", "2001:db8::1", "shop/db", tcp(80), NO),
        ("IPv4 within IPv6", "::ffff:192.0.2.1", "shop/db", tcp(80), NO),
    ]);
    to_db(vec![block("::/0", &[])])
        .expect(&[("IPv6", "2001:db8::1", "shop/db", tcp(80), YES), ("IPv4", "192.0.2.1", "shop/db", tcp(80), NO)]);
}

#[test]
fn every_address_of_a_dual_stack_pod_counts() {
    let world = to_db(vec![pods(matching("app=dual"))]).pod("shop/dual", "app=dual", "10.0.0.8,fd00::8");
    world.expect(&[
        ("selector, IPv4", "10.0.0.8", "shop/db", tcp(80), YES),
        ("selector, IPv6", "fd00::8", "shop/db", tcp(80), YES),
    ]);
    let blocks = to_db(vec![block("fd00::/64", &[])]).pod("shop/dual", "app=dual", "10.0.0.8,fd00::8");
    blocks.expect(&[
        ("a block matches the address used", "shop/dual@fd00::8", "shop/db", tcp(80), YES),
        ("and not the other one", "shop/dual@10.0.0.8", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn egress_peers_are_destinations() {
    shop().policy(egress("shop/api", "app=api", vec![peers(vec![pods(matching("app=db"))])])).expect(&[
        ("matched", "shop/api", "shop/db", tcp(80), YES),
        ("not matched", "shop/api", "web/api", tcp(80), NO),
        ("outside", "shop/api", "192.0.2.1", tcp(80), NO),
    ]);
}

#[test]
fn denial_tells_what_each_peer_lacks() {
    let asks = pods_in(matching("team=shop"), matching("app=api"));
    let own = pods(matching("app=front"));
    let outer = block("10.0.0.0/8", &["10.0.1.0/24"]);
    let world = to_db(vec![asks.clone(), own.clone(), outer.clone()]);
    let unmet = |key: &str, value: &str, found: &str| Unmet {
        requirement: Requirement { key: key.into(), operator: Operator::In(values(&[value])) },
        found: Some(found.into()),
    };
    let selectors = PeerMismatch::Selectors {
        namespace: NamespaceFit::Unmet(vec![unmet("team", "shop", "web")]),
        labels: vec![unmet("app", "api", "front")],
    };
    let elsewhere = PeerMismatch::Selectors { namespace: NamespaceFit::NotOwn("web".into()), labels: vec![] };
    let misses = vec![
        PeerMiss { index: 0, peer: asks, why: selectors },
        PeerMiss { index: 1, peer: own, why: elsewhere },
        PeerMiss { index: 2, peer: outer, why: PeerMismatch::Excepted("10.0.1.0/24".parse().unwrap()) },
    ];
    let rule = RuleMiss { index: 0, peers: ListOutcome::Misses(misses), ports: ListOutcome::Matches(Element::Any) };
    assert_eq!(
        world.verdict("web/front", "shop/db", tcp(80)).ingress,
        DirectionVerdict::Denied { by: vec![Refusal { policy: key("shop/db"), rules: vec![rule] }] }
    );
}
