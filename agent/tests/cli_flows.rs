//! `podgate flows --all-nodes`, with a kubectl that plays two agents.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A kubectl that answers as it is told, and notes what it was asked.
struct Kubectl {
    directory: TempDir,
}

/// What `podgate flows` does in an agent's pod.
enum Says<'a> {
    /// It prints lines and ends.
    Lines(&'a [Value]),
    /// It prints lines and goes on.
    Forever(&'a [Value]),
    /// It prints lines, and kubectl fails.
    Dies(&'a [Value]),
}
use Says::{Dies, Forever, Lines};

/// Lists the pods, another time those of `pods.next` if there are; or plays a pod.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >> asked
case "$*" in *"get nodes"*) cat nodes; exit ;; *get*) cat pods; if [ -e pods.next ]; then mv pods.next pods; fi; exit ;; esac
while [ "$1" != --namespace ]; do shift; done
cat "$3"
case "$(cat "$3.then")" in forever) exec sleep 5 ;; dies) echo "command terminated with exit code 137" >&2; exit 137 ;; esac
"#;

impl Kubectl {
    /// The agents' names begin with their nodes', which are one letter.
    fn new(agents: &[(&str, Says<'_>)]) -> Self {
        let directory = TempDir::new().unwrap();
        let kubectl = Self { directory };
        kubectl.list("pods", &agents.iter().map(|(name, _)| pod(name, "Running")).collect::<Vec<_>>());
        for (name, says) in agents {
            let (lines, then) = match says {
                Lines(lines) => (lines, "ends"),
                Forever(lines) => (lines, "forever"),
                Dies(lines) => (lines, "dies"),
            };
            kubectl.write(name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
            kubectl.write(&format!("{name}.then"), then);
        }
        kubectl.write("nodes", "a b");
        kubectl.write("kubectl", SCRIPT);
        let path = kubectl.directory.path().join("kubectl");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        kubectl
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn list(&self, name: &str, pods: &[Value]) {
        self.write(name, &json!({"items": pods}).to_string());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.podgate(&[&["--all-nodes"], arguments].concat())
    }

    fn podgate(&self, arguments: &[&str]) -> Command {
        let path = format!("{}:{}", self.directory.path().display(), std::env::var("PATH").unwrap());
        let mut podgate = Command::new(env!("CARGO_BIN_EXE_podgate"));
        podgate.arg("flows").args(arguments).env("PATH", path).env_remove("KUBECONFIG");
        podgate
    }

    fn flows(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn flows_of(&self, arguments: &[&str]) -> Output {
        self.podgate(arguments).output().unwrap()
    }

    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.directory.path().join("asked")).unwrap();
        let mut asked: Vec<String> = asked.lines().map(str::to_owned).collect();
        asked.sort();
        asked
    }
}

fn pod(name: &str, phase: &str) -> Value {
    json!({
        "metadata": {"namespace": "podgate", "name": name},
        "spec": {"nodeName": &name[..1]},
        "status": {"phase": phase},
    })
}

/// The lines of `-o json`.
fn printed(output: &Output) -> Vec<Value> {
    let text = str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lost(node: &str, second: u32) -> Value {
    let time = format!("2026-01-01T00:00:0{second}Z");
    json!({"type": "lost", "time": time, "node": node, "denied": second, "allowed": 0, "unread": 0})
}

#[test]
fn the_lines_of_all_nodes_are_put_in_the_order_of_time() {
    let [a, b] = [[lost("a", 1), lost("a", 4)], [lost("b", 2), lost("b", 3)]];
    let kubectl = Kubectl::new(&[("a", Lines(&a)), ("b", Lines(&b))]);
    let output = kubectl.flows(&["-o", "json", "--verdict", "would-deny", "--pod", "shop/web", "--context", "prod"]);
    assert_eq!(printed(&output), [lost("a", 1), lost("b", 2), lost("b", 3), lost("a", 4)]);
    assert!(output.status.success());
    let exec = |pod| {
        format!(
            "--context prod exec --namespace podgate {pod} -- podgate flows --output json --verdict would-deny --pod shop/web"
        )
    };
    let get = "--context prod get pods --all-namespaces --selector app.kubernetes.io/name=podgate --output json";
    let nodes =
        "--context prod get nodes --selector kubernetes.io/os=linux --output jsonpath={.items[*].metadata.name}";
    assert_eq!(kubectl.asked(), [exec("a"), exec("b"), nodes.to_owned(), get.to_owned()]);
}

#[test]
fn text_tells_the_node() {
    let kubectl = Kubectl::new(&[("a", Lines(&[lost("a", 1)]))]);
    let text = String::from_utf8(kubectl.flows(&[]).stdout).unwrap();
    assert!(text.ends_with("only counted on a\n"), "{text}");
}

#[test]
fn an_agent_that_cannot_be_asked_is_named_and_the_others_are_shown() {
    let kubectl = Kubectl::new(&[("a", Dies(&[])), ("b", Lines(&[lost("b", 2)]))]);
    let output = kubectl.flows(&["-o", "json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    let expected = "node a: kubectl exec: command terminated with exit code 137\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn the_last_lines_are_the_last_of_all_nodes() {
    let [a, b] = [[lost("a", 1), lost("a", 4)], [lost("b", 2), lost("b", 3)]];
    let output = Kubectl::new(&[("a", Lines(&a)), ("b", Lines(&b))]).flows(&["-o", "json", "--last", "2"]);
    assert_eq!(printed(&output), [lost("b", 3), lost("a", 4)]);
}

#[test]
fn a_node_without_an_agent_is_named() {
    let output = Kubectl::new(&[("a", Lines(&[lost("a", 1)]))]).flows(&[]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "node b: has no agent\n");
    assert!(output.status.success());
}

#[test]
fn an_agent_that_does_not_run_is_named() {
    let kubectl = Kubectl::new(&[("b", Lines(&[lost("b", 2)]))]);
    kubectl.list("pods", &[pod("a", "Pending"), pod("b", "Running")]);
    let output = kubectl.flows(&[]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "node a: its agent podgate/a is Pending\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_agent_that_takes_the_place_of_another_is_followed_and_says_nothing_twice() {
    let agents = [
        ("a-1", Dies(&[lost("a", 1)])),
        ("a-2", Forever(&[lost("a", 1), lost("a", 3)])),
        ("b-1", Forever(&[lost("b", 2)])),
    ];
    let kubectl = Kubectl::new(&agents);
    kubectl.list("pods", &["a-1", "b-1"].map(|name| pod(name, "Running")));
    kubectl.list("pods.next", &["a-2", "b-1"].map(|name| pod(name, "Running")));
    let mut podgate = kubectl.command(&["--follow", "-o", "json"]);
    let mut podgate = podgate.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(podgate.stdout.take().unwrap()).lines().take(3);
    let mut lines: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    podgate.kill().unwrap();
    lines.sort_by_key(|line| line["time"].as_str().unwrap().to_owned());
    assert_eq!(lines, [lost("a", 1), lost("b", 2), lost("a", 3)]);
    let mut told = String::new();
    podgate.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    podgate.wait().unwrap();
    let expected = "node a: kubectl exec: command terminated with exit code 137\nnode a: its agent is heard again\n";
    assert_eq!(told, expected);
}

#[test]
fn one_who_follows_gets_what_was_kept_only_where_he_asks_for_it() {
    let told = |arguments: &[&str]| {
        let kubectl = Kubectl::new(&[("a", Dies(&[]))]);
        kubectl.write("nodes", "a");
        kubectl.flows(&[&["--follow"], arguments].concat());
        let asked = kubectl.asked().into_iter().find(|line| line.starts_with("exec")).unwrap();
        asked.split_once("--output json ").unwrap().1.to_owned()
    };
    assert_eq!(told(&[]), "--follow --last 0");
    assert_eq!(told(&["--last", "7"]), "--follow --last 7");
    let since = ["--since", "2026-01-01T00:00:00Z", "--reason", "cut"];
    assert_eq!(told(&since), "--reason cut --since 2026-01-01T00:00:00.000000000Z --follow");
}

#[test]
fn only_the_agents_of_named_nodes_are_asked() {
    let kubectl = Kubectl::new(&[("a", Lines(&[lost("a", 1)])), ("b", Lines(&[lost("b", 2)]))]);
    let output = kubectl.flows_of(&["--node", "b", "--node", "c", "-o", "json"]);
    assert_eq!(printed(&output), [lost("b", 2)]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "node c: has no agent\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn following_ends_where_no_agent_can_be_asked() {
    let kubectl = Kubectl::new(&[("a", Dies(&[]))]);
    kubectl.write("nodes", "a");
    let output = kubectl.flows(&["--follow"]);
    let expected = "node a: kubectl exec: command terminated with exit code 137\n";
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(2), expected));
}

#[test]
fn without_agents_it_says_so() {
    let output = Kubectl::new(&[]).flows(&[]);
    let expected = "podgate: no agent runs: no pod has the labels app.kubernetes.io/name=podgate\n";
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(2), expected));
}
