//! The JSON form of what rules lacked.

use std::sync::Arc;

use podgate_policy::evaluate::{
    ListOutcome, NamespaceFit, PeerMismatch, PeerMiss, PortMismatch, PortMiss, Refusal, RuleMiss, Unmet,
};
use podgate_policy::model::Operator;
use serde::Serialize;

/// A policy that isolates and does not allow.
#[derive(Debug, Serialize)]
pub(super) struct RefusalView {
    policy: String,
    rules: Vec<RuleView>,
}

/// A rule that does not allow; a list that matched is `null`.
#[derive(Debug, Serialize)]
struct RuleView {
    rule: usize,
    peers_missed: Option<Vec<PeerView>>,
    ports_missed: Option<Vec<PortView>>,
}

/// An element of `from` or `to` that does not match.
#[derive(Debug, Serialize)]
pub(super) struct PeerView {
    peer: usize,
    why: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    except: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespace_labels: Vec<UnmetView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pod_labels: Vec<UnmetView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    node_labels: Vec<UnmetView>,
}

/// A label requirement that does not hold.
#[derive(Debug, Serialize)]
struct UnmetView {
    key: String,
    operator: &'static str,
    values: Vec<Arc<str>>,
    found: Option<Arc<str>>,
}

/// An element of `ports` that does not match.
#[derive(Debug, Serialize)]
pub(super) struct PortView {
    port: usize,
    why: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<u16>,
}

impl RefusalView {
    /// The view of a refusal.
    pub(super) fn new(refusal: &Refusal) -> Self {
        Self { policy: refusal.policy.to_string(), rules: refusal.rules.iter().map(rule).collect() }
    }
}

fn rule(miss: &RuleMiss) -> RuleView {
    let peer = |miss: &PeerMiss| PeerView::new(miss.index, &miss.why);
    let port = |miss: &PortMiss| PortView::new(miss.index, &miss.why);
    RuleView { rule: miss.index, peers_missed: missed(&miss.peers, peer), ports_missed: missed(&miss.ports, port) }
}

fn missed<Miss, View>(outcome: &ListOutcome<Miss>, view: impl Fn(&Miss) -> View) -> Option<Vec<View>> {
    match outcome {
        ListOutcome::Matches(_) => None,
        ListOutcome::Misses(misses) => Some(misses.iter().map(view).collect()),
    }
}

impl PeerView {
    /// The view of why the peer of this index does not match.
    pub(super) fn new(peer: usize, why: &PeerMismatch) -> Self {
        let blank =
            |why| Self { peer, why, except: None, namespace_labels: vec![], pod_labels: vec![], node_labels: vec![] };
        match why {
            PeerMismatch::NotAPod => blank("not_a_pod"),
            PeerMismatch::HostNetwork => blank("host_network"),
            PeerMismatch::OtherOwner(_) => blank("other_owner"),
            PeerMismatch::OutsideBlock => blank("outside_block"),
            PeerMismatch::NoAddress => blank("no_address"),
            PeerMismatch::NotANode => blank("not_a_node"),
            PeerMismatch::OtherNode { labels, .. } => {
                Self { node_labels: labels.iter().map(unmet).collect(), ..blank("node_labels") }
            }
            PeerMismatch::Excepted(block) => Self { except: Some(block.to_string()), ..blank("excepted") },
            PeerMismatch::Selectors { namespace, labels } => {
                let pod_labels = labels.iter().map(unmet).collect();
                let (why, namespace_labels) = match namespace {
                    NamespaceFit::Fits => ("pod_labels", vec![]),
                    NamespaceFit::NotOwn(_) => ("other_namespace", vec![]),
                    NamespaceFit::Unmet(labels) => ("namespace_labels", labels.iter().map(unmet).collect()),
                };
                Self { namespace_labels, pod_labels, ..blank(why) }
            }
        }
    }
}

fn unmet(unmet: &Unmet) -> UnmetView {
    let (operator, values) = match &unmet.requirement.operator {
        Operator::In(values) => ("In", values.clone()),
        Operator::NotIn(values) => ("NotIn", values.clone()),
        Operator::Exists => ("Exists", vec![]),
        Operator::DoesNotExist => ("DoesNotExist", vec![]),
    };
    UnmetView { key: unmet.requirement.key.to_string(), operator, values, found: unmet.found.clone() }
}

impl PortView {
    /// The view of why the port of this index does not match.
    pub(super) fn new(port: usize, why: &PortMismatch) -> Self {
        let (why, numbers) = match why {
            PortMismatch::Portless => ("portless", vec![]),
            PortMismatch::Protocol => ("protocol", vec![]),
            PortMismatch::Number => ("number", vec![]),
            PortMismatch::NamedNumbers(numbers) => ("named_numbers", numbers.clone()),
            PortMismatch::NameNotServed => ("name_not_served", vec![]),
            PortMismatch::NameOutsidePods => ("name_outside_pods", vec![]),
        };
        Self { port, why, numbers }
    }
}
