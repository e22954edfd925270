//! Whose an interface is, and for how long it is enforced, whatever becomes of objects, addresses and what the agent keeps.

use std::fs;

use podgate_lab::{Pod, PodManifest, Result, Wiring};
use serde_json::Value;

use super::Shop;
use crate::support::{Questions, everything, labelled, serve};

/// The server may be asked by the client and by nobody else.
fn assert_served(shop: &Shop, server: &Pod) {
    let to = server.addresses().both();
    Questions::new()
        .answered(&shop.client, everything(to, 80))
        .silent(&shop.stranger, everything(to, 80))
        .silent(server, everything(shop.client.addresses().both(), 80))
        .ask();
}

/// The object of a pod whose sandbox is made anew.
fn status_of(pod: &Pod, former: &Pod) -> PodManifest {
    let object = former.manifest().json();
    labelled(pod).uid(object["metadata"]["uid"].as_str().expect("a UID"))
}

/// The state of a pod of the node.
fn state(status: &Value, name: &str) -> String {
    let pods = status["pods"].as_array().expect("a list");
    let pod = pods.iter().find(|pod| pod["name"] == name).expect("a pod of the node");
    pod["state"].as_str().expect("a state").to_owned()
}

#[test]
fn a_pod_whose_object_is_deleted_stays_enforced_over_restarts_of_the_agent_until_its_interface_is_gone() -> Result<()> {
    for (wiring, hook) in [(Wiring::Ptp, "tcx"), (Wiring::Bridge, "clsact")] {
        let mut shop = Shop::new(&format!("deleted-{wiring}"), wiring)?;
        shop.world.run_agent(&["--hook", hook])?;
        let server = shop.server.clone();
        shop.world.forget(&server)?;
        assert_served(&shop, &server);
        shop.world.take_agent().kill()?;
        shop.world.restart()?;
        assert_served(&shop, &server);
        // Policies go on to change what it may do.
        let spec = "podSelector: {matchLabels: {app: server}}\ningress: [{}]";
        shop.world.write("policies.yaml", &crate::support::policy("shop", "serve-all", spec))?;
        Questions::new().answered(&shop.stranger, everything(server.addresses().both(), 80)).ask();
        shop.world.node.remove(&server)?;
        shop.world.write("policies.yaml", &super::serve_client())?;
        assert!(!shop.world.status()?["pods"].to_string().contains("server"), "the interface is gone");
    }
    Ok(())
}

#[test]
fn a_pod_that_takes_the_name_of_one_that_runs_on_has_policies_of_its_own_and_so_has_that_one() -> Result<()> {
    let mut shop = Shop::started("name-taken", Wiring::Ptp)?;
    let former = shop.server.clone();
    let open = shop.world.node.pod("shop/other", Wiring::Ptp)?;
    serve(&open)?;
    // The object of the server is another pod's from now on, with other labels.
    let mut object = open.manifest().uid("another").label("app", "open").json();
    object["metadata"]["name"] = "server".into();
    shop.world.write("pod-shop-server.yaml", &object.to_string())?;
    assert_served(&shop, &former);
    Questions::new().answered(&shop.stranger, everything(open.addresses().both(), 80)).ask();
    Ok(())
}

#[test]
fn pods_that_exchange_their_addresses_with_their_sandboxes_are_judged_by_their_own_policies() -> Result<()> {
    for wiring in [Wiring::Ptp, Wiring::Bridge] {
        let mut shop = Shop::started(&format!("exchange-{wiring}"), wiring)?;
        let (server, stranger) = (shop.server.clone(), shop.stranger.clone());
        // As when the node is restarted: the statuses are those from before.
        shop.world.node.remove(&server)?;
        shop.world.node.remove(&stranger)?;
        let again = shop.world.node.pod_at("shop/server", wiring, stranger.addresses())?;
        serve(&again)?;
        // It has the address that the status of an open pod tells, and is not open.
        let isolated = "which came after that was told and may be another pod's";
        shop.world.wait_not_ready(isolated)?;
        Questions::new()
            .silent(&shop.client, everything(again.addresses().both(), 80))
            .silent(&again, everything(shop.client.addresses().both(), 80))
            .ask();
        shop.world.tell(&status_of(&again, &server), &again)?;
        crate::support::until("the server is enforced", || Ok(state(&shop.world.status()?, "server") == "enforced"))?;
        shop.stranger = shop.world.node.pod_at("shop/stranger", wiring, server.addresses())?;
        serve(&shop.stranger)?;
        let now = shop.stranger.clone();
        shop.world.declare(&status_of(&now, &stranger), &now)?;
        assert_served(&shop, &again);
        Questions::new().answered(&shop.client, everything(now.addresses().both(), 80)).ask();
        shop.world.take_agent().terminate()?;
        shop.world.restart()?;
        assert_served(&shop, &again);
        Questions::new().answered(&shop.client, everything(now.addresses().both(), 80)).ask();
    }
    Ok(())
}

#[test]
fn a_lost_file_of_bindings_takes_programs_off_nobody() -> Result<()> {
    let mut shop = Shop::started("lost-file", Wiring::Ptp)?;
    let server = shop.server.clone();
    shop.world.take_agent().kill()?;
    fs::remove_file(shop.world.lab.directory().join("bindings-node-1.json")).expect("the agent has written it");
    // The server gives up the addresses that would tell whose its interface is.
    let device = &server.interface().name;
    server.ip(&[format!("addr flush dev {device} scope global")])?;
    shop.world.restart()?;
    assert_eq!(state(&shop.world.status()?, "server"), "enforced");
    Ok(())
}
