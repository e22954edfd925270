//! The status as an operator reads it in an incident: first whether all is well, then what is not, then the details.

mod cluster_policies;
mod drops;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use podgate_common::map;

use super::{
    GuardStatus, PodState, PodStatus, RepairStatus, ServicesAt, SourceStatus, Status, TableStatus, UntaggedStatus,
    WindowStatus,
};
use crate::printable;
use table::Table;

/// Tables fuller than this many percent are shown without being asked for.
const NOTABLE: u64 = 70;

/// Tables fuller than this many percent are pointed at.
const FULL: u64 = 80;

/// The longest part of a reason that the first line has.
const REASON: usize = 100;

/// What somebody wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Every row of every list.
    pub all: bool,
    /// Every table in use, not only those that are nearly full.
    pub tables: bool,
}

/// The status as text.
pub fn render(status: &Status, view: &View) -> String {
    let mut out = String::new();
    push(&mut out, &line(status));
    for reason in &status.not_ready {
        push(&mut out, &format!("  ! {reason}"));
    }
    push(&mut out, &about(status));
    cluster_policies::line(&status.cluster_policies).into_iter().for_each(|line| push(&mut out, &line));
    older_kernel(status).into_iter().for_each(|line| push(&mut out, line));
    push(&mut out, &services(status));
    audited(status).into_iter().for_each(|line| push(&mut out, &line));
    repairs(status).into_iter().for_each(|line| push(&mut out, &line));
    status.window.summary().into_iter().for_each(|line| push(&mut out, &line));
    drops::recent(&mut out, status, view);
    drops::denied(&mut out, status, view);
    section(&mut out, "PROBLEMS", problems(status));
    section(&mut out, "ANOMALIES", anomalies(status));
    section(&mut out, "PODS", pods(status));
    section(&mut out, "SOURCES", sources(status));
    section(&mut out, "TABLES", tables(status, view));
    out
}

/// The first line: what is enforced, since when, and what is wrong.
pub fn line(status: &Status) -> String {
    let enforced = status.pods.iter().filter(|pod| is_enforced(pod)).count();
    let isolated = status.pods.iter().filter(|pod| is_enforced(pod) && is_isolated(pod)).count();
    let expected = status.pods.iter().filter(|pod| pod.state != PodState::NoAddress).count();
    let pods = if status.ready && enforced == expected {
        plural(enforced, "pod")
    } else {
        format!("{enforced} of {}", plural(expected, "pod"))
    };
    let (node, since) = (&status.node, duration(status.uptime_seconds));
    let mut line = format!("{node}: enforcing {pods}, {isolated} isolated, for {since}, {}", readiness(status));
    for (count, one, many) in wrong(status).into_iter().filter(|(count, ..)| *count > 0) {
        let _ = write!(line, ", {count} {}", if count == 1 { one } else { many });
    }
    printable(&line)
}

/// Whether the agent is ready, and the first reason why not.
fn readiness(status: &Status) -> String {
    let Some((first, others)) = status.not_ready.split_first() else {
        return if status.ready { "ready" } else { "NOT READY" }.to_owned();
    };
    let mut told: String = first.chars().take(REASON).collect();
    if told.len() < first.len() {
        told.push('…');
    }
    let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
    format!("NOT READY: {told}{more}")
}

/// What else is to be looked at.
fn wrong(status: &Status) -> [(u64, &'static str, &'static str); 4] {
    let full = status.tables.iter().filter(|table| is_fuller(table, FULL) && !may_be_full(table)).count();
    [
        (status.problems.len() as u64, "problem", "problems"),
        (status.anomalies.len() as u64, "anomaly", "anomalies"),
        (full as u64, "table nearly full", "tables nearly full"),
        (status.services.untagged.standing, "lost tag", "lost tags"),
    ]
}

fn is_fuller(table: &TableStatus, percent: u64) -> bool {
    table.entries * 100 >= table.capacity * percent
}

/// Whether a full table is nothing wrong: the least recently used entry goes for a new one.
fn may_be_full(table: &TableStatus) -> bool {
    [map::FLOWS4, map::FLOWS6, map::FRAGMENTS4, map::FRAGMENTS6].iter().any(|it| it.eq_ignore_ascii_case(&table.name))
}

fn about(status: &Status) -> String {
    let filtered = match status.filtered_interfaces {
        0 => String::new(),
        count => format!(" ({} still by filters, until their links come)", plural(count, "interface")),
    };
    format!(
        "  podgate {}, {} hooks{filtered}, up {}, {} known",
        status.version,
        status.hook,
        duration(status.uptime_seconds),
        if status.policies == 1 { "1 policy".to_owned() } else { format!("{} policies", status.policies) },
    )
}

/// What is different where the kernel has no TCX, or where the other kind of hook was asked for.
fn older_kernel(status: &Status) -> Option<&'static str> {
    let line =
        "  clsact: another program's filter of preference 1, or its ingress qdisc, can keep podgate from being first";
    (status.hook == "clsact").then_some(line)
}

/// The policies in audit mode, as far as they select pods of this node.
fn audited(status: &Status) -> Option<String> {
    let policies = status.pods.iter().flat_map(|pod| pod.policies.iter().map(move |policy| (&pod.namespace, policy)));
    let audited = policies.filter(|(_, policy)| policy.audit);
    let names: BTreeSet<String> = audited.map(|(namespace, policy)| format!("{namespace}/{}", policy.name)).collect();
    (!names.is_empty()).then(|| {
        let names: Vec<String> = names.into_iter().collect();
        format!("  IN AUDIT MODE, what these deny passes unless another policy denies it: {}", names.join(", "))
    })
}

/// What somebody else has changed.
fn repairs(status: &Status) -> Option<String> {
    let RepairStatus { hooks, pins, tables } = status.repairs;
    (status.repairs != RepairStatus::default()).then(|| {
        format!(
            "  CHANGED BY ANOTHER PROGRAM and put right: hooks {hooks} times, pins {pins} times, {tables} entries of tables"
        )
    })
}

impl WindowStatus {
    /// A line, once something was measured.
    fn summary(&self) -> Option<String> {
        let interfaces = usize::try_from(self.interfaces).unwrap_or(usize::MAX);
        let longest = self.longest_seconds * 1e3;
        let were = if interfaces == 1 { "was" } else { "were" };
        (interfaces > 0).then(|| {
            let interfaces = plural(interfaces, "interface");
            format!("  {interfaces} appeared and {were} enforced, after at most {longest:.1} ms")
        })
    }
}

/// What is judged where packets leave the host.
fn services(status: &Status) -> String {
    let services = &status.services;
    let of_services = addresses(services.addresses, "of Services");
    let (host, allowed, denied) = (services.host_addresses, services.allowed, services.denied);
    let mut line = match services.judged_at {
        ServicesAt::Exit => format!("  egress to {of_services} and {host} of this node is judged"),
        ServicesAt::Source => format!(
            "  egress to {of_services}, with {}, is judged where it leaves the pod, by all backends; to {host} of this node",
            plural(services.frontends, "port"),
        ),
    };
    let _ = write!(line, " at the exit, by the real destination: {allowed} allowed, {denied} denied");
    if services.frontends_denied > 0 {
        let _ = write!(
            line,
            "; {} of Services DENIED because the tables have no room",
            plural(services.frontends_denied, "port")
        );
    }
    let UntaggedStatus { takeover, changing, standing } = services.untagged;
    let replaced = takeover + changing;
    if replaced > 0 {
        let _ = write!(
            line,
            "; {replaced} came without this agent's tag while agents or pods' interfaces were replaced, judged by where they \
             came from"
        );
    }
    if standing > 0 {
        let _ = write!(
            line,
            "; {standing} LOST THEIR TAG while nothing was replaced, judged by where they came from: something on their way \
             clears it"
        );
    }
    if services.left_out > 0 {
        let _ = write!(line, "; NO ROOM for {} more addresses", services.left_out);
    }
    line
}

fn addresses(count: usize, whose: &str) -> String {
    if count == 1 { format!("1 address {whose}") } else { format!("{count} addresses {whose}") }
}

fn is_enforced(pod: &PodStatus) -> bool {
    matches!(pod.state, PodState::Enforced | PodState::Unfit)
}

fn is_isolated(pod: &PodStatus) -> bool {
    pod.ingress_isolated || pod.egress_isolated
}

fn pods(status: &Status) -> Table {
    let mut table = Table::new(&[
        "POD",
        "STATE",
        "INTERFACE",
        "ADDRESSES",
        "ISOLATED",
        "ALLOWED in/out",
        "DENIED in/out",
        "POLICIES",
    ]);
    for pod in &status.pods {
        table.row([
            format!("{}/{}", pod.namespace, pod.name),
            state(pod),
            pod.interface.as_ref().map_or_else(none, |interface| interface.name.clone()),
            list(pod.addresses.iter().map(ToString::to_string)),
            isolation(pod),
            both_ways(pod, "allowed"),
            both_ways(pod, "denied"),
            list(pod.policies.iter().map(|policy| policy.name.clone()).chain(pod.guards.iter().map(guard))),
        ]);
    }
    table
}

fn guard(guard: &GuardStatus) -> String {
    let audit = if guard.audit { ", audit" } else { "" };
    format!("{} ({}{audit})", guard.name, guard.tier)
}

fn state(pod: &PodStatus) -> String {
    let state = match pod.state {
        PodState::Enforced => "enforced",
        PodState::NoAddress => "no address",
        PodState::NoInterface => "NO INTERFACE",
        PodState::Pending => "PENDING",
        PodState::Unfit => "UNFIT",
    };
    state.to_owned()
}

fn isolation(pod: &PodStatus) -> String {
    let directions = [("ingress", pod.ingress_isolated), ("egress", pod.egress_isolated)];
    list(directions.into_iter().filter_map(|(direction, isolated)| {
        let audited = pod.audited.iter().any(|it| it == direction);
        isolated.then(|| direction.to_owned()).or_else(|| audited.then(|| format!("{direction} (audit)")))
    }))
}

/// Packets into and out of a pod with a verdict.
fn both_ways(pod: &PodStatus, verdict: &str) -> String {
    let sum = |direction: &str| -> u64 {
        let counters = pod.counters.iter().filter(|it| it.verdict == verdict && it.direction == direction);
        counters.map(|counter| counter.packets).sum()
    };
    format!("{}/{}", sum("ingress"), sum("egress"))
}

fn problems(status: &Status) -> Table {
    let mut table = Table::new(&["ORIGIN", "OBJECT", "FIELD", "PROBLEM", "EFFECT"]);
    for problem in &status.problems {
        let parts = [&problem.origin, &problem.object, &problem.field, &problem.message, &problem.effect];
        table.row(parts.map(Clone::clone));
    }
    table
}

fn anomalies(status: &Status) -> Table {
    let mut table = Table::new(&["KIND", "WHAT"]);
    for anomaly in &status.anomalies {
        table.row([anomaly.kind.clone(), anomaly.message.clone()]);
    }
    table
}

fn sources(status: &Status) -> Table {
    let mut table = Table::new(&["RESOURCE", "SYNCED", "OBJECTS", "FAILING FOR", "ERROR"]);
    for source in &status.sources {
        table.row([
            source.resource.clone(),
            if source.synced { "yes".to_owned() } else { "NO".to_owned() },
            source.objects.to_string(),
            source.failing_seconds.map_or_else(none, duration),
            error(source),
        ]);
    }
    table
}

/// What keeps a resource from being read, or did so the last time.
fn error(source: &SourceStatus) -> String {
    match (&source.error, &source.last_error) {
        (Some(error), _) => error.clone(),
        (None, Some(last)) => format!("over; {} ago: {}", duration(last.seconds_ago), last.message),
        (None, None) => none(),
    }
}

/// Tables that are nearly full; all in use, where they are asked for.
fn tables(status: &Status, view: &View) -> Table {
    let mut table = Table::new(&["TABLE", "ENTRIES", "CAPACITY", ""]);
    let is_shown = |it: &&TableStatus| it.entries > 0 && (view.tables || view.all || is_fuller(it, NOTABLE));
    for used in status.tables.iter().filter(is_shown) {
        let mark = match is_fuller(used, FULL) {
            true if may_be_full(used) => "the oldest entries go",
            true => "NEARLY FULL",
            false => "",
        };
        table.row([used.name.clone(), used.entries.to_string(), used.capacity.to_string(), mark.to_owned()]);
    }
    table
}

fn section(out: &mut String, title: &str, table: Table) {
    if !table.is_empty() {
        push(out, &format!("\n{title}"));
        out.push_str(&table.render());
    }
}

fn push(out: &mut String, line: &str) {
    // Some begin with an empty line.
    let text = line.trim_start_matches('\n');
    out.push_str(&line[..line.len() - text.len()]);
    out.push_str(&printable(text));
    out.push('\n');
}

fn none() -> String {
    "-".to_owned()
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { none() } else { items.join(",") }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A duration in its two largest units.
fn duration(seconds: u64) -> String {
    let units = BTreeMap::from([(1, "s"), (60, "m"), (3600, "h"), (86_400, "d")]);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units.into_iter().rev() {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}
