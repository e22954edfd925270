//! The messages of docs/troubleshooting.md.

use std::fs;
use std::path::Path;

use super::{cells, code, read, root};

const DOCUMENT: &str = "docs/troubleshooting.md";

/// Fragments as short as this would be found anywhere.
const TELLING: usize = 8;

#[test]
fn every_message_that_is_told_of_is_one_of_the_code() {
    let document = read(DOCUMENT);
    let messages = messages(&document);
    assert!(messages.len() > 40, "{}", messages.len());
    let sources = sources(&root().join("agent"));
    for message in messages {
        let fragments: Vec<_> = message.split(['…', '‹', '›']).filter(|fragment| fragment.len() >= TELLING).collect();
        assert!(!fragments.is_empty(), "{message}: too little to be found");
        for fragment in fragments {
            assert!(sources.contains(fragment), "{message}: nothing says {fragment:?}");
        }
    }
}

/// The first cells of the tables of messages.
fn messages(document: &str) -> Vec<String> {
    let tables = document.split("\n| message |").skip(1);
    let rows = tables.flat_map(|table| table.lines().skip(2).take_while(|row| row.starts_with('|')));
    rows.flat_map(|row| code(cells(row)[0])).collect()
}

/// All source code below a directory, as one text in which strings that go on in the next line are whole.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    text.split("\\\n").map(str::trim_start).collect()
}
