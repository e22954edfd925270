//! The layers, checked by who depends on whom.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::workspace::{cargo, shell};

/// A crate and what must not be among all it depends on, directly or not.
struct Rule {
    package: &'static str,
    without: &'static [&'static str],
    why: &'static str,
}

const KERNEL: [&str; 4] = ["aya", "rtnetlink", "netlink-proto", "netlink-packet-route"];

const RULES: [Rule; 3] = [
    Rule {
        package: "podgate-policy",
        without: &["kube", "k8s-openapi", "tokio", "aya", "rtnetlink", "tracing", "serde_json"],
        why: "policy is pure: plain data in, plain data out",
    },
    Rule { package: "podgate-source", without: &KERNEL, why: "sources know objects, not the kernel" },
    Rule { package: "podgate-common", without: &["std", "libc", "serde"], why: "the ABI is plain no_std data" },
];

/// Crates that only the datapath may name in its manifest.
const ONLY_DATAPATH: &[&str] = &KERNEL;

/// Checks every rule and names the one that is broken.
pub(crate) fn check() -> Result<()> {
    for rule in &RULES {
        let tree = dependencies(rule.package, None)?;
        if let Some(found) = rule.without.iter().find(|name| tree.contains(**name)) {
            bail!("{} depends on {found}: {}", rule.package, rule.why);
        }
    }
    for package in ["podgate", "podgate-lab", "podgate-policy", "podgate-source", "xtask"] {
        let direct = dependencies(package, Some(1))?;
        if let Some(found) = ONLY_DATAPATH.iter().find(|name| direct.contains(**name)) {
            bail!("{package} names {found} as a dependency: only podgate-datapath talks to the kernel");
        }
    }
    Ok(())
}

/// The names of what a crate depends on, test dependencies left out, up to a depth.
fn dependencies(package: &str, depth: Option<u8>) -> Result<BTreeSet<String>> {
    let depth = depth.map(|depth| format!("--depth={depth}"));
    let shell = shell()?;
    let tree =
        cargo(&shell, &format!("tree --locked --package {package} --edges normal,build --prefix none")).args(depth);
    let tree = tree.quiet().read().with_context(|| format!("list the dependencies of {package}"))?;
    Ok(tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}
