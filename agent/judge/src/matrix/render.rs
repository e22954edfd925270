//! The matrix as text: a table per port for few parties, lists of equal sources for many.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use podgate_policy::model::{ObjectKey, Protocol};

use crate::groups::Group;
use crate::matrix::{Row, ServiceRow};

/// Up to this many parties, a table is easier to read than lists.
const TABLE_PODS: usize = 12;

pub(crate) type Pods<'r> = BTreeSet<&'r Group>;

/// Who reaches a port, by destination.
type Sources<'r> = BTreeMap<&'r Group, Pods<'r>>;

/// Rows of [`crate::matrix::matrix`] as text, several lines, each ended.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let pods: Pods<'_> = rows.iter().flat_map(|row| [&row.from, &row.to]).collect();
    let ports = by_port(rows);
    let sections: Vec<_> = ports
        .iter()
        .map(|((protocol, port), sources)| {
            let body = if pods.len() <= TABLE_PODS { table(&pods, sources) } else { lists(&pods, sources) };
            format!("{protocol}/{port}\n{body}")
        })
        .collect();
    let legend = if pods.len() <= TABLE_PODS { "rows: from, columns: to; + allowed, - denied\n\n" } else { "" };
    format!("{legend}{}", sections.join("\n"))
}

/// Rows of [`crate::matrix::services`] as text: for each port who reaches all backends, some, or none.
#[must_use]
pub fn render_services(rows: &[ServiceRow]) -> String {
    let pods: Pods<'_> = rows.iter().map(|row| &row.from).collect();
    let mut ports: BTreeMap<_, Vec<&ServiceRow>> = BTreeMap::new();
    for row in rows {
        ports.entry((&row.service, row.protocol, row.port)).or_default().push(row);
    }
    let section = |((service, protocol, port), rows): (&(&ObjectKey, Protocol, u16), &Vec<&ServiceRow>)| {
        format!("Service {service} {protocol}/{port}\n{}", clients(&pods, rows))
    };
    ports.iter().map(section).collect::<Vec<_>>().join("\n")
}

/// A line for each number of backends that the same pods reach, most first.
fn clients(pods: &Pods<'_>, rows: &[&ServiceRow]) -> String {
    let mut by_count: BTreeMap<(usize, usize), Pods<'_>> = BTreeMap::new();
    for row in rows {
        by_count.entry((row.allowed, row.backends)).or_default().insert(&row.from);
    }
    let line = |((allowed, backends), from): (&(usize, usize), &Pods<'_>)| {
        let what = match (*allowed, *backends) {
            (_, 0) => "no backends".to_owned(),
            (allowed, all) if allowed == all => format!("allowed at all {all}"),
            (0, all) => format!("denied at all {all}"),
            (allowed, all) => format!("allowed at {allowed} of {all}"),
        };
        format!("  {what}: {}\n", names(pods, from, &Pods::new()))
    };
    by_count.iter().rev().map(line).collect()
}

fn by_port(rows: &[Row]) -> BTreeMap<(Protocol, u16), Sources<'_>> {
    let mut ports: BTreeMap<_, Sources<'_>> = BTreeMap::new();
    for row in rows {
        let sources = ports.entry((row.protocol, row.port)).or_default().entry(&row.to).or_default();
        if row.allowed {
            sources.insert(&row.from);
        }
    }
    ports
}

/// A row for each pod, a numbered column for each destination.
fn table(pods: &Pods<'_>, sources: &Sources<'_>) -> String {
    let width = pods.iter().map(|pod| pod.to_string().len()).max().unwrap_or_default();
    let numbered = || (1..).zip(pods.iter());
    let columns: Vec<_> =
        numbered().filter_map(|(number, to)| sources.get(to).map(|sources| (number, sources))).collect();
    let header: String = columns.iter().map(|(number, _)| format!(" {number:>2}")).collect();
    let mut text = format!("{:width$}    {header}\n", "");
    for (number, from) in numbered() {
        let cell = |(_, sources): &(i32, &Pods<'_>)| if sources.contains(from) { "  +" } else { "  -" };
        let cells: String = columns.iter().map(cell).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{number:>2}  {:width$}{cells}", from.to_string());
    }
    text
}

/// A line for each set of destinations that the same pods reach.
fn lists(pods: &Pods<'_>, sources: &Sources<'_>) -> String {
    let mut lines: Vec<_> = groups(sources)
        .into_iter()
        .map(|(sources, to)| {
            let from =
                if sources.is_empty() { "no other pod".to_string() } else { names(pods, &sources, &itself(&to)) };
            format!("  {} from {from}\n", names(pods, &to, &Pods::new()))
        })
        .collect();
    lines.sort();
    lines.concat()
}

/// A destination that reaches itself anyway: a single pod.
fn itself<'r>(to: &Pods<'r>) -> Pods<'r> {
    to.iter().copied().filter(|group| to.len() == 1 && group.is_pod()).collect()
}

/// Destinations by their sources. That a pod reaches itself should neither part pods that nobody else reaches nor
/// replicas that reach each other: destinations whose sources with themselves are equal come together first, the rest
/// by their sources without themselves.
fn groups<'r>(sources: &Sources<'r>) -> Vec<(Pods<'r>, Pods<'r>)> {
    let mut with_self: BTreeMap<Pods<'r>, Pods<'r>> = BTreeMap::new();
    for (to, sources) in sources {
        with_self.entry(sources.clone()).or_default().insert(to);
    }
    let (mut groups, single): (Vec<_>, Vec<_>) = with_self.into_iter().partition(|(_, to)| to.len() > 1);
    let mut without_self: BTreeMap<Pods<'r>, Pods<'r>> = BTreeMap::new();
    for (sources, to) in single {
        without_self.entry(&sources - &itself(&to)).or_default().extend(to);
    }
    groups.extend(without_self);
    groups
}

/// Names of some of all pods, whole namespaces as one.
pub(crate) fn names_within(all: &Pods<'_>, pods: &Pods<'_>) -> String {
    names(all, pods, &Pods::new())
}

/// Names of pods, whole namespaces as one; it does not matter whether the `beside` pods are in it.
fn names(all: &Pods<'_>, pods: &Pods<'_>, beside: &Pods<'_>) -> String {
    let missing: Pods<'_> = all.iter().copied().filter(|pod| !pods.contains(pod) && !beside.contains(pod)).collect();
    if missing.is_empty() {
        return "every pod".to_string();
    }
    let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for pod in pods {
        names.entry(&pod.name.namespace).or_default().push(pod.to_string());
    }
    for (namespace, names) in &mut names {
        if names.len() > 1 && !missing.iter().any(|pod| pod.name.namespace == **namespace) {
            *names = vec![format!("{namespace}/*")];
        }
    }
    names.into_values().flatten().collect::<Vec<_>>().join(", ")
}
