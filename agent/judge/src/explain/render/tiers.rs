//! The walk through the tiers as text.

use std::fmt::Write;

use podgate_policy::cluster_policy::{ClusterPeer, ProtocolMatch, Tier};
use podgate_policy::evaluate::{
    AskedRule, ClusterPeerMiss, Decision, DirectionVerdict, Element, ListOutcome, ProtocolMiss, RuleAnswer, TierVerdict,
};
use podgate_policy::model::Mode;

use crate::explain::render::{SHOWN, View, listed, words};

impl View<'_> {
    /// The rest of the line that begins with the subject, and the walk: what decides first, then each tier in order.
    pub(super) fn tiers(&self, tiers: &TierVerdict) -> String {
        let mut text = self.decision(tiers);
        text += &self.tier(tiers, Tier::Admin);
        text += &self.not_decided(tiers);
        text + &self.tier(tiers, Tier::Baseline)
    }

    /// Who decides, and what, with the rest of the line.
    fn decision(&self, tiers: &TierVerdict) -> String {
        if let Some((_, asked)) = tiers.would_be_denied_by() {
            return format!("WOULD BE DENIED by {}, and passes in audit mode\n", self.named(asked));
        }
        match (tiers.decision, &tiers.network_policy, tiers.deciding()) {
            (Decision::Denied(_), _, Some((_, asked))) => format!("denied by {}\n", self.named(asked)),
            (Decision::Accepted(Tier::Baseline), Some(verdict @ DirectionVerdict::WouldDeny { .. }), _) => {
                self.rest(verdict)
            }
            (Decision::Accepted(_), _, Some((_, asked))) => format!("allowed by {}\n", self.named(asked)),
            (Decision::NetworkPolicy, Some(verdict), _) => self.rest(verdict),
            (_, Some(verdict @ DirectionVerdict::WouldDeny { .. }), _) => self.rest(verdict),
            _ => "allowed, no rule of a ClusterNetworkPolicy decides and no NetworkPolicy isolates it\n".to_owned(),
        }
    }

    /// A rule that matches, with the elements that do.
    fn named(&self, asked: &AskedRule) -> String {
        format!("{} ({})", name(asked), self.matched(asked))
    }

    fn matched(&self, asked: &AskedRule) -> String {
        let element = |field: &str, all: &str, element: Element| match element {
            Element::Any => all.to_owned(),
            Element::Index(index) => format!("{field}[{index}]"),
        };
        match &asked.answer {
            RuleAnswer::Matches { peer, protocol } => {
                let peer = element(self.peers_field(), "every peer", *peer);
                format!("{peer}, {}", element("protocols", "every protocol", *protocol))
            }
            RuleAnswer::MatchesEverything => "it fails closed, since a part of it isn't understood".to_owned(),
            RuleAnswer::MatchesNothing => "it counts as nothing, since a part of it isn't understood".to_owned(),
            RuleAnswer::Misses { peers, protocols } => self.missed(peers, protocols),
        }
    }

    fn missed(&self, peers: &ListOutcome<ClusterPeerMiss>, protocols: &ListOutcome<ProtocolMiss>) -> String {
        let mut reasons = Vec::new();
        if let ListOutcome::Misses(misses) = peers {
            let peer = |miss: &ClusterPeerMiss| {
                let why = words::peer_mismatch(&miss.why, &self.peer, self.peer_address);
                format!("{}[{}] {}: {why}", self.peers_field(), miss.index, cluster_peer(&miss.peer))
            };
            reasons.push(listed(&misses.iter().map(peer).collect::<Vec<_>>()));
        }
        if let ListOutcome::Misses(misses) = protocols {
            let protocol =
                |miss: &ProtocolMiss| protocol(&miss.protocol) + &words::port_mismatch(&miss.why, self.destination);
            reasons.push(format!("only {}", listed(&misses.iter().map(protocol).collect::<Vec<_>>())));
        }
        reasons.join("; ")
    }

    /// The rules of a tier that were asked, a line each, but for the one that decides, which is named already.
    fn tier(&self, tiers: &TierVerdict, tier: Tier) -> String {
        let decides = |asked: &AskedRule| tiers.deciding().is_some_and(|(_, deciding)| std::ptr::eq(deciding, asked));
        let lines: Vec<_> = tiers.asked(tier).iter().filter(|asked| !decides(asked)).collect();
        let mut text = String::new();
        // Writing into a String cannot fail.
        for asked in lines.iter().take(SHOWN) {
            let _ = writeln!(text, "  {tier} tier: {}", self.line(asked));
        }
        if lines.len() > SHOWN {
            let matching = lines[SHOWN..].iter().filter(|asked| asked.answer.is_match());
            for asked in matching {
                let _ = writeln!(text, "  {tier} tier: {}", self.line(asked));
            }
            let missing = lines[SHOWN..].iter().filter(|asked| !asked.answer.is_match()).count();
            if missing > 0 {
                let _ = writeln!(text, "  {tier} tier: {missing} more rules don't match");
            }
        }
        text
    }

    /// A rule that was asked and does not decide.
    fn line(&self, asked: &AskedRule) -> String {
        let (name, action, why) = (name(asked), asked.action, self.matched(asked));
        match (asked.mode, asked.answer.is_match()) {
            (Mode::Audited, true) => format!("{name} is in audit mode, its {action} has no effect ({why})"),
            (Mode::Enforced, true) => format!("{name} passes on ({why})"),
            (_, false) => format!("{name}, {action}, does not match: {why}"),
        }
    }

    /// Why NetworkPolicies, or the Baseline tier, were not asked or did not decide.
    fn not_decided(&self, tiers: &TierVerdict) -> String {
        match (tiers.decision, &tiers.network_policy) {
            (_, None) => "  NetworkPolicies and the Baseline tier are not asked: the Admin tier decides\n".to_owned(),
            (Decision::NetworkPolicy, Some(_)) => {
                "  the Baseline tier is not asked: a NetworkPolicy isolates the pod\n".to_owned()
            }
            (Decision::Accepted(_) | Decision::Denied(_), Some(verdict)) if verdict.isolated_by().is_empty() => {
                "  no NetworkPolicy isolates it\n".to_owned()
            }
            (_, Some(verdict)) if !verdict.isolated_by().is_empty() => {
                let policies: Vec<_> = verdict.isolated_by().iter().map(ToString::to_string).collect();
                format!("  NetworkPolicies in audit mode alone isolate it: {}\n", listed(&policies))
            }
            _ => String::new(),
        }
    }
}

/// A rule of a ClusterNetworkPolicy, with its own name if it has one.
fn name(asked: &AskedRule) -> String {
    let own = asked.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    format!("ClusterNetworkPolicy {}{own}", asked.rule)
}

/// An element of `from` or `to`.
fn cluster_peer(peer: &ClusterPeer) -> String {
    match peer {
        ClusterPeer::Networks(networks) => {
            let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
            format!("networks {}", listed(&networks))
        }
        ClusterPeer::Nodes(nodes) => format!("nodes {{{}}}", words::selector(nodes)),
        ClusterPeer::Pods(selection) if selection.pods.requirements().is_empty() => {
            format!("namespaces {{{}}}", words::selector(&selection.namespaces))
        }
        ClusterPeer::Pods(selection) => {
            let (namespaces, pods) = (words::selector(&selection.namespaces), words::selector(&selection.pods));
            format!("pods {{{pods}}} of namespaces {{{namespaces}}}")
        }
    }
}

/// An element of `protocols`.
fn protocol(asked: &ProtocolMatch) -> String {
    match asked {
        ProtocolMatch::Range { protocol, first, last } if first == last => format!("{protocol}/{first}"),
        ProtocolMatch::Range { protocol, first, last } => format!("{protocol}/{first}-{last}"),
        ProtocolMatch::Named(name) => format!("ports named {name}"),
    }
}
