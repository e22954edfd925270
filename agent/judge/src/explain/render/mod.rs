//! An explanation as text: short, and pointing at the object and field to change.

mod denial;
mod forwarded;
mod tiers;
pub(crate) mod words;

use std::borrow::Cow;
use std::fmt::{self, Formatter, Write};
use std::net::IpAddr;

use podgate_policy::evaluate::{Allow, DirectionVerdict, Element, Open, SharedAddress};
use podgate_policy::model::{Direction, ObjectKey};

use crate::explain::{Answer, Explanation, Note, Participant, Path};

/// How many items a list shows before the rest is only counted.
const SHOWN: usize = 6;

/// The answer as text, several lines, each ended.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(explanation) => explanation.fmt(f),
            Self::Forwarded(forwarded) => forwarded.fmt(f),
        }
    }
}

/// The answer as text, several lines, each ended.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let answer = if self.is_allowed() { "allowed" } else { "denied" };
        let groups = groups(&self.paths);
        if let [paths] = groups.as_slice() {
            writeln!(f, "{answer}: {} to {}, {}", self.from, self.to, ways(self, paths))?;
            write_path(f, self, paths[0])?;
        } else {
            writeln!(f, "{answer}: {} to {}, depending on addresses and port", self.from, self.to)?;
            for paths in &groups {
                let answer = if paths[0].verdict.is_allowed() { "allowed" } else { "denied" };
                writeln!(f, "{answer} for {}", ways(self, paths))?;
                write_path(f, self, paths[0])?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnNodeAddress { address, node } => write!(
                f,
                "{address} is an address of {node}, the pod's own node: this is the verdict for what the node forwards; \
                 its own processes (kubelet, host-network pods) always reach the pod"
            ),
            Self::OtherNodesPort { address, node, to } => write!(
                f,
                "this is {to}, but the packet gets there as it is, since that is another node than the source's: policies judge \
                 {address}, and {node} forwards what they allow"
            ),
            Self::OwnPorts(port) => write!(f, "policies judge the backends' own ports, never the Service's {port}"),
            Self::SourceRewritten(node) => write!(
                f,
                "kube-proxy forwards this with an address of {node} as the source (externalTrafficPolicy: Cluster), so \
                 the backends' policies see no pod; on a bridge of {node} it is the bridge's address"
            ),
            Self::Derived(service) => write!(
                f,
                "there is no EndpointSlice of Service {service}: taken for its backends are the pods with its labels, \
                 ready or not"
            ),
            Self::Contested(others) => {
                let others: Vec<_> = others.iter().map(|service| format!("Service {service}")).collect();
                write!(
                    f,
                    "{} has the same address and port: kube-proxy leads to the backends of one of them, and nothing says \
                     which; packets are judged by the backend that they reach",
                    listed(&others)
                )
            }
            Self::SharedAddress(SharedAddress { address, pods }) => {
                let pods: Vec<_> = pods.iter().map(ObjectKey::to_string).collect();
                let pods = listed(&pods);
                write!(
                    f,
                    "several pods have the address {address} ({pods}): a rule allows only what it allows all of them"
                )
            }
            Self::AddressTaken { address, of, by } => {
                write!(f, "{of} is terminating, and its address {address} is {by}'s by now: rules see {by} there")
            }
        }
    }
}

/// Paths with one verdict together, in the order of their first.
fn groups(paths: &[Path]) -> Vec<Vec<&Path>> {
    let mut groups: Vec<Vec<&Path>> = Vec::new();
    for path in paths {
        match groups.iter_mut().find(|group| group[0].verdict == path.verdict) {
            Some(group) => group.push(path),
            None => groups.push(vec![path]),
        }
    }
    groups
}

/// What the paths carry and between which addresses, where that says more than the ends do.
fn ways(explanation: &Explanation, paths: &[&Path]) -> String {
    let mut traffic: Vec<_> = paths.iter().map(|path| path.traffic.to_string()).collect();
    traffic.dedup();
    let pair = |path: &&Path| {
        let from = address(&explanation.from, path.from);
        let to = address(&explanation.to, path.to);
        match path.seen_as {
            Some(seen_as) => format!("{from} as {seen_as} to {to}"),
            None => format!("{from} to {to}"),
        }
    };
    let mut pairs: Vec<String> = Vec::new();
    for pair in paths.iter().map(pair) {
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    format!("{} ({})", traffic.join(" and "), listed(&pairs))
}

fn address(end: &Participant, address: Option<IpAddr>) -> String {
    address.map_or_else(|| format!("{end} without an address yet"), |address| address.to_string())
}

fn write_path(f: &mut Formatter<'_>, explanation: &Explanation, path: &Path) -> fmt::Result {
    for direction in [Direction::Egress, Direction::Ingress] {
        let view = View::new(explanation, path, direction);
        let text = view.verdict(path.verdict.direction(direction));
        text.lines().try_for_each(|line| writeln!(f, "  {line}"))?;
    }
    Ok(())
}

/// A direction of a path, seen from the end whose policies judge it.
struct View<'e> {
    direction: Direction,
    subject: &'e Participant,
    peer: Cow<'e, Participant>,
    peer_address: Option<IpAddr>,
    destination: &'e Participant,
}

impl<'e> View<'e> {
    fn new(explanation: &'e Explanation, path: &Path, direction: Direction) -> Self {
        let (from, to) = (&explanation.from, &explanation.to);
        match direction {
            Direction::Egress => {
                let peer = Cow::Borrowed(to);
                Self { direction, subject: from, peer, peer_address: path.to, destination: to }
            }
            Direction::Ingress => {
                let seen_as = path.seen_as.map(|address| Cow::Owned(Participant::Address(address)));
                let (peer, peer_address) = (seen_as.unwrap_or(Cow::Borrowed(from)), path.seen_as.or(path.from));
                Self { direction, subject: to, peer, peer_address, destination: to }
            }
        }
    }

    /// What is said of the direction: a line that starts with its subject, and details.
    fn verdict(&self, verdict: &DirectionVerdict) -> String {
        format!("{} of {}: {}", self.direction, self.subject, self.rest(verdict))
    }

    /// What is said of the subject, and details.
    fn rest(&self, verdict: &DirectionVerdict) -> String {
        match verdict {
            DirectionVerdict::Open(open) => self.open(*open).to_owned() + "\n",
            DirectionVerdict::ByTiers(tiers) => self.tiers(tiers),
            DirectionVerdict::Allowed { isolated_by, by } => self.allowed(isolated_by, by),
            DirectionVerdict::Denied { by } => "denied".to_owned() + &self.denied(by),
            DirectionVerdict::WouldDeny { by } => {
                "WOULD BE DENIED, and passes in audit mode".to_owned() + &self.denied(by)
            }
        }
    }

    fn open(&self, open: Open) -> &'static str {
        match (open, self.subject) {
            (Open::NoPolicy, _) => "allowed, no policy isolates it",
            (Open::NotSubject, Participant::Host(_)) => "allowed, policies don't apply to a host-network pod",
            (Open::NotSubject, _) => "allowed, policies don't apply to an address that is no pod's",
            (Open::SamePod, _) => "allowed, a pod always reaches itself",
            (Open::OwnNode, _) => "allowed, a pod and its own node always reach each other",
        }
    }

    fn allowed(&self, isolated_by: &[ObjectKey], by: &[Allow]) -> String {
        let mut text = String::from("allowed by ");
        let allow = |allow: &Allow| format!("{} ({})", allow.rule, self.elements(allow));
        // Writing into a String cannot fail.
        let _ = write!(text, "{}", by.first().map(allow).unwrap_or_default());
        let others: Vec<_> = by.iter().skip(1).map(|allow| allow.rule.to_string()).collect();
        if !others.is_empty() {
            let _ = write!(text, ", also by {}", listed(&others));
        }
        let isolated_by: Vec<_> = isolated_by.iter().map(ObjectKey::to_string).collect();
        let _ = writeln!(text, "\n  isolated by {}", listed(&isolated_by));
        text
    }

    fn elements(&self, allow: &Allow) -> String {
        let element = |field: &str, all: &str, element: Element| match element {
            Element::Any => all.to_string(),
            Element::Index(index) => format!("{field}[{index}]"),
        };
        let peer = element(self.peers_field(), "every peer", allow.peer);
        format!("{peer}, {}", element("ports", "every port", allow.port))
    }

    /// The field of a rule that holds its peers.
    fn peers_field(&self) -> &'static str {
        match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }
}

/// Items joined by commas, those beyond the limit counted.
pub(crate) fn listed(items: &[String]) -> String {
    match items.len().checked_sub(SHOWN) {
        None | Some(0) => items.join(", "),
        Some(more) => format!("{} and {more} more", items[..SHOWN].join(", ")),
    }
}
