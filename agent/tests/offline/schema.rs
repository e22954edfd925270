//! What the commands print with `-o json` fits the schema of the documentation, which allows nothing that it does not name.

use std::path::Path;

use serde_json::{Value, json};

use crate::fits::{assert_fits, mistakes};
use crate::support::{SHOP, api_serves_web, directory, parsed, podgate, policy, shop_with};

/// The output of a command, which fits its schema.
fn fitting(directory: &Path, arguments: &[&str]) -> Value {
    let output = parsed(&podgate(directory, &[arguments, &["-o", "json"]].concat()));
    assert_fits(arguments[0], &output);
    output
}

/// Policies in which every sort of peer and port misses something.
fn misses() -> String {
    let peers = "[{podSelector: {matchExpressions: [{key: app, operator: Exists}, {key: tier, operator: NotIn, values: [a]}]}}, \
        {namespaceSelector: {matchLabels: {name: monitoring}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/16]}}, \
        {ipBlock: {cidr: 192.0.2.0/24}}]";
    let ports = "[{port: http}, {port: 53, protocol: UDP}, {port: 1}]";
    let spec = format!("{{podSelector: {{matchLabels: {{app: api}}}}, ingress: [{{from: {peers}, ports: {ports}}}]}}");
    policy("misses", &spec) + &api_serves_web()
}

#[test]
fn findings_fit() {
    let shop = shop_with(&(policy("web", "{podSelector: {matchLabels: {app: wbe}}}") + "---\n{kind: Pod\n"));
    let found = fitting(shop.path(), &["check", "-f", ".", "--least", "warning"]);
    assert_eq!(found["findings"].as_array().map(Vec::len), Some(2));
    // One that is written out, and one that is ignored.
    let halves = policy(
        "web",
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: \
        {matchLabels: {app: api}}}]}]}",
    ) + &policy("deny", "{podSelector: {}}");
    let ignoring = halves.replacen(
        "namespace: shop}",
        "namespace: shop, annotations: {podgate.io/check-ignore: \
        'egress-without-dns: no names'}}",
        1,
    );
    let found = fitting(shop_with(&ignoring).path(), &["check", "-f", ".", "--least", "warning"]);
    let rules = |of: &str| -> Vec<Value> {
        found[of]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| json!([it["rule"], it["yaml"].is_string(), it["ignored"]]))
            .collect()
    };
    assert_eq!(rules("findings"), [json!(["one-sided", true, null])]);
    assert_eq!(rules("ignored"), [json!(["egress-without-dns", false, "no names"])]);
    fitting(directory(&[("a.yaml", &api_serves_web())]).path(), &["check", "-f", "."]);
}

#[test]
fn answers_fit_whoever_is_asked_about() {
    let shop = shop_with(&misses());
    let questions = [
        &["--from", "shop/web", "--to", "pod/shop/api", "--port", "8080"][..],
        &["--from", "monitoring/prober", "--to", "pod/shop/api", "--port", "grpc"],
        &["--from", "198.51.100.1", "--to", "pod/shop/api", "--port", "1", "--protocol", "UDP"],
        &["--from", "shop/web", "--to", "pod/shop/api", "--protocol", "ICMP"],
        &["--from", "shop/web", "--to", "svc/shop/api", "--port", "80"],
        &["--from", "monitoring/prober", "--to", "10.96.0.20", "--port", "80"],
        &["--from", "shop/web", "--to", "192.0.2.7", "--port", "443"],
    ];
    for question in questions {
        fitting(shop.path(), &[&["explain", "-f", "."], question].concat());
    }
}

#[test]
fn answers_fit_where_cluster_network_policies_are_asked() {
    let guard = |tier: &str, rules: &str| {
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {tier}}}\nspec: \
             {{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}, {rules}}}\n"
        )
        .replacen(&format!("name: {tier}"), &format!("name: {}", tier.to_lowercase()), 1)
    };
    let admin = "egress: [{name: range, action: Deny, to: [{networks: [10.9.0.0/16]}, {nodes: {matchLabels: {a: b}}}], protocols: \
                 [{udp: {destinationPort: {number: 5}}}, {destinationNamedPort: none}]}, {action: Pass, to: [{pods: {podSelector: \
                 {matchLabels: {app: api}}}}]}], ingress: [{action: Accept, from: [{namespaces: {matchLabels: {x: a}}}]}]";
    let baseline =
        "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 8080}}}]}]";
    let shop = shop_with(&(guard("Admin", admin) + &guard("Baseline", baseline)));
    let ask =
        |to: &str| fitting(shop.path(), &["explain", "-f", ".", "--from", "shop/web", "--to", to, "--port", "8080"]);
    let api = ask("pod/shop/api");
    let said = |direction: &str| {
        let it = &api[direction];
        let answers: Vec<_> = it["tiers"]["rules"].as_array().unwrap().iter().map(|rule| &rule["answer"]).collect();
        json!([it["verdict"], it["reason"], it["tiers"]["decided_by"], it["tiers"]["action"], answers])
    };
    assert_eq!(said("egress"), json!(["allowed", "undecided", "nobody", null, ["misses", "matches"]]));
    let expected = json!(["denied", "cluster_rule", "Baseline", "Deny", ["misses", "matches"]]);
    assert_eq!(said("ingress"), expected);
    ask("192.0.2.7");
}

#[test]
fn matrix_diff_and_test_fit() {
    let shop = shop_with(&misses());
    let rows = fitting(shop.path(), &["matrix", "-f", ".", "--services"]);
    assert!(rows.as_array().unwrap().iter().any(|row| row["service"] == true));

    let outside =
        policy("api", "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}");
    let states =
        directory(&[("old.yaml", &(SHOP.to_owned() + &api_serves_web())), ("new.yaml", &(SHOP.to_owned() + &outside))]);
    let diff = fitting(states.path(), &["diff", "-f", "old.yaml", "-f", "new.yaml"]);
    assert!(diff["changes"].as_array().unwrap().iter().any(|change| change["outside"] == "from"), "{diff:#}");

    let cases = "
- {from: shop/web, to: svc/shop/api, port: 80, expect: deny}
- {from: shop/web, to: pod/shop/api, port: 8080, expect: deny}
- {from: {namespace: shop, labels: {app: none}}, to: pod/shop/api, port: 8080, expect: deny}
- {from: shop/web, to: pod/shop/api, port: 8080, expect: allow}
";
    let shop = directory(&[("shop.yaml", SHOP), ("net.yaml", &api_serves_web()), ("expected.test", cases)]);
    let results = fitting(shop.path(), &["test", "expected.test", "-f", "."]);
    assert_eq!((&results["passed"], &results["failed"]), (&json!(1), &json!(3)));
}

#[test]
fn what_the_schema_does_not_name_does_not_fit() {
    let flow = json!({"type": "flow", "time": "2026-11-21T10:00:01.5Z", "node": "node-a", "verdict": "denied",
        "reason": "no_rule", "direction": "ingress", "pod": "shop/api",
        "source": {"address": "10.0.0.2", "port": 40000, "kind": "pod", "name": "shop/web"},
        "destination": {"address": "fd00::1", "port": 22, "kind": "other", "name": null},
        "protocol": "TCP", "detail": "SYN", "length": 74, "policies": ["shop/api"], "rule": null});
    assert_fits("flows", &flow);
    for (field, wrong) in
        [("verdict", json!("dropped")), ("length", json!(-1)), ("more", json!(1)), ("time", json!("today"))]
    {
        let mut flow = flow.clone();
        flow[field] = wrong;
        assert_ne!(mistakes("flows", &flow).as_deref(), Some(""), "{field}");
    }
    let mut flow = flow.clone();
    flow["source"]["address"] = "nowhere".into();
    assert_ne!(mistakes("flows", &flow).as_deref(), Some(""));
}
