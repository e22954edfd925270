//! `podgate test`.

use serde_json::json;

use crate::support::{SHOP, api_serves_web, directory, parsed, podgate, result, stderr};
use tempfile::TempDir;

fn shop(expectations: &str) -> TempDir {
    directory(&[("shop.yaml", SHOP), ("net.yaml", &api_serves_web()), ("expected.test", expectations)])
}

const TEST: [&str; 4] = ["test", "expected.test", "-f", "."];

const MIXED: &str = "
- name: web reaches the API
  from: shop/web
  to: svc/shop/api
  port: 80
  expect: allow
- from: {namespace: shop}
  to: {namespace: shop, labels: {app: api}}
  port: grpc
  expect: deny
- {from: 192.0.2.1, to: pod/shop/api, protocol: ICMP, expect: deny}
";

#[test]
fn cases_that_fail_say_why_as_explain_does() {
    let expected = "\
ok    web reaches the API: allow, 1 pair
FAIL  {\"namespace\":\"shop\"} to {\"labels\":{\"app\":\"api\"},\"namespace\":\"shop\"} TCP/grpc: expected deny, not so for 1 of 1 pair
      allowed: shop/web to shop/api, TCP/8080 (10.0.0.1 to 10.0.0.2)
        egress of shop/web: allowed, no policy isolates it
        ingress of shop/api: allowed by shop/api ingress[0] (from[0], every port)
          isolated by shop/api
ok    192.0.2.1 to pod/shop/api ICMP: deny, 1 pair
3 cases, 1 not as expected
";
    assert_eq!(result(&podgate(shop(MIXED).path(), &TEST)), (Some(1), expected.to_owned()));
}

#[test]
fn the_exit_status_is_0_if_everything_is_as_expected() {
    let shop = shop("- {from: shop/web, to: pod/shop/api, port: 8080, expect: allow}\n");
    let expected = "ok    shop/web to pod/shop/api TCP/8080: allow, 1 pair\n1 case, 0 not as expected\n";
    assert_eq!(result(&podgate(shop.path(), &TEST)), (Some(0), expected.to_owned()));
}

#[test]
fn a_case_that_names_nobody_fails() {
    let shop =
        shop("- {name: jobs, from: {namespace: shop, labels: {app: job}}, to: pod/shop/api, port: 80, expect: deny}\n");
    let expected = "\
FAIL  jobs: expected deny
      no verdict: there are no pods of namespace shop with app=job
1 case, 1 not as expected
";
    assert_eq!(result(&podgate(shop.path(), &TEST)), (Some(1), expected.to_owned()));
}

#[test]
fn the_json_has_each_case_and_the_answers_that_are_wrong() {
    let output = podgate(shop(MIXED).path(), &[&TEST[..], &["-o", "json"]].concat());
    let view = parsed(&output);
    assert_eq!((output.status.code(), &view["passed"], &view["failed"]), (Some(1), &json!(2), &json!(1)));
    let first = json!({"file": "expected.test", "case": 1, "name": "web reaches the API", "expect": "allow", "passed": true,
        "pairs": 1, "wrong": []});
    assert_eq!(view["cases"][0], first);
    let wrong = &view["cases"][1]["wrong"][0];
    assert_eq!(json!([wrong["answer"]["verdict"], wrong["answer"]["from"]]), json!(["allowed", {"pod": "shop/web"}]));
    assert!(wrong["reason"].as_str().unwrap().starts_with("allowed: shop/web to shop/api, TCP/8080"), "{wrong}");
}

#[test]
fn junit_has_a_suite_for_each_file_and_escapes_names() {
    let shop = shop(
        "
- {name: 'a < b & \"c\"', from: shop/web, to: pod/shop/api, port: 80, expect: allow}
- {name: closed, from: shop/web, to: pod/shop/nobody, port: 80, expect: deny}
",
    );
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="expected.test" tests="2" failures="1" errors="0">
    <testcase name="a &lt; b &amp; &quot;c&quot;" classname="expected.test"/>
    <testcase name="closed" classname="expected.test">
      <failure message="expected deny">      no verdict: there is no pod shop/nobody: check namespace and name
</failure>
    </testcase>
  </testsuite>
</testsuites>
"#;
    assert_eq!(result(&podgate(shop.path(), &[&TEST[..], &["-o", "junit"]].concat())), (Some(1), expected.to_owned()));
}

#[test]
fn every_mistake_names_file_case_and_field() {
    let shop = shop(
        "
- {name: typos, from: web, to: shop/api, prot: 80, expect: alow}
- {from: {namespace: shop, labels: {version: 2}, label: x}, to: 10.0.0.300, port: 70000, protocol: HTTP, expect: deny}
- {from: shop/web, to: shop/api, expect: allow}
- {from: shop/web, to: pod/shop/api, protocol: ICMP, port: 8, expect: allow, expect: deny}
- 7
",
    );
    let output = podgate(shop.path(), &TEST);
    assert_eq!(result(&output), (Some(2), String::new()));
    let expected = "\
expected.test: [3].expect: the key is given twice: keep one
expected.test: case 1 (typos): prot: unknown field: expected one of name, from, to, port, protocol, expect
expected.test: case 1 (typos): from: expected NAMESPACE/POD or an IP address
expected.test: case 1 (typos): port: TCP needs a port
expected.test: case 1 (typos): expect: expected allow or deny
expected.test: case 2: from.label: unknown field: expected one of namespace, labels
expected.test: case 2: from.labels.version: expected text: numbers and booleans need quotes
expected.test: case 2: to: expected NAMESPACE/NAME, pod/NAMESPACE/NAME, svc/NAMESPACE/NAME or an IP address
expected.test: case 2: protocol: the protocol is TCP, UDP, SCTP or ICMP
expected.test: case 2: port: a port number is between 1 and 65535
expected.test: case 3: port: TCP needs a port
expected.test: case 4: port: ICMP has no ports: leave port out
expected.test: case 5: expected a mapping with name, from, to, port, protocol, expect
podgate: 13 problems in the expectations: nothing was judged
";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn what_is_no_list_of_cases_is_refused() {
    for (text, says) in [
        ("cases: []\n", "expected.test: expected a list of cases\n"),
        ("# nothing\n", "expected.test: there are no cases\n"),
        ("[\n", "expected.test: "),
    ] {
        let output = podgate(shop(text).path(), &TEST);
        assert_eq!(result(&output), (Some(2), String::new()), "{text}");
        assert!(stderr(&output).starts_with(says), "{text}: {output:?}");
    }
}

#[test]
fn a_file_to_begin_with_says_what_holds_now() {
    let shop = shop("");
    let init = podgate(shop.path(), &["test", "--init", "-f", ".", "--port", "TCP/8080", "--port", "UDP/53"]);
    let (status, cases) = result(&init);
    assert_eq!(status, Some(0));
    let expected = "\
# What holds now. Take out what is not meant, and keep the rest.
";
    assert!(cases.starts_with(expected), "{cases}");
    std::fs::write(shop.path().join("expected.test"), &cases).unwrap();
    let (status, told) = result(&podgate(shop.path(), &TEST));
    assert_eq!((status, cases.matches("- from:").count()), (Some(0), told.lines().count() - 1), "{told}");
    assert!(
        cases.contains("protocol: UDP") && cases.contains("expect: deny") && cases.contains("expect: allow"),
        "{cases}"
    );
}

#[test]
fn ports_go_with_a_file_to_begin_with_alone() {
    let shop = shop("- {from: shop/web, to: pod/shop/api, port: 8080, expect: allow}\n");
    let refused = podgate(shop.path(), &[&TEST[..], &["--port", "TCP/80"]].concat());
    assert_eq!(
        (result(&refused).0, stderr(&refused)),
        (Some(2), "podgate: --port goes with --init: cases have ports of their own\n".to_owned())
    );
}
