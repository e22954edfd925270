//! `podgate flows --all-nodes`, with a kubectl that plays two agents.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A kubectl that answers as it is told, and notes what it was asked.
struct Kubectl {
    directory: TempDir,
}

impl Kubectl {
    /// `agents`: what `podgate flows` prints in each agent's pod; `None`: kubectl fails there.
    fn new(agents: &[(&str, Option<&[Value]>)]) -> Self {
        let directory = TempDir::new().unwrap();
        let pod = |name: &str| json!({"metadata": {"namespace": "podgate", "name": name}, "spec": {"nodeName": name}});
        let pods: Vec<Value> = agents.iter().map(|(name, _)| pod(name)).collect();
        fs::write(directory.path().join("pods"), json!({"items": pods}).to_string()).unwrap();
        for (name, lines) in agents {
            let text = lines.map(|lines| lines.iter().map(|line| format!("{line}\n")).collect::<String>());
            text.into_iter().for_each(|text| fs::write(directory.path().join(name), text).unwrap());
        }
        let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$@\" >> asked\n\
                      case \"$*\" in *get*) cat pods ;; *) while [ \"$1\" != --namespace ]; do shift; done; exec cat \"$3\" ;; esac\n";
        let path = directory.path().join("kubectl");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn flows(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.directory.path().display(), std::env::var("PATH").unwrap());
        let mut podgate = Command::new(env!("CARGO_BIN_EXE_podgate"));
        podgate.args(["flows", "--all-nodes"]).args(arguments).env("PATH", path).env_remove("KUBECONFIG");
        podgate.output().unwrap()
    }

    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.directory.path().join("asked")).unwrap();
        let mut asked: Vec<String> = asked.lines().map(str::to_owned).collect();
        asked.sort();
        asked
    }
}

fn lost(node: &str, second: u32) -> Value {
    let time = format!("2026-01-01T00:00:0{second}Z");
    json!({"type": "lost", "time": time, "node": node, "denied": second, "allowed": 0, "unread": 0})
}

#[test]
fn the_lines_of_all_nodes_are_put_in_the_order_of_time() {
    let [a, b] = [[lost("a", 1), lost("a", 4)], [lost("b", 2), lost("b", 3)]];
    let kubectl = Kubectl::new(&[("a", Some(&a)), ("b", Some(&b))]);
    let output = kubectl.flows(&["-o", "json", "--verdict", "would-deny", "--pod", "shop/web", "--context", "prod"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [lost("a", 1), lost("b", 2), lost("b", 3), lost("a", 4)]);
    assert!(output.status.success());
    let exec = |pod| {
        format!(
            "--context prod exec --namespace podgate {pod} -- podgate flows --output json --verdict would-deny --pod shop/web"
        )
    };
    let get = "--context prod get pods --all-namespaces --selector app.kubernetes.io/name=podgate --output json \
               --field-selector status.phase=Running";
    assert_eq!(kubectl.asked(), [exec("a"), exec("b"), get.to_owned()]);
}

#[test]
fn text_tells_the_node() {
    let kubectl = Kubectl::new(&[("a", Some(&[lost("a", 1)]))]);
    let text = String::from_utf8(kubectl.flows(&[]).stdout).unwrap();
    assert!(text.ends_with("only counted on a\n"), "{text}");
}

#[test]
fn an_agent_that_cannot_be_asked_is_named_and_the_others_are_shown() {
    let kubectl = Kubectl::new(&[("a", None), ("b", Some(&[lost("b", 2)]))]);
    let output = kubectl.flows(&["-o", "json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    assert!(String::from_utf8(output.stderr).unwrap().contains("node a: "));
}

#[test]
fn without_agents_it_says_so() {
    let output = Kubectl::new(&[]).flows(&[]);
    let expected = "podgate: no agent runs: no pod has the labels app.kubernetes.io/name=podgate\n";
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(2), expected));
}
