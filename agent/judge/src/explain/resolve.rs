//! From a query to the paths it stands for, and their verdicts.

use std::net::IpAddr;

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::{ClusterPeer, Matches};
use podgate_policy::evaluate::{
    AskedRule, DirectionVerdict, Element, Identity, ListOutcome, Party, PeerMismatch, PolicyRef, Reach, RuleAnswer,
    RuleMiss, RuleRef, TierVerdict, Traffic, Verdict, numbers_of, verdict, verdict_by,
};

use crate::explain::destination::{self, Target};
use crate::explain::notes::notes;
use crate::explain::side::Side;
use crate::explain::{Answer, Asked, ExplainError, Explanation, Path, Query, Unknown, forward};
use crate::routes::routes;

/// One way in which the packet can go, before it is judged.
pub(super) struct Leg {
    pub(super) from: Option<IpAddr>,
    pub(super) to: Option<IpAddr>,
    /// The source address that the destination sees, if it is another.
    pub(super) seen_as: Option<IpAddr>,
    pub(super) traffic: Traffic,
    /// Whether something gave it this destination.
    pub(super) reach: Reach,
}

pub(super) fn answer(cluster: &Cluster, query: &Query) -> Result<Answer, ExplainError> {
    let from = Side::find(cluster, &query.from)?;
    match destination::find(cluster, &from, &query.to, &query.asked)? {
        Target::Forwarded(route) => forward::answer(cluster, &from, &route).map(Answer::Forwarded),
        Target::Direct(to, note) => {
            let mut explanation = direct(cluster, &from, &to, &query.asked)?;
            explanation.notes.extend(note);
            Ok(Answer::Direct(explanation))
        }
    }
}

fn direct(cluster: &Cluster, from: &Side<'_>, to: &Side<'_>, asked: &Asked) -> Result<Explanation, ExplainError> {
    let routes = routes(&from.addresses, &to.addresses);
    let mut legs = Vec::new();
    for traffic in traffics(asked, to)? {
        legs.extend(routes.iter().map(|&(from, to)| Leg { from, to, seen_as: None, traffic, reach: Reach::Directly }));
    }
    if legs.is_empty() {
        return Err(ExplainError::NoCommonFamily { from: from.participant.clone(), to: to.participant.clone() });
    }
    judge(cluster, from, to, &legs)
}

/// The verdicts of these ways, at least one.
pub(super) fn judge(
    cluster: &Cluster,
    from: &Side<'_>,
    to: &Side<'_>,
    legs: &[Leg],
) -> Result<Explanation, ExplainError> {
    let path = |leg: &Leg| {
        let (source, destination) = (from.party(leg.from), to.party(leg.to));
        let verdict = seen_verdict(cluster, &source, &destination, leg);
        Path { from: leg.from, to: leg.to, seen_as: leg.seen_as, traffic: leg.traffic, verdict }
    };
    let paths: Vec<_> = legs.iter().map(path).collect();
    decidable(cluster, from, to, &paths)?;
    let notes = notes(cluster, from, to, &paths);
    Ok(Explanation { from: from.participant.clone(), to: to.participant.clone(), paths, notes })
}

/// The verdict, the destination's half of it about the source address that it sees. A pod that reaches itself is itself under
/// any address.
fn seen_verdict(cluster: &Cluster, from: &Party<'_>, to: &Party<'_>, leg: &Leg) -> Verdict {
    let own = verdict_by(cluster, from, to, leg.traffic, leg.reach);
    let is_itself = from.pod().zip(to.pod()).is_some_and(|(from, to)| from.key == to.key);
    match leg.seen_as {
        Some(address) if !is_itself => {
            let ingress = verdict(cluster, &Party::outside(address), to, leg.traffic).ingress;
            Verdict { ingress, ..own }
        }
        _ => own,
    }
}

/// What is asked for, at the destination: a name may stand for several numbers.
fn traffics(asked: &Asked, to: &Side<'_>) -> Result<Vec<Traffic>, ExplainError> {
    let (protocol, name) = match asked {
        Asked::Number(protocol, number) => return Ok(vec![Traffic::Port { protocol: *protocol, number: *number }]),
        Asked::Other => return Ok(vec![Traffic::Other]),
        Asked::Name(protocol, name) => (*protocol, name),
    };
    let Some(pod) = to.any_pod() else {
        return Err(ExplainError::NameOutsidePods { to: to.participant.clone(), name: name.clone() });
    };
    match numbers_of(pod, name, protocol) {
        numbers if numbers.is_empty() => {
            Err(ExplainError::NameNotServed { pod: pod.key.clone(), protocol, name: name.clone() })
        }
        numbers => Ok(numbers.into_iter().map(|number| Traffic::Port { protocol, number }).collect()),
    }
}

/// Whether the answer stands whatever is not known: some path is denied for certain, or all are allowed for certain.
fn decidable(cluster: &Cluster, from: &Side<'_>, to: &Side<'_>, paths: &[Path]) -> Result<(), ExplainError> {
    let unknown = |path: &Path| if path.verdict.is_allowed() { None } else { unknown(from, to, path) };
    let unknown = |path| unknown(path).or_else(|| network_unknown(cluster, from, to, path));
    let unknowns: Vec<_> = paths.iter().map(|path| (path.verdict.is_allowed(), unknown(path))).collect();
    let denied_for_certain = unknowns.iter().any(|(allowed, unknown)| !allowed && unknown.is_none());
    match unknowns.into_iter().find_map(|(_, unknown)| unknown) {
        Some(unknown) if !denied_for_certain => Err(ExplainError::Undecidable(unknown)),
        _ => Ok(()),
    }
}

/// What might turn the denial of a path into an allow, if it were known.
fn unknown(from: &Side<'_>, to: &Side<'_>, path: &Path) -> Option<Unknown> {
    unknown_node(from.identity, to.identity).or_else(|| unknown_address(from, to, path))
}

/// The end whose address, which is not known, might be in a network of a ClusterNetworkPolicy's rule that was asked: such a
/// rule may deny as well as accept.
fn network_unknown(cluster: &Cluster, from: &Side<'_>, to: &Side<'_>, path: &Path) -> Option<Unknown> {
    let ends = [(&path.verdict.egress, to, path.to), (&path.verdict.ingress, from, path.from)];
    let hanging = ends.into_iter().filter(|(.., address)| address.is_none()).find(|(verdict, ..)| match verdict {
        DirectionVerdict::ByTiers(tiers) => tiers_hang_on_address(cluster, tiers),
        _ => false,
    });
    Some(Unknown::Address(hanging?.1.any_pod()?.key.clone()))
}

/// Whether a rule that was asked about an address that is not known is about networks.
fn tiers_hang_on_address(cluster: &Cluster, tiers: &TierVerdict) -> bool {
    let hangs = |asked: &AskedRule| match &asked.answer {
        RuleAnswer::Misses { peers: ListOutcome::Misses(peers), protocols: ListOutcome::Matches(_) } => {
            peers.iter().any(|miss| miss.why == PeerMismatch::NoAddress)
        }
        RuleAnswer::Matches { peer: Element::Index(index), .. } => is_of_networks(cluster, &asked.rule, *index),
        _ => false,
    };
    tiers.admin.iter().chain(&tiers.baseline).any(hangs)
}

fn is_of_networks(cluster: &Cluster, rule: &RuleRef, peer: usize) -> bool {
    let PolicyRef::Cluster(name) = &rule.policy else { return false };
    let rules = cluster.cluster_policies.get(name).map(|policy| policy.rules(rule.direction));
    let matches = rules.and_then(|rules| Some(&rules.get(rule.index)?.matches));
    let Some(Matches::Some { peers, .. }) = matches else { return false };
    matches!(peers.get(peer), Some(ClusterPeer::Networks(_)))
}

/// Of a host-network pod and a pod: the one whose node is not known.
fn unknown_node(from: Identity<'_>, to: Identity<'_>) -> Option<Unknown> {
    let ((Identity::Host(host), Identity::Pod(pod)) | (Identity::Pod(pod), Identity::Host(host))) = (from, to) else {
        return None;
    };
    [host, pod].into_iter().find(|pod| pod.node.is_none()).map(|pod| Unknown::Node(pod.key.clone()))
}

/// The end whose address might be in a block that would allow the path, provided that nothing else denies it.
fn unknown_address(from: &Side<'_>, to: &Side<'_>, path: &Path) -> Option<Unknown> {
    let denied = [(&path.verdict.egress, to), (&path.verdict.ingress, from)];
    let peers = denied.into_iter().filter(|(verdict, _)| !verdict.is_allowed());
    let unknown: Option<Vec<_>> =
        peers.map(|(verdict, peer)| if hangs_on_address(verdict) { peer.any_pod() } else { None }).collect();
    unknown?.first().map(|pod| Unknown::Address(pod.key.clone()))
}

fn hangs_on_address(verdict: &DirectionVerdict) -> bool {
    match verdict {
        DirectionVerdict::Denied { by } => by.iter().flat_map(|refusal| &refusal.rules).any(rule_hangs_on_address),
        DirectionVerdict::ByTiers(tiers) => tiers.network_policy.as_ref().is_some_and(hangs_on_address),
        DirectionVerdict::Open(_) | DirectionVerdict::Allowed { .. } | DirectionVerdict::WouldDeny { .. } => false,
    }
}

fn rule_hangs_on_address(rule: &RuleMiss) -> bool {
    let ListOutcome::Misses(peers) = &rule.peers else { return false };
    rule.ports.is_match() && peers.iter().any(|miss| miss.why == PeerMismatch::NoAddress)
}
