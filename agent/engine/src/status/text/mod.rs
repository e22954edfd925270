//! The status as an operator reads it in an incident: first whether all is well, then what is not, then the details.

mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{
    CounterStatus, DropStatus, EndStatus, PodState, PodStatus, RepairStatus, ServicesAt, SourceStatus, Status,
    UntaggedStatus, WindowStatus,
};
use table::Table;

/// The most frequent reasons for drops that are shown for each pod.
const TOP_REASONS: usize = 3;

/// The last reported drops that are shown.
const DROPS: usize = 10;

/// Tables fuller than this many percent are pointed at.
const FULL: u64 = 80;

/// The status as text.
pub fn render(status: &Status) -> String {
    let mut out = summary(status);
    for reason in &status.not_ready {
        push(&mut out, &format!("  ! {reason}"));
    }
    push(&mut out, &about(status));
    older_kernel(status).into_iter().for_each(|line| push(&mut out, line));
    push(&mut out, &services(status));
    audited(status).into_iter().for_each(|line| push(&mut out, &line));
    repairs(status).into_iter().for_each(|line| push(&mut out, &line));
    status.window.summary().into_iter().for_each(|line| push(&mut out, &line));
    section(&mut out, "PODS", pods(status));
    section(&mut out, "DENIED", denied(status));
    section(&mut out, "RECENT DROPS", drops(status));
    section(&mut out, "PROBLEMS", problems(status));
    section(&mut out, "ANOMALIES", anomalies(status));
    section(&mut out, "SOURCES", sources(status));
    section(&mut out, "TABLES", tables(status));
    out
}

/// The first line: whether all is well.
fn summary(status: &Status) -> String {
    let enforced = status.pods.iter().filter(|pod| is_enforced(pod)).count();
    let isolated = status.pods.iter().filter(|pod| is_enforced(pod) && is_isolated(pod)).count();
    let mut line = if status.ready {
        format!("{}: enforcing {}, {isolated} isolated, ready", status.node, plural(enforced, "pod"))
    } else {
        let expected = status.pods.iter().filter(|pod| pod.state != PodState::NoAddress).count();
        format!("{}: NOT READY, enforcing {enforced} of {}, {isolated} isolated", status.node, plural(expected, "pod"))
    };
    if !status.problems.is_empty() {
        let _ = write!(line, ", {}", plural(status.problems.len(), "problem"));
    }
    line + "\n"
}

fn about(status: &Status) -> String {
    format!(
        "  podgate {}, {} hooks, up {}, {} known",
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
            list(pod.policies.iter().map(|policy| policy.name.clone())),
        ]);
    }
    table
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

/// Why packets were dropped, the most frequent reasons of each pod, and why pods are not as they should be.
fn denied(status: &Status) -> Table {
    let mut table = Table::new(&["POD", "DIRECTION", "REASON", "PACKETS", "BYTES"]);
    let pods = status.pods.iter().map(|pod| (format!("{}/{}", pod.namespace, pod.name), &pod.counters));
    for (pod, counters) in pods.chain([("(no pod)".to_owned(), &status.no_endpoint)]) {
        for counter in top(counters) {
            table.row([
                pod.clone(),
                counter.direction.clone(),
                counter.reason.clone(),
                counter.packets.to_string(),
                counter.bytes.to_string(),
            ]);
        }
    }
    table
}

fn top(counters: &[CounterStatus]) -> Vec<&CounterStatus> {
    let mut denied: Vec<_> = counters.iter().filter(|counter| counter.verdict == "denied").collect();
    denied.sort_by_key(|counter| std::cmp::Reverse(counter.packets));
    denied.truncate(TOP_REASONS);
    denied
}

fn drops(status: &Status) -> Table {
    let mut table = Table::new(&["AGO", "POD", "DIRECTION", "REASON", "PROTOCOL", "FROM", "TO"]);
    for drop in status.recent_drops.iter().rev().take(DROPS) {
        table.row(drop_row(drop));
    }
    table
}

fn drop_row(drop: &DropStatus) -> [String; 7] {
    [
        format!("{:.1}s", drop.seconds_ago),
        drop.pod.clone(),
        drop.direction.clone(),
        drop.reason.clone(),
        format!("{} {}", drop.protocol, drop.detail).trim_end().to_owned(),
        end(&drop.source),
        end(&drop.destination),
    ]
}

fn end(end: &EndStatus) -> String {
    let Some(address) = end.address else { return none() };
    let socket = match end.port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    match &end.name {
        Some(name) => format!("{socket} ({name})"),
        None => socket,
    }
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

/// Tables in use; the others are left out.
fn tables(status: &Status) -> Table {
    let mut table = Table::new(&["TABLE", "ENTRIES", "CAPACITY", ""]);
    for used in status.tables.iter().filter(|table| table.entries > 0) {
        let full = used.entries * 100 >= used.capacity * FULL;
        let mark = if full { "NEARLY FULL" } else { "" };
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
    out.push_str(line);
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
