//! `podgate check`.

use serde_json::json;

use crate::support::{SHOP, api_serves_web, directory, parsed, podgate, policy, result, shop_with, stderr};

const CHECK: [&str; 3] = ["check", "-f", "."];

/// What is said of the shop where only the API is isolated, and of monitoring.
const OPEN: &str = "\
note not-isolated: Namespace shop: metadata.name
  in ./shop.yaml, document 1, line 1
  why: no policy isolates pod shop/web, so everybody reaches these, and they reach everybody
  instead: if that is not meant, deny by default: a policy with podSelector: {} and policyTypes: [Ingress, Egress]
note not-isolated: Namespace monitoring: metadata.name
  in ./shop.yaml, document 2, line 5
  why: no policy isolates any pod of namespace monitoring, so everybody reaches them, and they reach everybody
  instead: if that is not meant, deny by default: a policy with podSelector: {} and policyTypes: [Ingress, Egress]
";

fn with_typo() -> String {
    policy("web", "{podSelector: {matchLabels: {app: wbe}}}")
}

#[test]
fn sound_policies_have_no_findings() {
    let shop = shop_with(&api_serves_web());
    let all = result(&podgate(shop.path(), &CHECK));
    assert_eq!(all, (Some(0), format!("{OPEN}2 notes\n")));
    let least = |least| result(&podgate(shop.path(), &[&CHECK[..], &["--least", least]].concat()));
    assert_eq!(least("note"), all);
    assert_eq!(least("warning"), (Some(0), "nothing found\n".to_owned()));
}

#[test]
fn a_finding_names_object_field_place_reason_and_remedy() {
    let shop = shop_with(&format!("# typed in a hurry\n{}{}", api_serves_web(), with_typo()));
    let expected = "\
warning label-typo: NetworkPolicy shop/web: spec.podSelector
  in ./net.yaml, document 2, line 8
  why: no pod of namespace shop has the label app=wbe
  instead: did you mean app=web?
";
    assert_eq!(result(&podgate(shop.path(), &CHECK)), (Some(1), format!("{expected}{OPEN}1 warning, 2 notes\n")));
}

#[test]
fn invalid_objects_are_findings_beside_the_others() {
    let except = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}]}]}";
    let shop = shop_with(&(policy("bad", except) + &with_typo() + "---\n{kind: Pod\n"));
    let output = podgate(shop.path(), &[&CHECK[..], &["-o", "json", "--least", "warning"]].concat());
    let rules: Vec<_> = parsed(&output)["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["rule"], it["severity"], it["object"], it["field"], it["document"]]))
        .collect();
    let bad = "spec.ingress[0].from[0].ipBlock.except[0]";
    assert_eq!(
        rules,
        [
            json!(["invalid-except", "error", "NetworkPolicy shop/bad", bad, 1]),
            json!(["label-typo", "warning", "NetworkPolicy shop/web", "spec.podSelector", 2]),
            json!(["invalid-syntax", "error", null, null, 3]),
        ]
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_json_has_every_key_of_every_finding() {
    let shop = shop_with(&with_typo());
    let output = podgate(shop.path(), &[&CHECK[..], &["-o", "json", "--least", "warning"]].concat());
    let finding = json!({
        "file": "./net.yaml", "document": 1, "line": 2, "object": "NetworkPolicy shop/web", "field": "spec.podSelector",
        "rule": "label-typo", "severity": "warning", "why": "no pod of namespace shop has the label app=wbe",
        "instead": "did you mean app=web?",
    });
    assert_eq!(
        (output.status.code(), parsed(&output)),
        (Some(1), json!({"findings": [finding], "ignored": [], "not_judged": []}))
    );
}

#[test]
fn the_exit_status_depends_on_what_is_bad_enough() {
    let note = policy("closed", "{podSelector: {}, policyTypes: [Egress]}");
    let error = policy("types", "{podSelector: {}, policyTypes: [Ingress], egress: [{}]}");
    for (policies, statuses) in [(note, [0, 0, 1, 0]), (with_typo(), [0, 1, 1, 0]), (error, [1, 1, 1, 0])] {
        let shop = shop_with(&policies);
        let status = |least| podgate(shop.path(), &[&CHECK[..], &["--fail-on", least]].concat()).status.code();
        assert_eq!(["error", "warning", "note", "none"].map(status), statuses.map(Some), "{policies}");
    }
}

#[test]
fn policies_alone_are_judged_as_far_as_they_go() {
    let alone = directory(&[("net.yaml", &with_typo())]);
    let expected = "\
not judged: there are no pods in the input: nothing is said of what selects them, named ports, and DNS
not judged: there are no Namespaces in the input: nothing is said of namespace selectors
nothing found
";
    assert_eq!(result(&podgate(alone.path(), &CHECK)), (Some(0), expected.to_owned()));
}

#[test]
fn a_file_that_can_not_be_read_ends_in_2() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let output = podgate(shop.path(), &["check", "-f", "shop.yaml", "-f", "missing.yaml"]);
    assert_eq!(result(&output), (Some(2), String::new()));
    assert!(stderr(&output).starts_with("missing.yaml: can't be read: "), "{output:?}");
}
