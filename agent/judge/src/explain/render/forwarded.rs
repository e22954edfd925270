//! What a Service leads to, as text: backends with one verdict together, the denied ones first.

use std::fmt::{self, Formatter};

use podgate_policy::evaluate::Verdict;

use crate::explain::render::{listed, write_path};
use crate::explain::{Entry, EntryPort, Explanation, Forwarded, Note, Outcome, Path, ServiceEntry, Way};

/// The answer as text, several lines, each ended.
impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (from, entry, all) = (&self.from, &self.entry, self.backends.len());
        match self.outcome() {
            Outcome::Allowed if all == 1 => writeln!(f, "allowed: {from} to {entry}")?,
            Outcome::Allowed => writeln!(f, "allowed: {from} to {entry}, at all {all} backends")?,
            Outcome::Denied if all == 1 => writeln!(f, "denied: {from} to {entry}")?,
            Outcome::Denied => writeln!(f, "denied: {from} to {entry}, at all {all} backends")?,
            Outcome::Partly => writeln!(
                f,
                "some backends: {from} to {entry}, allowed at {} of {all} backends; connections that end at another fail",
                self.allowed()
            )?,
        }
        let (denied, allowed): (Vec<_>, Vec<_>) = groups(&self.backends).into_iter().partition(|it| !it.is_allowed());
        denied.iter().chain(&allowed).try_for_each(|group| group.write(f))?;
        self.notes().into_iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl Forwarded {
    /// The notes on the whole answer and on backends, each once.
    fn notes(&self) -> Vec<&Note> {
        let mut notes: Vec<&Note> = Vec::new();
        for note in self.notes.iter().chain(self.backends.iter().flat_map(|backend| &backend.notes)) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }
}

/// Ways to backends that have one verdict.
struct Group<'e> {
    ways: Vec<(&'e Explanation, &'e Path)>,
}

impl Group<'_> {
    fn verdict(&self) -> &Verdict {
        &self.ways[0].1.verdict
    }

    fn is_allowed(&self) -> bool {
        self.verdict().is_allowed()
    }

    /// The backends, and why; where names are named, those of the first.
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut ways: Vec<String> = Vec::new();
        for (backend, path) in &self.ways {
            let way = way(backend, path);
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        let answer = if self.is_allowed() { "allowed" } else { "denied" };
        writeln!(f, "{answer} at {}", listed(&ways))?;
        let (backend, path) = self.ways[0];
        write_path(f, backend, path)
    }
}

fn groups(backends: &[Explanation]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (backend, path) in backends.iter().flat_map(|backend| backend.paths.iter().map(move |path| (backend, path))) {
        match groups.iter_mut().find(|group| *group.verdict() == path.verdict) {
            Some(group) => group.ways.push((backend, path)),
            None => groups.push(Group { ways: vec![(backend, path)] }),
        }
    }
    groups
}

/// A backend, its address and its own port.
fn way(backend: &Explanation, path: &Path) -> String {
    let (to, traffic) = (&backend.to, path.traffic);
    let seen_as = path.seen_as.map(|address| format!(", sees the source as {address}")).unwrap_or_default();
    match path.to.map(|address| address.to_string()) {
        Some(address) if address != to.to_string() => format!("{to} ({address} {traffic}{seen_as})"),
        _ => format!("{to} ({traffic}{seen_as})"),
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(entry) => entry.fmt(f),
            Self::HostPort { address, protocol, port } => write!(f, "hostPort {protocol}/{port} at {address}"),
        }
    }
}

impl fmt::Display for ServiceEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Service {}", self.service)?;
        if let Some(port) = &self.port {
            write!(f, " {port}")?;
        }
        match &self.way {
            Way::ClusterIps(addresses) if addresses.is_empty() => Ok(()),
            Way::ClusterIps(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                write!(f, " at {}", listed(&addresses))
            }
            Way::ExternalIp(address) => write!(f, " at its external IP {address}"),
            Way::LoadBalancerIp(address) => write!(f, " at its load balancer's IP {address}"),
            Way::NodePort { address, node, port } => write!(f, " at its node port {port} of {node} ({address})"),
            Way::Backends => f.write_str(" (headless: its pods' own addresses)"),
        }
    }
}

impl fmt::Display for EntryPort {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.number)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}
