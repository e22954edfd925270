//! The three-tier example, and the commands of the documentation about it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{podgate, result, stderr};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The example, with addresses of its pods as the kubelet tells them.
fn example() -> TempDir {
    let directory = TempDir::new().unwrap();
    for file in fs::read_dir(root().join("deploy/examples/three-tier")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let pods = text.split("---\n").enumerate();
        let with_address =
            |(number, pod): (usize, &str)| format!("{pod}status: {{podIPs: [{{ip: 10.0.0.{}}}]}}\n", number + 1);
        let text = if name == "pods.yaml" { pods.map(with_address).collect::<Vec<_>>().join("---\n") } else { text };
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// The arguments of each `podgate explain` of a document about the example's frontend, without what is optional.
fn questions(document: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("podgate explain -f "));
    let about = lines.filter(|line| line.contains("--from shop/frontend"));
    let words = |line: &str| -> Vec<String> {
        let words = line.split_whitespace().skip(4).take_while(|word| !word.starts_with(['#', '[']));
        words.map(str::to_owned).collect()
    };
    about.map(words).collect()
}

#[test]
fn what_the_documentation_asks_about_the_example_has_an_answer() {
    let example = example();
    for (document, count) in [("README.md", 2), ("docs/files.md", 1), ("docs/troubleshooting.md", 1)] {
        let questions = questions(document);
        assert_eq!(questions.len(), count, "{document}");
        for question in questions {
            let question: Vec<&str> = question.iter().map(String::as_str).collect();
            let answer = podgate(example.path(), &[&["explain", "-f", "."], &question[..]].concat());
            // Denied, as the example means it: whatever does not exist is an error.
            assert_eq!(answer.status.code(), Some(1), "{document}: {question:?}: {}", stderr(&answer));
        }
    }
}

#[test]
fn check_finds_nothing_in_what_podgate_installs() {
    for file in ["base/networkpolicy.yaml", "base"] {
        let check = podgate(&root().join("deploy"), &["check", "-f", file, "--least", "note", "-o", "json"]);
        let (status, found) = result(&check);
        assert!(status != Some(2) && found.contains("\"findings\": []"), "{file}: {found} {}", stderr(&check));
    }
}
