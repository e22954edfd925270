//! The JSON form of an explanation. Scripts read it: fields are added, not renamed.

use std::net::IpAddr;

use podgate_judge::explain::{Explanation, Participant, Path};
use podgate_policy::evaluate::{Allow, Decision, DirectionVerdict, Element, Open, Traffic};
use podgate_policy::model::ObjectKey;
use serde::Serialize;

use super::miss::RefusalView;
use super::tiers::TiersView;

/// The whole answer; `egress` and `ingress` are those of the path that decides.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    verdict: &'static str,
    from: ParticipantView,
    to: ParticipantView,
    protocol: &'static str,
    port: Option<u16>,
    egress: DirectionView,
    ingress: DirectionView,
    paths: Vec<PathView>,
}

/// An end of the connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ParticipantView {
    /// A pod of the pod network.
    Pod(String),
    /// A pod on its node's network.
    HostNetworkPod(String),
    /// An address that is no pod's.
    Address(IpAddr),
}

/// One way in which the packet can go.
#[derive(Debug, Serialize)]
struct PathView {
    verdict: &'static str,
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_as: Option<IpAddr>,
    port: Option<u16>,
    egress: DirectionView,
    ingress: DirectionView,
}

/// What the policies of one end say.
#[derive(Debug, Serialize)]
struct DirectionView {
    verdict: &'static str,
    isolated: bool,
    reason: &'static str,
    policies: Vec<String>,
    allowed_by: Vec<AllowView>,
    refused_by: Vec<RefusalView>,
    /// Where ClusterNetworkPolicies have a say.
    #[serde(skip_serializing_if = "Option::is_none")]
    tiers: Option<Box<TiersView>>,
}

/// A rule that allows; an element that is `null` is an absent list, which matches everything.
#[derive(Debug, Serialize)]
struct AllowView {
    policy: String,
    rule: usize,
    peer: Option<usize>,
    port: Option<usize>,
}

impl Answer {
    /// The view of an explanation.
    pub(super) fn new(explanation: &Explanation) -> Self {
        let deciding = explanation.deciding();
        let (protocol, port) = traffic(deciding.traffic);
        Self {
            verdict: verdict(explanation.is_allowed()),
            from: participant(&explanation.from),
            to: participant(&explanation.to),
            protocol,
            port,
            egress: direction(&deciding.verdict.egress),
            ingress: direction(&deciding.verdict.ingress),
            paths: explanation.paths.iter().map(path).collect(),
        }
    }
}

fn verdict(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}

fn traffic(traffic: Traffic) -> (&'static str, Option<u16>) {
    match traffic {
        Traffic::Port { protocol, number } => (protocol.as_str(), Some(number)),
        Traffic::Other => ("ICMP", None),
    }
}

pub(super) fn participant(participant: &Participant) -> ParticipantView {
    match participant {
        Participant::Pod(key) => ParticipantView::Pod(key.to_string()),
        Participant::Host(key) => ParticipantView::HostNetworkPod(key.to_string()),
        Participant::Address(address) => ParticipantView::Address(*address),
    }
}

fn path(path: &Path) -> PathView {
    PathView {
        verdict: verdict(path.verdict.is_allowed()),
        from: path.from,
        to: path.to,
        seen_as: path.seen_as,
        port: traffic(path.traffic).1,
        egress: direction(&path.verdict.egress),
        ingress: direction(&path.verdict.ingress),
    }
}

fn direction(judged: &DirectionVerdict) -> DirectionView {
    let (allowed_by, refused_by) = rules(judged);
    let policies: Vec<_> = judged.isolated_by().into_iter().map(ObjectKey::to_string).collect();
    DirectionView {
        verdict: if judged.would_deny() { "would_deny" } else { verdict(judged.is_allowed()) },
        isolated: !policies.is_empty(),
        reason: reason(judged),
        policies,
        allowed_by,
        refused_by,
        tiers: match judged {
            DirectionVerdict::ByTiers(tiers) => Some(TiersView::new(tiers).into()),
            _ => None,
        },
    }
}

/// The rules of NetworkPolicies that allow, and those that don't.
fn rules(judged: &DirectionVerdict) -> (Vec<AllowView>, Vec<RefusalView>) {
    match judged {
        DirectionVerdict::Open(_) => (Vec::new(), Vec::new()),
        DirectionVerdict::ByTiers(tiers) => tiers.network_policy.as_ref().map(rules).unwrap_or_default(),
        DirectionVerdict::Allowed { by, .. } => (by.iter().map(allow).collect(), Vec::new()),
        DirectionVerdict::Denied { by } | DirectionVerdict::WouldDeny { by } => {
            (Vec::new(), by.iter().map(RefusalView::new).collect())
        }
    }
}

fn reason(judged: &DirectionVerdict) -> &'static str {
    match judged {
        DirectionVerdict::Open(Open::NoPolicy) => "no_policy",
        DirectionVerdict::Open(Open::NotSubject) => "not_subject",
        DirectionVerdict::Open(Open::SamePod) => "same_pod",
        DirectionVerdict::Open(Open::OwnNode) => "own_node",
        DirectionVerdict::ByTiers(tiers) => match (tiers.decision, &tiers.network_policy) {
            (Decision::Accepted(_) | Decision::Denied(_), _) => "cluster_rule",
            (Decision::NetworkPolicy, Some(judged)) => reason(judged),
            (Decision::NetworkPolicy, None) | (Decision::Nobody, _) => "undecided",
        },
        DirectionVerdict::Allowed { .. } => "rule",
        DirectionVerdict::Denied { .. } | DirectionVerdict::WouldDeny { .. } => "no_rule",
    }
}

fn allow(allow: &Allow) -> AllowView {
    AllowView {
        policy: allow.rule.policy.to_string(),
        rule: allow.rule.index,
        peer: element(allow.peer),
        port: element(allow.port),
    }
}

fn element(element: Element) -> Option<usize> {
    match element {
        Element::Any => None,
        Element::Index(index) => Some(index),
    }
}
