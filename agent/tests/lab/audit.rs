//! Audit mode under real packets.

use podgate_lab::{Result, Wiring};

use crate::support::{Questions, World, deny_all, everything, until};

/// A namespace as YAML, in audit mode or not.
fn namespace(name: &str, audit: bool) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, annotations: {{podgate.io/audit: '{audit}'}}}}}}\n"
    )
}

#[test]
fn what_an_audited_namespace_denies_passes_is_counted_and_shown_until_it_is_in_force() -> Result<()> {
    let mut world = World::new("audit")?;
    let server = world.pod("shop/server", Wiring::Ptp)?;
    let client = world.pod("shop/client", Wiring::Bridge)?;
    world.write("deny.yaml", &deny_all("shop", "{}"))?;
    world.write("namespace.yaml", &namespace("shop", true))?;
    world.run_agent(&[])?;
    let probes = everything(server.addresses().both(), 80);
    Questions::new().answered(&client, probes.clone()).ask();
    // TCP, UDP and echo over both families, each of which opens one flow at either end.
    for (pod, direction) in [(&server, "ingress"), (&client, "egress")] {
        assert_eq!(world.verdicts(pod, direction, "would_deny")?, [("no_rule".to_owned(), 6)].into(), "{direction}");
        assert_eq!(world.denied(pod, direction)?, [].into(), "{direction}");
    }
    let metrics = world.agent().metrics()?;
    let labels = [("policies", "deny-all"), ("verdict", "would_deny"), ("reason", "no_rule")];
    assert_eq!(metrics.sum("podgate_policy_denials_total", &labels), 12.0);
    assert_eq!(metrics.sum("podgate_endpoints_audited", &[]), 4.0);
    let status = world.status()?;
    assert_eq!(status["pods"][1]["audited"], serde_json::json!(["ingress", "egress"]));
    until("the flows are shown", || {
        let output = world.agent().podgate("flows").args(["-o", "json", "--verdict", "would-deny"]).output();
        let text = String::from_utf8_lossy(&output.expect("the binary can be run").stdout).into_owned();
        Ok(text.lines().filter(|line| line.contains(r#""policies":["shop/deny-all"]"#)).count() == 12)
    })?;
    world.write("namespace.yaml", &namespace("shop", false))?;
    Questions::new().silent(&client, probes).ask();
    Ok(())
}
