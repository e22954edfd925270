//! What `docs/` says of settings, metrics and reasons is what the code has: each table is compared with it, both ways.

mod commands;
mod links;
mod messages;
mod metrics;
mod reasons;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

/// The text of a file of the repository. Read when the test runs, so that a change of a document compiles nothing anew.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rows of the first table below a heading, each as its cells, without the head.
fn table<'d>(document: &'d str, heading: &str) -> Vec<Vec<&'d str>> {
    let section = section(document, heading);
    let lines = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows: Vec<_> = lines.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "there is no table below {heading}");
    rows
}

/// What follows a heading, up to the next of its level or a higher one.
fn section<'d>(document: &'d str, heading: &str) -> &'d str {
    let level = heading.split(' ').next().unwrap_or_default();
    let line = format!("{heading}\n");
    let below = document.strip_prefix(&line).or_else(|| Some(document.split_once(&format!("\n{line}"))?.1));
    let rest = below.unwrap_or_else(|| panic!("no heading {heading}"));
    let ends = (1..=level.len()).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))));
    &rest[..ends.min().unwrap_or(rest.len())]
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// What stands between backticks in a cell.
fn code(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn a_table_is_read_as_it_stands_below_its_heading() {
    let document =
        "# A\n\n## B\n\n| x | y |\n|---|---|\n| `1`, `2` | – |\n| 3 | z |\n\n| 4 | 5 |\n\n## C\n\n|---|\n| 6 |\n";
    assert_eq!(table(document, "## B"), [vec!["`1`, `2`", "–"], vec!["3", "z"]]);
    assert_eq!(table(document, "## C"), [vec!["6"]]);
    assert_eq!((code("`1`, `2`"), code("–")), (vec!["1".to_owned(), "2".to_owned()], vec![]));
}
