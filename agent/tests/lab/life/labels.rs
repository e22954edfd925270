//! Labels change while the agent runs.

use podgate_lab::{Pod, Result, Seen, Wiring};

use super::Shop;
use crate::support::{Questions, World, everything, labelled, policy};

#[test]
fn a_pod_is_not_isolated_any_more_without_the_label_that_selected_it() -> Result<()> {
    let mut shop = Shop::started("unselected", Wiring::Ptp)?;
    let server = shop.server.clone();
    let ask = |shop: &Shop, expected| {
        Questions::new()
            .expect(&shop.stranger, everything(server.addresses().both(), 80), expected)
            .expect(&server, everything(shop.stranger.addresses().both(), 80), expected)
            .ask();
    };
    ask(&shop, Seen::Silence);
    shop.world.declare(&server.manifest().label("app", "other"), &server)?;
    ask(&shop, Seen::Answered);
    shop.world.declare(&labelled(&server), &server)?;
    ask(&shop, Seen::Silence);
    Ok(())
}

#[test]
fn a_pod_is_a_peer_by_the_labels_that_it_has_now() -> Result<()> {
    let mut shop = Shop::started("peer-labels", Wiring::Ptp)?;
    let (client, stranger, server) = (shop.client.clone(), shop.stranger.clone(), shop.server.addresses().both());
    shop.world.declare(&client.manifest().label("app", "stranger"), &client)?;
    shop.world.declare(&stranger.manifest().label("app", "client"), &stranger)?;
    Questions::new().silent(&client, everything(server, 80)).answered(&stranger, everything(server, 80)).ask();
    Ok(())
}

/// A Namespace object.
fn namespace(name: &str, labels: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n")
}

#[test]
fn peers_follow_the_labels_of_their_namespace_without_any_change_of_policy() -> Result<()> {
    let mut world = World::new("namespaces")?;
    let (asker, server) = (world.pod("team/asker", Wiring::Ptp)?, world.pod("shop/server", Wiring::Bridge)?);
    let from = "[{namespaceSelector: {matchLabels: {trusted: 'yes'}}}]";
    let spec = format!("podSelector: {{}}\ningress: [{{from: {from}}}]");
    world.write("policies.yaml", &policy("shop", "trusted", &spec))?;
    world.run_agent(&[])?;
    ask(&asker, &server, Seen::Silence);
    let steps = [
        ("{trusted: 'yes'}", Seen::Answered),
        ("{trusted: 'no'}", Seen::Silence),
        ("{trusted: 'yes', other: label}", Seen::Answered),
    ];
    for (labels, expected) in steps {
        world.write("namespace.yaml", &namespace("team", labels))?;
        ask(&asker, &server, expected);
    }
    world.remove("namespace.yaml")?;
    ask(&asker, &server, Seen::Silence);
    Ok(())
}

fn ask(from: &Pod, to: &Pod, expected: Seen) {
    Questions::new().expect(from, everything(to.addresses().both(), 80), expected).ask();
}
