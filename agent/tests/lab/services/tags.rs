//! Tags that packets bring along from elsewhere.

use std::net::{IpAddr, SocketAddr};

use podgate_common::Tag;
use podgate_lab::{Answer, ChainPosition, Fate, ForeignLink, Hook, Load, Result, Transport};

use super::shop::{CLUSTER_IPS, PORT, Plan, Shop, TARGET, ips, make, to_open_backends};
use crate::support::deny_all;

/// More than the node has pods: the client's slot is among them, those of open backends and that of the closed one.
const SLOTS: u16 = 6;

/// One tag with each fate.
fn fates() -> [Tag; 6] {
    let deferred = [false, true].map(|established| Tag::deferred(0, 0, established));
    [Tag::judged(0, 0), deferred[0], deferred[1], Tag::inward(0, 0), Tag::answer(0, 0), Tag::settled(0, 0)]
}

/// Attempts whose source ports, taken as tags, say every fate of every set of tables for every pod of the node.
fn loads(shop: &Shop, to: [IpAddr; 2], port: u16) -> Vec<Load> {
    let sets = (0..Tag::SETS).map(|set| Tag::judged(set, 0).raw() - Tag::judged(0, 0).raw());
    let first = sets.flat_map(|set| fates().map(|fate| fate.raw() + set));
    let load =
        |first_port, address| Load { first_port, ..shop.load(Transport::Tcp, SocketAddr::new(address, port), SLOTS) };
    first.flat_map(|first_port| to.map(|address| load(first_port, address))).collect()
}

#[test]
fn a_pod_that_tags_its_packets_itself_gains_and_loses_nothing() -> Result<()> {
    let shop = Shop::started("own-tag", Plan::ROUTED_NFTABLES, &to_open_backends())?;
    let _link = ForeignLink::attach(&shop.client, "eth0", Hook::Egress, ChainPosition::Last, Answer::TagByPort)?;
    shop.assert_judged(&loads(&shop, ips(CLUSTER_IPS), PORT), &["near-open", "far-open"])
}

#[test]
fn a_tag_that_comes_from_outside_makes_nobody_a_pod_or_process_of_the_node() -> Result<()> {
    let shop = Shop::started("foreign-tag", Plan::ROUTED_NFTABLES, &deny_all("shop", "{}"))?;
    let (outside, to) = (shop.world.lab.outside(), shop.pod("near-closed").addresses().both());
    // The other end of the first node's uplink.
    let _link = ForeignLink::attach(outside, "node1", Hook::Egress, ChainPosition::Last, Answer::TagByPort)?;
    let made = make(outside, &loads(&shop, to, TARGET))?.concat();
    let heard: Vec<_> = made.iter().filter(|attempt| attempt.fate != Fate::Silence).collect();
    assert!(heard.is_empty(), "{heard:?}");
    assert_eq!(made.len(), fates().len() * (Tag::SETS * u32::from(SLOTS)) as usize * to.len());
    Ok(())
}
