//! The JSON form of the walk through the tiers.

use podgate_policy::cluster_policy::{Action, Tier};
use podgate_policy::evaluate::{
    AskedRule, ClusterPeerMiss, Decision, Element, ListOutcome, ProtocolMiss, RuleAnswer, TierVerdict,
};
use podgate_policy::model::Mode;
use serde::Serialize;

use super::miss::{PeerView, PortView};

/// Rules of ClusterNetworkPolicies that were asked, and who decides.
#[derive(Debug, Serialize)]
pub(super) struct TiersView {
    decided_by: &'static str,
    /// What the deciding rule does; `null`: none of a ClusterNetworkPolicy decides.
    action: Option<&'static str>,
    network_policies_asked: bool,
    rules: Vec<AskedView>,
}

/// A rule that was asked.
#[derive(Debug, Serialize)]
struct AskedView {
    tier: &'static str,
    policy: String,
    rule: usize,
    name: Option<String>,
    action: &'static str,
    audited: bool,
    answer: &'static str,
    /// The elements that match, if any do; `null` of a list that is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers_missed: Option<Vec<PeerView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocols_missed: Option<Vec<PortView>>,
}

impl TiersView {
    /// The view of a walk.
    pub(super) fn new(tiers: &TierVerdict) -> Self {
        let rules = Tier::ALL.into_iter().flat_map(|tier| tiers.asked(tier).iter().map(move |it| asked(tier, it)));
        Self {
            decided_by: match tiers.decision {
                Decision::Accepted(tier) | Decision::Denied(tier) => tier.as_str(),
                Decision::NetworkPolicy => "NetworkPolicy",
                Decision::Nobody => "nobody",
            },
            action: match tiers.decision {
                Decision::Accepted(_) => Some(Action::Accept.as_str()),
                Decision::Denied(_) => Some(Action::Deny.as_str()),
                Decision::NetworkPolicy | Decision::Nobody => None,
            },
            network_policies_asked: tiers.network_policy.is_some(),
            rules: rules.collect(),
        }
    }
}

fn asked(tier: Tier, asked: &AskedRule) -> AskedView {
    let blank = |answer| AskedView {
        tier: tier.as_str(),
        policy: asked.rule.policy.to_string(),
        rule: asked.rule.index,
        name: asked.name.as_ref().map(ToString::to_string),
        action: asked.action.as_str(),
        audited: asked.mode == Mode::Audited,
        answer,
        peer: None,
        protocol: None,
        peers_missed: None,
        protocols_missed: None,
    };
    match &asked.answer {
        RuleAnswer::MatchesEverything => blank("matches_everything"),
        RuleAnswer::MatchesNothing => blank("matches_nothing"),
        RuleAnswer::Matches { peer, protocol } => {
            AskedView { peer: element(*peer), protocol: element(*protocol), ..blank("matches") }
        }
        RuleAnswer::Misses { peers, protocols } => AskedView {
            peers_missed: missed(peers, |miss: &ClusterPeerMiss| PeerView::new(miss.index, &miss.why)),
            protocols_missed: missed(protocols, |miss: &ProtocolMiss| PortView::new(miss.index, &miss.why)),
            ..blank("misses")
        },
    }
}

fn element(element: Element) -> Option<usize> {
    match element {
        Element::Any => None,
        Element::Index(index) => Some(index),
    }
}

fn missed<Miss, View>(outcome: &ListOutcome<Miss>, view: impl Fn(&Miss) -> View) -> Option<Vec<View>> {
    match outcome {
        ListOutcome::Matches(_) => None,
        ListOutcome::Misses(misses) => Some(misses.iter().map(view).collect()),
    }
}
