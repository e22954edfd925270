//! Files and commands.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A shop of two pods, monitoring, and the cluster's DNS.
pub(crate) const SHOP: &str = include_str!("../../../docs/incidents/shop.yaml");

/// A policy of the shop with this spec.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";
    format!("---\n{head}metadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n")
}

/// The policy that lets `web` reach `api`.
pub(crate) fn api_serves_web() -> String {
    policy(
        "api",
        "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
    )
}

/// A directory with these files, removed when the test ends.
pub(crate) fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// The shop with these policies in `net.yaml`.
pub(crate) fn shop_with(policies: &str) -> TempDir {
    directory(&[("shop.yaml", SHOP), ("net.yaml", policies)])
}

/// Runs a command in a directory, so that what it prints names files as they are. It knows of no cluster.
pub(crate) fn podgate(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.env("KUBECONFIG", "none").env_remove("KUBERNETES_SERVICE_HOST");
    command.current_dir(directory).args(arguments).output().unwrap()
}

/// Exit status and what was printed.
pub(crate) fn result(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap())
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
