//! Pods that do nothing, on a bridge that shows them what others look for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{Namespace, Pod, Result, Wiring};

use crate::support::{World, arrivals, count_arrivals, deny_all, times, until};

/// The kinds of discovery that a bridge shows every idle pod, as nft names them.
const KINDS: [&str; 4] = ["nd-router-solicit", "nd-neighbor-solicit", "mld-listener-query", "mld2-listener-report"];
/// The one of them that enters no pod.
const REPORT: &str = "mld2-listener-report";
/// What a bridge without an address sends to ask for members of groups.
const QUERY: &str = "igmp-membership-query";
/// The bridge of the CNI plugin.
const BRIDGE: &str = "cni0";

/// Has a pod's kernel count what it receives of each of [`KINDS`], and of [`QUERY`].
fn watch(pod: &Pod) -> Result<()> {
    let mut rules = KINDS.map(|kind| format!("icmpv6 type {kind} counter name {kind}")).to_vec();
    rules.push(format!("ip saddr 0.0.0.0 igmp type membership-query counter name {QUERY}"));
    count_arrivals(pod, &[&KINDS[..], &[QUERY]].concat(), &rules)
}

/// What [`watch`] has counted.
fn seen(pod: &Pod) -> Result<BTreeMap<&'static str, u64>> {
    KINDS.into_iter().chain([QUERY]).map(|kind| Ok((kind, arrivals(pod, kind)?))).collect()
}

/// Has a namespace on the bridge look for neighbours that are not there, others each time.
fn look_for_nobody(from: &Namespace, turn: usize) {
    let turn = turn % 0xffff;
    let absent = [format!("10.244.1.{}", 240 + turn % 10), format!("fd00:10:244:1:1::dead:{turn:x}")];
    for address in absent.map(|text| text.parse::<IpAddr>().expect("it is an address")) {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = from.run(|| UdpSocket::bind(any)).expect("there are free ports");
        // That nobody is there shows later, and not here.
        let _ = socket.send_to(b"anybody?", SocketAddr::new(address, 9));
    }
}

/// Has a pod begin anew, which takes some seconds: it looks whether its addresses are taken, and for routers, and
/// reports what it listens to.
fn begin_anew(pod: &Pod) -> Result<()> {
    pod.ip(&["link set eth0 down", "link set eth0 up"])
}

/// The packets of the idle pods with a verdict, by pod, direction and reason.
fn judged(world: &mut World, verdict: &str) -> Result<BTreeMap<String, u64>> {
    let metrics = world.agent().metrics()?;
    let wanted = [("verdict", verdict)];
    let judged = metrics.matching("podgate_verdicts_total", &wanted);
    let of_idle = judged.filter(|series| series.value > 0.0 && series.label("pod").starts_with("idle"));
    let named = of_idle.map(|series| {
        let name = ["pod", "direction", "reason"].map(|key| series.label(key)).join(" ");
        (name, series.value as u64)
    });
    Ok(named.collect())
}

#[test]
fn idle_pods_are_denied_nothing_whatever_their_bridge_floods() -> Result<()> {
    let mut world = World::new("idle-pods")?;
    let count = 100;
    let begun = Instant::now();
    let idle: Vec<Pod> =
        (0..count).map(|n| world.node.pod(&format!("shop/idle-{n}"), Wiring::Bridge)).collect::<Result<_>>()?;
    let restless = world.node.pod("shop/restless", Wiring::Bridge)?;
    println!("{count} pods after {:?}", begun.elapsed());
    let pods = idle.iter().chain([&restless]).map(|pod| pod.manifest().json().to_string());
    world.write("pods.yaml", &pods.collect::<Vec<_>>().join("\n---\n"))?;
    world.write("policies.yaml", &deny_all("shop", "{}"))?;
    for (key, value) in
        [("accept_dad", "1"), ("accept_ra", "1"), ("router_solicitation_delay", "0"), ("keep_addr_on_down", "1")]
    {
        restless.set(&format!("ipv6/conf/eth0/{key}"), value)?;
    }
    // Queries each second, so that members report themselves.
    let querier = "mcast_querier 1 mcast_query_interval 100 mcast_query_response_interval 50";
    world.node.ip(&[format!("link set {BRIDGE} type bridge {querier}")])?;
    world.run_agent(&[])?;
    watch(&idle[0])?;

    let rounds = times(20, 600);
    for round in 0..rounds {
        // By turns the bridge knows who listens to what, and shows everything to everybody.
        let snooping = u8::from(round % 4 == 3);
        world.node.ip(&[format!("link set {BRIDGE} type bridge mcast_snooping {snooping}")])?;
        if round % 16 == 0 {
            begin_anew(&restless)?;
        }
        look_for_nobody(&restless, round);
        look_for_nobody(&world.node, round);
        thread::sleep(Duration::from_millis(500));
    }
    let seen = seen(&idle[0])?;
    let own = world.denied(&restless, "egress")?;
    println!("{rounds} rounds, one of {count} pods has seen {seen:?}, the restless one was denied {own:?}");
    let has_come = |(kind, frames): (&&str, &u64)| (*frames > 0) == (*kind != REPORT);
    assert!(seen.iter().all(has_come), "each kind came, and no report: {seen:?}");
    let withheld = judged(&mut world, "withheld")?;
    assert!(withheld.contains_key("idle-0 ingress discovery_withheld"), "{withheld:?}");
    assert_eq!(judged(&mut world, "denied")?, BTreeMap::new());

    let stranger = world.lab.outside().run(|| UdpSocket::bind("0.0.0.0:0")).expect("there are free ports");
    stranger.send_to(b"hello", (idle[0].ip4(), 9)).expect("the kernel takes the datagram");
    let expected = BTreeMap::from([("idle-0 ingress no_rule".to_owned(), 1)]);
    until("what is no discovery is denied, and counted", || Ok(judged(&mut world, "denied")? == expected))
}
