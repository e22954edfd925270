//! Expectations as they are written into a file.

use std::fmt::Write as _;

use podgate_judge::expectations::{Expectation, Group, Source, Target};
use podgate_judge::explain::{Asked, Destination, End};
use podgate_judge::present::Present;
use podgate_policy::model::{Operator, Protocol, Requirement};
use serde_json::{Map, Value};

/// A file of expectations, as [`super::read`] reads it.
pub(super) fn render(present: &Present) -> String {
    let mut text = "# What holds now. Take out what is not meant, and keep the rest.\n".to_owned();
    for case in &present.cases {
        // Writing into a String cannot fail.
        let _ = write!(text, "- from: {}\n  to: {}\n{}", from(&case.from), to(&case.to), carried(case));
        let _ = writeln!(text, "  expect: {}", case.expected.as_str());
    }
    text
}

fn from(source: &Source) -> Value {
    match source {
        Source::One(End::Pod(pod)) => pod.to_string().into(),
        Source::One(End::Address(address)) => address.to_string().into(),
        Source::Pods(group) => pods(group),
    }
}

fn to(target: &Target) -> Value {
    match target {
        Target::One(Destination::Pod(pod)) => format!("pod/{pod}").into(),
        Target::One(Destination::Named(named)) => named.to_string().into(),
        Target::One(Destination::Service(service)) => format!("svc/{service}").into(),
        Target::One(Destination::Address(address)) => address.to_string().into(),
        Target::Pods(group) => pods(group),
    }
}

fn pods(group: &Group) -> Value {
    let label = |requirement: &Requirement| match &requirement.operator {
        Operator::In(values) => values.first().map(|value| (requirement.key.to_string(), Value::from(&**value))),
        _ => None,
    };
    let labels: Map<String, Value> = group.pods.requirements().iter().filter_map(label).collect();
    let mut fields = Map::from_iter([("namespace".to_owned(), Value::from(&*group.namespace))]);
    if !labels.is_empty() {
        fields.insert("labels".to_owned(), labels.into());
    }
    fields.into()
}

fn carried(case: &Expectation) -> String {
    match case.asked {
        Asked::Number(Protocol::Tcp, port) => format!("  port: {port}\n"),
        Asked::Number(protocol, port) => format!("  port: {port}\n  protocol: {}\n", protocol.as_str()),
        Asked::Name(..) | Asked::Other => String::new(),
    }
}
