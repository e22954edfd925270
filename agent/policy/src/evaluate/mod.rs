//! What NetworkPolicy v1 and ClusterNetworkPolicy say about a packet that opens something, read straight from the
//! semantics of the APIs and sharing nothing with the compiler: the oracle of its tests, and what podgate-judge asks.
//!
//! Only the packet that opens a connection is judged here; what belongs to one is allowed with it.

mod cluster_rule;
mod nodes;
mod outcome;
mod party;
mod peers;
mod ports;
mod tier_outcome;
mod tiers;

use std::cell::OnceCell;

pub use cluster_rule::{cluster_peers_match, protocols_match, selects};
pub use nodes::{node_of, source_address};
pub use outcome::{
    Allow, DirectionVerdict, Element, ListOutcome, NamespaceFit, Open, PeerMismatch, PeerMiss, PolicyRef, PortMismatch,
    PortMiss, Refusal, RuleMiss, RuleRef, Unmet, Verdict,
};
pub use party::{Identity, Party, SharedAddress, Traffic, claims, everybody_among, owners, owners_among};
pub use peers::peers_match;
pub use ports::{numbers_of, ports_match};
pub use tier_outcome::{AskedRule, ClusterPeerMiss, Decision, ProtocolMiss, RuleAnswer, TierVerdict};
pub use tiers::{cluster_mode, guarding};

use crate::cluster::Cluster;
use crate::model::{Direction, Isolation, Mode, ObjectKey, Pod, Policy, Rule};
use party::everybody;
use tiers::{NetworkPolicies, Question};

/// How a packet gets to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// At the address that it was sent to.
    Directly,
    /// Through a Service or a `hostPort`, which gave it another destination.
    ThroughService,
}

/// Judges a packet that opens something: both ends' policies must allow it.
///
/// Policies of the source pod judge its egress, policies of the destination pod its ingress; an end that no policy can
/// select (an address outside the pod network, a host-network pod) is open. A pod always reaches itself, and a node
/// always reaches its own pods. NetworkPolicies deny neither a pod's way to its own node nor, through a Service, to
/// itself; ClusterNetworkPolicies may.
#[must_use]
pub fn verdict(cluster: &Cluster, from: &Party<'_>, to: &Party<'_>, traffic: Traffic) -> Verdict {
    verdict_by(cluster, from, to, traffic, Reach::Directly)
}

/// The same for a packet that gets there in this way.
#[must_use]
pub fn verdict_by(cluster: &Cluster, from: &Party<'_>, to: &Party<'_>, traffic: Traffic, reach: Reach) -> Verdict {
    verdict_among(cluster, from, to, traffic, reach, |party| everybody(cluster, party))
}

/// The same where the caller knows who `everybody` is: a party as each of the pods whose its address is, or itself if it
/// has none or is no pod. To find that out takes a look at every pod.
pub fn verdict_among<'c>(
    cluster: &'c Cluster,
    from: &Party<'c>,
    to: &Party<'c>,
    traffic: Traffic,
    reach: Reach,
    everybody: impl Fn(&Party<'c>) -> Vec<Party<'c>>,
) -> Verdict {
    let spared = beyond_network_policy(cluster, from, to);
    let judge = |direction, end: &Party<'c>, peer: &Party<'c>| match (end.identity, spared) {
        (Identity::Pod(subject), _) if is_judged(direction, spared, reach) => {
            judge_sparing(cluster, direction, subject, peer, || everybody(peer), traffic, spared)
        }
        (_, Some(open)) => DirectionVerdict::Open(open),
        (_, None) => DirectionVerdict::Open(Open::NotSubject),
    };
    Verdict { egress: judge(Direction::Egress, from, to), ingress: judge(Direction::Ingress, to, from) }
}

/// Whether anybody may deny what NetworkPolicies spare: what a node sends to its own pods nobody does, a pod's way to
/// itself only where it does not know that it leads there.
fn is_judged(direction: Direction, spared: Option<Open>, reach: Reach) -> bool {
    match spared {
        Some(Open::OwnNode) => direction == Direction::Egress,
        Some(Open::SamePod) => reach == Reach::ThroughService,
        Some(Open::NoPolicy | Open::NotSubject) | None => true,
    }
}

/// Judges one direction of one pod by policies alone: `peer` is the other end, `traffic` what it is sent (egress) or
/// sends (ingress). Neither the pod itself nor its node is an exception here. A packet shows nothing but an address, so a
/// rule of a NetworkPolicy allows it only if it would allow it for every pod whose the peer's address is, and
/// ClusterNetworkPolicies deny it if they would deny it for one of them.
#[must_use]
pub fn judge(
    cluster: &Cluster,
    direction: Direction,
    subject: &Pod,
    peer: &Party<'_>,
    traffic: Traffic,
) -> DirectionVerdict {
    judge_among(cluster, direction, subject, peer, || everybody(cluster, peer), traffic)
}

/// The same where the caller knows who `everybody` is, as for [`verdict_among`].
#[must_use]
pub fn judge_among<'c>(
    cluster: &'c Cluster,
    direction: Direction,
    subject: &'c Pod,
    peer: &Party<'c>,
    everybody: impl FnOnce() -> Vec<Party<'c>>,
    traffic: Traffic,
) -> DirectionVerdict {
    judge_sparing(cluster, direction, subject, peer, everybody, traffic, None)
}

/// Judges by all tiers. `spared`: why NetworkPolicies deny nothing here, if they don't.
fn judge_sparing<'c>(
    cluster: &'c Cluster,
    direction: Direction,
    subject: &'c Pod,
    peer: &Party<'c>,
    everybody: impl FnOnce() -> Vec<Party<'c>>,
    traffic: Traffic,
    spared: Option<Open>,
) -> DirectionVerdict {
    let guards = if cluster.cluster_policies.is_empty() { vec![] } else { guarding(cluster, subject, direction) };
    let (mode, policies) = in_force(cluster, subject, direction);
    let isolated = !policies.is_empty();
    match (guards.is_empty(), spared) {
        (true, Some(open)) => return DirectionVerdict::Open(open),
        (true, None) if !isolated => return DirectionVerdict::Open(Open::NoPolicy),
        _ => {}
    }
    let connection = Connection { cluster, direction, subject, peer, everybody: everybody(), traffic };
    let by_network_policies = || match spared {
        _ if !isolated => DirectionVerdict::Open(Open::NoPolicy),
        Some(open) => DirectionVerdict::Open(open),
        None => connection.judge(mode, &policies),
    };
    if guards.is_empty() {
        return by_network_policies();
    }
    let said = OnceCell::new();
    let network_policies = || {
        let decide = isolated && mode == Mode::Enforced;
        let said = said.get_or_init(|| NetworkPolicies { verdict: by_network_policies(), decide });
        NetworkPolicies::clone(said)
    };
    let walks = connection.everybody.iter().map(|other| {
        let question = Question { cluster, direction, subject, other: *other, traffic };
        DirectionVerdict::ByTiers(tiers::walk(&question, &guards, &network_policies).into())
    });
    worst(walks).unwrap_or(DirectionVerdict::Open(Open::NoPolicy))
}

/// The first verdict that denies, else the first that would, else the first.
fn worst(verdicts: impl Iterator<Item = DirectionVerdict>) -> Option<DirectionVerdict> {
    let badness = |verdict: &DirectionVerdict| (!verdict.is_allowed(), verdict.would_deny());
    verdicts.reduce(|worst, other| if badness(&other) > badness(&worst) { other } else { worst })
}

/// The policies that judge packets of a pod in a direction, by key. Those in audit mode add nothing to what others allow, and
/// take nothing away: they judge only where no other policy isolates the pod, and what they deny then passes. So audit
/// mode never opens what another policy denies.
#[must_use]
pub fn in_force<'c>(cluster: &'c Cluster, pod: &Pod, direction: Direction) -> (Mode, Vec<&'c Policy>) {
    let (audited, enforced): (Vec<_>, Vec<_>) =
        isolating(cluster, pod, direction).into_iter().partition(|policy| is_audited(cluster, policy));
    if enforced.is_empty() && !audited.is_empty() { (Mode::Audited, audited) } else { (Mode::Enforced, enforced) }
}

/// Whether a policy is in audit mode: by itself, by its namespace, or with all others.
#[must_use]
pub fn is_audited(cluster: &Cluster, policy: &Policy) -> bool {
    let by_namespace = || cluster.namespaces.get(&policy.key.namespace).is_some_and(|namespace| namespace.audit);
    cluster.audit || policy.audit || by_namespace()
}

/// The policies that isolate a pod in a direction, by key, in audit mode or not. None for a pod that is no subject of policy.
#[must_use]
pub fn isolating<'c>(cluster: &'c Cluster, pod: &Pod, direction: Direction) -> Vec<&'c Policy> {
    if !pod.is_networked() {
        return Vec::new();
    }
    let start = ObjectKey::new(pod.key.namespace.clone(), "");
    cluster
        .policies
        .range(start..)
        .take_while(|(key, _)| key.namespace == pod.key.namespace)
        .map(|(_, policy)| &**policy)
        .filter(|policy| rules(policy, direction).is_some() && policy.pod_selector.matches(&pod.labels))
        .collect()
}

/// The rules of a policy in a direction; `None` if it does not isolate in it.
#[must_use]
pub fn rules(policy: &Policy, direction: Direction) -> Option<&[Rule]> {
    match policy.isolation(direction) {
        Isolation::Unaffected => None,
        Isolation::Restricted(rules) => Some(rules),
    }
}

/// Why a packet is none of NetworkPolicies' business, if it is not.
fn beyond_network_policy(cluster: &Cluster, from: &Party<'_>, to: &Party<'_>) -> Option<Open> {
    match (from.identity, to.identity) {
        (Identity::Pod(from), Identity::Pod(to)) if from.key == to.key => Some(Open::SamePod),
        (Identity::Host(host), Identity::Pod(pod)) | (Identity::Pod(pod), Identity::Host(host))
            if pod.node.is_some() && pod.node == host.node =>
        {
            Some(Open::OwnNode)
        }
        // Ports of the node that lead to pods are no address of the node by the time policy is asked.
        (Identity::Pod(pod), Identity::Outside) if pod.node.is_some() => {
            let node = to.address.and_then(|address| node_of(cluster, address));
            (node == pod.node.as_ref()).then_some(Open::OwnNode)
        }
        _ => None,
    }
}

/// What a rule is asked about.
struct Connection<'c> {
    cluster: &'c Cluster,
    direction: Direction,
    subject: &'c Pod,
    /// Who is asked about.
    peer: &'c Party<'c>,
    /// Whoever may be at the other end, at least one.
    everybody: Vec<Party<'c>>,
    traffic: Traffic,
}

/// How a rule's two lists answer; it allows if both match.
type RuleOutcome = (ListOutcome<PeerMiss>, ListOutcome<PortMiss>);

impl Connection<'_> {
    /// What these NetworkPolicies say, which isolate the pod.
    fn judge(&self, mode: Mode, policies: &[&Policy]) -> DirectionVerdict {
        let outcomes: Vec<_> = policies.iter().map(|policy| (*policy, self.outcomes(policy))).collect();
        let by: Vec<_> = outcomes.iter().flat_map(|(policy, rules)| allows(policy, self.direction, rules)).collect();
        if by.is_empty() {
            let by = outcomes.into_iter().map(refusal).collect();
            return match mode {
                Mode::Enforced => DirectionVerdict::Denied { by },
                Mode::Audited => DirectionVerdict::WouldDeny { by },
            };
        }
        DirectionVerdict::Allowed { isolated_by: policies.iter().map(|policy| policy.key.clone()).collect(), by }
    }

    /// The pod whose container ports named ports mean: the destination, if that is a pod.
    fn server<'a>(&'a self, peer: &Party<'a>) -> Option<&'a Pod> {
        match self.direction {
            Direction::Ingress => Some(self.subject),
            Direction::Egress => peer.pod(),
        }
    }

    fn outcomes(&self, policy: &Policy) -> Vec<RuleOutcome> {
        let rules = rules(policy, self.direction).unwrap_or_default();
        rules.iter().map(|rule| self.outcome(policy, rule)).collect()
    }

    /// What a rule says of everybody who may be at the other end: the first that it does not match, else the first.
    fn outcome(&self, policy: &Policy, rule: &Rule) -> RuleOutcome {
        let peers = |peer: &Party<'_>| self.peers(policy, rule, peer);
        let ports = |peer: &Party<'_>| ports_match(&rule.ports, self.server(peer), self.traffic);
        (strictest(self.everybody.iter().map(peers)), strictest(self.everybody.iter().map(ports)))
    }

    fn peers(&self, policy: &Policy, rule: &Rule, peer: &Party<'_>) -> ListOutcome<PeerMiss> {
        let outcome = peers_match(self.cluster, &policy.key.namespace, &rule.peers, peer);
        match (outcome, peer.pod(), self.peer.pod()) {
            (ListOutcome::Misses(misses), Some(owner), Some(asked)) if owner.key != asked.key => {
                ListOutcome::Misses(misses.into_iter().map(|miss| of_other_owner(miss, &owner.key)).collect())
            }
            (outcome, ..) => outcome,
        }
    }
}

/// A miss of another pod than the one that is asked about.
fn of_other_owner(miss: PeerMiss, owner: &ObjectKey) -> PeerMiss {
    let why = match miss.why {
        PeerMismatch::Selectors { .. } => PeerMismatch::OtherOwner(owner.clone()),
        why => why,
    };
    PeerMiss { why, ..miss }
}

/// The first outcome that is a miss, else the first.
fn strictest<Miss>(mut outcomes: impl Iterator<Item = ListOutcome<Miss>>) -> ListOutcome<Miss> {
    let first = outcomes.next().unwrap_or_else(|| ListOutcome::Misses(Vec::new()));
    if !first.is_match() {
        return first;
    }
    outcomes.find(|outcome| !outcome.is_match()).unwrap_or(first)
}

fn allows(policy: &Policy, direction: Direction, rules: &[RuleOutcome]) -> Vec<Allow> {
    let allow = |(index, (peers, ports)): (usize, &RuleOutcome)| match (peers, ports) {
        (ListOutcome::Matches(peer), ListOutcome::Matches(port)) => {
            let rule = RuleRef { policy: policy.key.clone().into(), direction, index };
            Some(Allow { rule, peer: *peer, port: *port })
        }
        _ => None,
    };
    rules.iter().enumerate().filter_map(allow).collect()
}

fn refusal((policy, rules): (&Policy, Vec<RuleOutcome>)) -> Refusal {
    let misses = rules.into_iter().enumerate().map(|(index, (peers, ports))| RuleMiss { index, peers, ports });
    Refusal { policy: policy.key.clone(), rules: misses.collect() }
}
