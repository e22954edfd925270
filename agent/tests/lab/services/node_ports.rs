//! Ports of nodes, as seen by clients from elsewhere and as reached on other nodes, and the node's own processes.

use std::net::{IpAddr, SocketAddr};

use podgate_lab::{Fate, Load, Namespace, Outside, Result, Transport, Wiring};

use super::shop::{BOTH, NODE_PORT, Plan, Shop, egress, make, to_open_backends};
use crate::support::{deny_all, policy};

/// Lets only these addresses reach the backends.
fn only_from(addresses: [IpAddr; 2]) -> String {
    let [ip4, ip6] = addresses;
    let peers = format!("[{{ipBlock: {{cidr: {ip4}/32}}}}, {{ipBlock: {{cidr: '{ip6}/128'}}}}]");
    policy("shop", "backends", &format!("podSelector: {{}}\ningress: [{{from: {peers}}}]"))
}

fn fates(from: &Namespace, loads: &[Load]) -> Result<Vec<Fate>> {
    let mut fates = Vec::new();
    for load in loads {
        fates.extend(from.load(load)?.into_iter().map(|attempt| attempt.fate));
    }
    fates.sort();
    fates.dedup();
    Ok(fates)
}

#[test]
fn clients_of_a_node_port_that_come_with_the_nodes_address_are_judged_by_it() -> Result<()> {
    // The links of these pods have no address of their own, so the node gives that of its uplink.
    let plan = Plan { wiring: Wiring::Routed, ..Plan::ROUTED_NFTABLES };
    let mut shop = Shop::empty("node-port-clients", plan)?;
    shop.backend("near-open", plan.wiring, "open")?;
    shop.set(&shop.api())?;
    shop.start_agents(&[])?;
    let outside = [Outside::IP4, Outside::IP6];
    for (policies, expected) in [(only_from(outside), Fate::Silence), (only_from(shop.node_ips()), Fate::Answered(1))] {
        shop.set_policies(&policies)?;
        let loads: Vec<Load> = shop.loads(shop.node_ips(), NODE_PORT, 5);
        assert_eq!(fates(shop.world.lab.outside(), &loads)?, [expected]);
    }
    Ok(())
}

#[test]
fn a_port_of_another_node_is_judged_as_that_node() -> Result<()> {
    let mut shop = Shop::started("node-port-elsewhere", Plan::ROUTED_NFTABLES, &to_open_backends())?;
    let far = [shop.far.ip4(), shop.far.ip6()];
    assert_eq!(fates(&shop.client, &shop.loads(far, NODE_PORT, 10))?, [Fate::Silence]);
    let blocks = format!("to: [{{ipBlock: {{cidr: {}/32}}}}, {{ipBlock: {{cidr: '{}/128'}}}}]", far[0], far[1]);
    shop.set_policies(&egress(&format!("{blocks}, ports: [{{port: 30080}}, {{port: 30080, protocol: UDP}}]")))?;
    let answered = make(&shop.client, &shop.loads(far, NODE_PORT, 40))?.concat();
    let unanswered = answered.iter().find(|attempt| !matches!(attempt.fate, Fate::Answered(_)));
    assert_eq!(unanswered, None);
    Ok(())
}

#[test]
fn a_pod_that_may_open_nothing_reaches_processes_of_its_node_at_any_address() -> Result<()> {
    for plan in Plan::ALL {
        let mut shop = Shop::empty("own-node", plan)?;
        let more = ["192.0.2.77", "2001:db8:77::77"].map(|text| text.parse().expect("it is an address"));
        shop.world.node.bind_addresses("more", &more)?;
        shop.world.write("policies.yaml", &deny_all("shop", "{}"))?;
        shop.start_agents(&[])?;
        for (identity, address) in (1..).zip([shop.node_ips(), more].concat()) {
            for transport in BOTH {
                let at = SocketAddr::new(address, 9000);
                let _server = shop.world.node.count_at(transport, at, identity)?;
                assert_eq!(fates(&shop.client, &[shop.load(transport, at, 5)])?, [Fate::Answered(identity)], "{at}");
            }
        }
        let elsewhere = SocketAddr::new(shop.far.ip4(), 9000);
        let _server = shop.far.count_at(Transport::Tcp, elsewhere, 9)?;
        assert_eq!(fates(&shop.client, &[shop.load(Transport::Tcp, elsewhere, 5)])?, [Fate::Silence]);
    }
    Ok(())
}
