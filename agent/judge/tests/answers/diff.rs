//! What opens and closes between two states.

use std::collections::BTreeSet;

use podgate_judge::diff::{Comparison, Diff, diff, render};
use podgate_judge::matrix::PortChoice;
use podgate_policy::model::Protocol;

use crate::world::{
    World, anything, block, egress, ingress, key, matching, named, one, peers, pods, ports, range, serving,
};

use Protocol::{Tcp, Udp};

fn shop() -> World {
    World::default()
        .namespace("shop", "")
        .pod_with("shop/api", "app=api", "10.0.0.2", serving(&[("grpc", Tcp, 8080)]))
        .pod("shop/job", "app=job", "10.0.0.3")
        .pod("shop/web", "app=web", "10.0.0.1")
        .policy(ingress("shop/api", "app=api", vec![peers(vec![pods(matching("app=web"))])]))
}

/// The changes, a line for each.
fn lines(diff: &Diff) -> Vec<String> {
    let line = |it: &podgate_judge::diff::Change| {
        format!("{:?} by {:?}: {} to {} {}/{}", it.what, it.cause, it.from, it.to, it.protocol, it.port)
    };
    diff.changes.iter().map(line).collect()
}

#[track_caller]
fn expect(old: &World, new: &World, choice: &PortChoice, expected: &[&str]) {
    assert_eq!(lines(&diff(&old.cluster, &new.cluster, choice)), expected);
}

#[test]
fn who_waits_is_told_how_far_it_is() {
    let mut told = vec![];
    let new = shop().pod("shop/more", "app=more", "10.0.0.4");
    let choice = PortChoice::ContainerPorts;
    let old = shop();
    let found = Comparison::new(&old.cluster, &new.cluster, &choice, &mut |done, all| told.push((done, all)));
    assert_eq!(found.diff(), diff(&old.cluster, &new.cluster, &choice));
    // Three pods, then four.
    let expected = (1..=3).map(|done| (done, 6)).chain((5..=8).map(|done| (done, 8)));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[test]
fn equal_states_do_not_differ() {
    assert_eq!(diff(&shop().cluster, &shop().cluster, &PortChoice::ContainerPorts), Diff::default());
}

#[test]
fn what_policies_open_and_close_is_told_by_pair_and_port() {
    let moved = shop().policy(ingress("shop/api", "app=api", vec![peers(vec![pods(matching("app=job"))])]));
    expect(
        &shop(),
        &moved,
        &PortChoice::ContainerPorts,
        &["Opens by Policy: shop/job to shop/api TCP/8080", "Closes by Policy: shop/web to shop/api TCP/8080"],
    );
    let listed = PortChoice::Listed(BTreeSet::from([(Udp, 53)]));
    expect(
        &moved,
        &shop(),
        &listed,
        &["Opens by Policy: shop/web to shop/api UDP/53", "Closes by Policy: shop/job to shop/api UDP/53"],
    );
}

#[test]
fn a_named_port_that_moves_closes_at_one_number_and_opens_at_the_other() {
    let by_name = |number| {
        let api = serving(&[("grpc", Tcp, number)]);
        let rules = vec![ports(vec![named(Tcp, "grpc")])];
        shop().pod_with("shop/api", "app=api", "10.0.0.2", api).policy(ingress("shop/api", "app=api", rules))
    };
    expect(
        &by_name(8080),
        &by_name(9090),
        &PortChoice::ContainerPorts,
        &[
            "Opens by Policy: shop/job to shop/api TCP/9090",
            "Opens by Policy: shop/web to shop/api TCP/9090",
            "Opens by Policy: 0.0.0.0/0 to shop/api TCP/9090",
            "Closes by Policy: shop/job to shop/api TCP/8080",
            "Closes by Policy: shop/web to shop/api TCP/8080",
            "Closes by Policy: 0.0.0.0/0 to shop/api TCP/8080",
        ],
    );
}

#[test]
fn a_new_pod_opens_what_it_may_and_is_named() {
    let new = shop().pod("shop/web-2", "app=web", "10.0.0.4");
    let difference = diff(&shop().cluster, &new.cluster, &PortChoice::ContainerPorts);
    assert_eq!(
        lines(&difference),
        ["Opens by Pod: shop/web-2 to shop/api TCP/8080", "Opens by Pod: shop/web-2 to 0.0.0.0/0 TCP/443",]
    );
    assert_eq!((difference.added, difference.removed), (BTreeSet::from([key("shop/web-2")]), BTreeSet::new()));
    let back = diff(&new.cluster, &shop().cluster, &PortChoice::ContainerPorts);
    assert_eq!((back.added, back.removed), (BTreeSet::new(), BTreeSet::from([key("shop/web-2")])));
}

#[test]
fn addresses_outside_are_told_by_the_blocks_that_policies_name() {
    let with = |cidr: &str, except: &[&str]| {
        shop().policy(ingress("shop/api", "app=api", vec![peers(vec![pods(matching("app=web")), block(cidr, except)])]))
    };
    expect(
        &with("192.0.2.0/24", &["192.0.2.128/25"]),
        &with("192.0.2.0/24", &[]),
        &PortChoice::ContainerPorts,
        &["Opens by Policy: 192.0.2.128/25 to shop/api TCP/8080"],
    );
    // The first half alone: what stands for the whole is taken from the rest.
    expect(
        &with("192.0.2.0/24", &[]),
        &with("192.0.2.0/24", &["192.0.2.0/25"]),
        &PortChoice::ContainerPorts,
        &["Closes by Policy: 192.0.2.0/25 to shop/api TCP/8080"],
    );
    expect(
        &shop(),
        &with("0.0.0.0/0", &["192.0.2.0/24"]),
        &PortChoice::ContainerPorts,
        &["Opens by Policy: shop/job to shop/api TCP/8080", "Opens by Policy: 0.0.0.0/0 to shop/api TCP/8080"],
    );
}

#[test]
fn the_outside_is_asked_at_the_ports_that_egress_rules_name() {
    let only = |rule| shop().policy(egress("shop/job", "app=job", vec![rule]));
    expect(
        &only(anything()),
        &only(ports(vec![range(Tcp, 8000, 8100)])),
        &PortChoice::ContainerPorts,
        &["Closes by Policy: shop/job to 0.0.0.0/0 TCP/443"],
    );
    expect(
        &only(ports(vec![one(Udp, 53)])),
        &only(ports(vec![one(Tcp, 443)])),
        &PortChoice::ContainerPorts,
        &["Opens by Policy: shop/job to 0.0.0.0/0 TCP/443", "Closes by Policy: shop/job to 0.0.0.0/0 UDP/53"],
    );
}

#[test]
fn the_text_groups_sources_by_destination_and_port() {
    let open = shop().policy(ingress("shop/api", "app=api", vec![anything()])).pod("shop/web-2", "app=web", "10.0.0.4");
    let (old, new) = (shop(), open);
    let difference = diff(&old.cluster, &new.cluster, &PortChoice::ContainerPorts);
    assert_eq!(
        render(&difference, &old.cluster, &new.cluster),
        "\
opens:
  to shop/api TCP/8080 from shop/job, outside 0.0.0.0/0

opens with new pods:
  to shop/api TCP/8080, outside 0.0.0.0/0 TCP/443 from shop/web-2

4 open, 0 close
"
    );
    assert_eq!(render(&Diff::default(), &old.cluster, &old.cluster), "nothing opens, nothing closes\n");
}
