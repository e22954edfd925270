//! Pods, labels, policies and the agent itself come, change and go.

mod broken;
mod cleanup;
mod command;
mod doctor;
mod drift;
mod identity;
mod labels;
mod outlive;
mod pods;
mod restart;
mod speed;
mod storm;

use podgate_lab::{Pod, Result, Wiring};

use crate::support::{World, policy};

/// A client that may ask the server, and a stranger that may not, in the namespace `shop`; the server may ask nobody.
struct Shop {
    world: World,
    client: Pod,
    server: Pod,
    stranger: Pod,
}

impl Shop {
    /// The agent does not run yet.
    fn new(name: &str, wiring: Wiring) -> Result<Self> {
        let mut world = World::new(name)?;
        let mut pod = |name| world.pod(name, wiring);
        let (client, server, stranger) = (pod("shop/client")?, pod("shop/server")?, pod("shop/stranger")?);
        world.write("policies.yaml", &serve_client())?;
        Ok(Self { world, client, server, stranger })
    }

    fn started(name: &str, wiring: Wiring) -> Result<Self> {
        let mut shop = Self::new(name, wiring)?;
        shop.world.run_agent(&[])?;
        Ok(shop)
    }
}

fn serve_client() -> String {
    let spec = "podSelector: {matchLabels: {app: server}}\npolicyTypes: [Ingress, Egress]\n\
                ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]";
    policy("shop", "serve-client", spec)
}
