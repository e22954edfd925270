//! What the agent does with a pod that is handed over.

use std::thread;
use std::time::{Duration, Instant};

use podgate_lab::{Result, Wiring};
use serde_json::{Value, json};

use super::{Site, WIRINGS};
use crate::support::{Questions, everything, until};

#[test]
fn a_pod_starts_when_it_is_known_and_enforced_and_the_result_is_the_one_before() -> Result<()> {
    let mut site = Site::started("handed-over", &[])?;
    for wiring in WIRINGS {
        let name = format!("late-{wiring}");
        let (chain, started_at) = (site.chain.clone(), Instant::now());
        let started = thread::scope(|scope| {
            let starting = scope.spawn(|| chain.start(&format!("shop/{name}"), wiring, &name, None));
            thread::sleep(Duration::from_millis(1500));
            site.announce(&name, "closed")?;
            starting.join().expect("starting a pod does not panic")
        })?;
        assert!(started_at.elapsed() > Duration::from_millis(1500));
        assert_eq!((&started.result, &*started.said), (&started.wired, ""));
        crate::support::serve(&started.pod)?;
        Questions::new()
            .silent(&site.stranger, everything(started.pod.addresses().both(), 80))
            .silent(&started.pod, everything(site.stranger.addresses().both(), 80))
            .answered(&site.world.node, everything(started.pod.addresses().both(), 80))
            .ask();
        let checked = site.chain.ask("CHECK", &started)?;
        assert!(checked.status.success() && checked.stdout.is_empty(), "{checked:?}");
    }
    let windows = site.world.agent().metrics()?.sum("podgate_enforcement_window_seconds_count", &[]);
    assert!(windows >= 2.0, "{windows}");
    assert!(site.world.status()?["window"]["longest_seconds"].as_f64().is_some_and(|longest| longest > 0.0));
    Ok(())
}

#[test]
fn a_pod_that_does_not_become_known_starts_isolated_and_is_enforced_when_it_does() -> Result<()> {
    let mut site = Site::started("never-known", &["--cni-pod-wait", "1"])?;
    let started_at = Instant::now();
    let started = site.start("runner", Wiring::Ptp)?;
    assert!(started_at.elapsed() >= Duration::from_secs(1));
    assert!(started.said.contains("it is isolated until it does"), "{}", started.said);
    let pod = started.pod.addresses().both();
    Questions::new().silent(&site.stranger, everything(pod, 80)).answered(&site.world.node, everything(pod, 80)).ask();
    site.announce("runner", "open")?;
    until("the pod is known", || Ok(site.world.status()?["pods"].as_array().is_some_and(|pods| pods.len() == 2)))?;
    site.world.agent().wait_ready()?;
    Questions::new().answered(&site.stranger, everything(pod, 80)).ask();
    Ok(())
}

/// A mirror pod's object.
fn mirror(name: &str, hash: &str, node: &str) -> Value {
    let annotations = json!({"kubernetes.io/config.mirror": hash, "kubernetes.io/config.hash": hash});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "uid": "another", "labels": {"app": "closed"},
                     "annotations": annotations},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Pending"},
    })
}

#[test]
fn a_static_pod_is_known_by_the_hash_of_its_configuration() -> Result<()> {
    let site = Site::started("static-pod", &[])?;
    site.world.manifests.write("mirror.yaml", mirror("static", "4f2a", site.world.node.name()).to_string())?;
    let started = site.chain.start("shop/static", Wiring::Ptp, "4f2a", None)?;
    assert_eq!(started.said, "");
    crate::support::serve(&started.pod)?;
    Questions::new().silent(&site.stranger, everything(started.pod.addresses().both(), 80)).ask();
    Ok(())
}

#[test]
fn the_plugin_says_when_pods_may_start_and_whether_one_is_enforced() -> Result<()> {
    let mut site = Site::started("plugin-status", &[])?;
    site.announce("runner", "closed")?;
    let started = site.start("runner", Wiring::Bridge)?;
    let strict = site.chain.clone().set("whenAgentDown", "fail");
    for (verb, code) in [("STATUS", 50), ("CHECK", 11)] {
        assert!(strict.ask(verb, &started)?.status.success(), "{verb}");
        let agent = site.world.take_agent();
        agent.kill()?;
        let output = strict.ask(verb, &started)?;
        let error: Value = serde_json::from_slice(&output.stdout).expect("an error is JSON");
        assert_eq!(
            (output.status.code(), &error["code"], &error["cniVersion"]),
            (Some(1), &json!(code), &json!("1.0.0"))
        );
        assert!(site.chain.ask(verb, &started)?.status.success(), "{verb} with last-known");
        site.world.restart()?;
    }
    Ok(())
}
