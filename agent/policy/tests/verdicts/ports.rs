//! What `ports` match.

use podgate_policy::evaluate::{DirectionVerdict, Element, ListOutcome, PortMismatch, PortMiss, Refusal, RuleMiss};
use podgate_policy::model::{Pod, PortMatch, Protocol};

use crate::world::{
    NO, OTHER, World, YES, all_of, anything, block, egress, host_on, ingress, key, matching, named, one, peers,
    pods_in, ports, range, sctp, serving, tcp, udp,
};

use Protocol::{Sctp, Tcp, Udp};

fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .pod("shop/client", "app=client", "10.0.0.1")
        .pod_with("shop/db", "app=db", "10.0.0.2", serving(&[("sql", Tcp, 5432), ("sql", Udp, 5433), ("odd", Udp, 7)]))
        .pod_with("shop/copy", "app=db", "10.0.0.3", serving(&[("sql", Tcp, 6432)]))
}

fn into_db(listed: Vec<PortMatch>) -> World {
    shop().policy(ingress("shop/db", "app=db", vec![ports(listed)]))
}

fn out_of_client(listed: Vec<PortMatch>) -> World {
    shop().policy(egress("shop/client", "app=client", vec![ports(listed)]))
}

#[test]
fn rule_without_ports_matches_every_protocol() {
    shop().policy(ingress("shop/db", "app=db", vec![anything()])).expect(&[
        ("TCP", "shop/client", "shop/db", tcp(1), YES),
        ("UDP", "shop/client", "shop/db", udp(65535), YES),
        ("SCTP", "shop/client", "shop/db", sctp(80), YES),
        ("ICMP", "shop/client", "shop/db", OTHER, YES),
    ]);
}

#[test]
fn protocol_without_port_matches_all_its_ports_and_no_other_protocol() {
    into_db(vec![all_of(Udp)]).expect(&[
        ("first port", "shop/client", "shop/db", udp(1), YES),
        ("last port", "shop/client", "shop/db", udp(65535), YES),
        ("TCP", "shop/client", "shop/db", tcp(1), NO),
        ("SCTP", "shop/client", "shop/db", sctp(1), NO),
        ("ICMP", "shop/client", "shop/db", OTHER, NO),
    ]);
}

#[test]
fn end_port_is_inclusive() {
    into_db(vec![range(Tcp, 8000, 8010)]).expect(&[
        ("below", "shop/client", "shop/db", tcp(7999), NO),
        ("first", "shop/client", "shop/db", tcp(8000), YES),
        ("within", "shop/client", "shop/db", tcp(8005), YES),
        ("last", "shop/client", "shop/db", tcp(8010), YES),
        ("above", "shop/client", "shop/db", tcp(8011), NO),
        ("another protocol", "shop/client", "shop/db", udp(8005), NO),
    ]);
}

#[test]
fn end_port_equal_to_port_is_one_port() {
    into_db(vec![range(Tcp, 80, 80)]).expect(&[
        ("below", "shop/client", "shop/db", tcp(79), NO),
        ("it", "shop/client", "shop/db", tcp(80), YES),
        ("above", "shop/client", "shop/db", tcp(81), NO),
    ]);
}

#[test]
fn udp_or_sctp_rule_does_not_allow_tcp_to_the_same_port() {
    into_db(vec![one(Udp, 53), one(Sctp, 53)]).expect(&[
        ("UDP", "shop/client", "shop/db", udp(53), YES),
        ("SCTP", "shop/client", "shop/db", sctp(53), YES),
        ("TCP", "shop/client", "shop/db", tcp(53), NO),
    ]);
}

#[test]
fn named_port_of_ingress_is_resolved_on_each_selected_pod() {
    into_db(vec![named(Tcp, "sql")]).expect(&[
        ("its number", "shop/client", "shop/db", tcp(5432), YES),
        ("the other pod's number", "shop/client", "shop/db", tcp(6432), NO),
        ("its number", "shop/client", "shop/copy", tcp(6432), YES),
        ("the other pod's number", "shop/client", "shop/copy", tcp(5432), NO),
        ("outside clients too", "192.0.2.1", "shop/db", tcp(5432), YES),
    ]);
}

#[test]
fn named_port_of_egress_is_resolved_on_each_destination_pod() {
    out_of_client(vec![named(Tcp, "sql")]).expect(&[
        ("its number", "shop/client", "shop/db", tcp(5432), YES),
        ("its number", "shop/client", "shop/copy", tcp(6432), YES),
        ("no cross product", "shop/client", "shop/db", tcp(6432), NO),
        ("nor the other way", "shop/client", "shop/copy", tcp(5432), NO),
    ]);
}

#[test]
fn named_port_of_egress_is_resolved_behind_a_block_too() {
    let mut rule = peers(vec![block("10.0.0.2/32", &[])]);
    rule.ports = ports(vec![named(Tcp, "sql")]).ports;
    shop().policy(egress("shop/client", "app=client", vec![rule])).expect(&[
        ("a pod in the block", "shop/client", "shop/db", tcp(5432), YES),
        ("a pod outside the block", "shop/client", "shop/copy", tcp(6432), NO),
    ]);
}

#[test]
fn named_port_of_egress_means_nothing_outside() {
    let host = |pod: &mut Pod| {
        serving(&[("sql", Tcp, 5432)])(pod);
        host_on("node-2")(pod);
    };
    out_of_client(vec![named(Tcp, "sql")]).pod_with("shop/host", "", "192.168.0.2", host).expect(&[
        ("an outside address", "shop/client", "192.0.2.1", tcp(5432), NO),
        ("a host-network pod", "shop/client", "shop/host", tcp(5432), NO),
        ("the client's own port of that name does not matter", "shop/client", "192.0.2.1", tcp(6432), NO),
    ]);
}

#[test]
fn named_port_of_egress_is_not_resolved_on_the_selected_pod() {
    let world = out_of_client(vec![named(Tcp, "sql")]);
    let serving_client = world.pod_with("shop/client", "app=client", "10.0.0.1", serving(&[("sql", Tcp, 1234)]));
    serving_client.expect(&[("the client's number", "shop/client", "shop/db", tcp(1234), NO)]);
}

#[test]
fn name_that_nobody_serves_isolates_and_allows_nothing() {
    into_db(vec![named(Tcp, "nothing")]).expect(&[("in", "shop/client", "shop/db", tcp(5432), NO)]);
    out_of_client(vec![named(Tcp, "nothing")]).expect(&[("out", "shop/client", "shop/db", tcp(5432), NO)]);
}

#[test]
fn named_port_of_another_protocol_allows_nothing() {
    into_db(vec![named(Tcp, "odd"), named(Sctp, "sql")]).expect(&[
        ("the UDP number by TCP", "shop/client", "shop/db", tcp(7), NO),
        ("by UDP", "shop/client", "shop/db", udp(7), NO),
        ("the TCP number by SCTP", "shop/client", "shop/db", sctp(5432), NO),
    ]);
}

#[test]
fn name_with_two_protocols_means_the_number_of_each() {
    into_db(vec![named(Udp, "sql")]).expect(&[
        ("the number of UDP", "shop/client", "shop/db", udp(5433), YES),
        ("the number of TCP", "shop/client", "shop/db", udp(5432), NO),
    ]);
}

#[test]
fn name_used_by_several_containers_means_all_their_numbers() {
    let twice = serving(&[("sql", Tcp, 5432), ("sql", Tcp, 15432)]);
    into_db(vec![named(Tcp, "sql")]).pod_with("shop/db", "app=db", "10.0.0.2", twice).expect(&[
        ("one container", "shop/client", "shop/db", tcp(5432), YES),
        ("the other", "shop/client", "shop/db", tcp(15432), YES),
        ("between them", "shop/client", "shop/db", tcp(10000), NO),
    ]);
}

#[test]
fn rule_with_ports_does_not_match_portless_protocols() {
    into_db(vec![all_of(Tcp), all_of(Udp), all_of(Sctp)])
        .expect(&[("ICMP", "shop/client", "shop/db", OTHER, NO), ("TCP", "shop/client", "shop/db", tcp(80), YES)]);
}

#[test]
fn named_port_needs_its_peer_as_well() {
    let mut rule = peers(vec![pods_in(matching(""), matching("app=client"))]);
    rule.ports = ports(vec![named(Tcp, "sql")]).ports;
    shop().policy(ingress("shop/db", "app=db", vec![rule])).expect(&[
        ("peer", "shop/client", "shop/db", tcp(5432), YES),
        ("another", "shop/copy", "shop/db", tcp(5432), NO),
    ]);
}

#[test]
fn denial_tells_what_each_port_lacks() {
    let listed = vec![one(Udp, 80), one(Tcp, 80), named(Tcp, "sql"), named(Tcp, "nothing")];
    let whys = |of_name, of_nothing| {
        let whys = [PortMismatch::Protocol, PortMismatch::Number, of_name, of_nothing];
        let misses = listed.iter().zip(whys).enumerate();
        let misses = misses.map(|(index, (port, why))| PortMiss { index, port: port.clone(), why }).collect();
        let rule = RuleMiss { index: 0, peers: ListOutcome::Matches(Element::Any), ports: ListOutcome::Misses(misses) };
        DirectionVerdict::Denied { by: vec![Refusal { policy: key("shop/client"), rules: vec![rule] }] }
    };
    let world = out_of_client(listed.clone());
    assert_eq!(
        world.verdict("shop/client", "shop/db", tcp(443)).egress,
        whys(PortMismatch::NamedNumbers(vec![5432]), PortMismatch::NameNotServed)
    );
    assert_eq!(
        world.verdict("shop/client", "192.0.2.1", tcp(443)).egress,
        whys(PortMismatch::NameOutsidePods, PortMismatch::NameOutsidePods)
    );
}

#[test]
fn numbers_of_a_name_are_sorted_and_told_once() {
    let listed = vec![named(Tcp, "sql")];
    let many = serving(&[("sql", Tcp, 9), ("sql", Tcp, 7), ("sql", Tcp, 9)]);
    let world = into_db(listed.clone()).pod_with("shop/db", "app=db", "10.0.0.2", many);
    let miss = PortMiss { index: 0, port: listed[0].clone(), why: PortMismatch::NamedNumbers(vec![7, 9]) };
    let rule = RuleMiss { index: 0, peers: ListOutcome::Matches(Element::Any), ports: ListOutcome::Misses(vec![miss]) };
    assert_eq!(
        world.verdict("shop/client", "shop/db", tcp(8)).ingress,
        DirectionVerdict::Denied { by: vec![Refusal { policy: key("shop/db"), rules: vec![rule] }] }
    );
}
