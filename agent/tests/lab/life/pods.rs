//! Pods come and go while the agent runs.

use std::net::{IpAddr, SocketAddr};

use podgate_lab::{Pod, Probe, Result, Seen, Wiring};

use super::Shop;
use crate::support::{ANSWER, Questions, SILENCE, everything, labelled};

/// Asks the server by UDP from a fixed port, so that the second time is the same flow.
fn ask_from_port_4000(pod: &Pod, server: [IpAddr; 2], expected: Seen) {
    let patience = if expected == Seen::Answered { ANSWER } else { SILENCE };
    for (own, server) in pod.addresses().both().into_iter().zip(server) {
        let seen = pod.probe_from(Probe::udp(server, 80), Some(SocketAddr::new(own, 4000)), patience);
        assert_eq!(seen, expected, "{server}");
    }
}

/// Removes the client and gives its addresses to another pod.
fn succeed(shop: &mut Shop, name: &str) -> Result<Pod> {
    let client = shop.client.clone();
    shop.world.node.remove(&client)?;
    shop.world.forget(&client)?;
    let successor = shop.world.pod_at(name, client.wiring(), client.addresses())?;
    assert_eq!(successor.addresses(), client.addresses());
    Ok(successor)
}

#[test]
fn an_address_that_a_pod_with_other_labels_takes_allows_nothing_any_more() -> Result<()> {
    for wiring in Wiring::ALL {
        let mut shop = Shop::started(&format!("reuse-{wiring}"), wiring)?;
        let server = shop.server.addresses().both();
        Questions::new().answered(&shop.client, everything(server, 80)).ask();
        ask_from_port_4000(&shop.client, server, Seen::Answered);
        let successor = succeed(&mut shop, "shop/successor")?;
        ask_from_port_4000(&successor, server, Seen::Silence);
        Questions::new().silent(&successor, everything(server, 80)).ask();
    }
    Ok(())
}

#[test]
fn an_address_that_a_pod_with_the_same_labels_takes_allows_the_same() -> Result<()> {
    let mut shop = Shop::started("reuse-same", Wiring::Ptp)?;
    let successor = succeed(&mut shop, "shop/client")?;
    Questions::new().answered(&successor, everything(shop.server.addresses().both(), 80)).ask();
    Ok(())
}

#[test]
fn a_pod_that_comes_while_the_agent_runs_is_enforced_and_its_successor_is_judged_by_its_own_policies() -> Result<()> {
    let mut shop = Shop::started("subject", Wiring::Routed)?;
    let server = shop.server.clone();
    Questions::new().silent(&shop.stranger, everything(server.addresses().both(), 80)).ask();
    shop.world.node.remove(&server)?;
    shop.world.forget(&server)?;
    let open = shop.world.pod_at("shop/open", Wiring::Routed, server.addresses())?;
    Questions::new()
        .answered(&shop.stranger, everything(open.addresses().both(), 80))
        .answered(&open, everything(shop.stranger.addresses().both(), 80))
        .ask();
    assert_eq!(shop.world.denied(&open, "ingress")?, [].into(), "the former pod's packets are not this one's");
    shop.world.node.remove(&open)?;
    shop.world.forget(&open)?;
    let server = shop.world.pod_at("shop/server", Wiring::Routed, server.addresses())?;
    Questions::new()
        .silent(&shop.stranger, everything(server.addresses().both(), 80))
        .answered(&shop.client, everything(server.addresses().both(), 80))
        .ask();
    assert_eq!(shop.world.denied(&server, "ingress")?, [("no_rule".to_owned(), 6)].into());
    Ok(())
}

#[test]
fn a_pod_that_has_ended_is_neither_subject_nor_peer() -> Result<()> {
    for phase in ["Succeeded", "Failed"] {
        let mut shop = Shop::started("ended", Wiring::Ptp)?;
        let (client, server) = (shop.client.clone(), shop.server.clone());
        shop.world.declare(&labelled(&client).phase(phase), &client)?;
        Questions::new().silent(&client, everything(server.addresses().both(), 80)).ask();
        shop.world.declare(&labelled(&server).phase(phase), &server)?;
        Questions::new()
            .answered(&shop.stranger, everything(server.addresses().both(), 80))
            .answered(&server, everything(shop.stranger.addresses().both(), 80))
            .ask();
    }
    Ok(())
}

#[test]
fn the_address_of_a_pod_that_has_ended_is_its_successors_alone() -> Result<()> {
    let mut shop = Shop::started("ended-address", Wiring::Ptp)?;
    let stranger = shop.stranger.clone();
    shop.world.declare(&labelled(&stranger).phase("Succeeded"), &stranger)?;
    shop.world.node.remove(&stranger)?;
    let successor = shop.world.node.pod_at("shop/successor", Wiring::Ptp, stranger.addresses())?;
    shop.world.declare(&successor.manifest().label("app", "client"), &successor)?;
    Questions::new().answered(&successor, everything(shop.server.addresses().both(), 80)).ask();
    Ok(())
}

#[test]
fn a_pod_whose_veth_is_gone_keeps_the_agent_from_being_ready_until_it_has_another() -> Result<()> {
    let mut shop = Shop::started("new-veth", Wiring::Bridge)?;
    let server = shop.server.clone();
    shop.world.node.remove(&server)?;
    shop.world.wait_not_ready("pod shop/server has no interface")?;
    let again = shop.world.node.pod_at("shop/server", Wiring::Bridge, server.addresses())?;
    crate::support::serve(&again)?;
    shop.world.agent().wait_ready()?;
    Questions::new()
        .silent(&shop.stranger, everything(again.addresses().both(), 80))
        .answered(&shop.client, everything(again.addresses().both(), 80))
        .ask();
    Ok(())
}
