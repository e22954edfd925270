//! Findings in the XML that JUnit's runners write: a suite for each file, a case for each finding. A note is no failure,
//! and what is ignored is skipped.

use std::io::{self, Write};

use podgate_judge::check::Severity;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::Entry;

/// The findings, ended.
pub(super) fn render(entries: &[Entry], ignored: &[Entry]) -> anyhow::Result<String> {
    let mut all: Vec<_> = entries.iter().chain(ignored).collect();
    all.sort_by(|one, other| one.file.cmp(&other.file));
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element("testsuites").write_inner_content(|writer| {
        if all.is_empty() {
            return write_suite(writer, &[]);
        }
        all.chunk_by(|one, other| one.file == other.file).try_for_each(|suite| write_suite(writer, suite))
    })?;
    Ok(String::from_utf8(writer.into_inner())? + "\n")
}

fn is_failure(entry: &Entry) -> bool {
    entry.ignored.is_none() && entry.severity > Severity::Note
}

fn write_suite<W: Write>(writer: &mut Writer<W>, entries: &[&Entry]) -> io::Result<()> {
    let file = entries.first().and_then(|entry| entry.file.as_deref()).unwrap_or("podgate check");
    let count = |fits: fn(&Entry) -> bool| entries.iter().filter(|entry| fits(entry)).count().to_string();
    let suite = writer.create_element("testsuite").with_attributes([
        ("name", clean(file).as_str()),
        ("tests", entries.len().max(1).to_string().as_str()),
        ("failures", count(is_failure).as_str()),
        ("errors", "0"),
        ("skipped", count(|entry| entry.ignored.is_some()).as_str()),
    ]);
    suite.write_inner_content(|writer| {
        if entries.is_empty() {
            let case =
                writer.create_element("testcase").with_attributes([("name", "nothing found"), ("classname", file)]);
            case.write_empty()?;
        }
        entries.iter().try_for_each(|entry| write_case(writer, file, entry))
    })?;
    Ok(())
}

fn write_case<W: Write>(writer: &mut Writer<W>, file: &str, entry: &Entry) -> io::Result<()> {
    let parts = [Some(entry.rule), entry.object.as_deref(), entry.field.as_deref()];
    let name = clean(&parts.into_iter().flatten().collect::<Vec<_>>().join(": "));
    let case =
        writer.create_element("testcase").with_attributes([("name", name.as_str()), ("classname", &clean(file))]);
    case.write_inner_content(|writer| {
        if let Some(reason) = &entry.ignored {
            writer.create_element("skipped").with_attribute(("message", clean(reason).as_str())).write_empty()?;
            return Ok(());
        }
        let what = if is_failure(entry) { "failure" } else { "system-out" };
        let element = writer.create_element(what);
        let element = if is_failure(entry) {
            element.with_attributes([("message", clean(&entry.why).as_str()), ("type", entry.severity.as_str())])
        } else {
            element
        };
        element.write_text_content(BytesText::new(&clean(&text(entry))))?;
        Ok(())
    })?;
    Ok(())
}

fn text(entry: &Entry) -> String {
    let line = entry.line.map(|line| format!("line {line}"));
    let instead = entry.instead.as_ref().map(|instead| format!("instead: {instead}"));
    let parts = [line, Some(format!("why: {}", entry.why)), instead, entry.yaml.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Without the characters that XML has no way to write.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}")
}
