//! Whom policies select, and what isolation means.

use podgate_policy::evaluate::{
    Allow, DirectionVerdict, Element, Open, Party, RuleRef, SharedAddress, Verdict, isolating,
};
use podgate_policy::model::{Direction, Isolation, Phase, Pod, Policy, Protocol};

use crate::world::{
    NO, OTHER, World, YES, anything, block, egress, host_on, ingress, key, matching, named, one, peers, pods, policy,
    ports, sctp, serving, tcp, udp,
};

fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .namespace("web", "")
        .pod("shop/api", "app=api", "10.0.0.1")
        .pod("shop/db", "app=db", "10.0.0.2")
        .pod("web/api", "app=api", "10.0.1.1")
}

#[test]
fn pod_that_no_policy_selects_is_open_in_both_directions() {
    let world = shop().policy(ingress("shop/other", "app=nobody", vec![]));
    let open = DirectionVerdict::Open(Open::NoPolicy);
    assert_eq!(world.verdict("web/api", "shop/api", tcp(80)), Verdict { egress: open.clone(), ingress: open });
    world.expect(&[
        ("other protocols too", "web/api", "shop/api", sctp(9), YES),
        ("ICMP too", "shop/api", "web/api", OTHER, YES),
        ("and the world outside", "shop/api", "192.0.2.1", udp(53), YES),
    ]);
}

#[test]
fn policy_for_ingress_alone_leaves_egress_open() {
    shop().policy(ingress("shop/in", "app=api", vec![])).expect(&[
        ("in is denied", "web/api", "shop/api", tcp(80), NO),
        ("out is open", "shop/api", "web/api", tcp(80), YES),
    ]);
}

#[test]
fn policy_with_egress_rules_and_default_types_denies_all_ingress() {
    let policy = Policy { ingress: Isolation::Restricted(vec![]), ..egress("shop/both", "app=api", vec![anything()]) };
    shop().policy(policy).expect(&[
        ("out is allowed by the rule", "shop/api", "web/api", tcp(80), YES),
        ("in is denied without a rule", "web/api", "shop/api", tcp(80), NO),
    ]);
}

#[test]
fn policy_for_egress_alone_leaves_ingress_open() {
    shop().policy(egress("shop/out", "app=api", vec![])).expect(&[
        ("out is denied", "shop/api", "web/api", tcp(80), NO),
        ("in is open", "web/api", "shop/api", tcp(80), YES),
    ]);
}

#[test]
fn no_rule_denies_all_and_an_empty_rule_allows_all() {
    shop()
        .policy(ingress("shop/none", "app=db", vec![]))
        .policy(ingress("shop/all", "app=api", vec![anything()]))
        .expect(&[
            ("no rule: TCP", "web/api", "shop/db", tcp(80), NO),
            ("no rule: ICMP", "web/api", "shop/db", OTHER, NO),
            ("no rule: outside", "192.0.2.1", "shop/db", tcp(80), NO),
            ("empty rule: TCP", "web/api", "shop/api", tcp(80), YES),
            ("empty rule: ICMP", "web/api", "shop/api", OTHER, YES),
            ("empty rule: outside", "192.0.2.1", "shop/api", tcp(80), YES),
        ]);
}

#[test]
fn empty_pod_selector_selects_every_pod_of_its_namespace() {
    shop().policy(ingress("shop/all", "", vec![])).expect(&[
        ("one", "web/api", "shop/api", tcp(80), NO),
        ("another", "web/api", "shop/db", tcp(80), NO),
        ("none of another namespace", "shop/api", "web/api", tcp(80), YES),
    ]);
}

#[test]
fn equal_labels_in_another_namespace_are_not_selected() {
    shop().policy(ingress("shop/api", "app=api", vec![])).expect(&[
        ("selected", "shop/db", "shop/api", tcp(80), NO),
        ("equal labels elsewhere", "shop/db", "web/api", tcp(80), YES),
    ]);
}

#[test]
fn namespaces_whose_names_begin_alike_are_not_mixed_up() {
    let world = shop().pod("shop-2/api", "app=api", "10.0.2.1").pod("sho/api", "app=api", "10.0.3.1");
    world.policy(ingress("shop/all", "", vec![])).expect(&[
        ("its own", "web/api", "shop/api", tcp(80), NO),
        ("a longer name", "web/api", "shop-2/api", tcp(80), YES),
        ("a shorter name", "web/api", "sho/api", tcp(80), YES),
    ]);
}

#[test]
fn several_policies_allow_the_union_of_their_rules() {
    let world = shop()
        .policy(ingress("shop/a", "app=db", vec![ports(vec![one(Protocol::Tcp, 80)])]))
        .policy(ingress("shop/b", "", vec![]))
        .policy(ingress("shop/c", "app=db", vec![anything(), peers(vec![pods(matching("app=api"))])]));
    let allow = |name: &str, index, peer, port| Allow {
        rule: RuleRef { policy: key(name).into(), direction: Direction::Ingress, index },
        peer,
        port,
    };
    assert_eq!(
        world.verdict("shop/api", "shop/db", tcp(80)).ingress,
        DirectionVerdict::Allowed {
            isolated_by: vec![key("shop/a"), key("shop/b"), key("shop/c")],
            by: vec![
                allow("shop/a", 0, Element::Any, Element::Index(0)),
                allow("shop/c", 0, Element::Any, Element::Any),
                allow("shop/c", 1, Element::Index(0), Element::Any),
            ],
        }
    );
}

#[test]
fn rule_does_not_borrow_the_ports_of_another() {
    let mut from_api = peers(vec![pods(matching("app=api"))]);
    from_api.ports = ports(vec![one(Protocol::Tcp, 80)]).ports;
    shop().policy(ingress("shop/db", "app=db", vec![from_api, ports(vec![one(Protocol::Tcp, 443)])])).expect(&[
        ("peer and port of the first rule", "shop/api", "shop/db", tcp(80), YES),
        ("port of the first rule, peer of the second", "web/api", "shop/db", tcp(80), NO),
        ("the second rule", "web/api", "shop/db", tcp(443), YES),
    ]);
}

#[test]
fn both_ends_must_allow() {
    let cases: [(_, Vec<Policy>, bool); 4] = [
        ("source allows, destination denies", vec![ingress("shop/in", "app=db", vec![])], NO),
        ("source denies, destination allows", vec![egress("web/out", "app=api", vec![])], NO),
        (
            "both are isolated and allow",
            vec![ingress("shop/in", "app=db", vec![anything()]), egress("web/out", "app=api", vec![anything()])],
            YES,
        ),
        ("both deny", vec![ingress("shop/in", "app=db", vec![]), egress("web/out", "app=api", vec![])], NO),
    ];
    for (sentence, policies, expected) in cases {
        let world = policies.into_iter().fold(shop(), World::policy);
        world.expect(&[(sentence, "web/api", "shop/db", tcp(80), expected)]);
    }
}

#[test]
fn pod_is_open_again_when_its_last_policy_is_deleted() {
    let isolated = shop().policy(ingress("shop/in", "app=db", vec![]));
    isolated.expect(&[("with the policy", "web/api", "shop/db", tcp(80), NO)]);
    isolated.without_policy("shop/in").expect(&[("without it", "web/api", "shop/db", tcp(80), YES)]);
}

#[test]
fn pod_is_open_again_when_it_loses_the_selected_label() {
    let isolated = shop().policy(ingress("shop/in", "app=db", vec![]));
    isolated.expect(&[("with the label", "web/api", "shop/db", tcp(80), NO)]);
    let relabelled = isolated.pod("shop/db", "app=cache", "10.0.0.2");
    relabelled.expect(&[("without it", "web/api", "shop/db", tcp(80), YES)]);
}

#[test]
fn host_network_pod_is_never_selected() {
    let world = shop()
        .pod_with("shop/agent", "app=agent", "192.168.0.1", host_on("node-2"))
        .policy(policy_for_both("shop/all"));
    let verdict = world.verdict("shop/agent", "192.0.2.1", tcp(80));
    assert_eq!(verdict.egress, DirectionVerdict::Open(Open::NotSubject));
    assert_eq!(world.verdict("192.0.2.1", "shop/agent", tcp(80)).ingress, DirectionVerdict::Open(Open::NotSubject));
}

fn policy_for_both(name: &str) -> Policy {
    Policy { egress: Isolation::Restricted(vec![]), ..ingress(name, "", vec![]) }
}

#[test]
fn host_network_pod_as_a_peer_is_not_its_nodes_address() {
    let world = shop()
        .pod_with("shop/agent", "app=agent", "192.168.0.1", host_on("node-2"))
        .policy(ingress("shop/db", "app=db", vec![peers(vec![pods(matching("app=agent"))])]))
        .policy(ingress("shop/api", "app=api", vec![peers(vec![block("192.168.0.0/24", &[])])]));
    world.expect(&[
        ("a selector does not match the pod", "shop/agent", "shop/db", tcp(80), NO),
        ("nor the address", "192.168.0.1", "shop/db", tcp(80), NO),
        ("a block matches the address", "192.168.0.1", "shop/api", tcp(80), YES),
        ("and the pod by it", "shop/agent", "shop/api", tcp(80), YES),
    ]);
}

#[test]
fn pod_and_host_network_pod_of_its_own_node_always_reach_each_other() {
    let world = shop()
        .pod_with("shop/near", "", "192.168.0.1", host_on("node-1"))
        .pod_with("shop/far", "", "192.168.0.2", host_on("node-2"))
        .policy(policy_for_both("shop/all"));
    let open = DirectionVerdict::Open(Open::OwnNode);
    assert_eq!(world.verdict("shop/near", "shop/db", tcp(80)), Verdict { egress: open.clone(), ingress: open });
    world.expect(&[
        ("pod to its node", "shop/db", "shop/near", tcp(80), YES),
        ("another node to the pod", "shop/far", "shop/db", tcp(80), NO),
        ("pod to another node", "shop/db", "shop/far", tcp(80), NO),
    ]);
}

#[test]
fn pods_of_unknown_nodes_are_not_of_one_node() {
    let nowhere = |pod: &mut Pod| pod.node = None;
    let host_nowhere = |pod: &mut Pod| {
        host_on("node-1")(pod);
        pod.node = None;
    };
    let world = shop()
        .pod_with("shop/db", "app=db", "10.0.0.2", nowhere)
        .pod_with("shop/agent", "", "192.168.0.1", host_nowhere)
        .policy(policy_for_both("shop/all"));
    world.expect(&[("both unknown", "shop/agent", "shop/db", tcp(80), NO)]);
}

#[test]
fn no_policy_isolates_a_host_network_or_finished_pod() {
    let world = shop()
        .pod_with("shop/agent", "", "192.168.0.1", host_on("node-1"))
        .pod_with("shop/job", "", "10.0.0.9", |pod| pod.phase = Phase::Finished)
        .policy(policy_for_both("shop/all"));
    let isolated = |name: &str| isolating(&world.cluster, &world.cluster.pods[&key(name)], Direction::Ingress).len();
    assert_eq!(["shop/db", "shop/agent", "shop/job"].map(isolated), [1, 0, 0]);
}

#[test]
fn finished_pod_is_neither_subject_nor_peer() {
    let world = shop()
        .pod_with("shop/job", "app=job", "10.0.0.9", |pod| pod.phase = Phase::Finished)
        .policy(ingress("shop/job", "app=job", vec![]))
        .policy(ingress("shop/db", "app=db", vec![peers(vec![pods(matching("app=job"))])]));
    world.expect(&[
        ("not isolated", "web/api", "shop/job", tcp(80), YES),
        ("not matched", "shop/job", "shop/db", tcp(80), NO),
        ("nor is its address", "10.0.0.9", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn address_of_a_finished_pod_belongs_to_the_pod_that_has_it_now() {
    let world = shop()
        .pod_with("shop/a-job", "app=job", "10.0.0.9", |pod| pod.phase = Phase::Finished)
        .pod("shop/z-new", "app=new", "10.0.0.9")
        .policy(ingress("shop/db", "app=db", vec![peers(vec![pods(matching("app=new"))])]));
    world.expect(&[("by its address", "10.0.0.9", "shop/db", tcp(80), YES)]);
}

#[test]
fn reused_address_carries_nothing_of_the_old_pods_labels() {
    let old = shop().pod("shop/client", "app=old", "10.0.0.9").policy(ingress(
        "shop/db",
        "app=db",
        vec![peers(vec![pods(matching("app=old"))])],
    ));
    old.expect(&[("the old pod", "10.0.0.9", "shop/db", tcp(80), YES)]);
    let new = old.pod("shop/client", "app=new", "10.0.0.9");
    new.expect(&[("the new pod", "10.0.0.9", "shop/db", tcp(80), NO)]);
}

#[test]
fn terminating_pod_loses_its_address_to_any_other() {
    let rules = vec![peers(vec![pods(matching("app=old"))])];
    let old = shop().policy(ingress("shop/db", "app=db", rules)).pod_with("shop/old", "app=old", "10.0.0.9", |pod| {
        pod.terminating = true;
    });
    old.expect(&[
        ("as long as nobody else has it", "shop/old", "shop/db", tcp(80), YES),
        ("likewise", "10.0.0.9", "shop/db", tcp(80), YES),
    ]);
    let new = old.pod("shop/new", "app=new", "10.0.0.9");
    new.expect(&[
        ("the address is the new pod's", "10.0.0.9", "shop/db", tcp(80), NO),
        ("whoever sends from it", "shop/old", "shop/db", tcp(80), NO),
    ]);
    let back = new.pod_with("shop/new", "app=new", "10.0.0.9", |pod| pod.terminating = true);
    back.expect(&[("two that are terminating have it both", "shop/old", "shop/db", tcp(80), NO)]);
}

#[test]
fn new_pod_on_a_terminating_pods_address_is_allowed_what_its_own_labels_are() {
    let policy = ingress("shop/db", "app=db", vec![peers(vec![pods(matching("app=web"))])]);
    let world = shop().policy(policy).pod("shop/new", "app=web", "10.0.0.9");
    let world = world.pod_with("shop/old", "app=batch", "10.0.0.9", |pod| {
        pod.terminating = true;
        pod.node = Some("dead".into());
    });
    world.expect(&[
        ("the live pod", "shop/new", "shop/db", tcp(80), YES),
        ("by its address", "10.0.0.9", "shop/db", tcp(80), YES),
    ]);
}

#[test]
fn rule_that_not_all_pods_with_an_address_fulfil_allows_none_of_them() {
    let policy = ingress("shop/db", "app=db", vec![peers(vec![pods(matching("app=web"))])]);
    let world = shop().policy(policy).pod("shop/one", "app=web", "10.0.0.9");
    let shared = world.clone().pod("shop/two", "app=batch", "10.0.0.9");
    world.expect(&[("alone", "shop/one", "shop/db", tcp(80), YES)]);
    shared.expect(&[("shared", "shop/one", "shop/db", tcp(80), NO)]);
    let equal = shared.pod("shop/two", "app=web,more=labels", "10.0.0.9");
    equal.expect(&[("the rule selects both", "shop/one", "shop/db", tcp(80), YES)]);
}

#[test]
fn named_port_counts_where_all_pods_with_the_address_serve_it() {
    let policy = egress("shop/out", "app=api", vec![ports(vec![named(Protocol::Tcp, "http")])]);
    let serving = |number| serving(&[("http", Protocol::Tcp, number)]);
    let world = shop().policy(policy).pod_with("shop/one", "", "10.0.0.9", serving(8080));
    let shared = world.clone().pod_with("shop/two", "", "10.0.0.9", serving(9090));
    world.expect(&[("alone", "shop/api", "shop/one", tcp(8080), YES)]);
    shared.expect(&[("shared", "shop/api", "shop/one", tcp(8080), NO)]);
    let equal = shared.pod_with("shop/two", "", "10.0.0.9", serving(8080));
    equal.expect(&[("equal", "shop/api", "shop/one", tcp(8080), YES)]);
}

#[test]
fn address_of_two_pods_is_nobodys() {
    let world = shop().pod("shop/copy", "app=copy", "10.0.0.1");
    assert_eq!(
        Party::at(&world.cluster, "10.0.0.1".parse().unwrap()),
        Err(SharedAddress { address: "10.0.0.1".parse().unwrap(), pods: vec![key("shop/api"), key("shop/copy")] })
    );
}

#[test]
fn pod_reaches_itself_whatever_policies_say() {
    let world = shop().policy(policy_for_both("shop/all"));
    let open = DirectionVerdict::Open(Open::SamePod);
    assert_eq!(world.verdict("shop/db", "shop/db", tcp(80)), Verdict { egress: open.clone(), ingress: open });
    world.expect(&[
        ("by its address", "10.0.0.2", "shop/db", OTHER, YES),
        ("no other pod, equal labels or not", "shop/api", "shop/db", tcp(80), NO),
    ]);
}

#[test]
fn policy_that_affects_no_direction_isolates_nobody() {
    shop().policy(policy("shop/none", "")).expect(&[("open", "web/api", "shop/db", tcp(80), YES)]);
}
