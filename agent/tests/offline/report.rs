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
