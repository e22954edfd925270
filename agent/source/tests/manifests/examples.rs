//! The examples that podgate ships.

use std::path::{Path, PathBuf};

use podgate_judge::check::check;
use podgate_source::manifests::load;

#[test]
fn examples_are_sound() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let directories: Vec<PathBuf> = std::fs::read_dir(&examples)
        .expect("deploy/examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    assert!(!directories.is_empty());
    for directory in directories {
        let loaded = load(std::slice::from_ref(&directory));
        assert_eq!(loaded.problems, [], "{}", directory.display());
        assert!(!loaded.cluster.policies.is_empty(), "{}", directory.display());
        assert_eq!(check(&loaded.cluster, &loaded.written), [], "{}", directory.display());
    }
}
