//! What kustomize makes of deploy/.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The objects of a directory below deploy/; none, and a loud word, where no kubectl is that knows components.
pub(crate) fn render(directory: &str) -> Option<Vec<Value>> {
    render_path(&root().join("deploy").join(directory))
}

/// The objects of a directory with components, paths below deploy/, added to it.
pub(crate) fn render_with(directory: &str, components: &[&str]) -> Option<Vec<Value>> {
    let scratch = TempDir::new().unwrap();
    // Kustomize takes relative paths only.
    let up = "../".repeat(scratch.path().canonicalize().unwrap().components().count() - 1);
    let deploy = format!("{up}{}/deploy", root().display().to_string().trim_start_matches('/'));
    let list = |paths: &[&str]| paths.iter().map(|path| format!("  - {deploy}/{path}\n")).collect::<String>();
    let text = format!("resources:\n{}components:\n{}", list(&[directory]), list(components));
    std::fs::write(scratch.path().join("kustomization.yaml"), text).unwrap();
    render_path(scratch.path())
}

fn render_path(directory: &Path) -> Option<Vec<Value>> {
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(directory).output() else {
        eprintln!("SKIPPED: kubectl is not installed, so no manifest was looked at");
        return None;
    };
    // What it complains of depends on what it reads first.
    if !output.status.success() && minor_version().is_some_and(|minor| minor < 22) {
        eprintln!("SKIPPED: this kubectl is older than 1.22, so no manifest was looked at");
        return None;
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{}: {complaint}", directory.display());
    Some(serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap())
}

/// The second number of kubectl's version; clouds add a "+" to theirs.
fn minor_version() -> Option<u32> {
    let output = Command::new("kubectl").args(["version", "--client", "--output", "json"]).output().ok()?;
    let version: Value = serde_json::from_slice(&output.stdout).ok()?;
    version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()
}

/// The only object of a kind.
pub(crate) fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there is more than one {kind}");
    object
}

/// The pod of the DaemonSet.
pub(crate) fn pod(objects: &[Value]) -> &Value {
    &only(objects, "DaemonSet")["spec"]["template"]["spec"]
}

/// The elements of a list.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The strings of a list.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    list(value).iter().map(|value| value.as_str().unwrap()).collect()
}

/// The element of a list with this name.
pub(crate) fn named<'a>(value: &'a Value, name: &str) -> &'a Value {
    list(value).iter().find(|element| element["name"] == name).unwrap_or_else(|| panic!("nothing is named {name}"))
}
