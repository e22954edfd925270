//! What `podgate check` prints for code review and continuous integration, and what it ignores.

use serde_json::json;

use crate::support::{directory, parsed, podgate, policy, result, shop_with, stderr};

fn ignoring(lines: &str) -> String {
    policy("web", "{podSelector: {matchLabels: {app: wbe}}}").replacen(
        "namespace: shop}",
        &format!("namespace: shop, annotations: {{podgate.io/check-ignore: \"{lines}\"}}}}"),
        1,
    )
}

fn check(policies: &str, format: &str) -> (Option<i32>, String) {
    result(&podgate(shop_with(policies).path(), &["check", "-f", ".", "--least", "warning", "-o", format]))
}

fn with_typo() -> String {
    policy("web", "{podSelector: {matchLabels: {app: wbe}}}")
}

#[test]
fn github_shows_a_finding_at_its_line() {
    let expected = "::warning file=net.yaml,line=2,title=label-typo::NetworkPolicy shop/web: spec.podSelector: no pod of namespace \
                    shop has the label app=wbe%0Ainstead: did you mean app=web?\n1 warning\n";
    assert_eq!(check(&with_typo(), "github"), (Some(1), expected.to_owned()));
}

#[test]
fn junit_has_a_case_for_each_finding() {
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="./net.yaml" tests="1" failures="1" errors="0" skipped="0">
    <testcase name="label-typo: NetworkPolicy shop/web: spec.podSelector" classname="./net.yaml">
      <failure message="no pod of namespace shop has the label app=wbe" type="warning">line 2
why: no pod of namespace shop has the label app=wbe
instead: did you mean app=web?</failure>
    </testcase>
  </testsuite>
</testsuites>
"#;
    assert_eq!(check(&with_typo(), "junit"), (Some(1), expected.to_owned()));
    let skipped = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="./net.yaml" tests="1" failures="0" errors="0" skipped="1">
    <testcase name="label-typo: NetworkPolicy shop/web: spec.podSelector" classname="./net.yaml">
      <skipped message="its pods come later"/>
    </testcase>
  </testsuite>
</testsuites>
"#;
    assert_eq!(check(&ignoring("label-typo: its pods come later"), "junit"), (Some(0), skipped.to_owned()));
    let nothing = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="podgate check" tests="1" failures="0" errors="0" skipped="0">
    <testcase name="nothing found" classname="podgate check"/>
  </testsuite>
</testsuites>
"#;
    assert_eq!(check(&policy("deny", "{podSelector: {}}"), "junit"), (Some(0), nothing.to_owned()));
}

#[test]
fn what_an_annotation_ignores_is_counted_and_named_with_its_reason() {
    let policies = ignoring("label-typo: its pods come later");
    assert_eq!(check(&policies, "text"), (Some(0), "nothing found, 1 ignored\n".to_owned()));
    let log: serde_json::Value = serde_json::from_str(&check(&policies, "sarif").1).unwrap();
    let suppressions = json!([{"kind": "inSource", "justification": "its pods come later"}]);
    let results = &log["runs"][0]["results"];
    assert_eq!(
        (&results[0]["ruleId"], &results[0]["suppressions"], &results[1]),
        (&json!("label-typo"), &suppressions, &json!(null))
    );
}

#[test]
fn an_annotation_without_a_reason_ignores_nothing() {
    let expected = "\
warning ignore-without-effect: NetworkPolicy shop/web: metadata.annotations[\"podgate.io/check-ignore\"]
  in ./net.yaml, document 1, line 2
  why: label-typo is not ignored, since no reason is given
  instead: write label-typo: REASON
warning label-typo: NetworkPolicy shop/web: spec.podSelector
  in ./net.yaml, document 1, line 2
  why: no pod of namespace shop has the label app=wbe
  instead: did you mean app=web?
2 warnings
";
    assert_eq!(check(&ignoring("label-typo"), "text"), (Some(1), expected.to_owned()));
}

#[test]
fn policies_of_other_kinds_are_named_once_for_each_kind() {
    let of = |kind: &str, api_version: &str, metadata: &str| {
        format!("---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{}}\n")
    };
    let text = of("CiliumNetworkPolicy", "cilium.io/v2", "name: a, namespace: shop")
        + &of("CiliumNetworkPolicy", "cilium.io/v2", "name: b, namespace: shop")
        + &of("NetworkPolicy", "projectcalico.org/v3", "name: c, namespace: shop")
        + &of("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1", "name: d")
        + &policy("deny", "{podSelector: {}}");
    let all = parsed(&podgate(directory(&[("net.yaml", &text)]).path(), &["check", "-f", ".", "-o", "json"]));
    let findings = all["findings"].as_array().unwrap().iter();
    let short: Vec<_> =
        findings.map(|it| json!([it["rule"], it["severity"], it["object"], it["line"], it["why"]])).collect();
    let why =
        |kind: &str, names: &str| format!("podgate does not enforce {kind}, and nothing here is judged by it: {names}");
    assert_eq!(
        short,
        [
            json!([
                "foreign-policy",
                "warning",
                "CiliumNetworkPolicy shop/a",
                2,
                why("CiliumNetworkPolicy of cilium.io", "shop/a, shop/b")
            ]),
            json!([
                "foreign-policy",
                "warning",
                "NetworkPolicy shop/c",
                12,
                why("NetworkPolicy of projectcalico.org", "shop/c")
            ]),
            json!([
                "foreign-policy",
                "warning",
                "AdminNetworkPolicy d",
                17,
                why("AdminNetworkPolicy of policy.networking.k8s.io", "d")
            ]),
        ]
    );
}

#[test]
fn a_policy_of_v1alpha1_is_written_out_as_what_it_is_today() {
    let text = "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: default}\n\
                spec: {subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}\n";
    let all = parsed(&podgate(directory(&[("net.yaml", text)]).path(), &["check", "-f", ".", "-o", "json"]));
    let found = all["findings"].as_array().unwrap().iter().find(|it| it["rule"] == "cluster-policy-v1alpha1").unwrap();
    assert_eq!(json!([found["severity"], found["object"]]), json!(["note", "BaselineAdminNetworkPolicy default"]));
    let written = format!("---\n{}", found["yaml"].as_str().unwrap());
    let again =
        podgate(directory(&[("net.yaml", &written)]).path(), &["check", "-f", ".", "-o", "json", "--least", "error"]);
    assert_eq!(parsed(&again)["findings"], json!([]));
}

#[test]
fn that_the_agent_does_not_enforce_cluster_network_policies_is_said_once() {
    let guard = |name: &str| {
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec: \
             {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}}}\n"
        )
    };
    let all = directory(&[("net.yaml", &(guard("b") + &guard("a")))]);
    let output = podgate(all.path(), &["check", "-f", ".", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found = parsed(&output)["findings"].clone();
    let short: Vec<_> =
        found.as_array().unwrap().iter().map(|it| json!([it["rule"], it["object"], it["line"]])).collect();
    assert_eq!(short, [json!(["not-enforced", "ClusterNetworkPolicy a", 7])]);
    let why = "podgate's agent enforces these ClusterNetworkPolicies only with --cluster-policies=auto, and they count in everything \
        here: a, b";
    assert_eq!(found[0]["why"], why);
    let matrix = podgate(all.path(), &["matrix", "-f", "."]);
    let note =
        "note: judged by ClusterNetworkPolicies too, which podgate's agent enforces with --cluster-policies=auto";
    assert_eq!(stderr(&matrix).lines().next(), Some(note));
}

#[test]
fn a_policy_without_a_spec_and_a_load_balancer_are_read_as_they_are_written() {
    let empty =
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: empty, namespace: shop}\n";
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: shop}\nspec: {type: LoadBalancer, selector: \
                   {app: web}, ports: [{port: 443, targetPort: 80}]}\n";
    let clients = policy(
        "web",
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}",
    );
    for spec in ["", "spec: {}\n", "spec:\n"] {
        let shop = shop_with(&(empty.to_owned() + spec + service + &clients));
        let all = parsed(&podgate(shop.path(), &["check", "-f", ".", "-o", "json", "--least", "warning"]));
        let findings = all["findings"].as_array().unwrap().iter();
        let short: Vec<_> = findings.map(|it| json!([it["rule"], it["object"], it["field"]])).collect();
        assert_eq!(
            short,
            [
                json!(["empty-spec", "NetworkPolicy shop/empty", "spec"]),
                json!(["clients-masqueraded", "NetworkPolicy shop/web", "spec.ingress[0].from[0].ipBlock.cidr"]),
            ],
            "{spec:?}"
        );
    }
}
