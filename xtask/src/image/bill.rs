//! The bill of materials, in CycloneDX 1.5, by cargo-cyclonedx: every crate whose code is in the binary, the eBPF
//! programs' among them.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::cmd;

use super::checkout::Checkout;
use crate::setup;
use crate::workspace::{as_by_hand, root, shell};

/// What cargo-cyclonedx is told to call its files: it leaves one beside each Cargo.toml of the workspace.
const FILE: &str = "podgate-image-bill";

/// The bill of materials of podgate for a target.
pub(crate) fn of_podgate(triple: &str, checkout: &Checkout) -> Result<Vec<u8>> {
    // The programs are in the binary as bytes, so cargo knows of no dependency.
    let programs = generated("bpfel-unknown-none", "ebpf", checkout)?;
    let bill = joined(generated(triple, "agent", checkout)?, programs);
    let lists = |name: &str| list(&bill["components"]).iter().any(|component| component["name"] == name);
    ensure!(["podgate-common", "kube", "aya-ebpf"].into_iter().all(lists), "the bill of materials is not whole");
    ensure!(!lists("proptest") && !lists("xtask"), "the bill of materials lists what is not in the binary");
    serde_json::to_vec_pretty(&bill).context("write the bill of materials")
}

/// What cargo-cyclonedx says of the package in a directory.
fn generated(triple: &str, directory: &str, checkout: &Checkout) -> Result<Value> {
    let (shell, cyclonedx) = (shell()?, setup::cargo_cyclonedx()?);
    let filter = ["--format", "json", "--spec-version", "1.5", "--all", "--no-build-deps", "--quiet", "--quiet"];
    let command = cmd!(shell, "{cyclonedx} cyclonedx {filter...} --target {triple} --override-filename {FILE}");
    // With a time it writes no random serial number.
    let written = as_by_hand(command).env("SOURCE_DATE_EPOCH", checkout.seconds.to_string()).quiet().run();
    let text = fs::read_to_string(root().join(directory).join(FILE).with_extension("json"));
    cmd!(shell, "git clean --force --quiet -x -- :(glob)**/{FILE}.json").quiet().run().context("remove the bills")?;
    written.context("list what podgate is made of")?;
    // It names our own packages by their paths, which are another machine's tomorrow.
    let text =
        text.context("read the bill of materials")?.replace(&format!("file://{}", root().display()), "file:///podgate");
    serde_json::from_str(&text).context("read the bill of materials")
}

/// A bill with what another one lists beside: its component, those that this needs, and their needs.
fn joined(mut bill: Value, mut other: Value) -> Value {
    let component = other["metadata"]["component"].take();
    for key in ["components", "dependencies"] {
        let Value::Array(all) = &mut bill[key] else { continue };
        let reference = |entry: &Value| entry["bom-ref"].as_str().or(entry["ref"].as_str()).map(str::to_owned);
        let more = list(&other[key]).iter().chain((key == "components").then_some(&component));
        let known: Vec<_> = all.iter().map(reference).collect();
        all.extend(more.filter(|entry| !known.contains(&reference(entry))).cloned());
    }
    bill
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_programs_are_made_of_is_listed_once_beside_what_the_binary_is() {
        let component = |name: &&str| json!({ "bom-ref": name, "name": name });
        let needs = |name: &&str| json!({ "ref": name, "dependsOn": [] });
        let bill = |name: &str, components: &[&str], needing: &[&str]| {
            json!({
                "metadata": { "component": component(&name) },
                "components": components.iter().map(component).collect::<Vec<_>>(),
                "dependencies": needing.iter().map(needs).collect::<Vec<_>>(),
            })
        };
        let binary = bill("podgate", &["aya", "common"], &["aya", "common", "podgate"]);
        let programs = bill("programs", &["aya-ebpf", "common"], &["aya-ebpf", "common", "programs"]);
        let needing = ["aya", "common", "podgate", "aya-ebpf", "programs"];
        assert_eq!(joined(binary, programs), bill("podgate", &["aya", "common", "aya-ebpf", "programs"], &needing));
    }
}
