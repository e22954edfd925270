//! What `kubectl podgate …` may go on with: kubectl runs a program `kubectl_complete-podgate` with the words so far and reads
//! lines as its own command line library (cobra) writes them, the last of which is a number that says what else may come.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command};

/// The name under which kubectl looks for it.
const NAME: &str = "kubectl_complete-podgate";

/// cobra's `ShellCompDirectiveDefault`: where nothing is offered, the shell offers files.
const OR_FILES: u8 = 0;
/// cobra's `ShellCompDirectiveNoFileComp`.
const NOTHING_ELSE: u8 = 4;

/// Whether a process that was started under this name is to complete.
pub(super) fn is_asked(started_as: Option<&OsStr>) -> bool {
    started_as.is_some_and(|path| Path::new(path).file_name().is_some_and(|name| name == NAME))
}

/// The answer for these words, the last of which is the one that is being written.
pub(super) fn answer(root: &Command, words: &[String]) -> String {
    let (begun, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let (offered, directive) = Cursor::after(root, before).offers(begun);
    let fitting = offered.into_iter().filter(|(word, _)| word.starts_with(begun));
    let mut text = fitting.fold(String::new(), |mut text, (word, about)| {
        // Writing to a string does not fail.
        let _ = if about.is_empty() { writeln!(text, "{word}") } else { writeln!(text, "{word}\t{about}") };
        text
    });
    text += &format!(":{directive}\n");
    text
}

/// Where in the command line the next word stands.
struct Cursor<'c> {
    command: &'c Command,
    /// The option whose value the next word is.
    value_of: Option<&'c Arg>,
}

impl<'c> Cursor<'c> {
    fn after(root: &'c Command, words: &[String]) -> Self {
        let mut place = Self { command: root, value_of: None };
        for word in words {
            if place.value_of.take().is_some() {
                continue;
            }
            if let Some(option) = place.option(word) {
                place.value_of = option.get_action().takes_values().then_some(option);
            } else if let Some(command) = place.command.find_subcommand(word) {
                place.command = command;
            }
        }
        place
    }

    /// The option of this name; with a value behind `=` it is none that waits for one.
    fn option(&self, word: &str) -> Option<&'c Arg> {
        let named = |option: &&Arg| match word.strip_prefix("--") {
            Some(long) => option.get_long() == Some(long),
            None => word.len() == 2 && word.starts_with('-') && word.chars().nth(1) == option.get_short(),
        };
        self.command.get_arguments().find(named)
    }

    /// Words and what they mean, and what else may come.
    fn offers(&self, begun: &str) -> (Vec<(String, String)>, u8) {
        if let Some(option) = self.value_of {
            return values(option);
        }
        if begun.starts_with('-') {
            let options = self.command.get_arguments().filter(|option| !option.is_hide_set());
            let offer = |option: &Arg| Some((format!("--{}", option.get_long()?), first_line(option.get_help())));
            return (options.filter_map(offer).collect(), NOTHING_ELSE);
        }
        if self.command.has_subcommands() {
            let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
            let offer = |command: &Command| (command.get_name().to_owned(), first_line(command.get_about()));
            return (commands.map(offer).collect(), NOTHING_ELSE);
        }
        self.command.get_positionals().next().map_or((vec![], NOTHING_ELSE), values)
    }
}

/// The values of an option that has only some, else files.
fn values(option: &Arg) -> (Vec<(String, String)>, u8) {
    let values = option.get_possible_values();
    let directive = if values.is_empty() { OR_FILES } else { NOTHING_ELSE };
    (values.iter().map(|value| (value.get_name().to_owned(), first_line(value.get_help()))).collect(), directive)
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(|text| text.to_string().lines().next().unwrap_or_default().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that are offered, without their meaning, and the directive.
    fn offered(words: &[&str]) -> (Vec<String>, String) {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        let text = answer(&crate::cli::command(None), &words);
        let mut lines: Vec<_> = text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
        let directive = lines.pop().unwrap();
        (lines, directive)
    }

    #[test]
    fn commands_options_and_values_are_offered_where_they_may_stand() {
        let cases = [
            (&["ch"][..], &["check"][..], ":4"),
            (&["cni", ""], &["install", "keep", "uninstall"], ":4"),
            (&["check", "--fail"], &["--fail-on"], ":4"),
            (&["check", "--fail-on", ""], &["error", "warning", "note", "none"], ":4"),
            (&["check", "-f", "dir", "-o", "s"], &["sarif"], ":4"),
            (&["check", "-f", "check"], &[], ":0"),
            (&["test", "-o", "junit", ""], &[], ":0"),
            (&["completions", "b"], &["bash"], ":4"),
            (&["flows", "--follow", "--verdict", "would"], &["would-deny"], ":4"),
            (&["status", ""], &[], ":4"),
        ];
        for (words, expected, directive) in cases {
            let expected: Vec<_> = expected.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(offered(words), (expected, directive.to_owned()), "{words:?}");
        }
        assert!(offered(&[""]).0.contains(&"explain".to_owned()));
    }

    #[test]
    fn what_is_offered_says_what_it_means() {
        let text = answer(&crate::cli::command(None), &["chec".to_owned()]);
        assert_eq!(text, "check\tFind probable mistakes in policies\n:4\n");
    }

    #[test]
    fn only_under_its_name_it_is_asked() {
        let asked = |name| is_asked(Some(OsStr::new(name)));
        assert!(asked("/usr/local/bin/kubectl_complete-podgate") && !asked("kubectl-podgate") && !is_asked(None));
    }
}
