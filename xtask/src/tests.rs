//! The workspace's tests: built all at once, so that no dependency is built twice with other features, and run in groups by
//! what they need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::{Cmd, cmd};

use crate::setup;
use crate::workspace::{cargo, root, shell, target};

/// What a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// Root and eBPF: the kernel runs the programs.
    Kernel,
    /// Root and network namespaces.
    Namespaces,
}

/// A built test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The directory of its package below the root of the repository.
    pub(crate) package: String,
    /// The name of its target.
    pub(crate) target: String,
    /// Where it is.
    pub(crate) executable: PathBuf,
}

/// All that was built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Built {
    /// The test programs.
    pub(crate) programs: Vec<Program>,
    /// The podgate that they run.
    pub(crate) podgate: PathBuf,
}

impl Program {
    fn need(&self) -> Need {
        match (self.package.as_str(), self.target.as_str()) {
            ("agent/datapath" | "agent/host", _) | ("agent", "kernel") => Need::Kernel,
            ("agent/lab", _) | ("agent", "lab" | "core") => Need::Namespaces,
            _ => Need::Nothing,
        }
    }

    fn run(&self, variables: &[(&str, PathBuf)], arguments: &[&str]) -> Result<()> {
        let shell = shell()?;
        variables.iter().for_each(|(name, value)| shell.set_var(name, value));
        shell.change_dir(&self.package);
        shell.set_var("CARGO_MANIFEST_DIR", root().join(&self.package));
        shell.set_var("PATH", setup::path_with_tools());
        println!("\n-- {}: {}", self.package, self.target);
        let executable = &self.executable;
        let outcome = cmd!(shell, "{executable} {arguments...}").quiet().run();
        outcome.with_context(|| format!("{} of {}", self.target, self.package))
    }
}

/// Builds and runs the tests that have this need.
pub(crate) fn run(need: Need) -> Result<()> {
    let variables = if need == Need::Namespaces { vec![(OTHER_ABI, other_abi()?)] } else { Vec::new() };
    let built = build()?;
    built.programs.iter().filter(|program| program.need() == need).try_for_each(|program| program.run(&variables, &[]))
}

/// Runs the tests of what happens again and again, as often as a soak does, one by one.
pub(crate) fn soak() -> Result<()> {
    let shell = shell()?;
    cargo(&shell, "build --locked --release --package podgate").run()?;
    let release = target().join("release/podgate");
    let variables = [(OTHER_ABI, other_abi()?), (OTHER_BUILD, release), (SOAK, PathBuf::from("1"))];
    let built = build()?;
    let lab = built.programs.iter().find(|program| program.package == "agent" && program.target == "lab");
    lab.context("cargo did not build the lab's tests")?
        .run(&variables, &[&SOAKED[..], &["--test-threads=1", "--nocapture"]].concat())
}

/// Names a podgate whose tables have another layout.
const OTHER_ABI: &str = "PODGATE_OTHER_ABI";
/// Names a podgate of another build.
const OTHER_BUILD: &str = "PODGATE_OTHER_BUILD";
/// The modules of the lab's tests that repeat things as often as they are asked to.
const SOAKED: [&str; 5] = ["life::outlive", "cni::starts", "services::flips", "services::random", "packets::idle"];
/// Set: everything is repeated as often as in a soak.
const SOAK: &str = "PODGATE_SOAK";

/// Builds the podgate whose tables have another layout, as the tests that upgrade to it need it, and copies it to where the
/// build of [`build`] does not replace it.
pub(crate) fn other_abi() -> Result<PathBuf> {
    let shell = shell()?;
    // The selection of features that the tests are built with, so that dependencies need not be built again.
    let features = "--features podgate/other-abi";
    let command =
        format!("test --locked --workspace --no-run --test core {features} --message-format=json-render-diagnostics");
    let built = read(cargo(&shell, &command))?;
    let path = target().join("podgate-other-abi");
    fs::copy(&built.podgate, &path).with_context(|| format!("copy podgate to {}", path.display()))?;
    Ok(path)
}

/// Runs the examples in the documentation.
pub(crate) fn documentation() -> Result<()> {
    let shell = shell()?;
    Ok(cargo(&shell, "test --locked --workspace --doc").run()?)
}

/// Builds all tests of the workspace.
pub(crate) fn build() -> Result<Built> {
    let shell = shell()?;
    read(cargo(&shell, "test --locked --workspace --no-run --message-format=json-render-diagnostics"))
}

/// Runs a build and collects what it made.
fn read(command: Cmd<'_>) -> Result<Built> {
    let messages = command.read().context("build the tests")?;
    let mut built = Built::default();
    for message in messages.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        built.add(&message);
    }
    ensure!(built.podgate.is_file(), "cargo did not say where it built podgate");
    Ok(built)
}

impl Built {
    /// Takes note of an executable that cargo tells of.
    fn add(&mut self, message: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let manifest = text(&message["manifest_path"]).map(PathBuf::from);
        let package = manifest.as_deref().and_then(Path::parent).and_then(|path| path.strip_prefix(root()).ok());
        let target = &message["target"];
        let (Some(executable), Some(package)) = (text(&message["executable"]), package) else { return };
        let (executable, package) = (PathBuf::from(executable), package.to_string_lossy().into_owned());
        if message["profile"]["test"] == true {
            let target = text(&target["name"]).unwrap_or_default();
            self.programs.push(Program { package, target, executable });
        } else if package == "agent" && target["kind"][0] == "bin" {
            self.podgate = executable;
        }
    }
}

#[cfg(test)]
mod cases {
    use serde_json::json;

    use super::*;

    fn message(package: &str, target: &str, kind: &str, test: bool) -> Value {
        json!({
            "reason": "compiler-artifact",
            "manifest_path": root().join(package).join("Cargo.toml"),
            "target": { "kind": [kind], "name": target },
            "profile": { "test": test },
            "executable": format!("/target/{target}"),
        })
    }

    #[test]
    fn test_programs_are_told_from_the_podgate_that_they_run() {
        let mut built = Built::default();
        built.add(&message("agent/lab", "routed", "test", true));
        built.add(&message("ebpf", "podgate", "bin", false));
        built.add(&message("agent", "podgate", "bin", false));
        built.add(&json!({ "reason": "build-finished", "success": true }));
        let executable = PathBuf::from("/target/routed");
        let routed = Program { package: "agent/lab".to_owned(), target: "routed".to_owned(), executable };
        assert_eq!((built.programs, built.podgate), (vec![routed], PathBuf::from("/target/podgate")));
    }

    #[test]
    fn a_test_of_which_nothing_is_known_needs_nothing() {
        let program = |package: &str, target: &str| Program {
            package: package.to_owned(),
            target: target.to_owned(),
            executable: PathBuf::new(),
        };
        let needs = [
            program("agent", "cli_explain").need(),
            program("agent/policy", "compile").need(),
            program("agent/datapath", "podgate_datapath").need(),
            program("agent", "core").need(),
        ];
        assert_eq!(needs, [Need::Nothing, Need::Nothing, Need::Kernel, Need::Namespaces]);
    }
}
