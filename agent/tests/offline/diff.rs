//! `podgate diff`.

use serde_json::json;

use crate::support::{SHOP, api_serves_web, directory, parsed, podgate, policy, result, stderr};

fn states() -> tempfile::TempDir {
    let closed = policy("api", "{podSelector: {matchLabels: {app: api}}}");
    directory(&[("old.yaml", &(SHOP.to_owned() + &api_serves_web())), ("new.yaml", &(SHOP.to_owned() + &closed))])
}

#[test]
fn what_opens_or_closes_ends_in_1() {
    let states = states();
    let expected = "\
closes:
  to shop/api TCP/8080 from shop/web

0 open, 1 close
";
    assert_eq!(
        result(&podgate(states.path(), &["diff", "-f", "old.yaml", "-f", "new.yaml"])),
        (Some(1), expected.to_owned())
    );
    assert_eq!(
        result(&podgate(states.path(), &["diff", "-f", "old.yaml", "-f", "old.yaml"])),
        (Some(0), "nothing opens, nothing closes\n".to_owned())
    );
}

#[test]
fn the_json_has_each_pair() {
    let states = states();
    let output =
        podgate(states.path(), &["diff", "-f", "new.yaml", "-f", "old.yaml", "--port", "TCP/22", "-o", "json"]);
    let change = json!({"change": "opens", "because": "policy", "from": "shop/web", "to": "shop/api", "outside": null,
        "protocol": "TCP", "port": 22});
    let expected = json!({"changes": [change], "pods_added": [], "pods_removed": [], "not_compared": null});
    assert_eq!((output.status.code(), parsed(&output)), (Some(1), expected));
}

#[test]
fn a_single_state_is_compared_with_a_cluster_and_three_with_nothing() {
    let states = states();
    let complaints = [
        (&["-f", "old.yaml"][..], "no way to a cluster: "),
        (&["-f", "old.yaml", "-f", "new.yaml", "-f", "new.yaml"], "two -f are the most, the old state and the new one"),
    ];
    for (arguments, complaint) in complaints {
        let output = podgate(states.path(), &[&["diff"], arguments].concat());
        assert_eq!(result(&output), (Some(2), String::new()));
        assert!(stderr(&output).contains(complaint), "{output:?}");
    }
}

#[test]
fn where_nothing_can_be_compared_that_is_said_and_ends_in_3() {
    let workload = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api, namespace: shop}\n";
    let closed = policy("api", "{podSelector: {matchLabels: {app: api}}}");
    let elsewhere = |spec: &str| policy("none", spec);
    let portless = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: api}}\n";
    for (old, new, why) in [
        (workload.to_owned() + &closed, workload.to_owned() + &api_serves_web(), "there are no pods in either state"),
        (workload.to_owned(), workload.to_owned(), "there are no pods in either state"),
        (
            SHOP.to_owned() + &elsewhere("{podSelector: {matchLabels: {app: none}}}"),
            SHOP.to_owned() + &elsewhere("{podSelector: {matchLabels: {app: none}}, ingress: [{}]}"),
            "no pod of either state is selected by the policies that differ: shop/none",
        ),
        (
            portless.to_owned() + &closed,
            portless.to_owned() + &api_serves_web(),
            "no pod names a container port; give --port",
        ),
    ] {
        let states = directory(&[("old.yaml", &old), ("new.yaml", &new)]);
        let output = podgate(states.path(), &["diff", "-f", "old.yaml", "-f", "new.yaml"]);
        assert_eq!(result(&output), (Some(3), String::new()), "{why}");
        assert!(stderr(&output).starts_with(&format!("podgate: nothing was compared: {why}")), "{output:?}");
        let output = podgate(states.path(), &["diff", "-f", "old.yaml", "-f", "new.yaml", "-o", "json"]);
        let said = parsed(&output);
        assert_eq!((output.status.code(), said["changes"].as_array().map(Vec::len)), (Some(3), Some(0)));
        assert!(said["not_compared"].as_str().unwrap().contains(why), "{said}");
    }
}
