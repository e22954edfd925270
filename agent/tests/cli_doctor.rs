//! `podgate doctor` finds what is planted in a node's files, and changes nothing there.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

const CHAINED: &str = r#"{"name":"pods","plugins":[{"type":"ptp"},{"type":"podgate-cni"}]}"#;
const ALONE: &str = r#"{"name":"pods","plugins":[{"type":"ptp"}]}"#;

/// The files of a node where the plugin is installed.
struct Node {
    root: TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { root: TempDir::new().unwrap() };
        node.write("etc/cni/net.d/10-pods.conflist", CHAINED);
        node.write("etc/cni/net.d/podgate-cni.entry", r#"{"type":"podgate-cni"}"#);
        node.write("proc/1/comm", "systemd\n");
        node.write("proc/sys/net/ipv4/ip_forward", "1\n");
        node.write("proc/sys/net/ipv4/conf/all/rp_filter", "1\n");
        node.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
        fs::create_dir_all(node.path("opt/cni/bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_podgate"), node.path("opt/cni/bin/podgate-cni")).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts another file in the place of the plugin.
    fn put_plugin(&self, mode: u32) {
        let plugin = self.path("opt/cni/bin/podgate-cni");
        fs::remove_file(&plugin).unwrap();
        fs::write(&plugin, "another").unwrap();
        fs::set_permissions(plugin, Permissions::from_mode(mode)).unwrap();
    }

    fn doctor(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut podgate = Command::new(env!("CARGO_BIN_EXE_podgate"));
        podgate.arg("doctor").args(arguments).arg("--root").arg(self.root.path());
        podgate.arg("--bpffs").arg(self.path("bpf/podgate")).arg("--socket").arg(self.path("run/podgate.sock"));
        for variable in ["NODE_NAME", "PODGATE_NODE_NAME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
            podgate.env_remove(variable);
        }
        let output = podgate.env("HOME", self.root.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// Each check's state and finding.
    fn checks(&self) -> BTreeMap<String, (String, String)> {
        self.checks_with(&[])
    }

    fn checks_with(&self, arguments: &[&str]) -> BTreeMap<String, (String, String)> {
        let report: Value = serde_json::from_str(&self.doctor(&[arguments, &["-o", "json"]].concat()).1).unwrap();
        fits::assert_fits("doctor", &report);
        let text = |check: &Value, field: &str| check[field].as_str().unwrap().to_owned();
        let checks = report["checks"].as_array().unwrap().iter();
        checks.map(|check| (text(check, "name"), (text(check, "state"), text(check, "finding")))).collect()
    }
}

/// The address of an API server that has one Node and nothing else, for as long as the test runs.
fn api_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| answer(stream)))));
    address
}

fn answer(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let Ok(length) = stream.read(&mut head) else { return };
    let head = String::from_utf8_lossy(&head[..length]);
    if head.contains("watch=true") {
        // Nothing changes until the client goes.
        drop(stream.read(&mut [0]));
        return;
    }
    let resource = head.split(['?', ' ']).nth(1).and_then(|path| path.rsplit('/').next());
    let items = if resource == Some("nodes") { r#"{"metadata":{"name":"node-1"}}"# } else { "" };
    let body = format!(r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{items}]}}"#);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    drop(stream.write_all((head + &body).as_bytes()));
}

#[test]
fn where_no_agent_answers_the_api_itself_is_asked() {
    let (node, server) = (Node::new(), api_server());
    let user = r#""users":[{"name":"u","user":{}}],"contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}]"#;
    let cluster = format!(r#""clusters":[{{"name":"k","cluster":{{"server":"http://{server}"}}}}]"#);
    node.write("kubeconfig", &format!(r#"{{"kind":"Config","current-context":"c",{user},{cluster}}}"#));
    let kubeconfig = node.path("kubeconfig");
    let found = node.checks_with(&["--kubeconfig", kubeconfig.to_str().unwrap(), "--node-name", "node-1"]);
    let of = |name: &str| (found[name].0.as_str(), found[name].1.as_str());
    assert_eq!(of("api"), ("ok", "read: 0 Namespace, 0 NetworkPolicy, 1 Node, 0 Pod, 0 Service"));
    assert_eq!(of("node-name"), ("ok", "there is a Node node-1"));
}

#[path = "offline/fits.rs"]
mod fits;
#[path = "offline/validator.rs"]
mod validator;

/// Everything below a directory, with its contents.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            found.insert(path, Vec::new());
        } else if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, Vec::new());
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// What is planted, in which check it is to be found, as what, and a word of the finding.
type Planted = (fn(&Node), &'static str, &'static str, &'static str);

#[test]
fn each_planted_fault_is_found_and_nothing_is_changed() {
    let planted: [Planted; 10] = [
        (|_| (), "bpf-file-system", "fault", "is on no BPF file system"),
        (|_| (), "agent", "fault", "no agent listens"),
        (
            |node| fs::remove_file(node.path("opt/cni/bin/podgate-cni")).unwrap(),
            "cni-plugin",
            "fault",
            "podgate-cni is missing",
        ),
        (|node| node.put_plugin(0o644), "cni-plugin", "fault", "can't be executed"),
        (|node| node.put_plugin(0o755), "cni-plugin", "warning", "another build"),
        (|node| node.write("etc/cni/net.d/10-pods.conflist", ALONE), "cni-plugin", "fault", "is not in the list"),
        (
            |node| node.write("proc/77/comm", "cilium-agent\n"),
            "other-enforcer",
            "warning",
            "Cilium may be here: a process is called cilium-agent",
        ),
        (
            |node| {
                node.write("proc/78/comm", "k3s-server\n");
                node.write("etc/rancher/k3s/config.yaml", "token: x\n");
            },
            "other-enforcer",
            "fault",
            "k3s",
        ),
        (|node| node.write("proc/sys/net/ipv4/ip_forward", "0\n"), "kernel-settings", "fault", "ip_forward is 0"),
        (
            |node| node.write("sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
            "kernel",
            "warning",
            "locked down",
        ),
    ];
    for (plant, name, state, word) in planted {
        let node = Node::new();
        plant(&node);
        let before = tree(node.root.path());
        let found = node.checks();
        assert_eq!(found[name].0, state, "{found:?}");
        assert!(found[name].1.contains(word), "{found:?}");
        assert_eq!(node.doctor(&[]).0, Some(1));
        assert_eq!(tree(node.root.path()), before);
    }
}

#[test]
fn what_is_as_it_should_be_is_said_too() {
    let node = Node::new();
    node.write("proc/78/comm", "k3s-server\n");
    node.write("etc/rancher/k3s/config.yaml.d/x.yaml", "disable-network-policy: true\n");
    let found = node.checks();
    assert_eq!(found["other-enforcer"].0, "ok", "{found:?}");
    let of = |name: &str| (found[name].0.as_str(), found[name].1.as_str());
    let strict = "IPv4 is forwarded; rp_filter is strict: what comes by another way than answers take, the kernel drops, \
                  not podgate";
    assert_eq!(of("kernel-settings"), ("ok", strict));
    assert!(found["cni-plugin"].1.ends_with("10-pods.conflist, of this version"), "{found:?}");
    assert_eq!(found["cni-plugin"].0, "ok");
    assert_eq!(found.len(), 16);
}

#[test]
fn text_fits_a_terminal() {
    let (_, text) = Node::new().doctor(&[]);
    let long_words = |line: &&str| line.split_whitespace().all(|word| word.len() < 30) && line.chars().count() > 80;
    assert_eq!(text.lines().find(long_words), None);
    assert!(text.starts_with("this node: 16 checks, "), "{text}");
}

/// Answers as a cluster with Calico, on whose node `b` podgate's agent can't be asked.
const KUBECTL: &str = r#"#!/bin/sh
case "$*" in
    *"get pods"*) echo '{"items": [
        {"metadata": {"namespace": "p", "name": "agent-a"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running"}},
        {"metadata": {"namespace": "p", "name": "agent-b"}, "spec": {"nodeName": "b"}, "status": {"phase": "Running"}}]}' ;;
    *"get nodes"*) echo "a b c" ;;
    *"get customresourcedefinitions"*) echo "felixconfigurations.crd.projectcalico.org" ;;
    *"get daemonsets"*) echo "kube-system/kube-proxy kube-system/calico-node" ;;
    *"get configmap"*) echo "configmaps is forbidden" >&2; exit 1 ;;
    *"exec --namespace p agent-a -- podgate doctor --output json"*) echo '{"node": "a", "version": "1", "checks": [
        {"name": "clock", "state": "ok", "finding": "synchronised", "remedy": null},
        {"name": "agent", "state": "fault", "finding": "not ready", "remedy": "look"}]}'; exit 1 ;;
    *) echo "pod agent-b is gone" >&2; exit 1 ;;
esac
"#;

/// Runs the doctor beside that kubectl.
fn by_kubectl(arguments: &[&str]) -> (Option<i32>, String) {
    let directory = TempDir::new().unwrap();
    let kubectl = directory.path().join("kubectl");
    fs::write(&kubectl, KUBECTL).unwrap();
    fs::set_permissions(&kubectl, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let mut podgate = Command::new(env!("CARGO_BIN_EXE_podgate"));
    let output = podgate.arg("doctor").args(arguments).env("PATH", path).env_remove("KUBECONFIG").output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn all_nodes_are_looked_at_by_kubectl_and_the_cluster_too() {
    let expected = "\
cluster: 3 checks, 1 fault, 1 warning, 1 not checked
  warning      custom-resources          felixconfigurations.crd.projectcalico.org
                                         is there, of Calico: it may enforce
                                         policies
                                         -> see that its enforcement is off:
                                            docs/install/README.md, Who enforces
                                            already
  FAULT        daemon-sets               kube-system/calico-node is there: two
                                         enforcers drop what either of them
                                         denies
                                         -> turn its enforcement off, or don't
                                            install podgate:
                                            docs/install/README.md
  not checked  kube-proxy-configuration  kubectl get configmap: configmaps is
                                         forbidden; a replacement of kube-proxy
                                         in sockets or XDP is not supported
a: 2 checks, 1 fault, 0 warnings, 0 not checked
  FAULT        agent  not ready
                      -> look
b: NO ANSWER: kubectl exec: pod agent-b is gone
c: NO ANSWER: has no agent
";
    assert_eq!(by_kubectl(&["--all-nodes"]), (Some(2), expected.to_owned()));
    let (status, text) = by_kubectl(&["--node", "a"]);
    assert!(status == Some(1) && text.contains("  ok           clock  synchronised\n"), "{text}");
}

#[test]
fn programs_get_what_was_found_everywhere() {
    let (status, text) = by_kubectl(&["--all-nodes", "-o", "json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    fits::assert_fits("doctor", &report);
    let errors: Vec<&Value> = report["nodes"].as_array().unwrap().iter().map(|node| &node["error"]).collect();
    assert_eq!((status, errors.len(), errors[0].is_null()), (Some(2), 3, true));
}
