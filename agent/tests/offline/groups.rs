//! Pods that are alike, as the commands show them.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fits::assert_fits;
use crate::support::{directory, parsed, podgate, policy, result};

/// Two replicas of a Deployment, and a client that alone may reach them.
fn shop(rest: &str) -> String {
    let pod = |name: &str, app: &str, owner: &str, address: u8| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {app}, \
             pod-template-hash: 5d78}}{owner}}}\nspec: {{containers: [{{name: a, image: a, ports: [{{containerPort: 80}}]}}]}}\n\
             status: {{podIP: 10.0.0.{address}}}\n"
        )
    };
    let owner =
        ", ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d78, uid: a, controller: true}]";
    [pod("web-5d78-a", "web", owner, 1), pod("web-5d78-b", "web", owner, 2), pod("client", "client", "", 3)].concat()
        + rest
}

fn served_to(app: &str) -> String {
    let peer = format!("{{podSelector: {{matchLabels: {{app: {app}}}}}}}");
    policy("web", &format!("{{podSelector: {{matchLabels: {{app: web}}}}, ingress: [{{from: [{peer}]}}]}}"))
}

fn states() -> TempDir {
    let expected = "- {from: {namespace: shop}, to: {namespace: shop, labels: {app: web}}, port: 80, expect: allow}\n";
    directory(&[
        ("old.yaml", &shop(&served_to("client"))),
        ("new.yaml", &shop(&served_to("web"))),
        ("expected.test", expected),
    ])
}

/// The JSON of a command, which fits its schema.
fn json_of(states: &TempDir, arguments: &[&str]) -> Value {
    let output = parsed(&podgate(states.path(), &[arguments, &["-o", "json"]].concat()));
    assert_fits(arguments[0], &output);
    output
}

#[test]
fn a_matrix_shows_a_deployment_as_one_and_each_pod_where_asked() {
    let states = states();
    let text = "\
rows: from, columns: to; + allowed, - denied

TCP/80
                       1  2
 1  shop/client        +  +
 2  shop/web (2 pods)  +  -
";
    let shown = result(&podgate(states.path(), &["matrix", "-f", "old.yaml"]));
    assert_eq!(shown, (Some(0), text.to_owned()));
    let group = json!({"from": "shop/web", "from_pods": 2, "to": "shop/web", "to_pods": 2, "protocol": "TCP", "port": 80,
        "allowed": false});
    let rows = json_of(&states, &["matrix", "-f", "old.yaml"]);
    assert_eq!((rows.as_array().map(Vec::len), &rows[3]), (Some(4), &group));
    let each = json_of(&states, &["matrix", "-f", "old.yaml", "--pods"]);
    let pair =
        json!({"from": "shop/web-5d78-a", "to": "shop/web-5d78-b", "protocol": "TCP", "port": 80, "allowed": false});
    assert_eq!((each.as_array().map(Vec::len), &each[5]), (Some(9), &pair));
}

#[test]
fn a_diff_shows_a_deployment_as_one_and_each_pod_where_asked() {
    let states = states();
    let arguments = ["diff", "-f", "old.yaml", "-f", "new.yaml"];
    let opens = json!({"change": "opens", "because": "policy", "from": "shop/web", "from_pods": 2, "to": "shop/web",
        "to_pods": 2, "outside": null, "protocol": "TCP", "port": 80});
    let changes = json_of(&states, &arguments)["changes"].clone();
    assert_eq!((changes.as_array().map(Vec::len), &changes[0]), (Some(2), &opens));
    let each = json_of(&states, &[&arguments[..], &["--pods"]].concat())["changes"].clone();
    assert_eq!((each.as_array().map(Vec::len), &each[0]["from"]), (Some(4), &json!("shop/web-5d78-b")));
}

#[test]
fn a_test_explains_pairs_that_are_alike_once_and_counts_all() {
    let states = states();
    let arguments = ["test", "expected.test", "-f", "old.yaml"];
    let (status, text) = result(&podgate(states.path(), &arguments));
    assert_eq!(status, Some(1));
    assert!(text.starts_with("FAIL  "), "{text}");
    assert!(text.contains("expected allow, not so for 2 of 4 pairs\n"), "{text}");
    assert!(text.contains("        the same for each of 2 pairs of alike pods\n"), "{text}");
    let wrong = |more: &[&str]| {
        let wrong = json_of(&states, &[&arguments[..], more].concat())["cases"][0]["wrong"].clone();
        wrong.as_array().unwrap().iter().map(|it| it["pairs"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((wrong(&[]), wrong(&["--pods"])), (vec![json!(2)], vec![Value::Null, Value::Null]));
}
