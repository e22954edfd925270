//! One YAML document as kubectl reads it, within limits.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Encoding, Error, EventData, Parser, ScalarStyle};
use serde_json::Value;

use super::scalar;
use super::tree::{Builder, Memory, Take, Tree};

/// Nodes that aliases may add to a document: what kubectl's parser grants a small one.
const MAX_REPLAYED: usize = 400_000;
/// Lists and mappings in each other. The objects that podgate reads need fewer than 20, schemas in custom resource definitions
/// more.
const MAX_DEPTH: usize = 256;

/// Reads one document that begins after `lines_before` lines of its file. The error says what is wrong and where.
///
/// The parser is a port of libyaml, as kubectl's is. The limits leave room for every real manifest and keep memory and time in
/// proportion to the text: aliases can't expand to more than [`MAX_REPLAYED`] nodes, and nothing nests deeper than [`MAX_DEPTH`].
pub(super) fn read(text: &str, lines_before: u64, take: Option<Take<'_>>) -> Result<Tree, String> {
    let mut parser = Parser::new();
    // All of a text at once would be decoded at once.
    parser.set_input(BufReader::new(text.as_bytes()));
    parser.set_encoding(Encoding::Utf8);
    let mut composer = Composer::new(Builder::new(Memory::for_text(text.len()), take));
    loop {
        // It gives up at some texts, such as a tag before a comma. After that nobody asks it again.
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse()));
        let parsed = parsed.map_err(|_| "the YAML can't be read: expected simpler tags".to_owned())?;
        let event = parsed.map_err(|error| told(&error, text, lines_before))?;
        if event.data == EventData::StreamEnd {
            return Ok(composer.builder.finish());
        }
        let line = event.start_mark.line + 1 + lines_before;
        composer.event(event.data).map_err(|wrong| format!("line {line}: {wrong}"))?;
    }
}

/// An error with the line of the file.
fn told(error: &Error, text: &str, lines_before: u64) -> String {
    let Some(mark) = error.problem_mark() else {
        let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{85}') || !c.is_control();
        let line = text.lines().position(|line| !line.chars().all(allowed)).map(|line| line as u64 + 1 + lines_before);
        return line.map_or_else(|| error.problem().to_owned(), |line| format!("line {line}: {}", error.problem()));
    };
    let mut told = format!("line {} column {}: {}", mark.line + 1 + lines_before, mark.column + 1, error.problem());
    if let (Some(context), Some(mark)) = (error.context(), error.context_mark()) {
        told.push_str(&format!(" {context} from line {} on", mark.line + 1 + lines_before));
    }
    told
}

/// Makes values of the parser's events.
struct Composer<'a> {
    builder: Builder<'a>,
    /// The anchors of the collections that are open, the outermost first.
    open: Vec<Option<String>>,
    /// What anchors stand for; `None`: for something that is not complete.
    anchors: BTreeMap<String, Option<Value>>,
    /// How many nodes aliases have added.
    replayed: usize,
    /// Whether the value that comes next is merged into its mapping.
    merging: Vec<bool>,
}

impl<'a> Composer<'a> {
    fn new(builder: Builder<'a>) -> Self {
        Self { builder, open: vec![], anchors: BTreeMap::new(), replayed: 0, merging: vec![false] }
    }

    fn event(&mut self, event: EventData) -> Result<(), String> {
        match event {
            EventData::StreamStart { .. } | EventData::StreamEnd | EventData::DocumentEnd { .. } => Ok(()),
            EventData::DocumentStart { .. } if self.builder.is_complete() => {
                Err("more than one document: expected --- on a line of its own between them".to_owned())
            }
            EventData::DocumentStart { .. } => Ok(()),
            EventData::Alias { anchor } => self.alias(&anchor),
            EventData::Scalar { anchor, tag, value, style, .. } => {
                self.scalar(anchor, tag.as_deref(), value, style == ScalarStyle::Plain)
            }
            EventData::SequenceStart { anchor, .. } => {
                self.begin(anchor, |builder, is_anchored| builder.begin_list(is_anchored))
            }
            EventData::MappingStart { anchor, .. } => self.begin(anchor, |builder, _| builder.begin_mapping()),
            EventData::SequenceEnd | EventData::MappingEnd => self.end(),
        }
    }

    fn begin(
        &mut self,
        anchor: Option<String>,
        begin: impl FnOnce(&mut Builder<'a>, bool) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.builder.depth() >= MAX_DEPTH {
            return Err(too_deep());
        }
        if self.builder.wants_key() && self.merging.last() == Some(&false) {
            return Err("a key that is a list or a mapping: expected text".to_owned());
        }
        begin(&mut self.builder, anchor.is_some())?;
        if let Some(anchor) = &anchor {
            self.anchors.insert(anchor.clone(), None);
        }
        self.open.push(anchor);
        self.merging.push(false);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let anchor = self.open.pop().flatten();
        self.merging.pop();
        let Some((value, ended)) = self.builder.end() else { return Ok(()) };
        // One within it of the same name stands.
        if let Some(anchor) = anchor
            && self.anchors.get(&anchor) == Some(&None)
        {
            self.builder.memory.keep_value(&value)?;
            self.anchors.insert(anchor, Some(value.clone()));
        }
        if self.is_merged() {
            return self.builder.merge(value);
        }
        self.builder.put(value, ended);
        Ok(())
    }

    fn scalar(&mut self, anchor: Option<String>, tag: Option<&str>, text: String, plain: bool) -> Result<(), String> {
        if self.is_key() && scalar::merges(&text, tag, plain) {
            self.set_merging(true);
            return Ok(());
        }
        let value = scalar::value(text, tag, plain)?;
        if let Some(anchor) = anchor {
            self.builder.memory.keep_value(&value)?;
            self.anchors.insert(anchor, Some(value.clone()));
        }
        self.put(value)
    }

    fn alias(&mut self, anchor: &str) -> Result<(), String> {
        let value = match self.anchors.get(anchor) {
            None => return Err(format!("the alias *{anchor} stands for no anchor before it")),
            Some(None) => return Err(format!("the anchor &{anchor} contains itself: expected no recursive alias")),
            Some(Some(value)) => value,
        };
        self.replayed += nodes(value, MAX_REPLAYED);
        if self.replayed > MAX_REPLAYED {
            return Err(format!("alias *{anchor}: more than {MAX_REPLAYED} nodes by aliases: expected fewer"));
        }
        if self.builder.depth() + depth(value) > MAX_DEPTH {
            return Err(too_deep());
        }
        self.builder.memory.spend_value(value)?;
        let value = value.clone();
        self.put(value)
    }

    /// Puts a value that is not built from parts.
    fn put(&mut self, value: Value) -> Result<(), String> {
        if self.is_merged() {
            return self.builder.merge(value);
        }
        if self.is_key() {
            self.builder.key(scalar::key(value)?);
            return Ok(());
        }
        self.builder.scalar(value)
    }

    /// Whether a key comes next, and not what is merged.
    fn is_key(&self) -> bool {
        self.builder.wants_key() && self.merging.last() == Some(&false)
    }

    /// Whether what is complete now is merged; asked once.
    fn is_merged(&mut self) -> bool {
        let merged = self.merging.last() == Some(&true);
        self.set_merging(false);
        merged
    }

    fn set_merging(&mut self, merging: bool) {
        if let Some(last) = self.merging.last_mut() {
            *last = merging;
        }
    }
}

fn too_deep() -> String {
    format!("more than {MAX_DEPTH} lists and mappings in each other: expected fewer")
}

/// How many lists and mappings of a value are in each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
    }
}

/// How many nodes a value has, counted up to a limit.
fn nodes(value: &Value, limit: usize) -> usize {
    let within = |count: usize, value: &Value| if count > limit { count } else { count + nodes(value, limit - count) };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        Value::Array(items) => items.iter().fold(1, within),
        Value::Object(fields) => fields.values().fold(1, within),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        read(text, 0, None).expect(text).value
    }

    #[test]
    fn scalars_have_the_types_that_kubectl_gives_them() {
        assert_eq!(
            value(
                "{a: 80, b: '80', c: http, d: true, e: on, f: ~, g: , h: 2001-01-01, i: \"x\\ty\", j: 57e4321, k: 010}"
            ),
            json!({
                "a": 80, "b": "80", "c": "http", "d": true, "e": true, "f": null, "g": null, "h": "2001-01-01", "i": "x\ty",
                "j": "57e4321", "k": 8,
            })
        );
    }

    #[test]
    fn text_may_be_indented_and_broken_as_kubectl_takes_it() {
        assert_eq!(
            value("a:\n  b: '[\n    {\"c\": 1}\n  ]'\nd: \"one;\ntwo\"\n"),
            json!({"a": {"b": "[ {\"c\": 1} ]"}, "d": "one; two"})
        );
        assert_eq!(value("a: [\n\t\"b\",\n\t\"c\"\n]\nd: {\n\te: f\n}\n"), json!({"a": ["b", "c"], "d": {"e": "f"}}));
        assert_eq!(value("a:\tb\t\nc: 'd\n\te'\n"), json!({"a": "b", "c": "d e"}));
        assert_eq!(value("a: [\nb\n]\nc: {\nd: e\n}\n"), json!({"a": ["b"], "c": {"d": "e"}}));
    }

    #[test]
    fn keys_become_text() {
        assert_eq!(value("{1: a, on: b, ? c : d, 'e': f}"), json!({"1": "a", "true": "b", "c": "d", "e": "f"}));
        for text in ["{~: a}", "{[a]: b}", "? {a: b}\n: c\n"] {
            assert!(read(text, 0, None).unwrap_err().contains("a key that is"), "{text}");
        }
    }

    #[test]
    fn anchors_and_merge_keys_are_expanded() {
        assert_eq!(
            value("a: &a {app: web}\nb: *a\nc: {<<: *a, tier: front}\nd: &d x\n*d : [*d]\n"),
            json!({"a": {"app": "web"}, "b": {"app": "web"}, "c": {"app": "web", "tier": "front"}, "d": "x", "x": ["x"]})
        );
        assert_eq!(
            value("{<<: [{a: 1}, {a: 2, b: 3}], c: {<<: {d: 1}, d: 2}}"),
            json!({"a": 1, "b": 3, "c": {"d": 2}})
        );
        assert_eq!(value("{a: 1, <<: {a: 2}, '<<': 3}"), json!({"a": 2, "<<": 3}));
        assert_eq!(read("{<<: {a: 1}, a: 2}", 0, None).unwrap().repeated, Vec::<String>::new());
        assert!(read("<<: a\n", 0, None).is_err());
    }

    #[test]
    fn of_a_key_given_twice_the_last_counts_and_its_path_is_told() {
        let tree = read("spec:\n  ingress:\n  - from: [1]\n    from: [2]\n  ingress: []\n", 0, None).expect("YAML");
        assert_eq!(tree.repeated, ["spec.ingress[0].from", "spec.ingress"]);
        assert_eq!(tree.value, json!({"spec": {"ingress": []}}));
    }

    #[test]
    fn many_comments_are_no_problem() {
        assert_eq!(value(&format!("a:\n{}  b: 1\n", "# - from: []\n".repeat(5000))), json!({"a": {"b": 1}}));
    }

    #[test]
    fn objects_of_a_list_that_say_what_they_are_are_taken_one_by_one() {
        let text = "items:\n- {apiVersion: v1, kind: Pod, a: 1, a: 2}\n- {metadata: {}}\n- &a {apiVersion: v1, kind: Pod}\n- *a\n";
        let mut taken = vec![];
        let rest = read(text, 0, Some(&mut |tree| taken.push(tree))).expect("YAML");
        let pod = json!({"apiVersion": "v1", "kind": "Pod"});
        assert_eq!(rest, Tree { value: json!({"items": [null, {"metadata": {}}, null, null]}), repeated: vec![] });
        let values: Vec<_> = taken.iter().map(|tree| tree.value.clone()).collect();
        assert_eq!(values, [json!({"apiVersion": "v1", "kind": "Pod", "a": 2}), pod.clone(), pod]);
        assert_eq!(taken[0].repeated, ["a"]);
    }

    #[test]
    fn objects_of_a_list_that_has_said_their_kind_are_taken_one_by_one_too() {
        let text = "kind: PodList\napiVersion: v1\nitems:\n- {a: 1}\n- {kind: Node}\n- 7\n";
        let mut taken = vec![];
        let rest = read(text, 0, Some(&mut |tree| taken.push(tree.value))).expect("YAML");
        assert_eq!(rest.value["items"], json!([null, null, 7]));
        assert_eq!(
            taken,
            [json!({"apiVersion": "v1", "kind": "Pod", "a": 1}), json!({"apiVersion": "v1", "kind": "Node"})]
        );
    }

    #[test]
    fn what_anchors_stand_for_counts_though_the_objects_with_them_are_taken() {
        const DEEP: usize = 200;
        let mut text = "items:\n".to_owned();
        for item in 0..1000 {
            let nested: String = (0..DEEP).map(|level| format!("&a{item}_{level} [")).collect();
            text.push_str(&format!("- {{apiVersion: v1, kind: Pod, a: {nested}{}}}\n", "]".repeat(DEEP)));
        }
        let mut taken = 0;
        let error = read(&text, 0, Some(&mut |_| taken += 1)).expect_err("more than there is room for");
        assert!(error.contains("the document is too large") && taken > 10, "{taken}: {error}");
    }

    #[test]
    fn errors_name_the_line_of_the_file() {
        for (text, line) in
            [("a: [\n", "line 4"), ("a: b: c\n", "line 41"), ("a: *b\n", "line 41"), ("a: \u{1}\n", "line 41")]
        {
            let error = read(text, 40, None).expect_err("no YAML");
            assert!(error.contains(line), "{error}");
        }
    }
}
