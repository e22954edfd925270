//! The agent as a process: its readiness, its status, its capabilities, what it refuses.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use podgate_lab::{Capability, Lab, Result, Wiring};
use serde_json::{Value, json};

use super::Shop;
use crate::support::{Questions, World, agent_of, everything, labelled, until};

/// What the DaemonSet gives.
const CAPABILITIES: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

/// Another agent for the same node, with these settings of its own; what it says when it ends.
fn refused(shop: &mut Shop, metrics: &str, socket: &str) -> String {
    let lab = shop.world.lab.directory().to_owned();
    let mut agent: Command = shop.world.node.command(env!("CARGO_BIN_EXE_podgate"));
    agent.args(["agent", "--node-name", "node-1", "--metrics-listen", metrics, "--socket", socket]);
    agent.args(["--health-listen", "127.0.0.1:0"]);
    agent.arg("--manifests").arg(shop.world.manifests.path());
    agent.arg("--bindings").arg(lab.join("second.json")).arg("--bpffs").arg(lab.join("bpf/second"));
    let output = agent.output().expect("the binary can be run");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_second_agent_refuses_the_port_and_the_socket_of_the_first_in_one_line() -> Result<()> {
    let mut shop = Shop::started("second", Wiring::Ptp)?;
    let (first, own) = (shop.world.agent().socket().to_owned(), shop.world.lab.directory().join("own.sock"));
    let said = refused(&mut shop, "127.0.0.1:9417", &own.to_string_lossy());
    assert!(said.contains("--metrics-listen: cannot listen on 127.0.0.1:9417: choose another"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = refused(&mut shop, "127.0.0.1:9418", &first.to_string_lossy());
    let expected = format!("another agent listens on {}: stop it, or choose another --socket", first.display());
    assert!(said.contains(&expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(shop.world.status()?["ready"] == true, "the first goes on");
    Ok(())
}

/// A kubeconfig of an API server where nobody listens.
pub(super) fn dead_api(lab: &Lab) -> PathBuf {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "clusters": [{"name": "lab", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "lab", "user": {}}],
    });
    let path = lab.directory().join("kubeconfig");
    fs::write(&path, kubeconfig.to_string()).expect("the lab's directory can be written to");
    path
}

#[test]
fn the_agent_is_alive_but_not_ready_as_long_as_the_api_server_does_not_answer() -> Result<()> {
    let world = World::new("no-api")?;
    let agent = agent_of(&world.lab, &world.node).arg("--kubeconfig").arg(dead_api(&world.lab));
    let agent = agent.start(&world.lab, &world.node)?;
    until("the agent serves", || Ok(agent.get("/healthz").is_ok()))?;
    until("the agent tells what it could not read", || {
        let ready = agent.get("/readyz")?;
        assert_eq!(ready.status, 503, "{}", ready.body);
        Ok(["NetworkPolicy: not read yet", "Pod: not read yet", "Namespace: not read yet"]
            .iter()
            .all(|it| ready.body.contains(it)))
    })?;
    assert_eq!(agent.get("/healthz")?.status, 200);
    assert_eq!(agent.metrics()?.sum("podgate_ready", &[]), 0.0);
    Ok(())
}

#[test]
fn the_agent_is_not_ready_before_every_pod_of_its_node_has_an_interface() -> Result<()> {
    let mut world = World::started("no-veth", &[])?;
    let pod = world.node.pod("shop/pod", Wiring::Ptp)?;
    let (manifest, addresses) = (labelled(&pod), pod.addresses());
    world.node.remove(&pod)?;
    world.manifests.write_pods("late.yaml", &[manifest])?;
    world.wait_not_ready("pod shop/pod has no interface")?;
    world.node.pod_at("shop/pod", Wiring::Ptp, addresses)?;
    world.agent().wait_ready()
}

/// The names of a JSON object's fields.
fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn the_status_tells_of_every_pod_of_the_node_as_json() -> Result<()> {
    let mut shop = Shop::started("status", Wiring::Ptp)?;
    Questions::new().silent(&shop.stranger, everything(shop.server.addresses().both(), 80)).ask();
    let status = shop.world.status()?;
    let expected = [
        "anomalies",
        "apply",
        "attribution",
        "cluster_policies",
        "events_lost",
        "filtered_interfaces",
        "flows_lost",
        "hook",
        "no_endpoint",
        "node",
        "not_ready",
        "pods",
        "policies",
        "problem_counts",
        "problems",
        "ready",
        "recent_drops",
        "repairs",
        "services",
        "source",
        "sources",
        "tables",
        "uptime_seconds",
        "version",
        "window",
    ];
    assert_eq!(fields(&status), expected.into());
    let pods = status["pods"].as_array().expect("a list");
    let names: Vec<&Value> = pods.iter().map(|pod| &pod["name"]).collect();
    assert_eq!(names, ["client", "server", "stranger"]);
    let mut server = pods[1].clone();
    let counted = |counter: &Value| {
        counter["reason"] == "no_rule" && counter["packets"] == 6 && counter["direction"] == "ingress"
    };
    assert!(server["counters"].as_array().is_some_and(|counters| counters.iter().any(counted)), "{server}");
    server.as_object_mut().map(|server| server.remove("counters"));
    let interface = shop.server.host_interface();
    let expected = json!({
        "namespace": "shop",
        "name": "server",
        "uid": format!("node-1-{}", interface.index),
        "addresses": shop.server.addresses().both(),
        "state": "enforced",
        "problem": null,
        "interface": {"name": interface.name, "index": interface.index},
        "ingress_isolated": true,
        "egress_isolated": true,
        "audited": [],
        "policies": [{"name": "serve-client", "directions": ["ingress", "egress"], "audit": false}],
        "guards": [],
    });
    assert_eq!(server, expected);
    let drops = status["recent_drops"].as_array().expect("a list");
    assert!(drops.iter().any(|drop| drop["source"]["name"] == "shop/stranger"), "{drops:?}");
    Ok(())
}

fn assert_enforced(shop: &Shop) {
    let server = shop.server.addresses().both();
    Questions::new()
        .answered(&shop.client, everything(server, 80))
        .silent(&shop.stranger, everything(server, 80))
        .ask();
}

#[test]
fn the_daemonsets_capabilities_are_enough() -> Result<()> {
    for hook in ["tcx", "clsact"] {
        let mut shop = Shop::new(&format!("capabilities-{hook}"), Wiring::Ptp)?;
        shop.world.start = shop.world.start.clone().capabilities(&CAPABILITIES);
        shop.world.run_agent(&["--hook", hook])?;
        assert_enforced(&shop);
        let late = shop.world.pod("shop/late", Wiring::Bridge)?;
        let server = shop.server.addresses().both();
        Questions::new().silent(&late, everything(server, 80)).ask();
        shop.world.take_agent().kill()?;
        shop.world.restart()?;
        assert_enforced(&shop);
        assert_eq!(shop.world.status()?["ready"], true);
    }
    Ok(())
}

#[test]
fn without_any_one_of_them_the_agent_says_which_in_one_line() -> Result<()> {
    let world = World::new("missing-capability")?;
    let cases =
        [(Capability::Bpf, "CAP_BPF"), (Capability::NetAdmin, "CAP_NET_ADMIN"), (Capability::Perfmon, "CAP_PERFMON")];
    for (missing, name) in cases {
        let others: Vec<Capability> = CAPABILITIES.into_iter().filter(|it| *it != missing).collect();
        let mut agent = world.start.clone().capabilities(&others).start(&world.lab, &world.node)?;
        let status = agent.wait()?;
        let log = agent.log();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(&format!("lacks {name}")), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }
    Ok(())
}
