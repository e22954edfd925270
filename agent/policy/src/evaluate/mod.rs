//! What NetworkPolicy v1 says about a packet that opens something, read straight from the semantics of the API and
//! sharing nothing with the compiler: the oracle of its tests, and what podgate-judge asks.
//!
//! Only the packet that opens a connection is judged here; what belongs to one is allowed with it.

mod nodes;
mod outcome;
mod party;
mod peers;
mod ports;

pub use nodes::{node_of, source_address};
pub use outcome::{
    Allow, DirectionVerdict, Element, ListOutcome, NamespaceFit, Open, PeerMismatch, PeerMiss, PortMismatch, PortMiss,
    Refusal, RuleMiss, RuleRef, Unmet, Verdict,
};
pub use party::{Identity, Party, SharedAddress, Traffic, owners, owners_among};
pub use peers::peers_match;
pub use ports::{numbers_of, ports_match};

use crate::cluster::Cluster;
use crate::model::{Direction, Isolation, Mode, ObjectKey, Pod, Policy, Rule};

/// Judges a packet that opens something: both ends' policies must allow it.
///
/// Policies of the source pod judge its egress, policies of the destination pod its ingress; an end that no policy can
/// select (an address outside the pod network, a host-network pod) is open. A pod always reaches itself, and a pod and
/// its own node always reach each other.
#[must_use]
pub fn verdict(cluster: &Cluster, from: &Party<'_>, to: &Party<'_>, traffic: Traffic) -> Verdict {
    if let Some(open) = beyond_policy(cluster, from, to) {
        return Verdict { egress: DirectionVerdict::Open(open), ingress: DirectionVerdict::Open(open) };
    }
    Verdict {
        egress: judge_end(cluster, Direction::Egress, from, to, traffic),
        ingress: judge_end(cluster, Direction::Ingress, to, from, traffic),
    }
}

/// Judges one direction of one pod by policies alone: `peer` is the other end, `traffic` what it is sent (egress) or
/// sends (ingress). Neither the pod itself nor its node is an exception here. A packet shows nothing but an address, so a
/// rule allows it only if it would allow it for every pod whose the peer's address is.
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

/// The same where the caller knows who `everybody` is: the peer as each of the pods whose its address is, or itself if it
/// has none or is no pod. To find that out takes a look at every pod.
#[must_use]
pub fn judge_among<'c>(
    cluster: &'c Cluster,
    direction: Direction,
    subject: &'c Pod,
    peer: &Party<'c>,
    everybody: impl FnOnce() -> Vec<Party<'c>>,
    traffic: Traffic,
) -> DirectionVerdict {
    let (mode, policies) = in_force(cluster, subject, direction);
    if policies.is_empty() {
        return DirectionVerdict::Open(Open::NoPolicy);
    }
    let connection = Connection { cluster, direction, subject, peer, everybody: everybody(), traffic };
    let outcomes: Vec<_> = policies.iter().map(|policy| (*policy, connection.outcomes(policy))).collect();
    let by: Vec<_> = outcomes.iter().flat_map(|(policy, rules)| allows(policy, direction, rules)).collect();
    if by.is_empty() {
        let by = outcomes.into_iter().map(refusal).collect();
        return match mode {
            Mode::Enforced => DirectionVerdict::Denied { by },
            Mode::Audited => DirectionVerdict::WouldDeny { by },
        };
    }
    DirectionVerdict::Allowed { isolated_by: policies.iter().map(|policy| policy.key.clone()).collect(), by }
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

/// Why a packet is none of policy's business, if it is not.
fn beyond_policy(cluster: &Cluster, from: &Party<'_>, to: &Party<'_>) -> Option<Open> {
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

fn judge_end(
    cluster: &Cluster,
    direction: Direction,
    end: &Party<'_>,
    peer: &Party<'_>,
    traffic: Traffic,
) -> DirectionVerdict {
    match end.identity {
        Identity::Pod(subject) => judge(cluster, direction, subject, peer, traffic),
        Identity::Host(_) | Identity::Outside => DirectionVerdict::Open(Open::NotSubject),
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

/// Whoever may be behind a party's address: all pods that have it.
fn everybody<'c>(cluster: &'c Cluster, peer: &Party<'c>) -> Vec<Party<'c>> {
    let (Identity::Pod(_), Some(address)) = (peer.identity, peer.address) else { return vec![*peer] };
    let owners = owners(cluster, address).into_iter();
    let parties: Vec<_> = owners.map(|pod| Party { identity: Identity::Pod(pod), address: Some(address) }).collect();
    if parties.is_empty() { vec![*peer] } else { parties }
}

/// How a rule's two lists answer; it allows if both match.
type RuleOutcome = (ListOutcome<PeerMiss>, ListOutcome<PortMiss>);

impl Connection<'_> {
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
            let rule = RuleRef { policy: policy.key.clone(), direction, index };
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
