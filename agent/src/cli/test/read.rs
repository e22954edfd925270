//! Expectations as they are written, checked field by field.

use std::path::{Path, PathBuf};

use podgate_judge::expectations::{Expectation, Expected, Group, Source, Target};
use podgate_judge::explain::Asked;
use podgate_policy::model::{Operator, Requirement, Selector};
use podgate_source::manifests::{Document, values};
use serde_json::{Map, Value};

use crate::cli::explain::{Carried, Port, asked, carried, ends, port};

const FIELDS: &str = "name, from, to, port, protocol, expect";

/// A case of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// The file.
    pub(super) file: PathBuf,
    /// Which case of it, counted from 1.
    pub(super) number: usize,
    /// Its name, or words made of its fields.
    pub(super) name: String,
    /// What it expects.
    pub(super) expectation: Expectation,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) cases: Vec<Case>,
    /// Everything that is wrong, a line each.
    pub(super) mistakes: Vec<String>,
}

/// Reads a file of expectations.
pub(super) fn cases(file: &Path) -> Read {
    match values(file) {
        Ok(documents) => of_documents(file, documents),
        Err(message) => Read { mistakes: vec![format!("{}: {message}", file.display())], ..Read::default() },
    }
}

fn of_documents(file: &Path, documents: Vec<Document>) -> Read {
    let mut read = Read::default();
    let mut number = 0;
    for document in documents {
        for field in &document.repeated {
            read.mistakes.push(format!("{}: {field}: the key is given twice: keep one", file.display()));
        }
        let Value::Array(items) = document.value else {
            read.mistakes.push(format!("{}: expected a list of cases", file.display()));
            continue;
        };
        for item in items {
            number += 1;
            read.case(file, number, &item);
        }
    }
    if number == 0 && read.mistakes.is_empty() {
        read.mistakes.push(format!("{}: there are no cases", file.display()));
    }
    read
}

impl Read {
    fn case(&mut self, file: &Path, number: usize, item: &Value) {
        let mut mistakes = Mistakes(vec![]);
        let case = item.as_object().map(|fields| (mistakes.name(fields), mistakes.expectation(fields)));
        let title = match &case {
            None => {
                mistakes.add("", format!("expected a mapping with {FIELDS}"));
                format!("case {number}")
            }
            Some((Some(name), _)) => format!("case {number} ({name})"),
            Some((None, _)) => format!("case {number}"),
        };
        if let (true, Some((name, Some(expectation)))) = (mistakes.0.is_empty(), case) {
            let name = name.unwrap_or_else(|| in_words(item));
            self.cases.push(Case { file: file.to_owned(), number, name, expectation });
            return;
        }
        let line = |(field, message): (String, String)| match field.as_str() {
            "" => format!("{}: {title}: {message}", file.display()),
            field => format!("{}: {title}: {field}: {message}", file.display()),
        };
        self.mistakes.extend(mistakes.0.into_iter().map(line));
    }
}

/// A name for a case that has none.
fn in_words(case: &Value) -> String {
    let end = |field: &str| match &case[field] {
        Value::String(text) => text.clone(),
        group => group.to_string(),
    };
    let port = match &case["port"] {
        Value::Null => String::new(),
        Value::String(name) => format!("/{name}"),
        number => format!("/{number}"),
    };
    format!("{} to {} {}{port}", end("from"), end("to"), case["protocol"].as_str().unwrap_or("TCP"))
}

/// What is wrong with a case: fields and messages.
struct Mistakes(Vec<(String, String)>);

impl Mistakes {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push((field.to_owned(), message.into()));
    }

    /// The value, or a mistake of the field.
    fn check<T>(&mut self, field: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|message| self.add(field, message)).ok()
    }

    /// Names fields that are none of these.
    fn known(&mut self, prefix: &str, fields: &Map<String, Value>, known: &str) {
        for field in fields.keys().filter(|field| !known.split(", ").any(|known| known == *field)) {
            self.add(&format!("{prefix}{field}"), format!("unknown field: expected one of {known}"));
        }
    }

    fn name(&mut self, fields: &Map<String, Value>) -> Option<String> {
        let name = fields.get("name")?;
        self.check("name", name.as_str().map(str::to_owned).ok_or_else(|| "expected text".to_owned()))
    }

    fn expectation(&mut self, fields: &Map<String, Value>) -> Option<Expectation> {
        self.known("", fields, FIELDS);
        let from = self.source(fields);
        let to = self.target(fields);
        let asked = self.asked(fields);
        let expected = match fields.get("expect").and_then(Value::as_str) {
            Some("allow") => Ok(Expected::Allow),
            Some("deny") => Ok(Expected::Deny),
            _ => Err("expected allow or deny".to_owned()),
        };
        let expected = self.check("expect", expected);
        Some(Expectation { from: from?, to: to?, asked: asked?, expected: expected? })
    }

    fn source(&mut self, fields: &Map<String, Value>) -> Option<Source> {
        match fields.get("from") {
            Some(Value::Object(group)) => self.group("from", group).map(Source::Pods),
            Some(Value::String(text)) => self.check("from", ends::source(text)).map(Source::One),
            _ => self.check("from", Err("expected NAMESPACE/POD, an IP address or {namespace, labels}".to_owned())),
        }
    }

    fn target(&mut self, fields: &Map<String, Value>) -> Option<Target> {
        match fields.get("to") {
            Some(Value::Object(group)) => self.group("to", group).map(Target::Pods),
            Some(Value::String(text)) => self.check("to", ends::destination(text)).map(Target::One),
            _ => self.check("to", Err("expected NAMESPACE/NAME, an IP address or {namespace, labels}".to_owned())),
        }
    }

    fn group(&mut self, end: &str, fields: &Map<String, Value>) -> Option<Group> {
        self.known(&format!("{end}."), fields, "namespace, labels");
        let namespace = fields.get("namespace").and_then(Value::as_str).filter(|name| !name.is_empty());
        let namespace =
            self.check(&format!("{end}.namespace"), namespace.ok_or_else(|| "expected the pods' namespace".to_owned()));
        let pods = match fields.get("labels") {
            None => Some(Selector::default()),
            Some(labels) => self.labels(&format!("{end}.labels"), labels),
        };
        Some(Group { namespace: namespace?.into(), pods: pods? })
    }

    fn labels(&mut self, field: &str, labels: &Value) -> Option<Selector> {
        let Some(labels) = labels.as_object() else {
            return self.check(field, Err("expected a mapping of labels".to_owned()));
        };
        let mut requirements = vec![];
        for (key, value) in labels {
            let value = value.as_str().ok_or_else(|| "expected text: numbers and booleans need quotes".to_owned());
            let value = self.check(&format!("{field}.{key}"), value)?;
            requirements.push(Requirement { key: key.as_str().into(), operator: Operator::In(vec![value.into()]) });
        }
        Some(Selector::new(requirements))
    }

    fn asked(&mut self, fields: &Map<String, Value>) -> Option<Asked> {
        let protocol = match fields.get("protocol") {
            None => Ok(Carried::Ported(podgate_policy::model::Protocol::Tcp)),
            Some(value) => value.as_str().ok_or_else(String::new).and_then(carried),
        };
        let protocol = protocol.map_err(|_| "the protocol is TCP, UDP, SCTP or ICMP".to_owned());
        let protocol = self.check("protocol", protocol);
        let port: Option<Result<Port, String>> = fields.get("port").map(|value| match value {
            Value::String(text) => port(text),
            Value::Number(number) => port(&number.to_string()),
            _ => Err("expected a port number or a port's name".to_owned()),
        });
        let port = match port {
            Some(port) => Some(self.check("port", port)?),
            None => None,
        };
        self.check("port", asked(protocol?, port.as_ref(), "port"))
    }
}
