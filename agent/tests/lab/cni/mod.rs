//! The CNI plugin at the end of real chains.

mod absent;
mod starts;
mod unknown;
mod waits;

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use podgate_lab::{Chain, Lab, Pod, PodManifest, Result, Started, Wiring};
use serde_json::{Value, json};

use crate::support::{World, policy, serve};

/// The wirings that chains are made of.
const WIRINGS: [Wiring; 2] = [Wiring::Ptp, Wiring::Bridge];

/// A node where the plugin is chained, with an open pod `shop/stranger` and the policies of [`policies`].
struct Site {
    world: World,
    chain: Chain,
    stranger: Pod,
}

impl Site {
    /// The agent does not run yet.
    fn new(name: &str) -> Result<Self> {
        let mut world = World::new(name)?;
        let chain = chain(&world)?;
        let stranger = world.pod("shop/stranger", Wiring::Ptp)?;
        world.write("policies.yaml", &policies())?;
        Ok(Self { world, chain, stranger })
    }

    fn started(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut site = Self::new(name)?;
        site.world.run_agent(arguments)?;
        Ok(site)
    }

    /// A site whose agent was killed.
    fn bereft(name: &str) -> Result<Self> {
        let mut site = Self::started(name, &[])?;
        site.world.take_agent().kill()?;
        Ok(site)
    }

    /// Writes the object of a pod that is about to start, with the label `app=APP`.
    fn announce(&mut self, name: &str, app: &str) -> Result<()> {
        let manifest = PodManifest::starting(&format!("shop/{name}"), self.world.node.name(), name).label("app", app);
        self.world.manifests.write(&file(name), manifest.json().to_string())
    }

    /// Runs the chain for a pod of `shop` whose UID is its name, and lets it serve.
    fn start(&self, name: &str, wiring: Wiring) -> Result<Started> {
        let started = self.chain.start(&format!("shop/{name}"), wiring, name, None)?;
        serve(&started.pod)?;
        Ok(started)
    }

    /// Writes the object of a pod that runs.
    fn declare(&mut self, started: &Started, app: &str) -> Result<()> {
        let manifest = started.pod.manifest().uid(&started.uid).label("app", app);
        self.world.manifests.write(&file(&started.uid), manifest.json().to_string())
    }
}

fn file(name: &str) -> String {
    format!("runner-{name}.yaml")
}

/// Where the plugin is, and what it is told, on the node of a world.
pub(crate) fn chain(world: &World) -> Result<Chain> {
    Ok(Chain::new(&world.node, &plugin(&world.lab), settings(world)?))
}

fn settings(world: &World) -> Result<Value> {
    let directory = world.lab.directory();
    Ok(json!({
        "socket": directory.join("agent-node-1.sock"),
        "bpffs": world.lab.bpffs()?.join("node-1"),
        "bindings": directory.join("bindings-node-1.json"),
        "bootGrace": 0,
    }))
}

/// The binary under the plugin's name.
fn plugin(lab: &Lab) -> PathBuf {
    let path = lab.directory().join("podgate-cni");
    if !path.exists() {
        symlink(env!("CARGO_BIN_EXE_podgate"), &path).expect("the lab's directory can be written to");
    }
    path
}

/// Pods with `app=closed` may neither send nor receive; those with `app=friendly` may be reached by `app=friend`.
fn policies() -> String {
    let closed = policy("shop", "closed", "podSelector: {matchLabels: {app: closed}}\npolicyTypes: [Ingress, Egress]");
    let spec = "podSelector: {matchLabels: {app: friendly}}\npolicyTypes: [Ingress, Egress]\n\
                ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]";
    [closed, policy("shop", "friendly", spec)].join("---\n")
}
