//! `podgate status --all-nodes`, with a kubectl that plays agents.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use podgate_engine::status::{PodState, PodStatus, Status};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Lists pods and nodes, or plays a pod: prints the file of its name and ends as the file `NAME.then` says.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >> asked
case "$*" in *"get nodes"*) cat nodes; exit ;; *get*) cat pods; exit ;; esac
while [ "$1" != --namespace ]; do shift; done
cat "$3"
. "./$3.then"
"#;

struct Kubectl {
    directory: TempDir,
}

impl Kubectl {
    /// Agents with what they print and how kubectl ends; their nodes have their names.
    fn new(nodes: &str, agents: &[(&str, &str, &str)]) -> Self {
        let kubectl = Self { directory: TempDir::new().unwrap() };
        for (name, prints, then) in agents {
            kubectl.write(name, prints);
            kubectl.write(&format!("{name}.then"), then);
        }
        let pods: Vec<Value> = agents.iter().map(|(name, ..)| pod(name, "Running")).collect();
        kubectl.write("pods", &json!({"items": pods}).to_string());
        kubectl.write("nodes", nodes);
        kubectl.write("kubectl", SCRIPT);
        let path = kubectl.directory.path().join("kubectl");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        kubectl
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn status(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.directory.path().display(), std::env::var("PATH").unwrap());
        let mut podgate = Command::new(env!("CARGO_BIN_EXE_podgate"));
        podgate.arg("status").args(arguments).env("PATH", path).env_remove("KUBECONFIG").output().unwrap()
    }
}

fn pod(name: &str, phase: &str) -> Value {
    json!({
        "metadata": {"namespace": "podgate", "name": format!("agent-{name}")},
        "spec": {"nodeName": name},
        "status": {"phase": phase},
    })
}

/// What an agent prints that enforces one pod.
fn says(node: &str, not_ready: &[&str]) -> String {
    let pod = PodStatus {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        uid: String::new(),
        addresses: vec![],
        state: PodState::Enforced,
        problem: None,
        interface: None,
        ingress_isolated: true,
        egress_isolated: false,
        audited: vec![],
        policies: vec![],
        guards: vec![],
        counters: vec![],
    };
    let status = Status {
        node: node.to_owned(),
        uptime_seconds: 3700,
        ready: not_ready.is_empty(),
        not_ready: not_ready.iter().map(|&reason| reason.to_owned()).collect(),
        pods: vec![pod],
        ..Status::default()
    };
    serde_json::to_string(&status).unwrap()
}

fn agents<'a>(agents: &'a [(String, String, &'a str)]) -> Vec<(&'a str, &'a str, &'a str)> {
    agents.iter().map(|(name, prints, then)| (name.as_str(), prints.as_str(), *then)).collect()
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8(text.clone()).unwrap());
    (output.status.code(), out, err)
}

#[test]
fn each_node_has_a_line_and_what_fails_is_in_it_and_in_the_exit_status() {
    let ready = ("agent-a".to_owned(), says("a", &[]), "exit 0");
    let not_ready = ("agent-b".to_owned(), says("b", &["no way"]), "echo 'exit code 1' >&2; exit 1");
    let dead = ("agent-d".to_owned(), String::new(), "echo 'command terminated with exit code 137' >&2; exit 137");
    let other = ("agent-e".to_owned(), "{}".to_owned(), "exit 0");
    let line_of_a = "a: enforcing 1 pod, 1 isolated, for 1h 1m, ready\n";
    let lines_of_b_and_c = "b: enforcing 1 of 1 pod, 1 isolated, for 1h 1m, NOT READY: no way\nc: HAS NO AGENT\n";

    let all = [ready.clone(), not_ready.clone(), dead, other];
    let kubectl = Kubectl::new("a b c d e f", &agents(&all));
    let pods = ["a", "b", "d", "e"].map(|name| pod(name, "Running"));
    let pods = [pods.to_vec(), vec![pod("f", "Pending")]].concat();
    kubectl.write("pods", &json!({"items": pods}).to_string());
    let (code, out, err) = text(&kubectl.status(&["--all-nodes"]));
    let (head, tail) = out.split_at(out.find("e: ").unwrap_or(out.len()));
    let expected =
        format!("{line_of_a}{lines_of_b_and_c}d: NO ANSWER: kubectl exec: command terminated with exit code 137\n");
    assert_eq!((head, err.as_str(), code), (expected.as_str(), "", Some(2)));
    assert!(tail.starts_with("e: NO ANSWER: its agent speaks another language: missing field"), "{tail}");
    assert!(tail.ends_with("f: NO ANSWER: its agent podgate/agent-f is Pending\n"), "{tail}");

    let both = [ready.clone(), not_ready];
    let kubectl = Kubectl::new("a b c", &agents(&both));
    kubectl.write("pods", &json!({"items": [pod("a", "Running"), pod("b", "Running")]}).to_string());
    let told = text(&kubectl.status(&["--all-nodes"]));
    assert_eq!(told, (Some(1), format!("{line_of_a}{lines_of_b_and_c}"), String::new()));

    let one = [ready];
    let kubectl = Kubectl::new("a", &agents(&one));
    kubectl.write("pods", &json!({"items": [pod("a", "Running")]}).to_string());
    assert_eq!(text(&kubectl.status(&["--all-nodes"])), (Some(0), line_of_a.to_owned(), String::new()));
}

#[test]
fn a_node_that_is_named_is_shown_in_full() {
    let both = [("agent-a".to_owned(), says("a", &[]), "exit 0"), ("agent-b".to_owned(), says("b", &[]), "exit 0")];
    let kubectl = Kubectl::new("a b", &agents(&both));
    kubectl.write("pods", &json!({"items": [pod("a", "Running"), pod("b", "Running")]}).to_string());
    let (code, out, err) = text(&kubectl.status(&["--node", "b", "--node", "z"]));
    assert!(out.starts_with("b: enforcing 1 pod") && out.contains("\nPODS\n"), "{out}");
    assert!(out.ends_with("\n\nz: HAS NO AGENT\n"), "{out}");
    assert_eq!((code, err.as_str()), (Some(1), ""));
    let asked = fs::read_to_string(kubectl.directory.path().join("asked")).unwrap();
    assert_eq!(asked.lines().last(), Some("exec --namespace podgate agent-b -- podgate status --output json"));
    assert!(!asked.contains("agent-a --"), "{asked}");
}

#[test]
fn programs_get_every_status_and_every_error() {
    let both = [("agent-a".to_owned(), says("a", &[]), "exit 0"), ("agent-b".to_owned(), String::new(), "exit 3")];
    let kubectl = Kubectl::new("a b", &agents(&both));
    kubectl.write("pods", &json!({"items": [pod("a", "Running"), pod("b", "Running")]}).to_string());
    let output = kubectl.status(&["--all-nodes", "-o", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let status: Value = serde_json::from_str(&says("a", &[])).unwrap();
    let expected = json!([
        {"node": "a", "status": status, "error": null},
        {"node": "b", "status": null, "error": "kubectl exec: exit status: 3"},
    ]);
    assert_eq!((output.status.code(), told), (Some(2), expected));
}

#[test]
fn that_nodes_may_not_be_listed_is_said() {
    let one = [("agent-a".to_owned(), says("a", &[]), "exit 0")];
    let kubectl = Kubectl::new("a", &agents(&one));
    kubectl.write("pods", &json!({"items": [pod("a", "Running")]}).to_string());
    let forbidding = SCRIPT.replace("cat nodes; exit", "echo 'nodes is forbidden' >&2; exit 1");
    kubectl.write("kubectl", &forbidding);
    let (code, _, err) = text(&kubectl.status(&["--all-nodes"]));
    let expected = "nodes without an agent are not shown: kubectl get nodes: nodes is forbidden\n";
    assert_eq!((code, err.as_str()), (Some(0), expected));
}

#[test]
fn agents_are_asked_side_by_side() {
    let slow: Vec<_> =
        (0..12).map(|number| (format!("agent-n{number}"), says("n", &[]), "sleep 0.5; exit 0")).collect();
    let kubectl = Kubectl::new("", &agents(&slow));
    let pods: Vec<Value> = (0..12).map(|number| pod(&format!("n{number}"), "Running")).collect();
    kubectl.write("pods", &json!({"items": pods}).to_string());
    let began = Instant::now();
    let (code, out, _) = text(&kubectl.status(&["--all-nodes"]));
    assert_eq!((code, out.lines().count()), (Some(0), 12));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
