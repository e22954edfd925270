//! The bill of materials, in CycloneDX 1.5: every crate whose code is in the binary, the eBPF programs' among them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::workspace::{cargo, shell};

/// The bill of materials of podgate for a target.
pub(crate) fn of_podgate(triple: &str) -> Result<Vec<u8>> {
    let mut bill = Bill::default();
    bill.add(&metadata(triple)?, "podgate");
    bill.add(&metadata("bpfel-unknown-none")?, "podgate-ebpf");
    serde_json::to_vec_pretty(&bill.json("podgate")).context("write the bill of materials")
}

/// What cargo says of the workspace for a target.
fn metadata(triple: &str) -> Result<Value> {
    let shell = shell()?;
    let metadata = cargo(&shell, &format!("metadata --locked --format-version 1 --filter-platform {triple}"));
    let metadata = metadata.quiet().ignore_stderr().read().context("ask cargo for the dependencies")?;
    serde_json::from_str(&metadata).context("read what cargo says of the dependencies")
}

/// Components and what each needs, by package URL.
#[derive(Default)]
struct Bill {
    components: BTreeMap<String, Value>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Bill {
    /// Adds a package of the workspace with all that is linked into it.
    fn add(&mut self, metadata: &Value, root: &str) {
        let packages: BTreeMap<&str, &Value> =
            list(&metadata["packages"]).iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
        for (id, needs) in linked(metadata, root) {
            let Some(package) = packages.get(id) else { continue };
            let needs = needs.into_iter().filter_map(|id| packages.get(id)).map(|needed| purl(needed));
            self.needs.entry(purl(package)).or_default().extend(needs);
            self.components.insert(purl(package), component(package));
        }
    }

    /// The bill, for the component of this name.
    fn json(&self, name: &str) -> Value {
        let own = self.components.values().find(|component| component["name"] == name).map(|component| {
            let mut component = component.clone();
            component["type"] = "application".into();
            component
        });
        let needs = self.needs.iter().map(|(purl, needs)| json!({ "ref": purl, "dependsOn": needs }));
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": { "component": own },
            "components": self.components.values().filter(|component| component["name"] != name).collect::<Vec<_>>(),
            "dependencies": needs.collect::<Vec<_>>(),
        })
    }
}

/// What is linked into a package, with what each needs, by cargo's ids: neither what only builds nor what only tests.
fn linked<'a>(metadata: &'a Value, root: &str) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let roots = list(&metadata["packages"]).iter().filter(|package| package["name"] == root);
    let mut open: Vec<&str> = roots.filter_map(|package| package["id"].as_str()).collect();
    let mut linked = BTreeMap::new();
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id).filter(|_| !linked.contains_key(id)) else { continue };
        let is_linked = |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let needs: BTreeSet<&str> =
            list(&node["deps"]).iter().filter(is_linked).filter_map(|dependency| dependency["pkg"].as_str()).collect();
        open.extend(&needs);
        linked.insert(id, needs);
    }
    linked
}

fn component(package: &Value) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    });
    if let Some(license) = package["license"].as_str() {
        // "MIT/Apache-2.0" is cargo's old way of writing OR.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    } else if let Some(file) = package["license_file"].as_str() {
        // Named as cargo's convention has it, LICENSE-MIT; deny.toml says that the text is that licence.
        let name = file.rsplit(['/', '-']).next().unwrap_or(file);
        component["licenses"] = json!([{ "license": { "name": name } }]);
    }
    component
}

/// The package URL (package-url/purl-spec, type cargo).
fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().replace('+', "%2B");
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, license: &str) -> Value {
        json!({ "id": name, "name": name, "version": "1.0.0+b", "license": license })
    }

    fn needs(of: &str, kind: Option<&str>) -> Value {
        json!({ "pkg": of, "dep_kinds": [{ "kind": kind }] })
    }

    #[test]
    fn what_is_linked_is_listed_with_its_licence_and_what_only_builds_or_tests_is_not() {
        let deps = [needs("a", None), needs("builder", Some("build")), needs("tester", Some("dev"))];
        let metadata = json!({
            "packages": [
                package("podgate", "X"), package("a", "MIT/Apache-2.0"), package("b", "X"), package("builder", "X"),
                package("tester", "X"), package("xtask", "X"),
            ],
            "resolve": { "nodes": [
                { "id": "podgate", "deps": deps }, { "id": "a", "deps": [needs("b", None)] },
                { "id": "b", "deps": [needs("a", None)] }, { "id": "builder", "deps": [] },
                { "id": "tester", "deps": [] }, { "id": "xtask", "deps": [] },
            ]},
        });
        let mut bill = Bill::default();
        bill.add(&metadata, "podgate");
        let bill = bill.json("podgate");
        let names: Vec<_> = list(&bill["components"]).iter().map(|component| component["name"].as_str()).collect();
        assert_eq!(names, ["a", "b"].map(Some));
        let a = json!({
            "type": "library", "bom-ref": "pkg:cargo/a@1.0.0%2Bb", "name": "a", "version": "1.0.0+b",
            "purl": "pkg:cargo/a@1.0.0%2Bb", "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        });
        assert_eq!(bill["components"][0], a);
        let on_b = json!({ "ref": "pkg:cargo/a@1.0.0%2Bb", "dependsOn": ["pkg:cargo/b@1.0.0%2Bb"] });
        assert_eq!(bill["dependencies"][0], on_b);
        let own = &bill["metadata"]["component"];
        assert_eq!((&own["name"], &own["type"]), (&json!("podgate"), &json!("application")));
    }

    #[test]
    fn podgates_own_bill_names_what_it_is_made_of() {
        let bill = of_podgate("x86_64-unknown-linux-musl").unwrap();
        let bill: Value = serde_json::from_slice(&bill).unwrap();
        let names: BTreeSet<_> = list(&bill["components"]).iter().filter_map(|it| it["name"].as_str()).collect();
        assert!(
            ["podgate-common", "kube", "ring", "aya", "aya-ebpf"].iter().all(|name| names.contains(name)),
            "{names:?}"
        );
        assert!(["proptest", "podgate-lab", "xtask"].iter().all(|name| !names.contains(name)), "{names:?}");
        assert!(list(&bill["components"]).iter().all(|it| it["licenses"].is_array()), "every crate has a licence");
    }
}
