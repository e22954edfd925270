//! What NetworkPolicy v1 says about a packet that opens something, read straight from the semantics of the API and
//! sharing nothing with the compiler: the oracle of its tests, and the engine of [`crate::explain`] and
//! [`crate::matrix`].
//!
//! Only the packet that opens a connection is judged here; what belongs to one is allowed with it.

pub(crate) mod nodes;
mod outcome;
mod party;
mod peers;
mod ports;

pub use outcome::{
    Allow, DirectionVerdict, Element, ListOutcome, NamespaceFit, Open, PeerMismatch, PeerMiss, PortMismatch, PortMiss,
    Refusal, RuleMiss, RuleRef, Unmet, Verdict,
};
pub(crate) use party::same_family;
pub use party::{Identity, Party, SharedAddress, Traffic, routes};
pub(crate) use peers::peers_match;
pub(crate) use ports::{numbers_of, ports_match};

use nodes::node_of;

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
/// sends (ingress). Neither the pod itself nor its node is an exception here.
#[must_use]
pub fn judge(
    cluster: &Cluster,
    direction: Direction,
    subject: &Pod,
    peer: &Party<'_>,
    traffic: Traffic,
) -> DirectionVerdict {
    let (mode, policies) = in_force(cluster, subject, direction);
    if policies.is_empty() {
        return DirectionVerdict::Open(Open::NoPolicy);
    }
    let connection = Connection { cluster, direction, subject, peer, traffic };
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
pub(crate) fn rules(policy: &Policy, direction: Direction) -> Option<&[Rule]> {
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
    peer: &'c Party<'c>,
    traffic: Traffic,
}

/// How a rule's two lists answer; it allows if both match.
type RuleOutcome = (ListOutcome<PeerMiss>, ListOutcome<PortMiss>);

impl Connection<'_> {
    /// The pod whose container ports named ports mean: the destination, if that is a pod.
    fn server(&self) -> Option<&Pod> {
        match self.direction {
            Direction::Ingress => Some(self.subject),
            Direction::Egress => self.peer.pod(),
        }
    }

    fn outcomes(&self, policy: &Policy) -> Vec<RuleOutcome> {
        let rules = rules(policy, self.direction).unwrap_or_default();
        rules.iter().map(|rule| self.outcome(policy, rule)).collect()
    }

    fn outcome(&self, policy: &Policy, rule: &Rule) -> RuleOutcome {
        let peers = peers_match(self.cluster, &policy.key.namespace, &rule.peers, self.peer);
        (peers, ports_match(&rule.ports, self.server(), self.traffic))
    }
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
