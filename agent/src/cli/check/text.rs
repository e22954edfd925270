//! Findings as text.

use std::fmt::Write;

use podgate_engine::printable;
use podgate_judge::check::{Severity, Unjudged};

use super::Entry;

/// The findings, each with what to do, and how many there are; several lines, each ended.
pub(super) fn render(entries: &[Entry], ignored: usize, unjudged: &[Unjudged]) -> String {
    let mut text: String = entries.iter().map(finding).collect();
    for unjudged in unjudged {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "not judged: {unjudged}");
    }
    let ignored = if ignored == 0 { String::new() } else { format!(", {ignored} ignored") };
    text + &summary(entries) + &ignored + "\n"
}

fn finding(entry: &Entry) -> String {
    let what = [&entry.object, &entry.field].into_iter().flatten().map(|part| format!(": {part}")).collect::<String>();
    let mut text = format!("{} {}{what}\n", entry.severity, entry.rule);
    let place = [
        entry.file.clone(),
        entry.document.map(|document| format!("document {document}")),
        entry.line.map(|line| format!("line {line}")),
    ];
    let place = place.into_iter().flatten().reduce(|place, part| format!("{place}, {part}"));
    let place = place.map(|place| format!("in {place}"));
    let instead = entry.instead.as_ref().map(|instead| format!("instead: {instead}"));
    for line in [place, Some(format!("why: {}", entry.why)), instead].into_iter().flatten() {
        // A name or value from a hostile file may hold anything; each line stays one. Writing into a String cannot fail.
        let _ = writeln!(text, "  {}", printable(&line));
    }
    for line in entry.yaml.iter().flat_map(|yaml| yaml.lines()) {
        let _ = writeln!(text, "    {}", printable(line));
    }
    text
}

/// How many findings there are.
pub(super) fn summary(entries: &[Entry]) -> String {
    let count = |severity| entries.iter().filter(|entry| entry.severity == severity).count();
    let counts = Severity::ALL.into_iter().rev().filter_map(|severity| match count(severity) {
        0 => None,
        1 => Some(format!("1 {severity}")),
        count => Some(format!("{count} {severity}s")),
    });
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_a_cluster_is_in_no_file() {
        let entry = Entry {
            file: None,
            document: None,
            line: None,
            object: Some("NetworkPolicy shop/p".to_owned()),
            field: None,
            rule: "rule-shadowed",
            severity: Severity::Warning,
            why: "so".to_owned(),
            instead: None,
            yaml: None,
            ignored: None,
            order: 0,
        };
        assert_eq!(finding(&entry), "warning rule-shadowed: NetworkPolicy shop/p\n  why: so\n");
    }
}
