//! Services judged where packets leave the pod: reached only if every backend is allowed.

use std::net::SocketAddr;

use podgate_lab::{
    Answer, ChainPosition, Fate, ForeignLink, Hook, Load, Pod, ProxyMode, Result, Transport, UPLINK, Wiring,
};
use serde_json::json;

use super::dns;
use super::shop::{
    BOTH, CLUSTER_IPS, EXTERNAL_IPS, NODE_PORT, PORT, Plan, Shop, egress, ips, make, received, to_open_backends,
};
use crate::support::deny_all;

const AT_SOURCE: [&str; 1] = ["--services=source"];
const OPEN: [&str; 2] = ["near-open", "far-open"];
const EVERY: [&str; 4] = ["near-open", "near-closed", "far-open", "far-closed"];

/// Attempts at the Service's ClusterIPs and external IPs.
fn loads(shop: &Shop) -> Vec<Load> {
    [CLUSTER_IPS, EXTERNAL_IPS].into_iter().flat_map(|to| shop.loads(ips(to), PORT, 20)).collect()
}

/// Nobody answers, and nothing reaches any backend.
#[track_caller]
fn assert_silent(shop: &Shop) -> Result<()> {
    let pods: Vec<&Pod> = EVERY.iter().map(|name| shop.pod(name)).collect();
    let before = received(&pods)?;
    let heard: Vec<_> =
        make(&shop.client, &loads(shop))?.concat().into_iter().filter(|it| it.fate != Fate::Silence).collect();
    assert_eq!(heard, []);
    assert_eq!(received(&pods)?, before, "something reached a backend");
    Ok(())
}

#[test]
fn a_service_is_reached_only_while_every_backend_is_allowed() -> Result<()> {
    for plan in [Plan::ROUTED_NFTABLES, Plan::BOUND] {
        let mut shop = Shop::new("at-source", plan)?;
        let (all, open) = (shop.api(), shop.api_of(OPEN));
        shop.set(&open)?;
        shop.world.write("policies.yaml", &to_open_backends())?;
        shop.start_agents(&AT_SOURCE)?;
        shop.assert_judged(&loads(&shop), &OPEN)?;
        shop.set(&all)?;
        assert_silent(&shop)?;
        shop.set(&open)?;
        shop.assert_judged(&loads(&shop), &OPEN)?;
        shop.set_policies(&egress("to: [{podSelector: {matchLabels: {app: near-open}}}]"))?;
        assert_silent(&shop)?;
        shop.set_policies(&to_open_backends())?;
        shop.assert_judged(&loads(&shop), &OPEN)?;
        let services = shop.world.status()?["services"].take();
        let told = ["judged_at", "allowed", "denied"].map(|field| services[field].clone());
        assert_eq!(told, [json!("source"), json!(0), json!(0)]);
        shop.set(&all)?;
        shop.assert_judged(&shop.loads(shop.node_ips(), NODE_PORT, 20), &OPEN)?;
    }
    Ok(())
}

#[test]
fn what_hides_the_exit_hook_opens_no_service() -> Result<()> {
    for (arguments, fate) in [(&[][..], Fate::Answered(1)), (&AT_SOURCE, Fate::Silence)] {
        let mut shop = Shop::empty("hidden-exit", Plan::ROUTED_NFTABLES)?;
        shop.backend("far-closed", Wiring::Ptp, "closed")?;
        shop.set(&shop.api())?;
        shop.world.write("policies.yaml", &to_open_backends())?;
        shop.start_agents(arguments)?;
        let _link = ForeignLink::attach(&shop.world.node, UPLINK, Hook::Egress, ChainPosition::First, Answer::Ok)?;
        let loads = shop.loads(ips(CLUSTER_IPS), PORT, 3);
        let fates: Vec<Fate> = make(&shop.client, &loads)?.concat().iter().map(|attempt| attempt.fate).collect();
        assert_eq!(fates, [fate; 12], "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_pod_reaches_itself_through_its_service() -> Result<()> {
    let mut shop = Shop::empty("itself-at-source", Plan::ROUTED_NFTABLES)?;
    shop.backend("near-self", Wiring::Ptp, "none")?;
    shop.set(&shop.api())?;
    shop.world.write("policies.yaml", &deny_all("shop", "{}"))?;
    shop.start_agents(&AT_SOURCE)?;
    let own = shop.pod("near-self").clone();
    for attempt in make(&own, &shop.loads(ips(CLUSTER_IPS), PORT, 10))?.concat() {
        assert_eq!(attempt.fate, Fate::Answered(1), "{}", attempt.from);
    }
    let heard = make(&shop.client, &shop.loads(ips(CLUSTER_IPS), PORT, 10))?.concat();
    assert!(heard.iter().all(|attempt| attempt.fate == Fate::Silence), "{heard:?}");
    Ok(())
}

#[test]
fn names_are_asked_by_a_rule_that_names_kube_dns_and_of_the_node_by_none() -> Result<()> {
    for plan in [Plan::ROUTED_NFTABLES, Plan::BOUND] {
        let mut shop = dns::shop("dns-at-source", plan)?;
        shop.start_agents(&AT_SOURCE)?;
        let to_dns = dns::TO_DNS;
        shop.set_policies(&egress(&format!("{to_dns}, ports: [{{port: 53, protocol: UDP}}, {{port: 53}}]")))?;
        for transport in BOTH {
            assert!(dns::ask(&shop, transport)?.iter().all(|it| matches!(it.fate, Fate::Answered(1 | 2))), "{plan:?}");
        }
        shop.set_policies(&deny_all("shop", "{}"))?;
        assert!(dns::ask(&shop, Transport::Udp)?.iter().all(|it| it.fate == Fate::Silence), "{plan:?}");
        // IPVS leaves a Service's port to no process.
        if plan.mode != ProxyMode::Bound {
            assert_served_by_node(&shop)?;
        }
    }
    Ok(())
}

/// A process of the node at the address of kube-dns answers in its place.
fn assert_served_by_node(shop: &Shop) -> Result<()> {
    let (node, addresses) = (&shop.world.node, ips(CLUSTER_IPS));
    node.bind_addresses("node-local", &addresses)?;
    for transport in BOTH {
        node.keep_from_translation(transport, &addresses, dns::DNS)?;
        for address in addresses {
            node.count_at(transport, SocketAddr::new(address, dns::DNS), 99)?.detach();
        }
    }
    crate::support::until("the agent knows the node's addresses", || {
        Ok(dns::ask(shop, Transport::Udp)?.iter().all(|attempt| attempt.fate == Fate::Answered(99)))
    })?;
    assert!(dns::ask(shop, Transport::Tcp)?.iter().all(|attempt| attempt.fate == Fate::Answered(99)));
    Ok(())
}
