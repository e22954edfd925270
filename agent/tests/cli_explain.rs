//! `podgate explain` and `podgate matrix` as a user runs them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  containers: [{name: web, image: web, ports: [{containerPort: 80, name: http}]}]
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
spec:
  containers: [{name: api, image: api, ports: [{containerPort: 8080, name: http}]}]
status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: http}]
";

/// A directory with these files, removed when the test ends.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn podgate(path: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    let (subcommand, rest) = arguments.split_first().unwrap();
    command.arg(subcommand).arg("-f").arg(path).args(rest).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

const WEB_TO_API: [&str; 5] = ["explain", "--from", "shop/web", "--to", "shop/api"];

#[test]
fn an_allowed_connection_names_the_rule_and_ends_in_success() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let output = podgate(shop.path(), &[&WEB_TO_API[..], &["--port", "http"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("allowed") && stdout(&output).contains("shop/api"), "{output:?}");
}

#[test]
fn a_denied_connection_ends_in_1_and_says_what_would_have_had_to_match() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let output = podgate(shop.path(), &[&WEB_TO_API[..], &["--port", "22"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stdout(&output).contains("denied") && stdout(&output).contains("http"), "{output:?}");
}

#[test]
fn the_json_answer_has_verdict_and_both_directions() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let output = podgate(shop.path(), &[&WEB_TO_API[..], &["--port", "8080", "-o", "json"]].concat());
    let open = json!({"verdict": "allowed", "isolated": false, "reason": "no_policy", "policies": [],
        "allowed_by": [], "refused_by": []});
    let allowed = json!({"verdict": "allowed", "isolated": true, "reason": "rule", "policies": ["shop/api"],
        "allowed_by": [{"policy": "shop/api", "rule": 0, "peer": 0, "port": 0}], "refused_by": []});
    let path = json!({"verdict": "allowed", "from": "10.0.0.1", "to": "10.0.0.2", "port": 8080,
        "egress": open, "ingress": allowed});
    let expected = json!({"verdict": "allowed", "from": {"pod": "shop/web"}, "to": {"pod": "shop/api"},
        "protocol": "TCP", "port": 8080, "egress": open, "ingress": allowed, "paths": [path]});
    assert_eq!(parsed(&output), expected);
}

#[test]
fn a_denial_in_json_tells_what_each_rule_lacked() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let arguments = ["explain", "--from", "192.0.2.1", "--to", "shop/api", "--port", "8080", "-o", "json"];
    let output = podgate(shop.path(), &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answer = parsed(&output);
    let refused = json!([{"policy": "shop/api", "rules": [
        {"rule": 0, "peers_missed": [{"peer": 0, "why": "not_a_pod"}], "ports_missed": null}]}]);
    assert_eq!((&answer["verdict"], &answer["ingress"]["refused_by"]), (&json!("denied"), &refused));
}

#[test]
fn icmp_is_asked_for_without_a_port() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let output = podgate(shop.path(), &[&WEB_TO_API[..], &["--protocol", "ICMP"]].concat());
    assert_eq!(output.status.code(), Some(1), "a rule with ports does not match ICMP: {output:?}");
    let output = podgate(shop.path(), &[&WEB_TO_API[..], &["--protocol", "ICMP", "--port", "8"]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn what_can_not_be_answered_ends_in_2_with_one_line() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let cases: [(&str, &[&str]); 5] = [
        ("a pod that is not there", &["explain", "--from", "shop/nobody", "--to", "shop/api", "--port", "80"]),
        ("a port name that nobody has", &["explain", "--from", "shop/web", "--to", "shop/api", "--port", "dns"]),
        ("no port", &WEB_TO_API),
        ("a port out of range", &["explain", "--from", "shop/web", "--to", "shop/api", "--port", "70000"]),
        ("an end that is nothing", &["explain", "--from", "web", "--to", "shop/api", "--port", "80"]),
    ];
    for (case, arguments) in cases {
        let output = podgate(shop.path(), arguments);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{case}: {output:?}");
        assert!(!stderr(&output).is_empty(), "{case}");
    }
}

#[test]
fn the_matrix_has_every_pair_on_the_given_ports() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let output = podgate(shop.path(), &["matrix", "--port", "TCP/80", "--port", "TCP/8080", "-o", "json"]);
    let row = |from: &str, to: &str, port: u16, allowed: bool| json!({"from": from, "to": to, "protocol": "TCP", "port": port, "allowed": allowed});
    let expected = json!([
        row("shop/api", "shop/api", 80, true),
        row("shop/api", "shop/api", 8080, true),
        row("shop/api", "shop/web", 80, true),
        row("shop/api", "shop/web", 8080, true),
        row("shop/web", "shop/api", 80, false),
        row("shop/web", "shop/api", 8080, true),
        row("shop/web", "shop/web", 80, true),
        row("shop/web", "shop/web", 8080, true),
    ]);
    assert_eq!((output.status.code(), parsed(&output)), (Some(0), expected));
}

#[test]
fn without_ports_the_matrix_asks_for_the_container_ports_of_each_destination() {
    let shop = directory(&[("shop.yaml", SHOP)]);
    let output = podgate(shop.path(), &["matrix", "-o", "json"]);
    let asked: Vec<_> = parsed(&output)
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["to"].as_str().unwrap().to_owned(), row["port"].as_u64().unwrap()))
        .collect();
    let expected = [("shop/api", 8080), ("shop/web", 80)].repeat(2);
    assert_eq!(asked, expected.into_iter().map(|(to, port)| (to.to_owned(), port)).collect::<Vec<_>>());
}

/// Two more pods behind Services with port 80; `web` may reach one of them.
const SERVICES: &str = "
apiVersion: v1
kind: Pod
metadata: {name: api-2, namespace: shop, labels: {app: api, version: '2'}}
spec:
  nodeName: n1
  containers: [{name: api, image: api, ports: [{containerPort: 8082, name: http}]}]
status: {podIP: 10.0.0.3, podIPs: [{ip: 10.0.0.3}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: api}
  ports: [{name: web, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: second, namespace: shop}
spec:
  clusterIP: 10.96.0.2
  selector: {version: '2'}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-out, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {version: '2'}}}]
";

fn with_services() -> TempDir {
    directory(&[("services.yaml", SERVICES), ("shop.yaml", SHOP)])
}

fn to_service<'a>(to: &'a str, port: &'a str) -> [&'a str; 7] {
    ["explain", "--from", "shop/web", "--to", to, "--port", port]
}

#[test]
fn a_service_is_allowed_if_every_backend_is_and_ends_in_1_if_one_is_not() {
    let shop = with_services();
    for (to, port, status, head) in [
        ("svc/shop/second", "80", 0, "allowed: shop/web to Service shop/second TCP/80 at 10.96.0.2\n"),
        ("shop/second", "80", 0, "allowed: shop/web to Service shop/second TCP/80 at 10.96.0.2\n"),
        ("10.96.0.2", "80", 0, "allowed: shop/web to Service shop/second TCP/80 at 10.96.0.2\n"),
        (
            "svc/shop/api",
            "web",
            1,
            "some backends: shop/web to Service shop/api TCP/80 (web) at 10.96.0.1, allowed at 1 of 2 backends; connections \
             that end at another fail\n",
        ),
    ] {
        let output = podgate(shop.path(), &to_service(to, port));
        assert_eq!(output.status.code(), Some(status), "{to}: {output:?}");
        assert!(stdout(&output).starts_with(head), "{to}: {output:?}");
    }
}

#[test]
fn the_json_answer_about_a_service_has_each_backend() {
    let shop = with_services();
    let output = podgate(shop.path(), &[&to_service("10.96.0.1", "80")[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answer = parsed(&output);
    let service =
        json!({"name": "shop/api", "port_name": "web", "reached_by": "cluster_ip", "addresses": ["10.96.0.1"]});
    let keys: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["backends", "backends_allowed", "from", "notes", "port", "protocol", "to", "verdict"]);
    assert_eq!(
        json!([
            answer["verdict"],
            answer["from"],
            answer["to"],
            answer["protocol"],
            answer["port"],
            answer["backends_allowed"]
        ]),
        json!(["partly", {"pod": "shop/web"}, {"service": service}, "TCP", 80, 1])
    );
    let backend = |backend: &Value| json!([backend["verdict"], backend["to"], backend["protocol"], backend["port"]]);
    let backends: Vec<_> = answer["backends"].as_array().unwrap().iter().map(backend).collect();
    assert_eq!(
        backends,
        [json!(["denied", {"pod": "shop/api"}, "TCP", 8080]), json!(["allowed", {"pod": "shop/api-2"}, "TCP", 8082]),]
    );
    assert_eq!(answer["notes"].as_array().unwrap().len(), 2, "derived backends, own ports: {answer}");
}

#[test]
fn a_name_of_both_kinds_asks_which() {
    let shop = with_services();
    let output = podgate(shop.path(), &to_service("shop/api", "8080"));
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{output:?}");
    assert_eq!(
        stderr(&output),
        "podgate: shop/api is both a pod and a Service: ask for pod/shop/api or for svc/shop/api\n"
    );
    let output = podgate(shop.path(), &to_service("pod/shop/api", "8080"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_service_without_the_port_or_without_backends_ends_in_2() {
    let shop = with_services();
    fs::write(
        shop.path().join("empty.yaml"),
        "{apiVersion: v1, kind: Service, metadata: {name: empty, namespace: shop}, spec: {selector: {app: none}, ports: [{port: 80}]}}",
    )
    .unwrap();
    for (to, port, says) in [
        ("svc/shop/api", "8080", "Service shop/api has no port TCP/8080; its ports: TCP/80 (web)"),
        ("svc/shop/empty", "80", "leads nowhere, and connections to it fail whatever policies say"),
        ("svc/shop/none", "80", "there is no Service shop/none"),
    ] {
        let output = podgate(shop.path(), &to_service(to, port));
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{to}: {output:?}");
        assert!(stderr(&output).contains(says), "{to}: {output:?}");
    }
}

#[test]
fn the_matrix_has_services_only_if_it_is_asked_for_them() {
    let shop = with_services();
    let rows = |arguments: &[&str]| {
        let output = podgate(shop.path(), &[&["matrix", "--port", "TCP/80", "-o", "json"], arguments].concat());
        parsed(&output).as_array().unwrap().clone()
    };
    let (plain, with_services) = (rows(&[]), rows(&["--services"]));
    let row = |from: &str, service: &str, allowed: u8, all: u8| {
        json!({"from": from, "to": format!("svc shop/{service}"), "protocol": "TCP",
        "port": 80, "allowed": allowed == all, "service": true, "backends_allowed": allowed, "backends": all})
    };
    let expected = [
        row("shop/api", "api", 1, 2),
        row("shop/api", "second", 0, 1),
        row("shop/api-2", "api", 1, 2),
        row("shop/api-2", "second", 1, 1),
        row("shop/web", "api", 1, 2),
        row("shop/web", "second", 1, 1),
    ];
    assert_eq!(with_services, [&plain[..], &expected].concat());
}
