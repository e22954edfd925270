//! Results in the XML that JUnit's runners write and continuous integration reads: a suite for each file of expectations.

use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Outcome, text};

/// The results, ended.
pub(super) fn render(outcomes: &[Outcome]) -> anyhow::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = writer.create_element("testsuites");
    suites.write_inner_content(|writer| {
        for suite in outcomes.chunk_by(|one, other| one.case.file == other.case.file) {
            write_suite(writer, suite)?;
        }
        Ok(())
    })?;
    Ok(String::from_utf8(writer.into_inner())? + "\n")
}

fn write_suite<W: Write>(writer: &mut Writer<W>, outcomes: &[Outcome]) -> io::Result<()> {
    let Some(first) = outcomes.first() else { return Ok(()) };
    let failures = outcomes.iter().filter(|outcome| !outcome.judgement.is_met()).count();
    let suite = writer.create_element("testsuite").with_attributes([
        ("name", clean(&first.case.file.display().to_string()).as_str()),
        ("tests", outcomes.len().to_string().as_str()),
        ("failures", failures.to_string().as_str()),
        ("errors", "0"),
    ]);
    suite.write_inner_content(|writer| outcomes.iter().try_for_each(|outcome| write_case(writer, outcome)))?;
    Ok(())
}

fn write_case<W: Write>(writer: &mut Writer<W>, outcome: &Outcome) -> io::Result<()> {
    let case = &outcome.case;
    let (name, class) = (clean(&case.name), clean(&case.file.display().to_string()));
    let element =
        writer.create_element("testcase").with_attributes([("name", name.as_str()), ("classname", class.as_str())]);
    if outcome.judgement.is_met() {
        element.write_empty()?;
        return Ok(());
    }
    element.write_inner_content(|writer| {
        let message = format!("expected {}", case.expectation.expected.as_str());
        let failure = writer.create_element("failure").with_attribute(("message", message.as_str()));
        failure.write_text_content(BytesText::new(&clean(&text::reasons(outcome))))?;
        Ok(())
    })?;
    Ok(())
}

/// Without the characters that XML has no way to write.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}")
}
