//! docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};

use podgate_source::{ErrorClass, ProblemKind};

use super::{code, read, table};
use crate::metrics::tests::sample;
use podgate_engine::ANOMALY_KINDS;

const DOCUMENT: &str = "docs/metrics.md";

/// Type and labels of families by name.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

#[test]
fn every_metric_is_documented_with_its_type_and_labels() {
    let document = read(DOCUMENT);
    let rows = table(&document, "## Families");
    let documented: Families = rows
        .iter()
        .map(|cells| (code(cells[0]).concat(), (cells[1].to_owned(), code(cells[2]).into_iter().collect())))
        .collect();
    assert_eq!(documented.len(), rows.len(), "a metric stands there twice");
    assert_eq!(documented, exposed(&sample()));
}

#[test]
fn every_kind_of_anomaly_of_error_and_of_problem_is_documented() {
    let document = read(DOCUMENT);
    let kinds = |heading| table(&document, heading).iter().map(|cells| code(cells[0]).concat()).collect::<Vec<_>>();
    assert_eq!(kinds("## Kinds of anomalies"), ANOMALY_KINDS);
    assert_eq!(kinds("## Classes of errors"), ErrorClass::ALL.map(ErrorClass::as_str));
    assert_eq!(kinds("## Kinds of problems"), ProblemKind::ALL.map(ProblemKind::as_str));
}

/// The families of a text, under the names by which their samples are asked for.
fn exposed(text: &str) -> Families {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(family, kind)| {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{family}{suffix}"), (kind.to_owned(), labels(text, family)))
        })
        .collect()
}

/// The labels of a family's samples, without a histogram's bounds.
fn labels(text: &str, family: &str) -> BTreeSet<String> {
    let suffixes = ["", "_total", "_info", "_bucket", "_count", "_sum"];
    let sample =
        |line: &&str| suffixes.iter().any(|suffix| line.split(['{', ' ']).next() == Some(&format!("{family}{suffix}")));
    let labels = text.lines().filter(sample).filter_map(|line| line.split_once('{')?.1.rsplit_once('}'));
    let names = labels.flat_map(|(labels, _)| labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)));
    names.filter(|name| *name != "le").map(str::to_owned).collect()
}
