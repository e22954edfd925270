//! docs/reasons.md.

use podgate_common::Reason;

use super::{code, read, table};

const DOCUMENT: &str = "docs/reasons.md";

#[test]
fn every_reason_is_documented_with_its_verdict() {
    let document = read(DOCUMENT);
    let rows = table(&document, "# Reasons");
    let documented: Vec<_> = rows.iter().map(|cells| (code(cells[0]).concat(), cells[1].to_owned())).collect();
    let reason = |reason: &Reason| (reason.as_str().to_owned(), reason.verdict().as_str().to_owned());
    assert_eq!(documented, Reason::ALL.iter().map(reason).collect::<Vec<_>>());
    assert!(rows.iter().all(|cells| cells.len() == 4 && !cells[2].is_empty()));
}

#[test]
fn what_to_do_is_told_of_every_denial() {
    let document = read(DOCUMENT);
    let rows = table(&document, "# Reasons");
    let untold: Vec<_> = rows.iter().filter(|cells| cells[1] == "denied" && cells[3].is_empty()).collect();
    assert!(untold.is_empty(), "{untold:?}");
}
