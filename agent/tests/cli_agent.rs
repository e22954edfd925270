//! What is in the way of starting the agent is told in one line, before anything in the kernel is touched.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs an agent that can't start, with a directory for its socket and objects.
fn start(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.arg("agent").args(arguments).env_remove("NODE_NAME").env_remove("RUST_LOG");
    command.args(["--health-listen", "127.0.0.1:0"]);
    command.arg("--manifests").arg(directory).arg("--socket").arg(directory.join("podgate.sock"));
    command.output().unwrap()
}

/// The only line on standard error of an agent that did not start.
fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{output:?}");
    stderr.trim_end().to_owned()
}

#[test]
fn without_the_name_of_its_node_the_agent_asks_for_it() {
    let directory = TempDir::new().unwrap();
    let output = start(directory.path(), &["--metrics-listen", "127.0.0.1:0"]);
    assert_eq!(complaint(&output), "podgate: --node-name is needed: this node's name in Kubernetes");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = start(directory.path(), &["--node-name", "node-a", "--metrics-listen", &address]);
    let start = format!("podgate: --metrics-listen: cannot listen on {address}: choose another address or port: ");
    assert!(complaint(&output).starts_with(&start), "{output:?}");
}

#[test]
fn an_agent_that_is_at_work_is_not_disturbed() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("podgate.sock");
    let _other = UnixListener::bind(&socket).unwrap();
    let output = start(directory.path(), &["--node-name", "node-a", "--metrics-listen", "127.0.0.1:0"]);
    let expected =
        format!("podgate: another agent listens on {}: stop it, or choose another --socket", socket.display());
    assert_eq!(complaint(&output), expected);
    assert!(socket.exists());
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("podgate.sock");
    fs::write(&socket, "precious").unwrap();
    let output = start(directory.path(), &["--node-name", "node-a", "--metrics-listen", "127.0.0.1:0"]);
    assert_eq!(complaint(&output), format!("podgate: --socket: {} exists and is no socket", socket.display()));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn a_log_filter_that_is_none_is_named() {
    let directory = TempDir::new().unwrap();
    let output = start(directory.path(), &["--node-name", "node-a", "--log-level", "podgate=loud"]);
    let start = "podgate: --log-level: \"podgate=loud\" is no log filter (";
    assert!(complaint(&output).starts_with(start), "{output:?}");
}

#[test]
fn files_and_the_api_exclude_each_other() {
    let directory = TempDir::new().unwrap();
    let output = start(directory.path(), &["--node-name", "node-a", "--kubeconfig", "config"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--kubeconfig"), "{output:?}");
}
