//! Documents of a file, told apart before anything is parsed, so that a broken one leaves the others readable.

/// A document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Its text, its `---` included.
    pub(super) text: &'a str,
    /// Lines of the file before it.
    pub(super) lines_before: u64,
}

/// The documents of a YAML file that hold more than comments. A line that begins with `---` or `...` always ends one: YAML allows
/// it nowhere else, not even within text.
pub(super) fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let mut rest = text;
    let mut lines_before = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (length, lines) = first_document(rest);
        let (text, remaining) = rest.split_at(length);
        let document = Document { text, lines_before };
        (rest, lines_before) = (remaining, lines_before + lines);
        Some(document)
    })
    .filter(|document| has_content(document.text))
}

/// Bytes and lines of the first document.
fn first_document(text: &str) -> (usize, u64) {
    let mut length = 0;
    for (number, line) in (0..).zip(text.split_inclusive('\n')) {
        if number > 0 && is_mark(line, "---") {
            return (length, number);
        }
        length += line.len();
        if is_mark(line, "...") {
            return (length, number + 1);
        }
    }
    (length, text.split_inclusive('\n').count() as u64)
}

fn is_mark(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

impl Document<'_> {
    /// The line of the file, counted from 1, on which its content begins.
    pub(super) fn first_line(&self) -> u64 {
        let within = (1..).zip(self.text.lines()).find(|(_, line)| is_content(line)).map_or(1, |(number, _)| number);
        self.lines_before + within
    }

    /// Its text behind `---` and empty lines if it begins with a brace, so that it may be JSON, and the lines of the file
    /// before that.
    pub(super) fn text_as_json(&self) -> Option<(&str, u64)> {
        let marked = is_mark(self.text.split_inclusive('\n').next().unwrap_or_default(), "---");
        let text = if marked { &self.text["---".len()..] } else { self.text };
        let text = text.trim_start();
        let before = &self.text[..self.text.len() - text.len()];
        text.starts_with('{').then(|| (text, self.lines_before + before.matches('\n').count() as u64))
    }
}

fn has_content(text: &str) -> bool {
    text.lines().any(is_content)
}

fn is_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !line.is_empty() && !line.starts_with('#') && !line.starts_with('%') && line != "..."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(&str, u64)> {
        documents(text).map(|document| (document.text, document.lines_before)).collect()
    }

    #[test]
    fn documents_are_told_apart_at_their_marks() {
        assert_eq!(split("a: 1\n---\nb: 2\n---\nc: 3"), [("a: 1\n", 0), ("---\nb: 2\n", 1), ("---\nc: 3", 3)]);
        assert_eq!(split("a: 1\r\n---\r\nb: 2\r\n"), [("a: 1\r\n", 0), ("---\r\nb: 2\r\n", 1)]);
        assert_eq!(split("--- {a: 1}\n--- {b: 2}\n"), [("--- {a: 1}\n", 0), ("--- {b: 2}\n", 1)]);
        assert_eq!(split("a: 1\n...\nb: 2\n"), [("a: 1\n...\n", 0), ("b: 2\n", 2)]);
    }

    #[test]
    fn documents_of_comments_are_none() {
        assert_eq!(split("# nothing\n---\n---\n# here\n\n---\n%YAML 1.2\n"), []);
        assert_eq!(split(""), []);
        assert_eq!(split("# licence\n---\na: 1\n---\n"), [("---\na: 1\n", 1)]);
    }

    #[test]
    fn content_begins_behind_marks_and_comments() {
        let lines = |text| documents(text).map(|document| document.first_line()).collect::<Vec<_>>();
        assert_eq!(lines("# licence\n\na: 1\n---\n# two\nb: 2\n--- {c: 3}\n"), [3, 6, 7]);
    }

    #[test]
    fn what_begins_with_a_brace_may_be_json() {
        let as_json = |text| documents(text).map(|it| it.text_as_json().map(|(text, lines)| (text.to_owned(), lines)));
        let found: Vec<_> = as_json("# a\n---\n\n {\"b\": 1}\n---\nc: 1\n--- {d: 1}\n").collect();
        let expected = [Some(("{\"b\": 1}\n".to_owned(), 3)), None, Some(("{d: 1}\n".to_owned(), 6))];
        assert_eq!(found, expected);
    }

    #[test]
    fn dashes_within_a_document_do_not_end_it() {
        for text in ["a: |\n  ---\n  b\n", "- ---\n", "----\n", "a: 1 ---\n", "---a: 1\n"] {
            assert_eq!(split(text), [(text, 0)], "{text}");
        }
    }
}
