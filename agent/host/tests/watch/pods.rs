//! From real veths to bindings.

use std::collections::BTreeMap;

use podgate_host::binding::{Anomaly, Bindings, Decision, NoVeth, NodeFacts, PodId};
use podgate_host::netlink::Options;
use podgate_policy::model::{Labels, ObjectKey, Phase, Pod};

use crate::host::{Host, addresses, ifindex};

fn pod<const N: usize>(name: &str, all: [&str; N]) -> Pod {
    Pod {
        key: ObjectKey::new("default", name),
        uid: name.into(),
        labels: Labels::new(),
        workload: None,
        node: Some("node".into()),
        host_network: false,
        phase: Phase::Active,
        terminating: false,
        addresses: addresses(all).into_iter().collect(),
        ports: Vec::new(),
    }
}

#[test]
fn each_pod_is_bound_to_its_own_veth_and_none_to_the_uplink() {
    let mut host = Host::prepared("", Options::default());
    // The world outside has a pod's address, as a router in front of a kind node might.
    let outside = host.pod("up0");
    outside.ip("addr add 10.1.0.9/32 dev eth0\naddr add 172.18.0.1/16 dev eth0");
    host.namespace.ip("addr add 172.18.0.2/16 dev up0\nroute add default via 172.18.0.1");
    let thief = host.pod("v-thief");
    thief.ip("addr add 10.1.0.5/32 dev eth0\naddr add fd01::5/128 dev eth0 nodad");
    let victim = host.pod("v-victim");
    victim.ip("addr add 10.1.0.6/32 dev eth0\naddr add fd01::6/128 dev eth0 nodad");
    for (name, given) in [("v-thief", ["10.1.0.5", "fd01::5"]), ("v-victim", ["10.1.0.6", "fd01::6"])] {
        host.until_veth(name, "the pod", |veth| veth.first_addresses == addresses(given));
    }
    host.until_veth("up0", "the world outside", |veth| veth.first_addresses.is_superset(&addresses(["10.1.0.9"])));
    host.until("the default route", |view| !view.default_route_devices.is_empty());
    thief.ip("addr add 10.1.0.6/32 dev eth0");
    let stolen = addresses(["10.1.0.6"]);
    let view = host.until("the stolen address", |view| {
        view.veths.values().filter(|veth| veth.peer_addresses.is_superset(&stolen)).count() == 2
    });

    let pods =
        [pod("a-victim", ["10.1.0.6", "fd01::6"]), pod("b-thief", ["10.1.0.5", "fd01::5"]), pod("lost", ["10.1.0.9"])];
    let mut bindings = Bindings::default();
    let decisions = bindings.update(&view, &pods, &NodeFacts::default(), std::time::Instant::now());
    let bound: BTreeMap<String, u32> = decisions
        .iter()
        .map(|decision| match decision {
            Decision::Bind(binding) => (binding.pod.to_string(), binding.ifindex),
            other => panic!("nothing to {other:?}"),
        })
        .collect();
    let expected = [("default/a-victim", "v-victim"), ("default/b-thief", "v-thief")];
    assert_eq!(bound, expected.map(|(pod, veth)| (pod.to_owned(), ifindex(&view, veth))).into());
    let cause = NoVeth::Excluded { ifindex: ifindex(&view, "up0") };
    assert_eq!(bindings.anomalies()[0], Anomaly::PodWithoutVeth { pod: PodId::of(&pods[2]), cause });

    drop(victim);
    let gone = ifindex(&view, "v-victim");
    let view = host.until("the victim gone", |view| !view.veths.contains_key(&gone));
    let decisions = bindings.update(&view, &pods, &NodeFacts::default(), std::time::Instant::now());
    assert_eq!(decisions, [Decision::Unbind { ifindex: gone, pod: PodId::of(&pods[0]) }]);
}
