//! `podgate flows`: what is shown of packets that were really sent.

use std::collections::BTreeSet;

use podgate_lab::{Pod, Result, Wiring};
use serde_json::{Value, json};

use crate::fits::assert_fits;
use crate::support::{Questions, World, deny_all, everything, policy, tcp, udp, until};

/// Allows the client TCP 80, and nobody anything else.
fn serve_client() -> String {
    policy(
        "shop",
        "serve-client",
        "podSelector: {matchLabels: {app: server}}\n\
         ingress: [{ports: [{port: 81}]}, {from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}]",
    )
}

struct Shop {
    world: World,
    server: Pod,
    client: Pod,
    stranger: Pod,
}

impl Shop {
    fn started(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut world = World::new(name)?;
        let [server, client, stranger] =
            ["server", "client", "stranger"].map(|name| world.pod(&format!("shop/{name}"), Wiring::Ptp));
        let (server, client, stranger) = (server?, client?, stranger?);
        world.write("policy.yaml", &serve_client())?;
        world.run_agent(arguments)?;
        Ok(Self { world, server, client, stranger })
    }

    /// What `podgate flows -o json` prints with these arguments.
    fn flows(&mut self, arguments: &[&str]) -> Vec<Value> {
        let output = self.world.agent().podgate("flows").args(["-o", "json"]).args(arguments).output();
        let output = output.expect("the binary can be run");
        assert!(output.status.success(), "podgate flows: {}", String::from_utf8_lossy(&output.stderr));
        let lines = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_slice(line).expect("a line is a JSON object"));
        lines.collect()
    }
}

/// A flow without what differs from run to run.
fn stable(mut flow: Value) -> Value {
    let fields = flow.as_object_mut().expect("an object");
    assert!(fields.remove("time").is_some_and(|time| time.as_str().is_some_and(|time| time.ends_with('Z'))));
    assert!(fields["source"].as_object_mut().is_some_and(|source| source.remove("port").is_some()));
    flow
}

#[test]
fn flows_name_both_ends_the_policies_and_the_rule() -> Result<()> {
    let mut shop = Shop::started("flows", &[])?;
    let (server, client) = (shop.server.addresses().both(), shop.client.addresses().both());
    let (to, stranger) = (server[0], shop.stranger.addresses().both()[0]);
    Questions::new().answered(&shop.client, [tcp(server, 80)[0]]).silent(&shop.stranger, [tcp(server, 80)[0]]).ask();
    until("both flows are shown", || Ok(shop.flows(&["--pod", "shop/server"]).len() >= 2))?;
    shop.flows(&[]).iter().for_each(|line| assert_fits("flows", line));
    let flow = |from: std::net::IpAddr, name: &str, verdict: &str, reason: &str, rule: Value| {
        json!({
            "type": "flow", "node": shop.world.node.name(), "verdict": verdict, "reason": reason, "direction": "ingress",
            "pod": "shop/server", "source": {"address": from, "kind": "pod", "name": name},
            "destination": {"address": to, "port": 80, "kind": "pod", "name": "shop/server"},
            "protocol": "TCP", "detail": "SYN", "length": 74, "policies": ["shop/serve-client"], "rule": rule,
            "connection": "new", "reply": false,
        })
    };
    let allowed = flow(
        client[0],
        "shop/client",
        "allowed",
        "rule",
        json!({"policy": "shop/serve-client", "direction": "ingress", "index": 1}),
    );
    let denied = flow(stranger, "shop/stranger", "denied", "no_rule", Value::Null);
    let shown = |arguments: &[&str], shop: &mut Shop| shop.flows(arguments).into_iter().map(stable).next();
    assert_eq!(shown(&["--verdict", "allowed"], &mut shop), Some(allowed));
    assert_eq!(shown(&["--verdict", "denied", "--pod", "shop/stranger"], &mut shop), Some(denied));
    assert_eq!(shop.flows(&["--pod", "shop/nobody"]), Vec::<Value>::new());
    Ok(())
}

#[test]
fn names_are_those_of_the_moment_of_the_flow() -> Result<()> {
    let mut shop = Shop::started("flow-names", &[])?;
    Questions::new().silent(&shop.stranger, [tcp(shop.server.addresses().both(), 80)[0]]).ask();
    shop.world.forget(&shop.stranger)?;
    shop.world.remove("policy.yaml")?;
    let denied = shop.flows(&["--verdict", "denied"]);
    let told: BTreeSet<_> = denied
        .iter()
        .map(|flow| (&flow["source"]["name"], &flow["policies"][0]))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(name, policy)| (name.to_string(), policy.to_string()))
        .collect();
    assert_eq!(told, BTreeSet::from([("\"shop/stranger\"".to_owned(), "\"shop/serve-client\"".to_owned())]));
    Ok(())
}

#[test]
fn what_is_not_reported_is_told_as_a_number() -> Result<()> {
    let mut shop = Shop::started("flow-losses", &[])?;
    let server = shop.server.addresses().both();
    for _ in 0..3 {
        Questions::new().silent(&shop.stranger, (0..4).flat_map(|_| everything(server, 80))).ask();
    }
    let mut told = 0;
    until("every denial is reported or told as lost", || {
        let lines = shop.flows(&["--verdict", "denied"]);
        let lost: u64 = lines.iter().filter_map(|line| line["denied"].as_u64()).sum();
        told = lost + lines.iter().filter(|line| line["type"] == "flow").count() as u64;
        Ok(told == shop.world.denied(&shop.server, "ingress")?.values().sum::<u64>())
    })?;
    assert!(told >= 72, "{told} denials");
    Ok(())
}

#[test]
fn counters_policies_rules_and_flows_agree_with_what_was_sent() -> Result<()> {
    let mut shop = Shop::started("agree", &["--event-rate", "1000", "--metrics-attribution", "rule"])?;
    shop.world.write("deny.yaml", &deny_all("shop", "{matchLabels: {app: server}}"))?;
    let server = shop.server.addresses().both();
    // TCP, UDP and echo over both families: a packet each, since nobody waits for a second try.
    Questions::new().silent(&shop.stranger, everything(server, 80)).answered(&shop.client, tcp(server, 80)).ask();
    shop.world.remove("deny.yaml")?;
    Questions::new().silent(&shop.stranger, [everything(server, 80), udp(server, 81).into()].concat()).ask();
    assert_eq!(shop.world.denied(&shop.server, "ingress")?, [("no_rule".to_owned(), 14)].into());
    let metrics = shop.world.agent().metrics()?;
    let by = |policies| {
        let labels = [("namespace", "shop"), ("policies", policies), ("direction", "ingress"), ("reason", "no_rule")];
        metrics.sum("podgate_policy_denials_total", &labels)
    };
    assert_eq!([by("deny-all,serve-client"), by("serve-client")], [6.0, 8.0]);
    assert_eq!(metrics.sum("podgate_policy_denials_total", &[]), 14.0);
    let rule = |index| [("policy", "serve-client"), ("direction", "ingress"), ("rule", index)];
    let allowed = ["0", "1"].map(|index| metrics.sum("podgate_rule_flows_total", &rule(index)));
    assert_eq!(allowed, [0.0, 2.0]);
    until("every flow is shown, once", || {
        let denied = shop.flows(&["--verdict", "denied"]);
        let by = |policies: Value| denied.iter().filter(|flow| flow["policies"] == policies).count();
        let both = by(json!(["shop/deny-all", "shop/serve-client"]));
        Ok((denied.len(), both, by(json!(["shop/serve-client"]))) == (14, 6, 8))
    })
}
