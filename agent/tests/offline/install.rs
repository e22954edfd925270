//! What makes the commands at home in a shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{podgate, result};

#[test]
fn every_shell_has_completions_that_know_the_commands() {
    let here = TempDir::new().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (status, script) = result(&podgate(here.path(), &["completions", shell]));
        assert_eq!(status, Some(0), "{shell}");
        assert!(["explain", "check", "fail-on"].iter().all(|word| script.contains(word)), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let here = TempDir::new().unwrap();
    assert_eq!(result(&podgate(here.path(), &["man", "pages"])), (Some(0), String::new()));
    let mut pages: Vec<_> = fs::read_dir(here.path().join("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let expected = "agent check cleanup cni-install cni-keep cni-uninstall cni completions diff doctor explain flows install-seccomp man matrix mount-bpffs report status test";
    let expected: Vec<_> = expected.split(' ').map(|command| format!("podgate-{command}.1")).collect();
    assert_eq!(pages, [&expected[..], &["podgate.1".to_owned()]].concat());
}

#[test]
fn as_a_plugin_of_kubectl_it_says_so() {
    let here = TempDir::new().unwrap();
    let plugin = here.path().join("kubectl-podgate");
    symlink(env!("CARGO_BIN_EXE_podgate"), &plugin).unwrap();
    let (status, help) = result(&Command::new(plugin).args(["check", "--help"]).output().unwrap());
    assert_eq!(status, Some(0));
    assert!(help.contains("Usage: kubectl podgate check "), "{help}");
}

#[test]
fn kubectl_is_told_what_may_come_next() {
    let here = TempDir::new().unwrap();
    let plugin = here.path().join("kubectl_complete-podgate");
    symlink(env!("CARGO_BIN_EXE_podgate"), &plugin).unwrap();
    let expected = "diff\tTell which connections open or close between two sets of objects\n:4\n";
    let output = Command::new(plugin).args(["di"]).output().unwrap();
    assert_eq!(result(&output), (Some(0), expected.to_owned()));
}
