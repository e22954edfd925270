//! Rules of ClusterNetworkPolicies: peers and protocols.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use podgate_policy::cluster_policy::{Action, ClusterPeer, ClusterRule, Matches, ProtocolMatch, Protocols};
use podgate_policy::model::{Direction, Protocol};
use serde_json::{Map, Value};

use super::cluster_policy::{field, fields, given, of_namespaces, of_pods, selector};
use super::path::{Path, quote};
use super::report::Report;
use super::{Scope, syntax};
use crate::problem::Effect;

/// So many items there may be in a list of a rule.
const MAX_ITEMS: usize = 25;
const LONGEST_NAME: usize = 100;

/// A rule. Of one that is not understood the whole fails closed: an Accept matches nothing, anything else denies
/// everything, whatever its other parts say.
pub(super) fn rule(
    direction: Direction,
    value: &Value,
    repeated: &[String],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> ClusterRule {
    let written = Action::ALL.into_iter().find(|action| value["action"].as_str() == Some(action.as_str()));
    let (closed, effect) = match written {
        Some(Action::Accept) => (Matches::Nothing, Effect::RuleMatchesNothing),
        Some(Action::Deny | Action::Pass) | None => (Matches::Everything, Effect::RuleDeniesAll),
    };
    let mut part = scope.with_report(Report::new(effect));
    let at = path.to_string();
    for repeated in repeated.iter().filter(|field| is_within(field, &at)) {
        part.report.repeated(repeated.clone());
    }
    let peers = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let rule = fields(value, &["name", "action", peers, "protocols"], path, &mut part);
    if rule.is_some() && written.is_none() {
        let action = rule.and_then(|rule| field(rule, "action"));
        part.report.invalid(&path.field("action"), format!("{}: expected Accept, Deny or Pass", given(action)));
    }
    let name = rule.and_then(|rule| name(rule, path, &mut part));
    let matches = rule.and_then(|rule| matches(direction, peers, rule, path, &mut part));
    let understood = !part.report.has_effect();
    let report = part.report;
    scope.report.absorb(&Path::Root, report);
    match (written, matches) {
        (Some(action), Some(matches)) if understood => ClusterRule { name, action, matches },
        (Some(Action::Accept), _) => ClusterRule { name, action: Action::Accept, matches: closed },
        _ => ClusterRule { name, action: Action::Deny, matches: closed },
    }
}

/// Whether a path is this one or leads on from it.
fn is_within(path: &str, at: &str) -> bool {
    path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn name(rule: &Map<String, Value>, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<Arc<str>> {
    let path = path.field("name");
    let value = field(rule, "name")?;
    let Some(name) = value.as_str() else {
        scope.report.unreadable(path.to_string(), "no text: expected the rule's name".to_owned());
        return None;
    };
    if name.chars().count() > LONGEST_NAME {
        scope.report.questionable(&path, format!("expected at most {LONGEST_NAME} characters"));
    }
    (!name.is_empty()).then(|| name.into())
}

/// `None`: something is wrong with it, and reported.
fn matches(
    direction: Direction,
    peers: &str,
    rule: &Map<String, Value>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Option<Matches> {
    let at = path.field(peers);
    let listed = items(field(rule, peers), "peers", &at, scope);
    let peers: Vec<_> = listed
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(index, value)| peer(direction, value, &at.index(index), scope))
        .collect();
    let protocols = match field(rule, "protocols") {
        None => Protocols::Any,
        value => {
            let at = path.field("protocols");
            let listed = items(value, "entries", &at, scope).into_iter().flatten().enumerate();
            Protocols::Listed(listed.filter_map(|(index, value)| protocol(value, &at.index(index), scope)).collect())
        }
    };
    (!peers.is_empty()).then_some(Matches::Some { peers, protocols })
}

/// The items of a list that has some; too many of them are used all the same.
fn items<'v>(value: Option<&'v Value>, what: &str, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<&'v Vec<Value>> {
    let Some(items) = value.and_then(Value::as_array).filter(|items| !items.is_empty()) else {
        let message = match value {
            Some(Value::Array(_)) => "empty".to_owned(),
            other => given(other),
        };
        scope.report.invalid(path, format!("{message}: expected 1 to {MAX_ITEMS} {what}"));
        return None;
    };
    if items.len() > MAX_ITEMS {
        scope.report.questionable(path, format!("{} {what}: expected 1 to {MAX_ITEMS}", items.len()));
    }
    Some(items)
}

fn peer(direction: Direction, value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<ClusterPeer> {
    const KINDS: [&str; 5] = ["namespaces", "pods", "networks", "nodes", "domainNames"];
    let known = match direction {
        Direction::Ingress => &KINDS[..2],
        Direction::Egress => &KINDS[..],
    };
    let peer = fields(value, known, path, scope)?;
    let mut kinds = KINDS.into_iter().filter_map(|kind| Some((kind, field(peer, kind)?)));
    match (kinds.next(), kinds.next()) {
        (Some(("namespaces", value)), None) => {
            Some(ClusterPeer::Pods(of_namespaces(value, &path.field("namespaces"), scope)))
        }
        (Some(("pods", value)), None) => of_pods(value, &path.field("pods"), scope).map(ClusterPeer::Pods),
        (Some(("networks", value)), None) if direction == Direction::Egress => {
            networks(value, &path.field("networks"), scope).map(ClusterPeer::Networks)
        }
        (Some(("nodes", value)), None) if direction == Direction::Egress => {
            Some(ClusterPeer::Nodes(selector(value, &path.field("nodes"), scope)))
        }
        (Some(("domainNames", _)), None) if direction == Direction::Egress => {
            let message = "not supported by podgate: expected networks with the addresses of these names";
            scope.report.invalid(&path.field("domainNames"), message);
            None
        }
        // An unknown field is said already.
        _ if peer.keys().any(|field| !known.contains(&field.as_str())) => None,
        _ => {
            scope.report.invalid(path, format!("expected exactly one of {}", known.join(", ")));
            None
        }
    }
}

/// Blocks with their host bits cleared; items that are equal then are one.
fn networks(value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<Vec<IpNet>> {
    let items = items(Some(value), "networks", path, scope)?;
    let (mut networks, mut texts) = (vec![], BTreeSet::new());
    for (index, item) in items.iter().enumerate() {
        let at = path.index(index);
        match item.as_str() {
            Some(text) => {
                networks.extend(scope.check(&at, syntax::block(text)));
                if !texts.insert(text) {
                    scope.report.questionable(path, format!("{} is given twice: keep one", quote(text)));
                }
            }
            None => scope.report.unreadable(at.to_string(), format!("{}: expected a block", given(Some(item)))),
        }
    }
    networks.sort();
    networks.dedup();
    Some(networks)
}

fn protocol(value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<ProtocolMatch> {
    const KINDS: [&str; 4] = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let entry = fields(value, &KINDS, path, scope)?;
    let mut kinds = KINDS.into_iter().filter_map(|kind| Some((kind, field(entry, kind)?)));
    let (kind, value) = match (kinds.next(), kinds.next()) {
        (Some(only), None) => only,
        // An unknown field is said already.
        (None, _) if !entry.is_empty() && entry.keys().all(|field| !KINDS.contains(&field.as_str())) => return None,
        _ => {
            scope.report.invalid(path, format!("expected exactly one of {}", KINDS.join(", ")));
            return None;
        }
    };
    let at = path.field(kind);
    let protocol = match kind {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return named(value, &at, scope),
    };
    let ports = fields(value, &["destinationPort"], &at, scope)?;
    let Some(port) = field(ports, "destinationPort") else {
        scope.report.invalid(&at, "missing: expected destinationPort; every port is the range 1 to 65535");
        return None;
    };
    let (first, last) = destination_port(port, &at.field("destinationPort"), scope)?;
    Some(ProtocolMatch::Range { protocol, first, last })
}

fn named(value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<ProtocolMatch> {
    match value.as_str() {
        Some(name) if !name.is_empty() => Some(ProtocolMatch::Named(scope.strings.share(name))),
        _ => {
            scope.report.invalid(path, format!("{}: expected the name of a container port", given(Some(value))));
            None
        }
    }
}

fn destination_port(value: &Value, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<(u16, u16)> {
    let port = fields(value, &["number", "range"], path, scope)?;
    match (field(port, "number"), field(port, "range")) {
        (Some(number), None) => {
            let number = number_of(Some(number), &path.field("number"), scope)?;
            Some((number, number))
        }
        (None, Some(range)) => {
            let path = path.field("range");
            let ends = fields(range, &["start", "end"], &path, scope)?;
            let first = number_of(field(ends, "start"), &path.field("start"), scope);
            let last = number_of(field(ends, "end"), &path.field("end"), scope);
            let (first, last) = (first?, last?);
            if first >= last {
                scope.report.invalid(&path, format!("{first} to {last}: expected start below end"));
                return None;
            }
            Some((first, last))
        }
        _ => {
            scope.report.invalid(path, "expected exactly one of number, range");
            None
        }
    }
}

fn number_of(value: Option<&Value>, path: &Path<'_>, scope: &mut Scope<'_>) -> Option<u16> {
    let number = value.and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok()).filter(|it| *it > 0);
    if number.is_none() {
        let given = match value {
            Some(Value::String(text)) => format!("the text {}", quote(text)),
            other => given(other),
        };
        scope.report.invalid(path, format!("{given}: expected 1 to 65535"));
    }
    number
}
