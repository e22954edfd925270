//! The layers, checked by who depends on whom and by what the pure ones name of the standard library.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::{cargo, root, shell};

/// The crates of the workspace, and those of the workspace that each may use.
const LAYERS: [(&str, &[&str]); 13] = [
    (
        "podgate",
        &[
            "podgate-common",
            "podgate-datapath",
            "podgate-engine",
            "podgate-host",
            "podgate-judge",
            "podgate-policy",
            "podgate-source",
        ],
    ),
    ("podgate-common", &[]),
    ("podgate-datapath", &["podgate-common", "podgate-host", "podgate-policy", "podgate-toolchain"]),
    ("podgate-ebpf", &["podgate-common"]),
    ("podgate-engine", &["podgate-common", "podgate-datapath", "podgate-host", "podgate-policy", "podgate-source"]),
    ("podgate-host", &["podgate-common", "podgate-policy"]),
    ("podgate-judge", &["podgate-policy"]),
    ("podgate-lab", &[]),
    ("podgate-policy", &[]),
    ("podgate-source", &["podgate-policy"]),
    ("podgate-toolchain", &[]),
    ("xtask", &["podgate-lab", "podgate-toolchain"]),
    ("xtask-launch", &[]),
];

/// A crate and what must not be among all it depends on, directly or not.
struct Without {
    package: &'static str,
    crates: &'static [&'static str],
    why: &'static str,
}

/// What brings a client, the kernel, a runtime or output.
const IMPURE_CRATES: &[&str] =
    &["kube", "k8s-openapi", "tokio", "aya", "netlink-packet-route", "nix", "libc", "tracing", "log", "serde_json"];

const WITHOUT: [Without; 4] = [
    Without { package: "podgate-policy", crates: IMPURE_CRATES, why: "policy is pure: plain data in, plain data out" },
    Without {
        package: "podgate-judge",
        crates: IMPURE_CRATES,
        why: "judges are pure: plain data in, plain data and text out",
    },
    Without {
        package: "podgate-source",
        crates: &["aya", "netlink-packet-core", "netlink-packet-route", "netlink-sys", "nix"],
        why: "sources know objects, not the kernel",
    },
    Without { package: "podgate-common", crates: &["aya", "libc", "serde"], why: "the ABI is plain no_std data" },
];

/// Crates that reach into the kernel, and who alone may name them in a manifest.
const ONLY: [(&str, &[&str]); 5] = [
    // The marker of types that may be in maps.
    ("aya", &["podgate-common", "podgate-datapath"]),
    ("aya-log", &["podgate-datapath"]),
    ("netlink-packet-core", &["podgate-datapath", "podgate-host"]),
    ("netlink-packet-route", &["podgate-datapath", "podgate-host"]),
    ("netlink-sys", &["podgate-datapath", "podgate-host"]),
];

/// What pure crates must not name outside of comments: files, clocks, processes, output.
const IMPURE: [&str; 8] =
    ["std::env", "std::fs", "std::io", "std::process", "std::thread", "std::time", "println!", "dbg!"];
/// The pure crates.
const PURE: [&str; 2] = ["podgate-judge", "podgate-policy"];
/// Crates that run in the kernel, and so without the standard library.
const NO_STD: [&str; 2] = ["podgate-common", "podgate-ebpf"];

/// The modules of the eBPF crate, floor by floor: each uses only those before it.
const FLOORS: [&str; 26] = [
    "maps",
    "packet",
    "parse",
    "discovery",
    "rules",
    "clock",
    "checksum",
    "endpoint",
    "family",
    "events",
    "classes",
    "origin",
    "verdict",
    "service",
    "fragments",
    "scene",
    "read",
    "shares",
    "sockets",
    "flow",
    "related",
    "neighbours",
    "exit",
    "arrival",
    "program",
    "fast",
];

/// What the rules are about.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// What each crate of the workspace names in its manifest, tests left out.
    direct: BTreeMap<String, BTreeSet<String>>,
    /// What crates depend on, directly or not.
    all: BTreeMap<String, BTreeSet<String>>,
    /// Every crate that is locked.
    locked: BTreeSet<String>,
    /// The source files of crates: path and text.
    sources: BTreeMap<String, Vec<(String, String)>>,
}

/// Checks every rule and names each one that is broken.
pub(crate) fn check() -> Result<()> {
    let broken = broken(&gather()?);
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    Ok(())
}

fn broken(facts: &Facts) -> Vec<String> {
    [layers(facts), without(facts), only(facts), locked(facts), pure(facts), no_std(facts), floors(facts)].concat()
}

fn layers(facts: &Facts) -> Vec<String> {
    let of_workspace = |name: &&String| facts.direct.contains_key(*name);
    let mut broken = Vec::new();
    for (package, names) in &facts.direct {
        let Some((_, may_use)) = LAYERS.iter().find(|(layer, _)| layer == package) else {
            broken.push(format!("{package} is in no layer: say in xtask/src/architecture.rs what it may use"));
            continue;
        };
        let wrong = names.iter().filter(of_workspace).filter(|name| !may_use.contains(&name.as_str()));
        broken.extend(wrong.map(|name| format!("{package} uses {name}, which is not below it")));
    }
    broken
}

fn without(facts: &Facts) -> Vec<String> {
    let broken = |rule: &'static Without| {
        let all = facts.all.get(rule.package);
        let found = rule.crates.iter().filter(move |name| all.is_some_and(|all| all.contains(**name)));
        found.map(|name| format!("{} depends on {name}: {}", rule.package, rule.why))
    };
    WITHOUT.iter().flat_map(broken).collect()
}

fn only(facts: &Facts) -> Vec<String> {
    let mut broken = Vec::new();
    for (package, names) in &facts.direct {
        let wrong = ONLY.iter().filter(|(name, who)| names.contains(*name) && !who.contains(&package.as_str()));
        broken.extend(wrong.map(|(name, _)| {
            format!("{package} names {name}: only podgate-datapath and podgate-host talk to the kernel")
        }));
    }
    broken
}

/// A rule about a crate that is nowhere can't be broken, so it says nothing.
fn locked(facts: &Facts) -> Vec<String> {
    let named = WITHOUT.iter().flat_map(|rule| rule.crates.iter()).chain(ONLY.iter().map(|(name, _)| name));
    let nowhere: BTreeSet<&str> = named.copied().filter(|name| !facts.locked.contains(*name)).collect();
    nowhere
        .into_iter()
        .map(|name| format!("{name} is forbidden but nowhere in Cargo.lock: take it out of the rules"))
        .collect()
}

fn pure(facts: &Facts) -> Vec<String> {
    let mut broken = Vec::new();
    for package in PURE {
        for (path, text) in facts.sources.get(package).into_iter().flatten() {
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let found = IMPURE.iter().filter(|name| code.iter().any(|line| line.contains(**name)));
            broken.extend(found.map(|name| format!("{path} names {name}: {package} is pure")));
        }
    }
    broken
}

fn no_std(facts: &Facts) -> Vec<String> {
    let says = |text: &str| text.lines().any(|line| line.starts_with("#![") && line.contains("no_std"));
    let mut broken = Vec::new();
    for package in NO_STD {
        let roots = facts.sources.get(package).into_iter().flatten();
        let roots = roots.filter(|(path, _)| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs"));
        let wrong = roots.filter(|(_, text)| !says(text));
        broken.extend(wrong.map(|(path, _)| format!("{path} does not say no_std: {package} runs in the kernel")));
    }
    broken
}

fn floors(facts: &Facts) -> Vec<String> {
    let floor_of = |module: &str| FLOORS.iter().position(|floor| *floor == module);
    let mut broken = Vec::new();
    for (path, text) in facts.sources.get("podgate-ebpf").into_iter().flatten() {
        let module = path.strip_prefix("ebpf/src/").and_then(|file| file.strip_suffix(".rs"));
        let Some(module) = module.filter(|module| !matches!(*module, "lib" | "main") && !module.contains('/')) else {
            continue;
        };
        let Some(floor) = floor_of(module) else {
            broken.push(format!("{path} is on no floor: say in xtask/src/architecture.rs what it is above"));
            continue;
        };
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let used: BTreeSet<&str> = code.flat_map(modules_in).filter(|used| *used != module).collect();
        let wrong = used.into_iter().filter(|used| floor_of(used).is_some_and(|other| other > floor));
        broken.extend(wrong.map(|used| format!("{path} uses {used}, which is not below it")));
    }
    broken
}

/// The modules of its own crate that a line names.
fn modules_in(line: &str) -> impl Iterator<Item = &str> {
    let end = |path: &str| path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(path.len());
    line.split("crate::").skip(1).map(move |path| &path[..end(path)])
}

/// Asks cargo, and reads the sources that rules are about.
fn gather() -> Result<Facts> {
    let shell = shell()?;
    let metadata = cargo(&shell, "metadata --locked --no-deps --format-version 1").quiet().read();
    let metadata = metadata.context("list the crates of the workspace")?;
    let metadata: Value = serde_json::from_str(&metadata).context("read what cargo says of the workspace")?;
    let mut facts = Facts { locked: names_in_lock(&read(&root().join("Cargo.lock"))?), ..Facts::default() };
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        if PURE.contains(&name.as_str()) || NO_STD.contains(&name.as_str()) {
            let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
            facts.sources.insert(name.clone(), sources(&manifest.with_file_name("src"))?);
        }
        let named = package["dependencies"].as_array().into_iter().flatten();
        let named = named.filter(|dependency| dependency["kind"] != "dev");
        let named = named.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect();
        facts.direct.insert(name, named);
    }
    for rule in &WITHOUT {
        facts.all.insert(rule.package.to_owned(), dependencies(rule.package)?);
    }
    Ok(facts)
}

/// The names of all that a crate depends on by itself, test dependencies left out.
fn dependencies(package: &str) -> Result<BTreeSet<String>> {
    let shell = shell()?;
    let tree = cargo(&shell, &format!("tree --locked --package {package} --edges normal,build --prefix none"));
    let tree = tree.quiet().read().with_context(|| format!("list the dependencies of {package}"))?;
    Ok(tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn names_in_lock(lock: &str) -> BTreeSet<String> {
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \""));
    names.map(|name| name.trim_end_matches('"').to_owned()).collect()
}

/// The Rust files below a directory.
fn sources(directory: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            found.push((name, read(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn sources(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    /// A workspace that breaks no rule.
    fn sound() -> Facts {
        let direct = LAYERS.iter().map(|(package, uses)| ((*package).to_owned(), set(uses)));
        let forbidden = WITHOUT.iter().flat_map(|rule| rule.crates).chain(ONLY.iter().map(|(name, _)| name));
        let pure = |path| sources(&[(path, "//! Neither std::fs nor a clock.\nuse std::fmt;\n")]);
        let (judge, policy) = (pure("agent/judge/src/lib.rs"), pure("agent/policy/src/lib.rs"));
        let common = sources(&[("common/src/lib.rs", "#![cfg_attr(not(test), no_std)]\n"), ("common/src/map.rs", "")]);
        let ebpf = sources(&[("ebpf/src/main.rs", "#![cfg_attr(target_arch = \"bpf\", no_std, no_main)]\n")]);
        Facts {
            direct: direct.collect(),
            all: WITHOUT.iter().map(|rule| (rule.package.to_owned(), set(&["ipnet", "strsim"]))).collect(),
            locked: forbidden.map(|name| (*name).to_owned()).collect(),
            sources: [
                ("podgate-judge", judge),
                ("podgate-policy", policy),
                ("podgate-common", common),
                ("podgate-ebpf", ebpf),
            ]
            .map(|(package, files)| (package.to_owned(), files))
            .into(),
        }
    }

    /// What is found after a change.
    fn after(change: impl FnOnce(&mut Facts)) -> Vec<String> {
        let mut facts = sound();
        change(&mut facts);
        broken(&facts)
    }

    fn add(map: &mut BTreeMap<String, BTreeSet<String>>, package: &str, name: &str) {
        map.entry(package.to_owned()).or_default().insert(name.to_owned());
    }

    #[test]
    fn a_sound_workspace_breaks_no_rule() {
        assert_eq!(after(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_crate_that_uses_one_above_or_beside_it_is_found() {
        for (package, may_use) in LAYERS {
            for (other, _) in LAYERS.iter().filter(|(other, _)| *other != package && !may_use.contains(other)) {
                let expected = vec![format!("{package} uses {other}, which is not below it")];
                assert_eq!(after(|facts| add(&mut facts.direct, package, other)), expected);
            }
        }
    }

    #[test]
    fn a_crate_of_the_workspace_without_a_layer_is_found() {
        let found = after(|facts| {
            facts.direct.insert("podgate-new".to_owned(), BTreeSet::new());
        });
        assert_eq!(found, ["podgate-new is in no layer: say in xtask/src/architecture.rs what it may use"]);
    }

    #[test]
    fn each_forbidden_dependency_is_found_however_deep() {
        for rule in &WITHOUT {
            for name in rule.crates {
                let expected = vec![format!("{} depends on {name}: {}", rule.package, rule.why)];
                assert_eq!(after(|facts| add(&mut facts.all, rule.package, name)), expected);
            }
        }
    }

    #[test]
    fn each_crate_of_the_kernel_is_found_in_others_manifests() {
        for (name, who) in ONLY {
            for (package, _) in LAYERS.iter().filter(|(package, _)| !who.contains(package)) {
                let expected =
                    vec![format!("{package} names {name}: only podgate-datapath and podgate-host talk to the kernel")];
                assert_eq!(after(|facts| add(&mut facts.direct, package, name)), expected);
            }
        }
    }

    #[test]
    fn a_rule_about_a_crate_that_is_nowhere_is_found() {
        let found = after(|facts| {
            facts.locked.remove("netlink-sys");
        });
        assert_eq!(found, ["netlink-sys is forbidden but nowhere in Cargo.lock: take it out of the rules"]);
    }

    #[test]
    fn each_impure_name_is_found_in_pure_code_but_not_in_comments() {
        for (package, name) in PURE.into_iter().flat_map(|package| IMPURE.map(|name| (package, name))) {
            let found = after(|facts| {
                let files = facts.sources.entry(package.to_owned()).or_default();
                files.push(("src/new.rs".to_owned(), format!("// {name}\nfn f() {{ {name} }}\n")));
            });
            assert_eq!(found, [format!("src/new.rs names {name}: {package} is pure")]);
        }
    }

    #[test]
    fn each_crate_of_the_kernels_that_brings_the_standard_library_is_found() {
        for package in NO_STD {
            let found = after(|facts| {
                let files = facts.sources.entry(package.to_owned()).or_default();
                files.push((format!("{package}/src/lib.rs"), "//! no_std in a comment is none.\n".to_owned()));
            });
            assert_eq!(found, [format!("{package}/src/lib.rs does not say no_std: {package} runs in the kernel")]);
        }
    }

    #[test]
    fn a_module_of_the_programs_that_uses_one_above_it_or_is_on_no_floor_is_found() {
        let found = after(|facts| {
            let files = facts.sources.entry("podgate-ebpf".to_owned()).or_default();
            let uses = "use crate::flow::{self, AsNew};\n// use crate::program;\nuse crate::maps;\n";
            files.push(("ebpf/src/scene.rs".to_owned(), uses.to_owned()));
            files.push(("ebpf/src/flow.rs".to_owned(), "fn f() { crate::scene::g() }\n".to_owned()));
            files.push(("ebpf/src/new.rs".to_owned(), String::new()));
        });
        let expected = [
            "ebpf/src/scene.rs uses flow, which is not below it",
            "ebpf/src/new.rs is on no floor: say in xtask/src/architecture.rs what it is above",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn names_are_read_from_the_lock_file() {
        let lock = "[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\n\n[[package]]\nname = \"libc\"\n";
        assert_eq!(names_in_lock(lock), set(&["aya", "libc"]));
    }
}
