//! Checks as people read them: a line each, and what to do below it, no wider than a terminal.

use podgate_engine::printable;

use super::{Check, State};

/// Columns of a terminal.
const WIDTH: usize = 80;

/// The checks of one subject. `all`: also those that are as they should be.
pub(crate) fn render(subject: &str, checks: &[Check], all: bool) -> String {
    let names = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut out = format!("{}: {}\n", printable(subject), summary(checks));
    for check in checks.iter().filter(|check| all || check.state != State::Ok) {
        let head = format!("  {:<11}  {:<names$}  ", check.state.as_str(), printable(&check.name));
        let indent = head.chars().count();
        out.push_str(&wrapped(&head, &check.finding, indent));
        if let Some(remedy) = &check.remedy {
            out.push_str(&wrapped(&format!("{}-> ", " ".repeat(indent)), remedy, indent + 3));
        }
    }
    out
}

fn summary(checks: &[Check]) -> String {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let told = [(State::Fault, "fault"), (State::Warning, "warning")].map(|(state, noun)| match count(state) {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    });
    let not_checked = count(State::NotChecked);
    let checks = if checks.len() == 1 { "1 check".to_owned() } else { format!("{} checks", checks.len()) };
    format!("{checks}, {}, {not_checked} not checked", told.join(", "))
}

/// Words in lines that are no wider than a terminal if the words aren't. The first line has a head of its own.
fn wrapped(head: &str, text: &str, indent: usize) -> String {
    let printable = printable(&text.replace(|c: char| c.is_control(), " "));
    let (mut out, mut line) = (String::new(), head.to_owned());
    let mut is_begun = false;
    for word in printable.split_whitespace() {
        let is_full = line.chars().count() + usize::from(is_begun) + word.chars().count() > WIDTH;
        if is_begun && is_full {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(indent);
        } else if is_begun {
            line.push(' ');
        }
        line.push_str(word);
        is_begun = true;
    }
    out + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_names_findings_and_remedies_are_aligned_and_fit_a_terminal() {
        let checks = [
            Check::ok("kernel", "Linux 6.12"),
            Check::fault("bpf-file-system", "word ".repeat(15), "mount it"),
            Check::not_checked("clock", "not\ntold"),
        ];
        let expected = "\
node-1: 3 checks, 1 fault, 0 warnings, 1 not checked
  ok           kernel           Linux 6.12
  FAULT        bpf-file-system  word word word word word word word word word
                                word word word word word word
                                -> mount it
  not checked  clock            not told
";
        assert_eq!(render("node-1", &checks, true), expected);
        assert!(expected.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(!render("node-1", &checks, false).contains("kernel"));
    }
}
