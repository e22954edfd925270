//! `podgate report`.

use std::fs;

use serde_json::Value;

use crate::support::{api_serves_web, podgate, policy, result, shop_with};

/// The data in a page.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn the_page_holds_matrix_isolation_and_findings() {
    let shop = shop_with(&(api_serves_web() + &policy("web", "{podSelector: {matchLabels: {app: wbe}}}")));
    assert_eq!(result(&podgate(shop.path(), &["report", "-f", ".", "-o", "page.html"])), (Some(0), String::new()));
    let data = data(&fs::read_to_string(shop.path().join("page.html")).unwrap());
    let pods: Vec<_> = data["pods"].as_array().unwrap().iter().map(|pod| pod["name"].as_str().unwrap()).collect();
    assert_eq!(pods, ["coredns", "prober", "api", "web"]);
    assert_eq!(data["ports"], serde_json::json!(["TCP/80", "TCP/8080", "UDP/53"]));
    // Bits 2 and 3: api reaches itself, and web reaches it.
    assert_eq!(data["targets"][1], serde_json::json!({"pod": 2, "port": 1, "from": "c"}));
    assert_eq!(data["findings"][0]["rule"], "label-typo");
    assert_eq!(data["pods"][2]["ingress"], serde_json::json!(["shop/api"]));
}

#[test]
fn a_page_that_can_not_be_written_ends_in_2() {
    let shop = shop_with(&api_serves_web());
    let output = podgate(shop.path(), &["report", "-f", ".", "-o", "none/page.html"]);
    assert_eq!(result(&output), (Some(2), String::new()));
}

#[test]
fn what_agents_have_dropped_is_counted_on_the_page() {
    let shop = shop_with(&api_serves_web());
    let flow = |time: &str, verdict: &str, port: u16| {
        serde_json::json!({"type": "flow", "time": time, "node": "node-a", "verdict": verdict, "reason": "no_rule",
            "direction": "ingress", "pod": "shop/api",
            "source": {"address": "10.0.0.2", "port": port, "kind": "pod", "name": "shop/web"},
            "destination": {"address": "10.0.0.1", "port": 22, "kind": "pod", "name": "shop/api"},
            "protocol": "TCP", "detail": "SYN", "length": 74, "policies": ["shop/api"], "rule": null})
    };
    let lost = serde_json::json!({"type": "lost", "time": "2026-11-21T10:00:02Z", "node": "node-a",
        "denied": 3, "allowed": 5, "unread": 1});
    let lines = [
        flow("2026-11-21T10:00:01Z", "denied", 40000),
        flow("2026-11-21T10:00:00Z", "denied", 40001),
        flow("2026-11-21T10:00:03Z", "allowed", 40002),
        lost,
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(shop.path().join("flows.jsonl"), &text).unwrap();
    let run = |file: &str| podgate(shop.path(), &["report", "-f", "net.yaml", "--flows", file, "-o", "page.html"]);
    assert_eq!(result(&run("flows.jsonl")), (Some(0), String::new()));
    let data = data(&fs::read_to_string(shop.path().join("page.html")).unwrap());
    let denial = serde_json::json!({"verdict": "denied", "direction": "ingress", "from": "shop/web", "to": "shop/api",
        "protocol": "TCP", "port": 22, "reason": "no_rule", "policies": ["shop/api"], "count": 2,
        "last": "2026-11-21T10:00:01Z"});
    assert_eq!(data["observed"], serde_json::json!({"denials": [denial], "lost": 4}));

    fs::write(shop.path().join("broken.jsonl"), text + "{}\n").unwrap();
    let output = run("broken.jsonl");
    assert_eq!(output.status.code(), Some(2));
    assert!(crate::support::stderr(&output).contains("broken.jsonl, line 5: no line of podgate flows -o json"));
}
