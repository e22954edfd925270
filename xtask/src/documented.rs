//! The tasks that the workflows and CONTRIBUTING.md name.

use std::collections::BTreeSet;
use std::fs;

use clap::{Command, CommandFactory};

use crate::Arguments;
use crate::steps::{STEPS, Step};
use crate::workspace::root;

const WORKFLOWS: &str = ".github/workflows";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// What follows `cargo xtask` in a text, up to the end of the command.
fn calls(text: &str) -> impl Iterator<Item = &str> {
    let ends = ['\n', '`', '|', '&', ';', '#'];
    let calls = text.split("cargo xtask ").skip(1).filter_map(move |rest| rest.split(ends).next());
    // "cargo xtask …" names none.
    calls.filter(|call| call.starts_with(|character: char| character.is_ascii_lowercase()))
}

/// Whether there is such a task with such flags.
fn understands(tasks: &Command, call: &str) -> bool {
    let mut words = call.split_whitespace();
    let Some(task) = words.next().and_then(|word| tasks.find_subcommand(word)) else { return false };
    let mut flags = words.filter_map(|word| word.strip_prefix("--"));
    flags.all(|flag| task.get_arguments().any(|argument| argument.get_long() == Some(flag)))
}

#[test]
fn every_task_that_is_named_exists() {
    let tasks = Arguments::command();
    let workflows = fs::read_dir(root().join(WORKFLOWS)).unwrap();
    let workflows = workflows.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let texts: Vec<String> = workflows.chain([read("CONTRIBUTING.md")]).collect();
    let calls: Vec<&str> = texts.iter().flat_map(|text| calls(text)).collect();
    assert!(calls.len() > 20, "{calls:?}");
    let wrong: Vec<&&str> = calls.iter().filter(|call| !understands(&tasks, call)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn continuous_integration_runs_every_check() {
    let workflow = read(&format!("{WORKFLOWS}/ci.yml"));
    let run: BTreeSet<&str> = calls(&workflow).filter_map(|call| call.split_whitespace().next()).collect();
    let missing: Vec<&str> = STEPS.into_iter().map(Step::name).filter(|name| !run.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_task_that_does_not_exist_is_noticed() {
    let tasks = Arguments::command();
    let cases = [
        ("cargo xtask fmt\n", true),
        ("`cargo xtask test-kernels --all` and more", true),
        ("cargo xtask image --name \"$IMAGE\" | tee log", true),
        ("cargo xtask formatting", false),
        ("cargo xtask test-kernels --every", false),
    ];
    for (text, expected) in cases {
        let found: Vec<bool> = calls(text).map(|call| understands(&tasks, call)).collect();
        assert_eq!(found, [expected], "{text}");
    }
    assert_eq!(calls("`cargo xtask …`").count(), 0);
}
