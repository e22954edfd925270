//! All sandboxes of a node are made anew at once, as when the kubelet or the node's runtime starts again.

use std::thread;

use podgate_lab::{Node, Pod, Result, Wiring};

use super::Shop;
use crate::support::{Questions, everything};

/// How many pods beside the shop's.
const PODS: usize = 12;

/// How many sandboxes each gets.
const SANDBOXES: usize = 4;

/// What the agent has warned of.
fn warnings(shop: &mut Shop) -> Vec<String> {
    let log = shop.world.agent().log();
    log.lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect()
}

/// Gives a pod other sandboxes, one after the other, with the same addresses.
fn make_anew(node: &Node, pod: &Pod) -> Result<Pod> {
    let (name, mut pod) = (pod.name().to_string(), pod.clone());
    for _ in 0..SANDBOXES {
        node.remove(&pod)?;
        pod = node.pod_at(&name, Wiring::Ptp, pod.addresses())?;
    }
    Ok(pod)
}

#[test]
fn pods_that_get_new_sandboxes_all_at_once_are_enforced_without_a_warning() -> Result<()> {
    let mut shop = Shop::new("storm", Wiring::Ptp)?;
    let names = (0..PODS).map(|number| format!("shop/more-{number}"));
    let pods = names.map(|name| shop.world.pod(&name, Wiring::Ptp)).collect::<Result<Vec<Pod>>>()?;
    shop.world.run_agent(&[])?;
    let server = shop.server.addresses().both();
    Questions::new().silent(&pods[0], everything(server, 80)).ask();
    let node = &shop.world.node;
    let pods = thread::scope(|scope| {
        let workers: Vec<_> = pods.iter().map(|pod| scope.spawn(move || make_anew(node, pod))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect::<Result<Vec<Pod>>>()
    })?;
    Questions::new()
        .silent(&pods[PODS - 1], everything(server, 80))
        .answered(&shop.client, everything(server, 80))
        .ask();
    assert_eq!(warnings(&mut shop), Vec::<String>::new());
    Ok(())
}
