//! Starting and ending agents, tried with scripts in the agent's place.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use podgate_lab::{Agent, Capability, Lab, Manifests, Node, Result, RunningAgent, Wiring};

fn script(lab: &Lab, body: &str) -> PathBuf {
    let path = lab.directory().join("agent.sh");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// Starts a script and waits until it has logged something.
fn started(lab: &Lab, node: &Node, body: &str) -> Result<RunningAgent> {
    let agent = Agent::new(script(lab, body)).start(lab, node)?;
    while agent.log().is_empty() {
        std::thread::yield_now();
    }
    Ok(agent)
}

#[test]
fn an_agent_that_ends_before_it_is_ready_is_an_error_with_its_log() -> Result<()> {
    let lab = Lab::new("early-end")?;
    let node = lab.node("node-1")?;
    let agent = Agent::new(script(&lab, "echo \"started as $*\"; exit 3")).arg("--hook").arg("tcx");
    let message = agent.start_ready(&lab, &node).unwrap_err().to_string();
    assert!(message.contains("exit status: 3"), "{message}");
    assert!(message.contains("started as agent --node-name node-1 --metrics-listen 127.0.0.1:9417"), "{message}");
    assert!(message.contains("--hook tcx"), "{message}");
    Ok(())
}

#[test]
fn an_agent_has_exactly_the_capabilities_that_it_was_given() -> Result<()> {
    let lab = Lab::new("capabilities")?;
    let node = lab.node("node")?;
    let agent = Agent::new(script(&lab, "grep CapEff /proc/self/status"))
        .capabilities(&[Capability::NetAdmin, Capability::Bpf])
        .start(&lab, &node)?;
    let log = ended(agent);
    assert_eq!(log.trim(), "CapEff:\t0000008000001000");
    Ok(())
}

fn ended(mut agent: RunningAgent) -> String {
    agent.wait().unwrap();
    agent.log()
}

#[test]
fn an_agent_ends_by_either_signal() -> Result<()> {
    let lab = Lab::new("signals")?;
    let node = lab.node("node")?;
    let polite = started(&lab, &node, "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")?;
    assert_eq!(polite.terminate()?.code(), Some(7));
    started(&lab, &node, "trap '' TERM; echo up; while :; do sleep 0.01; done")?.kill()?;
    let rude = started(&lab, &node, "echo up; exec sleep 60")?;
    assert_eq!(rude.terminate()?.signal(), Some(15));
    Ok(())
}

#[test]
fn an_agent_that_had_ended_was_not_killed() -> Result<()> {
    let lab = Lab::new("no-kill")?;
    let node = lab.node("node")?;
    let mut agent = started(&lab, &node, "echo up")?;
    agent.wait()?;
    agent.kill().expect_err("it ended by itself");
    Ok(())
}

#[test]
fn manifests_of_pods_carry_their_addresses_in_the_lab() -> Result<()> {
    let lab = Lab::new("manifests")?;
    let pod = lab.node("node-1")?.pod("shop/api", Wiring::Routed)?;
    let manifests = Manifests::new(&lab, "manifests")?;
    let api = pod.manifest().label("app", "api").port("http", "TCP", 8080).uid("u");
    manifests.write_pods("pods.yaml", &[api])?;
    let written = fs::read_to_string(manifests.path().join("pods.yaml")).unwrap();
    let expected = concat!(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"api"},"name":"api","namespace":"shop","uid":"u"},"#,
        r#""spec":{"containers":[{"image":"none","name":"main","ports":[{"containerPort":8080,"name":"http","#,
        r#""protocol":"TCP"}]}],"nodeName":"node-1"},"#,
        r#""status":{"phase":"Running","podIP":"10.244.1.66","podIPs":[{"ip":"10.244.1.66"},"#,
        r#"{"ip":"fd00:10:244:1:2::2"}]}}"#,
    );
    assert_eq!(written, expected);
    manifests.remove("pods.yaml")?;
    assert_eq!(fs::read_dir(manifests.path()).unwrap().count(), 0);
    Ok(())
}
