//! A diff as text: for each destination and port, who may or may not any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use podgate_policy::cluster::Cluster;
use podgate_policy::model::Protocol;

use crate::diff::{Cause, Change, Diff, End, Move, pods};
use crate::groups::Group;
use crate::matrix::names_within;

/// The diff of two states, of which every pod stands for itself, as text: several lines, each ended.
#[must_use]
pub fn render(diff: &Diff, old: &Cluster, new: &Cluster) -> String {
    let pods = |state: &Cluster| -> BTreeSet<Group> { pods(state).into_iter().map(Group::from).collect() };
    let (old, new) = (pods(old), pods(new));
    render_within(diff, &old.iter().collect(), &new.iter().collect())
}

/// The same where these are all groups of each state.
pub(super) fn render_within(diff: &Diff, old: &BTreeSet<&Group>, new: &BTreeSet<&Group>) -> String {
    let mut text = String::new();
    for (heading, what, cause, state) in [
        ("opens", Move::Opens, Cause::Policy, new),
        ("closes", Move::Closes, Cause::Policy, old),
        ("opens with new pods", Move::Opens, Cause::Pod, new),
        ("closes with pods that are gone", Move::Closes, Cause::Pod, old),
    ] {
        let changes = || diff.changes.iter().filter(|change| change.what == what && change.cause == cause);
        // Writing into a String cannot fail.
        if changes().next().is_some() {
            let _ = writeln!(text, "{heading}:\n{}", section(changes(), state));
        }
    }
    if diff.is_empty() { "nothing opens, nothing closes\n".to_owned() } else { text + &summary(diff) }
}

fn summary(diff: &Diff) -> String {
    let count = |what| diff.changes.iter().filter(|change| change.what == what).count();
    format!("{} open, {} close\n", count(Move::Opens), count(Move::Closes))
}

/// A line for each destination and port; an empty line would follow each section.
fn section<'d>(changes: impl Iterator<Item = &'d Change>, all: &BTreeSet<&Group>) -> String {
    let mut sources: BTreeMap<(&End, Protocol, u16), BTreeSet<&End>> = BTreeMap::new();
    for change in changes {
        sources.entry((&change.to, change.protocol, change.port)).or_default().insert(&change.from);
    }
    // Destinations with the same sources come together.
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((to, protocol, port), from) in sources {
        lines.entry(names(all, &from)).or_default().push(format!("{} {protocol}/{port}", name(to)));
    }
    lines.into_iter().map(|(from, to)| format!("  to {} from {from}\n", to.join(", "))).collect()
}

fn names(all: &BTreeSet<&Group>, ends: &BTreeSet<&End>) -> String {
    let pods: BTreeSet<&Group> = ends
        .iter()
        .filter_map(|end| match end {
            End::Pod(pod) => Some(pod),
            End::Outside(_) => None,
        })
        .collect();
    let outside = ends.iter().filter(|end| matches!(end, End::Outside(_))).map(|end| name(end));
    let pods = (!pods.is_empty()).then(|| names_within(all, &pods));
    pods.into_iter().chain(outside).collect::<Vec<_>>().join(", ")
}

fn name(end: &End) -> String {
    match end {
        End::Pod(pod) => pod.to_string(),
        End::Outside(block) => format!("outside {block}"),
    }
}
