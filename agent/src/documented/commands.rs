//! The command lines in the documents.

use clap::{Command, CommandFactory};

use super::links::documents;
use crate::cli::Cli;

#[test]
fn every_command_line_is_one_that_podgate_understands() {
    let mut root = Cli::command();
    root.build();
    let documents = documents();
    let lines: Vec<_> = documents.values().flat_map(|text| text.lines().filter_map(command_line)).collect();
    assert!(lines.len() > 40, "{}", lines.len());
    let wrong: Vec<_> = lines.iter().filter(|line| !understands(&root, line)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What follows `podgate` where a line is a command, without a comment behind it.
fn command_line(line: &str) -> Option<&str> {
    let code = line.strip_prefix("$ ").or_else(|| line.strip_prefix("    "))?;
    let rest = code.trim_start().strip_prefix("podgate ")?;
    rest.split(" #").next()
}

/// Whether there is such a command with such flags.
fn understands(root: &Command, line: &str) -> bool {
    let mut words = line.split_whitespace().peekable();
    let mut command = root;
    while let Some(inner) = words.peek().and_then(|word| command.find_subcommand(word)) {
        command = inner;
        words.next();
    }
    !std::ptr::eq(command, root) && words.all(|word| is_known(command, word))
}

/// Whether a word is a flag of a command, or none at all.
fn is_known(command: &Command, word: &str) -> bool {
    let word = word.trim_matches(['[', ']']).split('=').next().unwrap_or_default();
    let mut arguments = command.get_arguments();
    match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(long), _) => arguments.any(|argument| argument.get_long() == Some(long)),
        (None, Some(short)) => {
            arguments.any(|argument| argument.get_short().map(String::from).as_deref() == Some(short))
        }
        (None, None) => true,
    }
}

#[test]
fn a_command_line_that_is_none_is_noticed() {
    let mut root = Cli::command();
    root.build();
    let cases = [
        ("    podgate cni install --boot-grace=60   # soon", true),
        ("$ podgate explain -f . --from a/b --to [::1] [--services]", false),
        ("    podgate matrix -f DIR [--services]", true),
        ("    podgate statuses", false),
        ("    podgate status -x", false),
    ];
    for (line, expected) in cases {
        assert_eq!(understands(&root, command_line(line).unwrap()), expected, "{line}");
    }
    assert_eq!(["podgate is a word here", "    cargo xtask demo"].map(command_line), [None, None]);
}
