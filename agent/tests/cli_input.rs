//! Invalid and hostile input to the command line: one line for each problem, exit status 2, no verdict, no panic.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_podgate")).args(arguments).output().unwrap()
}

fn matrix(path: &Path) -> Output {
    run(&["matrix", "-f", path.to_str().unwrap()])
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

/// A policy whose `spec` has this beside an empty pod selector.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: bad, namespace: shop}}\n\
         spec: {{podSelector: {{}}, {spec}}}\n"
    )
}

#[test]
fn every_mistake_in_a_policy_is_one_line_that_names_file_document_object_and_field() {
    let cases = [
        ("ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]", "spec.ingress[0].from[0].ipBlock.cidr"),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}]}]",
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        ("ingress: [{ports: [{port: 70000}]}]", "spec.ingress[0].ports[0].port"),
        ("ingress: [{ports: [{port: 0}]}]", "spec.ingress[0].ports[0].port"),
        ("ingress: [{ports: [{port: 80, endPort: 79}]}]", "spec.ingress[0].ports[0].endPort"),
        ("ingress: [{ports: [{port: 80, protocol: ICMP}]}]", "spec.ingress[0].ports[0].protocol"),
        ("ingress: [{from: [{}]}]", "spec.ingress[0].from[0]"),
        ("policyTypes: [Sideways]", "spec.policyTypes[0]"),
    ];
    for (spec, field) in cases {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("bad.yaml");
        fs::write(&path, format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{}", policy(spec)))
            .unwrap();
        let output = matrix(&path);
        let lines = lines(&output);
        assert_eq!((output.status.code(), output.stdout.len(), lines.len()), (Some(2), 0, 2), "{spec}: {output:?}");
        let start = format!("{}, document 2: NetworkPolicy shop/bad: {field}: ", path.display());
        assert!(lines[0].starts_with(&start), "{spec}: {}", lines[0]);
        assert_eq!(lines[1], "podgate: 1 problem in the input: nothing was judged");
    }
}

#[test]
fn hostile_files_are_refused_at_once() {
    let anchors: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    let nested = "[".repeat(100_000);
    let cases: [(&str, Vec<u8>); 5] = [
        ("binary", (0..=255).cycle().take(100_000).collect()),
        ("anchors that expand without end", format!("a0: &a0 [x]\n{anchors}").into_bytes()),
        ("deep nesting", nested.into_bytes()),
        ("not an object", b"- just\n- a list\n".to_vec()),
        (
            "a policy without a name",
            b"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: {podSelector: {}}\n".to_vec(),
        ),
    ];
    for (case, bytes) in cases {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("hostile.yaml"), bytes).unwrap();
        let start = Instant::now();
        let output = matrix(directory.path());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{case}: {output:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{case} took {:?}", start.elapsed());
        assert!(!lines(&output).iter().any(|line| line.contains("panicked")), "{case}: {output:?}");
    }
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("missing.yaml");
    let output = matrix(&path);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(lines(&output)[0].contains("missing.yaml"), "{output:?}");
}

#[test]
fn wrong_usage_ends_in_2() {
    for arguments in [&["matrix"][..], &["explain", "-f", "x"], &["teleport"], &[]] {
        let output = run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {output:?}");
    }
}

#[test]
fn help_and_version_are_printed() {
    let version = run(&["--version"]);
    let expected = format!("podgate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.status.code(), String::from_utf8(version.stdout).unwrap()), (Some(0), expected));
    for subcommand in ["agent", "status", "explain", "matrix"] {
        let help = run(&[subcommand, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(String::from_utf8(help.stdout).unwrap().contains("Usage: podgate"), "{subcommand}");
    }
}

#[test]
fn every_flag_of_the_agent_has_an_environment_variable() {
    let help = String::from_utf8(run(&["agent", "--help"]).stdout).unwrap();
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--")?.split([' ', '[']).next());
    for flag in flags.filter(|flag| *flag != "help") {
        let variable = format!("[env: PODGATE_{}=", flag.to_uppercase().replace('-', "_"));
        assert!(help.contains(&variable), "--{flag} has no {variable}");
    }
}

#[test]
fn a_status_without_an_agent_says_so_and_ends_in_2() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("podgate.sock");
    let output = run(&["status", "--socket", socket.to_str().unwrap()]);
    let expected = format!("podgate: no agent listens on {}: is `podgate agent` running?", socket.display());
    assert_eq!((output.status.code(), lines(&output)), (Some(2), vec![expected]));
}
