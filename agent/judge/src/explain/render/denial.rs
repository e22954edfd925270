//! What would have had to match.

use std::fmt::Write;

use podgate_policy::evaluate::{ListOutcome, PeerMiss, PortMiss, Refusal, RuleMiss, RuleRef};
use podgate_policy::model::ObjectKey;

use crate::explain::render::{SHOWN, View, listed, words};

impl View<'_> {
    /// The rest of the line, and a line or more for each rule, those first that lack only one thing.
    pub(super) fn denied(&self, by: &[Refusal]) -> String {
        let policies: Vec<_> = by.iter().map(|refusal| refusal.policy.to_string()).collect();
        let mut text = format!(", isolated by {}; no rule matches\n", listed(&policies));
        let rules = || by.iter().flat_map(|refusal| refusal.rules.iter().map(move |rule| (&refusal.policy, rule)));
        let (near, far): (Vec<_>, Vec<_>) =
            rules().partition(|(_, rule)| rule.peers.is_match() || rule.ports.is_match());
        for (policy, rule) in near.iter().chain(far.iter().take(SHOWN)) {
            text += &self.rule(policy, rule);
        }
        // Writing into a String cannot fail.
        if far.len() > SHOWN {
            let _ = writeln!(text, "  and {} more rules whose peers and ports both don't match", far.len() - SHOWN);
        }
        let empty: Vec<_> = by.iter().filter(|it| it.rules.is_empty()).map(|it| it.policy.to_string()).collect();
        if !empty.is_empty() {
            let _ = writeln!(text, "  no {} rules: {}", self.direction, listed(&empty));
        }
        text
    }

    fn rule(&self, policy: &ObjectKey, rule: &RuleMiss) -> String {
        let name = RuleRef { policy: policy.clone().into(), direction: self.direction, index: rule.index };
        let field = self.peers_field();
        match (&rule.peers, &rule.ports) {
            (ListOutcome::Misses(peers), ListOutcome::Matches(_)) => {
                format!("  {name}: ports match, but {field} does not\n{}", self.peers(peers))
            }
            (ListOutcome::Matches(_), ListOutcome::Misses(ports)) => {
                format!("  {name}: {field} matches, but ports allow only {}\n", self.ports(ports))
            }
            (ListOutcome::Misses(peers), ListOutcome::Misses(ports)) => {
                let peers: Vec<_> = peers.iter().map(|miss| words::peer(&miss.peer)).collect();
                let ports = self.ports(ports);
                format!("  {name}: neither matches: {field} allows only {}; ports only {ports}\n", listed(&peers))
            }
            (ListOutcome::Matches(_), ListOutcome::Matches(_)) => String::new(),
        }
    }

    /// A line for each peer that does not match.
    fn peers(&self, misses: &[PeerMiss]) -> String {
        let field = self.peers_field();
        let mut text = String::new();
        for miss in misses.iter().take(SHOWN) {
            let why = words::peer_mismatch(&miss.why, &self.peer, self.peer_address);
            // Writing into a String cannot fail.
            let _ = writeln!(text, "    {field}[{}] {}: {why}", miss.index, words::peer(&miss.peer));
        }
        if misses.len() > SHOWN {
            let _ = writeln!(text, "    and {} more", misses.len() - SHOWN);
        }
        text
    }

    fn ports(&self, misses: &[PortMiss]) -> String {
        let port = |miss: &PortMiss| words::port(&miss.port) + &words::port_mismatch(&miss.why, self.destination);
        listed(&misses.iter().map(port).collect::<Vec<_>>())
    }
}
