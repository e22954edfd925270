//! Findings as workflow commands of GitHub Actions, which shows them at the lines of a change.
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>

use std::path::{Component, Path};

use podgate_engine::printable;
use podgate_judge::check::Severity;

use super::{Entry, text};

/// A command for each finding, and how many there are.
pub(super) fn render(entries: &[Entry]) -> String {
    let commands: String = entries.iter().map(command).collect();
    commands + &text::summary(entries) + "\n"
}

fn command(entry: &Entry) -> String {
    let level = match entry.severity {
        Severity::Note => "notice",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let place = entry.file.as_ref().map(|file| (file, entry.line.unwrap_or(1)));
    let place = place.map(|(file, line)| format!("file={},line={line},", property(&path(file)))).unwrap_or_default();
    let names: Vec<_> = [&entry.object, &entry.field].into_iter().flatten().map(String::as_str).collect();
    let parts = [Some(names.join(": ")).filter(|names| !names.is_empty()), Some(entry.why.clone())];
    let mut message: String = parts.into_iter().flatten().collect::<Vec<_>>().join(": ");
    if let Some(instead) = &entry.instead {
        message += &format!("\ninstead: {instead}");
    }
    if let Some(yaml) = &entry.yaml {
        message += &format!("\n{yaml}");
    }
    format!("::{level} {place}title={}::{}\n", property(entry.rule), data(message.trim_end()))
}

/// As GitHub names files of a repository: without what means "here".
fn path(file: &str) -> String {
    let parts = Path::new(file).components().filter(|part| !matches!(part, Component::CurDir));
    parts.collect::<std::path::PathBuf>().display().to_string()
}

/// Escaped as the runner reads it; a file may hold anything, and no text may begin another command.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    printable(&text)
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_and_no_text_ends_a_command_or_begins_another() {
        assert_eq!(property("a,b:c%\n::error::x"), "a%2Cb%3Ac%25%0A%3A%3Aerror%3A%3Ax");
        assert_eq!(data("why: 100 %\r\n::error::x"), "why: 100 %25%0D%0A::error::x");
    }

    #[test]
    fn paths_are_those_of_the_repository() {
        assert_eq!(["./a/b.yaml", "a/./b.yaml", "/x/b.yaml"].map(path), ["a/b.yaml", "a/b.yaml", "/x/b.yaml"]);
    }
}
