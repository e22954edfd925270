//! `podgate check -o sarif`, read by types that are generated from the schema of SARIF 2.1.0.

use serde_json::{Value, json};
use serde_sarif::sarif::Sarif;

use crate::support::{parsed, podgate, policy, shop_with};

fn log() -> Value {
    let policies = policy("web", "{podSelector: {matchLabels: {app: wbe}}}") + "---\n{kind: Pod\n";
    let output = podgate(shop_with(&policies).path(), &["check", "-f", ".", "-o", "sarif"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    parsed(&output)
}

#[test]
fn the_log_fits_the_schema_and_has_nothing_beside_it() {
    let log = log();
    let typed: Sarif = serde_json::from_value(log.clone()).unwrap();
    // What the schema doesn't know gets lost on this way.
    assert_eq!(serde_json::to_value(&typed).unwrap(), log);
}

#[test]
fn results_point_at_file_line_object_and_rule() {
    let log = log();
    let run = &log["runs"][0];
    let expected = json!({
        "ruleId": "label-typo",
        "ruleIndex": 9,
        "level": "warning",
        "message": {"text": "no pod of namespace shop has the label app=wbe. Instead: did you mean app=web?"},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": "net.yaml"}, "region": {"startLine": 2}},
            "logicalLocations": [{
                "fullyQualifiedName": "NetworkPolicy shop/web: spec.podSelector",
                "kind": "object",
            }],
        }],
    });
    assert_eq!(run["results"][0], expected);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
}
