//! Links between the documents, and from alerts to what to do about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{read, root};

const RULES: &str = "deploy/chart/files/rules.yaml";
const RUNBOOKS: &str = "docs/runbooks.md";

/// The Markdown files at the top, in `docs` and in `docs/install`, by their paths below the top.
pub(super) fn documents() -> BTreeMap<PathBuf, String> {
    let files =
        ["", "docs", "docs/install"].into_iter().flat_map(|directory| fs::read_dir(root().join(directory)).unwrap());
    let markdown = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "md"));
    markdown.map(|path| (path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(&path).unwrap())).collect()
}

/// The targets of a text's links, those to other sites left out.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    links.filter(|target| !target.contains("://"))
}

/// The anchors of a text's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

/// The path that a link in a document leads to.
fn resolved(document: &Path, link: &str) -> PathBuf {
    let mut path = document.parent().unwrap().to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{} has a link out of the tree: {link}", document.display()),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = documents();
    for (document, text) in &documents {
        for target in targets(text) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { resolved(document, file) };
            assert!(root().join(&path).exists(), "{}: nothing at {target}", document.display());
            let leads = anchor.is_empty() || documents.get(&path).is_some_and(|text| anchors(text).contains(anchor));
            assert!(leads, "{}: no heading for {target}", document.display());
        }
    }
}

#[test]
fn every_document_can_be_reached_from_the_readme() {
    let documents = documents();
    let mut reached = BTreeSet::new();
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(document) = next.pop() {
        let Some(text) = documents.get(&document).filter(|_| reached.insert(document.clone())) else { continue };
        let files = targets(text).filter_map(|target| target.split('#').next()).filter(|file| !file.is_empty());
        next.extend(files.map(|file| resolved(&document, file)));
    }
    assert_eq!(reached, documents.into_keys().collect());
}

#[test]
fn headings_become_anchors_as_on_github() {
    assert_eq!(anchor("`podgate cni install`"), "podgate-cni-install");
    assert_eq!(anchor("Why is this dropped?"), "why-is-this-dropped");
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let (rules, runbooks) = (read(RULES), read(RUNBOOKS));
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect();
    let sections: BTreeSet<_> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, alerts);
}
