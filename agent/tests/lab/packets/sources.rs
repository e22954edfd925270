//! Ethernet source addresses. A bridge learns from them, and so they say whose packets go where.

use std::time::Instant;

use etherparse::PacketBuilder;
use podgate_lab::{LinkSocket, Pod, PodManifest, Result, Wiring};

use super::{ARRIVES, Pair, STAYS_AWAY, arp, carries, ip_header, link};
use crate::cni::chain;
use crate::support::{World, deny_all};

const PAYLOAD: &[u8] = b"whose address is this?";
/// IEEE Std 802 Local Experimental EtherType 1.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
const EVERYBODY: [u8; 6] = [0xff; 6];
const FRESH: [u8; 6] = [2, 0xaa, 0, 0, 0, 7];

fn datagram(from: &Pod, source: [u8; 6], to: &Pod) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(source, to.interface().mac)
        .ip(ip_header(from.ip6(), to.ip6()))
        .udp(4000, 5353)
        .write(&mut frame, PAYLOAD)
        .expect("a vector takes every frame");
    frame
}

/// What a pod may say, from a source that it chooses.
fn frames(from: &Pod, source: [u8; 6], to: &Pod) -> [Vec<u8>; 3] {
    let mut request = arp(from, 1, from.ip4(), [10, 0, 0, 1].into());
    request[6..12].copy_from_slice(&source);
    let other = [&EVERYBODY[..], &source, &EXPERIMENTAL, PAYLOAD];
    [request, datagram(from, source, to), other.concat()]
}

/// Whether what a friend sends to a pod's Ethernet address arrives there.
fn is_reached(friend: &Pod, sending: &LinkSocket, victim: &Pod, arriving: &mut LinkSocket) -> Result<bool> {
    let frame = datagram(friend, friend.interface().mac, victim);
    sending.send(&frame)?;
    Ok(arriving.catch(ARRIVES, |seen| seen == frame).is_some())
}

fn nobody_becomes_anothers_port(hook: &str) -> Result<()> {
    let mut pair = Pair::new(&format!("port-{hook}"), Wiring::Bridge)?;
    let friend = pair.world.pod("shop/friend", Wiring::Bridge)?;
    pair.world.run_agent(&["--hook", hook])?;
    let (thief, victim) = (&pair.client, &pair.server);
    let (stealing, mut at_victim, sending) = (link(thief)?, link(victim)?, link(&friend)?);
    // The bridge knows where everybody is.
    at_victim.send(&frames(victim, victim.interface().mac, &friend)[0])?;
    for policies in ["", &deny_all("shop", "{matchLabels: {app: client}}")] {
        pair.world.write("policies.yaml", policies)?;
        for frame in frames(thief, victim.interface().mac, &friend) {
            stealing.send(&frame)?;
            assert!(is_reached(&friend, &sending, victim, &mut at_victim)?, "after {frame:02x?} under {policies:?}");
        }
    }
    assert_eq!(pair.world.denied(&pair.client, "egress")?.get("neighbour_spoofed"), Some(&6));
    Ok(())
}

#[test]
fn a_bridge_takes_no_pods_port_for_anothers_with_tcx() -> Result<()> {
    nobody_becomes_anothers_port("tcx")
}

#[test]
fn a_bridge_takes_no_pods_port_for_anothers_with_clsact() -> Result<()> {
    nobody_becomes_anothers_port("clsact")
}

fn set_address(pod: &Pod, [a, b, c, d, e, f]: [u8; 6]) -> Result<()> {
    pod.ip(&[format!("link set eth0 address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")])
}

#[test]
fn a_pod_may_take_an_address_that_is_nobodys_and_none_that_is_anothers() -> Result<()> {
    let mut pair = Pair::new("fresh", Wiring::Bridge)?;
    let friend = pair.world.pod("shop/friend", Wiring::Bridge)?;
    pair.world.run_agent(&[])?;
    let (pod, victim) = (&pair.client, &pair.server);
    let (sending, mut at_friend, mut at_victim) = (link(pod)?, link(&friend)?, link(victim)?);
    let mut until_it_arrives = |frame: &[u8]| -> Result<bool> {
        let limit = Instant::now() + ARRIVES;
        while Instant::now() < limit {
            sending.send(frame)?;
            if at_friend.catch(STAYS_AWAY / 10, |seen| seen == frame).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    set_address(pod, victim.interface().mac)?;
    set_address(pod, FRESH)?;
    assert!(until_it_arrives(&datagram(pod, FRESH, &friend))?, "from the new address");
    assert!(until_it_arrives(&datagram(pod, pod.interface().mac, &friend))?, "from the first one");
    set_address(pod, victim.interface().mac)?;
    at_victim.send(&frames(victim, victim.interface().mac, &friend)[0])?;
    let sending_friend = link(&friend)?;
    for _ in 0..3 {
        sending.send(&datagram(pod, victim.interface().mac, &friend))?;
        assert!(is_reached(&friend, &sending_friend, victim, &mut at_victim)?, "the victim");
    }
    // Until this arrives the change has long been seen.
    set_address(pod, pod.interface().mac)?;
    assert!(until_it_arrives(&datagram(pod, pod.interface().mac, &friend))?, "back again");
    Ok(())
}

/// A pod is given an address by the last plugins of its chain, when another pod has it already.
fn a_fixed_address_is_its_pods(hook: &str) -> Result<()> {
    let mut world = World::new(&format!("fixed-{hook}"))?;
    let (thief, friend) = (world.pod("shop/thief", Wiring::Bridge)?, world.pod("shop/friend", Wiring::Bridge)?);
    let manifest = PodManifest::starting("shop/victim", world.node.name(), "victim");
    world.manifests.write("victim.yaml", manifest.json().to_string())?;
    world.run_agent(&["--hook", hook])?;
    set_address(&thief, FRESH)?;
    let victim = chain(&world)?.with_mac(FRESH).start("shop/victim", Wiring::Bridge, "victim", None)?.pod;
    let (stealing, mut at_victim, sending) = (link(&thief)?, link(&victim)?, link(&friend)?);
    at_victim.send(&frames(&victim, FRESH, &friend)[0])?;
    for frame in frames(&thief, FRESH, &friend) {
        stealing.send(&frame)?;
        assert!(is_reached(&friend, &sending, &victim, &mut at_victim)?, "after {frame:02x?}");
    }
    // What the pod's kernel sends on its own counts too.
    let spoofed = world.denied(&thief, "egress")?.get("neighbour_spoofed").copied();
    assert!(spoofed >= Some(3), "{spoofed:?}");
    Ok(())
}

#[test]
fn an_address_that_the_last_plugins_give_is_their_pods_with_tcx() -> Result<()> {
    a_fixed_address_is_its_pods("tcx")
}

#[test]
fn an_address_that_the_last_plugins_give_is_their_pods_with_clsact() -> Result<()> {
    a_fixed_address_is_its_pods("clsact")
}

#[test]
fn on_a_link_of_its_own_a_pod_sends_from_any_ethernet_address() -> Result<()> {
    let mut pair = Pair::new("own-link", Wiring::Ptp)?;
    pair.world.run_agent(&[])?;
    let (pod, server) = (&pair.client, &pair.server);
    let (sending, mut arriving) = (link(pod)?, link(server)?);
    let mut frame = datagram(pod, FRESH, server);
    frame[..6].copy_from_slice(&pod.gateway().mac);
    sending.send(&frame)?;
    assert!(arriving.catch(ARRIVES, |seen| carries(seen, PAYLOAD)).is_some());
    Ok(())
}

#[test]
fn the_next_agent_knows_who_had_an_address_first() -> Result<()> {
    let mut pair = Pair::new("next-agent", Wiring::Bridge)?;
    let friend = pair.world.pod("shop/friend", Wiring::Bridge)?;
    pair.world.run_agent(&[])?;
    let theirs = pair.server.interface().mac;
    set_address(&pair.client, theirs)?;
    pair.world.take_agent().kill()?;
    pair.world.restart()?;
    let (stealing, mut at_victim, sending) = (link(&pair.client)?, link(&pair.server)?, link(&friend)?);
    for _ in 0..3 {
        at_victim.send(&datagram(&pair.server, theirs, &friend))?;
        stealing.send(&datagram(&pair.client, theirs, &friend))?;
        assert!(is_reached(&friend, &sending, &pair.server, &mut at_victim)?);
    }
    // What the pod's kernel sends on its own counts too.
    let spoofed = pair.world.denied(&pair.client, "egress")?.get("neighbour_spoofed").copied();
    assert!(spoofed >= Some(3), "{spoofed:?}");
    Ok(())
}
