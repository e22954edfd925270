//! ClusterNetworkPolicies under real packets.

use podgate_lab::{Result, Wiring};
use serde_json::json;

use crate::connections::{CLIENT_TO_SERVER, Pair, assert_alive, assert_cut};
use crate::support::{PORTS, Questions, World, deny_all, everything, policy, tcp, until};

const AUTO: [&str; 2] = ["--cluster-policies", "auto"];

/// A policy; `spec` is what follows its tier and priority, in one line.
pub(crate) fn guard(name: &str, tier: &str, priority: u16, spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{tier: {tier}, priority: {priority}, {spec}}}\n---\n"
    )
}

/// Packets into every pod of the shop, by these rules.
fn into_the_shop(rules: &str) -> String {
    format!("subject: {{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: shop}}}}}}, ingress: [{rules}]")
}

/// A rule about packets of pods with the label `app`, in any namespace.
fn from(action: &str, app: &str, more: &str) -> String {
    let pods = format!("namespaceSelector: {{}}, podSelector: {{matchLabels: {{app: {app}}}}}");
    format!("{{action: {action}, from: [{{pods: {{{pods}}}}}]{more}}}")
}

/// A rule about packets of every address.
const DENY_EVERYBODY: &str = "{action: Deny, from: [{namespaces: {}}]}";

fn namespaces(names: &[&str]) -> String {
    let of = |name: &&str| {
        let labels = format!("labels: {{kubernetes.io/metadata.name: {name}}}");
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, {labels}}}}}\n---\n")
    };
    names.iter().map(of).collect()
}

#[test]
fn tiers_are_asked_in_order_and_the_rule_that_denies_is_named() -> Result<()> {
    let mut world = World::new("tiers")?;
    let server = world.pod("shop/server", Wiring::Ptp)?;
    let [friend, passed, denied] =
        [("shop/friend", Wiring::Ptp), ("guest/passed", Wiring::Bridge), ("guest/denied", Wiring::Bridge)]
            .map(|(name, wiring)| world.pod(name, wiring).expect("a pod"));
    world.write("namespaces.yaml", &namespaces(&["shop", "guest"]))?;
    let rules = [from("Accept", "friend", ""), from("Pass", "passed", ""), from("Deny", "denied", "")].join(", ");
    world.write("guard.yaml", &guard("guard", "Admin", 10, &into_the_shop(&rules)))?;
    world.write("floor.yaml", &guard("floor", "Baseline", 10, &into_the_shop(DENY_EVERYBODY)))?;
    world.run_agent(&AUTO)?;
    let to = everything(server.addresses().both(), 80);
    let ask = || {
        Questions::new()
            .answered(&friend, to.clone())
            .silent(&passed, to.clone())
            .silent(&denied, to.clone())
            .answered(&server, everything(denied.addresses().both(), 80))
            .ask();
    };
    ask();
    // TCP, UDP and echo over both families.
    assert_eq!(world.denied(&server, "ingress")?, [("rule_denied".to_owned(), 12)].into());
    let counted = |world: &mut World, policy: &str, rule: &str| -> Result<f64> {
        Ok(world.agent().metrics()?.sum("podgate_cluster_rules_total", &[("policy", policy), ("rule", rule)]))
    };
    assert_eq!(counted(&mut world, "guard", "2")?, 6.0, "packets of the one that is denied");
    assert_eq!(counted(&mut world, "floor", "0")?, 6.0, "and of the one that is passed on");
    assert_eq!(counted(&mut world, "guard", "0")?, 6.0, "flows of the friend");
    let pods = world.status()?["pods"].clone();
    let shop = pods.as_array().and_then(|pods| pods.iter().find(|pod| pod["name"] == "server")).cloned();
    let guards = json!([
        {"name": "guard", "tier": "Admin", "directions": ["ingress"], "audit": false},
        {"name": "floor", "tier": "Baseline", "directions": ["ingress"], "audit": false},
    ]);
    assert_eq!(shop.map(|pod| (pod["guards"].clone(), pod["policies"].clone())), Some((guards, json!([]))));
    until("the flows name the rule", || {
        let output = world.agent().podgate("flows").args(["-o", "json", "--reason", "rule_denied"]).output();
        let text = String::from_utf8_lossy(&output.expect("the binary can be run").stdout).into_owned();
        let by = |policy: &str| text.matches(&format!(r#""policy":"{policy}""#)).count();
        Ok((by("guard"), by("floor")) == (6, 6))
    })?;

    // Who a NetworkPolicy isolates is none of the Baseline tier's, and who is accepted none of a NetworkPolicy's.
    let to_passed = "podSelector: {}\npolicyTypes: [Ingress]\n\
                     ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: passed}}}]}]";
    world.write("policy.yaml", &policy("shop", "passed", to_passed))?;
    Questions::new()
        .answered(&friend, to.clone())
        .answered(&passed, to.clone())
        .silent(&denied, to.clone())
        .silent(&server, everything(friend.addresses().both(), 80))
        .ask();
    world.remove("policy.yaml")?;
    ask();
    world.remove("guard.yaml")?;
    world.remove("floor.yaml")?;
    Questions::new().answered(&passed, to.clone()).answered(&denied, to).ask();
    Ok(())
}

#[test]
fn nothing_that_is_denied_arrives_while_the_agent_is_away_or_comes_back() -> Result<()> {
    let mut world = World::new("guarded-restart")?;
    let server = world.pod("shop/server", Wiring::Ptp)?;
    let guest = world.pod("guest/one", Wiring::Bridge)?;
    world.write("namespaces.yaml", &namespaces(&["shop", "guest"]))?;
    world.write("guard.yaml", &guard("guard", "Admin", 0, &into_the_shop(&from("Deny", "one", ""))))?;
    world.run_agent(&AUTO)?;
    let to = everything(server.addresses().both(), 80);
    let silent = |when: &str| {
        println!("{when}");
        Questions::new().silent(&guest, to.clone()).answered(&server, everything(guest.addresses().both(), 80)).ask();
    };
    silent("before");
    world.take_agent().kill()?;
    silent("while it is away");
    world.restart()?;
    silent("after it came back");
    Ok(())
}

#[test]
fn a_connection_that_a_new_guard_denies_is_cut_and_one_that_another_rule_allows_is_not_disturbed() -> Result<()> {
    let mut pair = Pair::new("guarded-cut", &AUTO)?;
    pair.world.write("namespaces.yaml", &namespaces(&["shop"]))?;
    let mut connections = pair.connect()?;
    assert_alive(&mut connections, "without policies");
    let client = |action: &str| into_the_shop(&from(action, "client", ""));
    // Of the server's answers nothing is said: they belong to what was accepted.
    let accepted = guard("guard", "Admin", 5, &client("Accept"));
    let nothing_out =
        "subject: {namespaces: {}}, egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{udp: {}}]}]";
    for (name, policies) in [
        ("undecided", guard("udp", "Admin", 5, &nothing_out.replace("udp: {}", "udp: {destinationPort: {number: 9}}"))),
        ("accepted", accepted.clone()),
        ("accepted in the other tier", guard("guard", "Baseline", 5, &client("Accept"))),
        ("by a NetworkPolicy", format!("{}---\n{CLIENT_TO_SERVER}", guard("guard", "Admin", 5, &client("Pass")))),
        ("accepted before a NetworkPolicy", format!("{accepted}{}", deny_all("shop", "{matchLabels: {app: server}}"))),
    ] {
        pair.world.write("policies.yaml", &policies)?;
        assert_alive(&mut connections, name);
    }
    pair.world.write("policies.yaml", &guard("guard", "Admin", 5, &client("Deny")))?;
    assert_cut(&mut connections, "denied");
    let denied = pair.world.denied(&pair.server, "ingress")?;
    assert!(denied.get("cut").is_some_and(|&packets| packets > 0), "{denied:?}");
    Ok(())
}

#[test]
fn a_guard_in_audit_mode_drops_nothing_and_tells_what_it_would() -> Result<()> {
    let mut world = World::new("guarded-audit")?;
    let server = world.pod("shop/server", Wiring::Ptp)?;
    let guest = world.pod("guest/one", Wiring::Bridge)?;
    world.write("namespaces.yaml", &namespaces(&["shop", "guest"]))?;
    let floor = |audit: bool| {
        let annotated = format!("{{name: floor, annotations: {{podgate.io/audit: '{audit}'}}}}");
        guard("floor", "Baseline", 1, &into_the_shop(DENY_EVERYBODY)).replace("{name: floor}", &annotated)
    };
    world.write("floor.yaml", &floor(true))?;
    world.run_agent(&AUTO)?;
    let to = everything(server.addresses().both(), 80);
    Questions::new().answered(&guest, to.clone()).ask();
    assert_eq!(world.verdicts(&server, "ingress", "would_deny")?, [("rule_denied".to_owned(), 6)].into());
    assert_eq!(world.denied(&server, "ingress")?, [].into());
    world.write("floor.yaml", &floor(false))?;
    Questions::new().silent(&guest, to).ask();
    Ok(())
}

#[test]
fn the_node_reaches_its_pods_whatever_guards_say_and_ports_are_told_apart() -> Result<()> {
    let mut world = World::new("guarded-node")?;
    let server = world.pod("shop/server", Wiring::Ptp)?;
    let guest = world.pod("guest/one", Wiring::Bridge)?;
    world.write("namespaces.yaml", &namespaces(&["shop", "guest"]))?;
    let everywhere = "{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 81}}}]}";
    world.write("guard.yaml", &guard("guard", "Admin", 0, &into_the_shop(everywhere)))?;
    world.run_agent(&AUTO)?;
    let [open, closed] = PORTS;
    let both = server.addresses().both();
    Questions::new()
        .answered(&guest, everything(both, open))
        .silent(&guest, tcp(both, closed))
        .answered(&world.node, tcp(both, closed))
        .ask();
    Ok(())
}

#[test]
fn what_is_not_to_be_enforced_is_not_and_status_says_so() -> Result<()> {
    let mut world = World::new("guarded-off")?;
    let server = world.pod("shop/server", Wiring::Ptp)?;
    let guest = world.pod("guest/one", Wiring::Bridge)?;
    world.write("namespaces.yaml", &namespaces(&["shop", "guest"]))?;
    world.write("guard.yaml", &guard("guard", "Admin", 0, &into_the_shop(DENY_EVERYBODY)))?;
    world.run_agent(&[])?;
    Questions::new().answered(&guest, everything(server.addresses().both(), 80)).ask();
    let status = world.status()?;
    assert_eq!(
        (&status["cluster_policies"]["enforcement"], &status["cluster_policies"]["objects"]),
        (&json!("off"), &json!(1))
    );
    assert_eq!(status["problems"][0]["kind"], "not_enforced");
    Ok(())
}
