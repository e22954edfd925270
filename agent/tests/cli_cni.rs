//! The CNI plugin as a command, and its installation.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const LIST: &str = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"ptp"},{"type":"bandwidth"}]}"#;

/// Variables, input, and the error's code.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u8], i64);

/// Runs `podgate cni SUBCOMMAND` on the directories `bin` and `conf`.
fn podgate(directory: &Path, subcommand: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.args(["cni", subcommand]).args(arguments);
    command.arg("--cni-bin-dir").arg(directory.join("bin")).arg("--cni-conf-dir").arg(directory.join("conf"));
    command.output().unwrap()
}

/// Calls an installed plugin; exit status and output.
fn call(plugin: &PathBuf, variables: &[(&str, &str)], input: &[u8]) -> (Option<i32>, Value) {
    let mut command = Command::new(plugin);
    command.env_clear().envs(variables.iter().copied());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // One that fails early does not read its input.
    drop(child.stdin.take().unwrap().write_all(input));
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn what_install_puts_in_place_is_the_plugin_and_uninstall_leaves_nothing_of_it() {
    let directory = TempDir::new().unwrap();
    let (plugin, conf) = (directory.path().join("bin/podgate-cni"), directory.path().join("conf"));
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("10-pods.conflist"), LIST).unwrap();
    let installed = podgate(directory.path(), "install", &["--when-agent-down", "fail", "--socket", "/run/x.sock"]);
    assert_eq!(installed.status.code(), Some(0), "{installed:?}");
    let list: Value = serde_json::from_slice(&fs::read(conf.join("10-pods.conflist")).unwrap()).unwrap();
    let entry = json!({"type": "podgate-cni", "whenAgentDown": "fail", "socket": "/run/x.sock"});
    assert_eq!(list["plugins"], json!([{"type": "ptp"}, {"type": "bandwidth"}, entry]));
    let versions = json!({"cniVersion": "1.1.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]});
    assert_eq!(call(&plugin, &[("CNI_COMMAND", "VERSION")], b"{}"), (Some(0), versions));
    let again = podgate(directory.path(), "install", &["--when-agent-down", "fail", "--socket", "/run/x.sock"]);
    assert_eq!(again.stdout, b"nothing to do\n");
    let removed = podgate(directory.path(), "uninstall", &[]);
    assert_eq!(removed.status.code(), Some(0), "{removed:?}");
    let list: Value = serde_json::from_slice(&fs::read(conf.join("10-pods.conflist")).unwrap()).unwrap();
    assert_eq!(list, serde_json::from_str::<Value>(LIST).unwrap());
    assert_eq!(fs::read_dir(directory.path().join("bin")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&conf).unwrap().count(), 1);
}

#[test]
fn without_a_network_to_chain_to_the_command_says_so_in_one_line() {
    let directory = TempDir::new().unwrap();
    let output = podgate(directory.path(), "install", &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.starts_with("podgate: no network is configured in "), "{stderr}");
}

#[test]
fn whatever_the_plugin_is_given_it_answers_with_an_error_of_the_specification() {
    let directory = TempDir::new().unwrap();
    let plugin = directory.path().join("podgate-cni");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_podgate"), &plugin).unwrap();
    let add = [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c"), ("CNI_NETNS", "/nowhere"), ("CNI_IFNAME", "eth0")];
    let pod = [&add[..], &[("CNI_ARGS", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b")]].concat();
    let huge = vec![b' '; 2 << 20];
    let cases: [Case<'_>; 7] = [
        (&[], b"{}", 4),
        (&[("CNI_COMMAND", "DANCE")], b"{}", 4),
        (&add, b"\xff\x00{", 6),
        (&add, &huge, 6),
        (&add, br#"{"cniVersion":"0.1.0"}"#, 1),
        (&add, br#"{"cniVersion":"1.0.0"}"#, 7),
        (&pod, br#"{"cniVersion":"1.0.0","prevResult":{"cniVersion":"1.0.0"}}"#, 3),
    ];
    for (variables, input, code) in cases {
        let (status, error) = call(&plugin, variables, input);
        assert_eq!((status, error["code"].as_i64()), (Some(1), Some(code)), "{error}");
        assert!(error["msg"].as_str().is_some_and(|message| message.starts_with("podgate: ")), "{error}");
    }
}
