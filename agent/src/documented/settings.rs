//! docs/settings.md.

use std::collections::BTreeSet;

use clap::{Arg, Command, CommandFactory};
use podgate_common::map;
use podgate_policy::tables::Table;

use super::{code, read, table};
use crate::cli::Cli;

const DOCUMENT: &str = "docs/settings.md";

/// One row: flags, variables, values, default.
type Row = (Vec<String>, Vec<String>, Vec<String>, String);

#[test]
fn every_flag_of_what_runs_on_a_node_is_documented_with_its_variable_values_and_default() {
    let (commands, document) = (with_variables(), read(DOCUMENT));
    let headings: Vec<_> = document.lines().filter(|line| line.starts_with("## `")).collect();
    assert_eq!(headings, commands.iter().map(|(heading, _)| heading.as_str()).collect::<Vec<_>>());
    for (heading, command) in commands {
        let rows: Vec<Row> = table(&document, &heading).iter().map(|cells| documented(cells)).collect();
        let arguments: Vec<Row> = command
            .get_arguments()
            .filter(|argument| !is_help(argument) && !argument.is_hide_set())
            .map(defined)
            .collect();
        assert_eq!(rows, arguments, "{heading}");
    }
}

#[test]
fn every_table_is_documented_with_its_entries() {
    let document = read(DOCUMENT);
    let rows = table(&document, "## Tables");
    let documented: Vec<(String, u32)> = rows
        .iter()
        .flat_map(|cells| {
            let entries = cells[1].trim_end_matches(", fixed").parse().unwrap();
            code(cells[0]).into_iter().map(move |name| (name, entries))
        })
        .collect();
    let made: Vec<_> = map::ALL.iter().map(|map| (map.name.to_lowercase(), map.entries)).collect();
    assert_eq!(documented, made);
}

/// The status and the metrics name nothing that the page lacks.
#[test]
fn every_limit_of_the_planner_is_documented() {
    let document = read(DOCUMENT);
    let names = |heading: &str| -> BTreeSet<String> {
        table(&document, heading).iter().flat_map(|cells| code(cells[0])).collect()
    };
    let planned = Table::ALL.map(|table| table.as_str().to_owned());
    let other: Vec<_> = planned.into_iter().filter(|name| !names("## Tables").contains(name)).collect();
    assert_eq!(names("### Limits that are no table"), other.into_iter().collect());
}

/// The commands with a setting that is a variable too, under their headings.
fn with_variables() -> Vec<(String, Command)> {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    collect(&command, "podgate", &mut found);
    found
}

fn collect(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
    if command.get_arguments().any(|argument| argument.get_env().is_some()) {
        found.push((format!("## `{name}`"), command.clone()));
    }
    for inner in command.get_subcommands() {
        collect(inner, &format!("{name} {}", inner.get_name()), found);
    }
}

fn is_help(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version")
}

fn documented(cells: &[&str]) -> Row {
    (code(cells[0]), code(cells[1]), code(cells[2]), cells[3].trim_matches('`').to_owned())
}

fn defined(argument: &Arg) -> Row {
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let variable = argument.get_env().map(|name| name.to_str().unwrap().to_owned());
    let other = in_brackets(argument, "[env: also ");
    (
        short.into_iter().chain(long).collect(),
        variable.into_iter().chain(other).collect(),
        values(argument),
        default(argument),
    )
}

fn values(argument: &Arg) -> Vec<String> {
    if !argument.get_action().takes_values() {
        return Vec::new();
    }
    let possible = argument.get_possible_values();
    if possible.is_empty() || argument.is_hide_possible_values_set() {
        return argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    }
    possible.iter().map(|value| value.get_name().to_owned()).collect()
}

/// The default that is defined, else the one that the help tells of; a flag without a value has none to tell of.
fn default(argument: &Arg) -> String {
    let takes_values = argument.get_action().takes_values();
    let defined = argument.get_default_values().first().filter(|_| takes_values);
    let defined = defined.map(|value| value.to_str().unwrap().to_owned());
    defined.or_else(|| in_brackets(argument, "[default: ")).unwrap_or_else(|| "–".to_owned())
}

/// What the help says in such brackets.
fn in_brackets(argument: &Arg, opening: &str) -> Option<String> {
    let help = argument.get_help()?.to_string();
    let (_, rest) = help.split_once(opening)?;
    Some(rest.split_once(']')?.0.to_owned())
}
