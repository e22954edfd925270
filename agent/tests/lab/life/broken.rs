//! Files that are broken open nothing, and are told of.

use podgate_lab::{Result, RunningAgent, Wiring};
use serde_json::Value;

use super::{Shop, serve_client};
use crate::support::{Questions, World, everything, policy};

/// Breaks `policies.yaml`, or any other file, and waits until the agent has seen it.
fn break_file(world: &mut World, file: &str, contents: impl AsRef<[u8]>) -> Result<()> {
    let before = problems_met(world.agent())?;
    world.manifests.write(file, contents)?;
    crate::support::until("the agent tells of the broken file", || Ok(problems_met(world.agent())? > before))
}

fn problems_met(agent: &RunningAgent) -> Result<f64> {
    Ok(agent.metrics()?.sum("podgate_problems_met_total", &[]))
}

/// What the status tells of problems: origin without directory, object, effect.
fn problems(world: &mut World) -> Result<Vec<[String; 3]>> {
    let status = world.status()?;
    let text = |problem: &Value, field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    let origin = |problem: &Value| text(problem, "origin").rsplit('/').next().unwrap_or_default().to_owned();
    let problems = status["problems"].as_array().into_iter().flatten();
    Ok(problems.map(|problem| [origin(problem), text(problem, "object"), text(problem, "effect")]).collect())
}

fn assert_enforced(shop: &Shop) {
    let server = shop.server.addresses().both();
    Questions::new()
        .answered(&shop.client, everything(server, 80))
        .silent(&shop.stranger, everything(server, 80))
        .silent(&shop.server, everything(shop.client.addresses().both(), 80))
        .ask();
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_version_in_force_and_is_told_of_until_it_is_good_again() -> Result<()> {
    let mut shop = Shop::started("breaks", Wiring::Ptp)?;
    let truncated = &serve_client()[..60];
    let breaks: [(&str, &[u8]); 3] =
        [("yaml", b"kind: [NetworkPolicy"), ("binary", &[0xff, 0, 0xfe, 7]), ("half", truncated.as_bytes())];
    for (what, contents) in breaks {
        break_file(&mut shop.world, "policies.yaml", contents)?;
        assert_enforced(&shop);
        let problems = problems(&mut shop.world)?;
        assert!(problems.iter().any(|[origin, _, _]| origin.starts_with("policies.yaml")), "{what}: {problems:?}");
        assert!(shop.world.agent().metrics()?.sum("podgate_problems", &[]) >= 1.0, "{what}");
        shop.world.write("policies.yaml", &serve_client())?;
        assert_eq!(shop.world.agent().metrics()?.sum("podgate_problems", &[]), 0.0, "{what}");
    }
    assert_enforced(&shop);
    Ok(())
}

#[test]
fn a_policy_that_is_invalid_isolates_and_allows_nothing() -> Result<()> {
    let mut shop = Shop::started("invalid", Wiring::Ptp)?;
    let spec = "podSelector: {matchLabels: {app: stranger}}\n\
                ingress: [{}, {from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]";
    break_file(&mut shop.world, "bad.yaml", policy("shop", "bad", spec))?;
    shop.world.agent().wait_ready()?;
    Questions::new()
        .silent(&shop.client, everything(shop.stranger.addresses().both(), 80))
        .answered(&shop.client, everything(shop.server.addresses().both(), 80))
        .ask();
    let expected = [
        "bad.yaml, document 1",
        "NetworkPolicy shop/bad",
        "until it is valid, its pods are isolated and none of its rules count",
    ];
    assert_eq!(problems(&mut shop.world)?, [expected.map(str::to_owned)]);
    Ok(())
}

#[test]
fn one_broken_file_does_not_keep_others_from_being_followed() -> Result<()> {
    let mut shop = Shop::started("others", Wiring::Ptp)?;
    break_file(&mut shop.world, "other.yaml", "{{{{")?;
    shop.world.remove("policies.yaml")?;
    Questions::new().answered(&shop.stranger, everything(shop.server.addresses().both(), 80)).ask();
    shop.world.write("policies.yaml", &serve_client())?;
    assert_enforced(&shop);
    Ok(())
}
