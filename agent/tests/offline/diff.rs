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
    let expected = json!({"changes": [change], "pods_added": [], "pods_removed": []});
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
