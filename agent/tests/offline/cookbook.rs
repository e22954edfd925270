//! The recipes of docs/cookbook.md: each is in a file, passes `podgate check`, and does what its expectations say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{podgate, result};

const DOCUMENT: &str = include_str!("../../../docs/cookbook.md");
const CLUSTER: &str = "cluster.yaml";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cookbook")
}

/// The names of the recipes, by their files.
fn recipes() -> BTreeSet<String> {
    let files = fs::read_dir(directory()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let names = files.filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned));
    names.filter(|name| name != "cluster" && !name.ends_with(".expected")).collect()
}

#[test]
fn each_recipe_passes_check_and_does_what_it_says() {
    let recipes = recipes();
    assert!(recipes.len() >= 12, "{recipes:?}");
    for recipe in recipes {
        let (policies, expected) = (format!("{recipe}.yaml"), format!("{recipe}.expected.yaml"));
        let check = podgate(&directory(), &["check", "-f", CLUSTER, "-f", &policies]);
        assert_eq!(check.status.code(), Some(0), "{recipe}: {}", result(&check).1);
        let test = podgate(&directory(), &["test", &expected, "-f", CLUSTER, "-f", &policies]);
        assert_eq!(test.status.code(), Some(0), "{recipe}: {}", result(&test).1);
        // Without the recipe it would be otherwise, so the expectations say something of it.
        let without = podgate(&directory(), &["test", &expected, "-f", CLUSTER]);
        assert_eq!(without.status.code(), Some(1), "{recipe}: {}", result(&without).1);
    }
}

#[test]
fn the_document_shows_each_recipe_as_it_is_in_its_file() {
    let shown: Vec<&str> =
        DOCUMENT.split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    let recipes = recipes();
    assert_eq!(shown.len(), recipes.len());
    for recipe in recipes {
        let text = fs::read_to_string(directory().join(format!("{recipe}.yaml"))).unwrap();
        assert!(shown.contains(&text.as_str()), "{recipe} is not shown as it is");
        assert!(DOCUMENT.contains(&format!("(cookbook/{recipe}.yaml)")), "{recipe} is not in the table");
    }
}
