//! What the tables must say, by the evaluator.

use std::net::IpAddr;
use std::sync::Arc;

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::{ClusterPolicies, ClusterPolicy, PodSelection};
use podgate_policy::evaluate::{self, DirectionVerdict, Identity, Party, RuleRef, Traffic};
use podgate_policy::model::{Direction, Pod, Protocol};

use super::world::World;

/// One question to the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) slot: u32,
    pub(crate) direction: Direction,
    pub(crate) remote: IpAddr,
    pub(crate) traffic: Traffic,
}

/// What the answer may be. Where several pods have the remote address, allowing nothing is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) must_allow: bool,
    pub(crate) may_allow: bool,
}

impl Expected {
    const DENY: Self = Self { must_allow: false, may_allow: false };
    const ALLOW: Self = Self { must_allow: true, may_allow: true };

    /// Whether an answer is right.
    pub(crate) fn permits(self, allowed: bool) -> bool {
        if allowed { self.may_allow } else { !self.must_allow }
    }
}

/// The right answer in a world.
pub(crate) fn expected(world: &World, probe: Probe) -> Expected {
    mixed(&world.cluster, world, probe)
}

/// The right answer for the policies and endpoints of `subjects` and the pods and namespaces of `peers`.
pub(crate) fn mixed(peers: &Cluster, subjects: &World, probe: Probe) -> Expected {
    let Some(pod) = subjects.endpoints.get(&probe.slot).and_then(|key| subjects.cluster.pods.get(key)) else {
        return Expected::DENY;
    };
    if !pod.is_networked() {
        return Expected::ALLOW;
    }
    let cluster_policies = guarding(&subjects.cluster, pod);
    let cluster = Cluster { policies: subjects.cluster.policies.clone(), cluster_policies, ..peers.clone() };
    let allowed = |party: &Party<'_>| verdict(&cluster, pod, party, probe).is_allowed();
    match Party::at(&cluster, probe.remote) {
        Ok(party) if allowed(&party) => Expected::ALLOW,
        Ok(_) => Expected::DENY,
        Err(shared) => {
            let pods = shared.pods.iter().map(|key| &*cluster.pods[key]);
            let all = pods
                .map(|pod| Party { identity: Identity::Pod(pod), address: Some(probe.remote) })
                .all(|party| allowed(&party));
            let outside = allowed(&Party::outside(probe.remote));
            Expected { must_allow: outside && all, may_allow: all }
        }
    }
}

/// The ClusterNetworkPolicies that select a pod, as ones that select every pod, whatever its namespace is called by now.
fn guarding(cluster: &Cluster, pod: &Pod) -> ClusterPolicies {
    let mut guarding = ClusterPolicies::default();
    for policy in cluster.cluster_policies.iter().filter(|policy| evaluate::selects(cluster, &policy.subject, pod)) {
        guarding.insert(Arc::new(ClusterPolicy { subject: PodSelection::default(), ..ClusterPolicy::clone(policy) }));
    }
    guarding
}

fn verdict(cluster: &Cluster, pod: &Pod, party: &Party<'_>, probe: Probe) -> DirectionVerdict {
    evaluate::judge(cluster, probe.direction, pod, party, probe.traffic)
}

/// What a packet may be told while a plan is being applied: what the old policies say of the old or the new peers, or
/// what the new say of the new. Where only policies change or only peers, that is the old or the new answer.
pub(crate) fn meanwhile(before: &World, after: &World, probe: Probe) -> [Expected; 3] {
    [expected(before, probe), mixed(&after.cluster, before, probe), expected(after, probe)]
}

/// What must be said of a probe, with the rules one of which must be named; without rules none may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Allowed(Vec<RuleRef>),
    Denied(Option<RuleRef>),
    WouldDeny(Option<RuleRef>),
}

/// What must be said of a probe, if its address is one pod's or none's.
pub(crate) fn said(world: &World, probe: Probe) -> Option<Said> {
    let pod = world.cluster.pods.get(world.endpoints.get(&probe.slot)?)?;
    let party = Party::at(&world.cluster, probe.remote).ok()?;
    let verdict = verdict(&world.cluster, pod, &party, probe);
    let rules = |verdict: &DirectionVerdict| match verdict {
        DirectionVerdict::Allowed { by, .. } => by.iter().map(|allow| allow.rule.clone()).collect(),
        _ => vec![],
    };
    let (by, would) = match &verdict {
        DirectionVerdict::ByTiers(tiers) => {
            let by = match tiers.deciding() {
                Some((_, asked)) => vec![asked.rule.clone()],
                None => tiers.network_policy.as_ref().map(rules).unwrap_or_default(),
            };
            (by, tiers.would_be_denied_by().map(|(_, asked)| asked.rule.clone()))
        }
        verdict => (rules(verdict), None),
    };
    Some(match (verdict.is_allowed(), verdict.would_deny()) {
        (true, true) => Said::WouldDeny(would),
        (true, false) => Said::Allowed(by),
        (false, _) => Said::Denied(by.into_iter().next()),
    })
}

/// Every question about these slots that the generator's addresses and ports make interesting.
pub(crate) fn probes(slots: impl Iterator<Item = u32>, remotes: &[IpAddr]) -> Vec<Probe> {
    let mut probes = Vec::new();
    for slot in slots {
        for direction in Direction::ALL {
            for &remote in remotes {
                probes.extend(traffic().into_iter().map(|traffic| Probe { slot, direction, remote, traffic }));
            }
        }
    }
    probes
}

fn traffic() -> Vec<Traffic> {
    let numbers = |protocol, numbers: &[u16]| {
        numbers.iter().map(|&number| Traffic::Port { protocol, number }).collect::<Vec<_>>()
    };
    let mut traffic = numbers(Protocol::Tcp, &[1, 79, 80, 81, 82, 443, 65535]);
    traffic.extend(numbers(Protocol::Udp, &[80, 81, 53]));
    traffic.extend(numbers(Protocol::Sctp, &[80]));
    traffic.push(Traffic::Other);
    traffic
}
