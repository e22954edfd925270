//! The Helm chart in deploy/chart, and what is made of it.
//!
//! ```text
//! deploy/chart ──► helm template ──► deploy/base, monitoring, cleanup …    (`cargo xtask manifests`, checked in)
//!      │                                └──► kustomize: overlays, components
//!      └─────────► helm package ───► a release's chart, which names its image    (`cargo xtask package`)
//! ```
//!
//! The chart is the source of both ways to install podgate. `cargo xtask chart` checks that what is checked in is what it
//! renders; the tests of `agent/tests/deploy` compare kustomize's overlays with the chart, object by object.

mod package;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

pub(crate) use self::package::{Options, run as package};
use crate::setup;
use crate::workspace::{root, shell};

/// Where the chart is.
const CHART: &str = "deploy/chart";
const NAMESPACE: &str = "podgate-system";

/// A file that is rendered.
struct Rendered {
    /// Where it is below deploy/.
    file: &'static str,
    /// The template, without its ending.
    template: &'static str,
    /// Values that differ from the chart's own.
    values: &'static str,
}

const fn rendered(file: &'static str, template: &'static str, values: &'static str) -> Rendered {
    Rendered { file, template, values }
}

/// As in the production overlay.
const MONITORING: &str = "monitoring.enabled=true,metrics.tokenSecret=podgate-metrics";

const RENDERED: [Rendered; 9] = [
    rendered("base/namespace.yaml", "namespace", "createNamespace=true"),
    rendered("base/rbac.yaml", "rbac", ""),
    rendered("base/daemonset.yaml", "daemonset", ""),
    rendered("base/networkpolicy.yaml", "networkpolicy", ""),
    rendered("monitoring/podmonitor.yaml", "podmonitor", MONITORING),
    rendered("monitoring/prometheusrule.yaml", "prometheusrule", MONITORING),
    rendered("monitoring/dashboard.yaml", "dashboard", MONITORING),
    rendered("overlays/production/quota.yaml", "quota", "quota=true"),
    rendered("cleanup/daemonset.yaml", "daemonset", "cleanup.enabled=true"),
];

/// Values with which the chart is linted: each branch of a template is in one of them.
const LINTED: [&str; 5] = [
    "",
    "platform=kind,audit=true,cni.whenAgentDown=fail,cni.bootGrace=60",
    "platform=gke,services=source,monitoring.enabled=true,metrics.public=true,image.pullSecrets={a}",
    "platform=microk8s,node.ownSeccompProfile=true,node.memlock=true,createNamespace=true,cni.enabled=false",
    "platform=k3s,cleanup.enabled=true,cleanup.onUninstall=true",
];

/// Renders the files and writes them.
pub(crate) fn manifests() -> Result<()> {
    let helm = setup::helm()?;
    write(&root().join(CHART).join("Chart.yaml"), &metadata()?)?;
    RENDERED.iter().try_for_each(|file| write(&file.path(), &file.render(&helm)?))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Lints the chart, and fails where a file is not what the chart renders.
pub(crate) fn check(helm: &Path) -> Result<()> {
    let shell = shell()?;
    for values in LINTED {
        cmd!(shell, "{helm} lint --strict --quiet {CHART} --set {values}").run().context("lint the chart")?;
    }
    let path = root().join(CHART).join("Chart.yaml");
    let there = fs::read_to_string(&path)?;
    ensure!(there == metadata()?, "{} has another version than Cargo.toml: {ADVICE}", path.display());
    for file in &RENDERED {
        let there = fs::read_to_string(file.path()).with_context(|| format!("read deploy/{}", file.file))?;
        ensure!(there == file.render(helm)?, "deploy/{} is not what the chart renders: {ADVICE}", file.file);
    }
    Ok(())
}

const ADVICE: &str = "run `cargo xtask manifests`";

impl Rendered {
    fn path(&self) -> PathBuf {
        root().join("deploy").join(self.file)
    }

    /// The text of the file, with the comments of the template.
    fn render(&self, helm: &Path) -> Result<String> {
        let (shell, values) = (shell()?, self.values);
        let template = format!("templates/{}.yaml", self.template);
        let command =
            cmd!(shell, "{helm} template podgate {CHART} --namespace {NAMESPACE} --set {values} -s {template}");
        let text = command.quiet().read().with_context(|| format!("render {template}"))?;
        Ok(tidy(&text))
    }
}

/// Without what Helm and the chart add for Helm's own sake. Kustomize names the ConfigMap of settings by its content, so no
/// checksum is needed to roll the agents over.
fn tidy(rendered: &str) -> String {
    let of_helm = |line: &str| line.starts_with("# Source: ") || line.trim_start().starts_with("checksum/settings: ");
    let comment = "# A change of settings rolls the agents over.";
    let lines = rendered.lines().filter(|line| !of_helm(line) && line.trim() != comment);
    let text: Vec<&str> = lines.map(str::trim_end).collect();
    let text = text.join("\n");
    let text = text.trim_start_matches("---\n").trim();
    format!("# Rendered from deploy/chart by `cargo xtask manifests`.\n{text}\n")
}

/// Chart.yaml with this version.
fn metadata() -> Result<String> {
    let there = fs::read_to_string(root().join(CHART).join("Chart.yaml")).context("read Chart.yaml")?;
    Ok(with_version(&there, env!("CARGO_PKG_VERSION")))
}

fn with_version(metadata: &str, version: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some(("version", _)) => format!("version: {version}\n"),
        Some(("appVersion", _)) => format!("appVersion: \"{version}\"\n"),
        _ => format!("{line}\n"),
    };
    metadata.lines().map(line).collect()
}

/// Copies the chart, and names the image in its values.
fn copy_with_image(shell: &Shell, directory: &Path, image: &str, digest: Option<&str>) -> Result<()> {
    cmd!(shell, "cp --recursive {CHART} {directory}").quiet().run().context("copy the chart")?;
    let path = directory.join("values.yaml");
    let values = fs::read_to_string(&path).context("read the chart's values")?;
    fs::write(&path, with_image(&values, image, digest.unwrap_or_default())?).context("write the chart's values")
}

fn with_image(values: &str, image: &str, digest: &str) -> Result<String> {
    let mut text = values.to_owned();
    for (from, to) in [
        ("\n  repository: localhost/podgate\n", format!("\n  repository: {image}\n")),
        ("\n  digest: \"\"\n", format!("\n  digest: \"{digest}\"\n")),
    ] {
        if text.matches(from).count() != 1 {
            bail!("values.yaml does not have one line {:?}", from.trim());
        }
        text = text.replace(from, &to);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_comments_of_its_template_and_nothing_of_helms() {
        let rendered = "---\n# Source: podgate/templates/a.yaml\n# Why.\nkind: A\nmetadata:\n  annotations:\n    \
                        # A change of settings rolls the agents over.\n    checksum/settings: \"0\"\n    b: c\n      \n---\n\
                        # Source: podgate/templates/a.yaml\nkind: B\n";
        let expected = "# Rendered from deploy/chart by `cargo xtask manifests`.\n# Why.\nkind: A\nmetadata:\n  \
                        annotations:\n    b: c\n\n---\nkind: B\n";
        assert_eq!(tidy(rendered), expected);
    }

    #[test]
    fn the_chart_has_the_version_of_the_workspace() {
        let metadata = "name: podgate\nversion: 0.0.1\nappVersion: \"0.0.1\"\nkubeVersion: \">=1\"\n";
        let expected = "name: podgate\nversion: 0.2.0\nappVersion: \"0.2.0\"\nkubeVersion: \">=1\"\n";
        assert_eq!(with_version(metadata, "0.2.0"), expected);
    }

    #[test]
    fn the_image_has_one_place_in_the_values() {
        let values = fs::read_to_string(root().join(CHART).join("values.yaml")).unwrap();
        let named = with_image(&values, "example.org/podgate", "sha256:1").unwrap();
        assert_eq!(named.matches("example.org/podgate").count(), 1);
        assert!(named.contains("  digest: \"sha256:1\"\n") && !named.contains("repository: localhost/podgate"));
        assert!(with_image("image: {}\n", "a", "").is_err());
    }
}
