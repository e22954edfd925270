//! Veths whose pod is not known, without the plugin.

use std::net::IpAddr;

use podgate_lab::{Node, Outside, Result, Wiring};
use serde_json::{Value, json};

use crate::support::{Questions, World, everything, labelled, ping, serve, tcp};

const OUTSIDE: [IpAddr; 2] = [Outside::IP4, Outside::IP6];

/// The object of a node, with the ranges of its pods.
fn node_object(node: &Node) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name()},
        "spec": {"podCIDR": node.pod_cidrs()[0], "podCIDRs": node.pod_cidrs()},
        "status": {"addresses": [
            {"type": "InternalIP", "address": node.ip4()}, {"type": "InternalIP", "address": node.ip6()},
        ]},
    })
}

fn world(name: &str, unknown_pods: &str) -> Result<World> {
    let mut world = World::new(name)?;
    let node = node_object(&world.node);
    world.manifests.write("node.yaml", node.to_string())?;
    world.run_agent(&["--unknown-pods", unknown_pods])?;
    Ok(world)
}

#[test]
fn with_isolate_nobody_but_the_node_reaches_a_veth_that_looks_like_a_pods_until_the_pod_is_known() -> Result<()> {
    for wiring in Wiring::ALL {
        let mut world = world(&format!("unknown-{wiring}"), "isolate")?;
        let open = world.pod("shop/open", wiring)?;
        let pod = world.node.pod("shop/pod", wiring)?;
        serve(&pod)?;
        let (to, from) = (pod.addresses().both(), open.addresses().both());
        Questions::new()
            .answered(&world.node, everything(to, 80))
            .silent(&open, everything(to, 80))
            .silent(world.lab.outside(), everything(to, 80))
            .silent(&pod, everything(from, 80))
            .answered(world.lab.outside(), everything(from, 80))
            .ask();
        world.declare(&labelled(&pod), &pod)?;
        Questions::new().answered(&open, everything(to, 80)).answered(&pod, everything(from, 80)).ask();
    }
    Ok(())
}

#[test]
fn with_allow_such_a_veth_is_left_alone() -> Result<()> {
    let world = world("unknown-allow", "allow")?;
    let pod = world.node.pod("shop/pod", Wiring::Ptp)?;
    serve(&pod)?;
    Questions::new().answered(world.lab.outside(), everything(pod.addresses().both(), 80)).ask();
    Ok(())
}

/// The uplink of the lab's nodes is a veth, as in kind; here it even carries an address of the pods' range.
#[test]
fn the_nodes_uplink_is_never_isolated() -> Result<()> {
    let world = world("unknown-uplink", "isolate")?;
    let [ip4, ip6] = ["10.244.1.250", "fd00:10:244:1::fa"];
    let outside = world.lab.outside();
    outside.ip(&[format!("addr add {ip4}/32 dev node1"), format!("addr add {ip6}/128 dev node1 nodad")])?;
    serve(&world.node)?;
    serve(outside)?;
    let pod = world.node.pod("shop/pod", Wiring::Ptp)?;
    serve(&pod)?;
    Questions::new()
        .answered(outside, everything([world.node.ip4(), world.node.ip6()], 80))
        .answered(&world.node, [tcp(OUTSIDE, 80), ping(OUTSIDE)].concat())
        .silent(outside, everything(pod.addresses().both(), 80))
        .ask();
    Ok(())
}
