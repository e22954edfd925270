//! What the binary says of its settings.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The help of a command, each option in one line.
fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_podgate")).args(command).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// The environment variables that a command reads.
pub(crate) fn variables(command: &[&str]) -> BTreeSet<String> {
    let text = help(command);
    let names = text.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next());
    names.filter(|name| name.starts_with("PODGATE_")).map(str::to_owned).collect()
}

/// The defaults of a command's options, by the environment variable that changes them.
pub(crate) fn defaults(command: &[&str]) -> BTreeMap<String, String> {
    let text = help(command);
    let paragraphs = text.split("[env: ").skip(1).filter_map(|rest| {
        let name = rest.split('=').next()?;
        let told = rest.split_once("[default: ")?.1.split('\n').next()?;
        let default = told.split("] [").next()?.trim_end_matches(']');
        Some((name.to_owned(), default.to_owned()))
    });
    paragraphs.collect()
}
