//! What the tables must say, by the evaluator.

use std::net::IpAddr;

use podgate_policy::cluster::Cluster;
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
    let cluster = Cluster { policies: subjects.cluster.policies.clone(), ..peers.clone() };
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
            Expected { must_allow: outside, may_allow: all }
        }
    }
}

fn verdict(cluster: &Cluster, pod: &Pod, party: &Party<'_>, probe: Probe) -> DirectionVerdict {
    evaluate::judge(cluster, probe.direction, pod, party, probe.traffic)
}

/// What a packet may be told while a plan is being applied: what the old policies say of the old or the new peers, or
/// what the new say of the new. Where only policies change or only peers, that is the old or the new answer.
pub(crate) fn meanwhile(before: &World, after: &World, probe: Probe) -> [Expected; 3] {
    [expected(before, probe), mixed(&after.cluster, before, probe), expected(after, probe)]
}

/// The rules that allow what a probe asks, if its address is one pod's or none's.
pub(crate) fn allowing(world: &World, probe: Probe) -> Option<Vec<RuleRef>> {
    let pod = world.cluster.pods.get(world.endpoints.get(&probe.slot)?)?;
    let party = Party::at(&world.cluster, probe.remote).ok()?;
    match verdict(&world.cluster, pod, &party, probe) {
        DirectionVerdict::Allowed { by, .. } => Some(by.into_iter().map(|allow| allow.rule).collect()),
        DirectionVerdict::Open(_)
        | DirectionVerdict::ByTiers(_)
        | DirectionVerdict::Denied { .. }
        | DirectionVerdict::WouldDeny { .. } => None,
    }
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

/// Whether a probe would be denied by policies in audit mode; `None`: several pods have the remote address, or there is no
/// pod.
pub(crate) fn would_be_denied(world: &World, probe: Probe) -> Option<bool> {
    let pod = world.endpoints.get(&probe.slot).and_then(|key| world.cluster.pods.get(key))?;
    let party = Party::at(&world.cluster, probe.remote).ok()?;
    Some(matches!(verdict(&world.cluster, pod, &party, probe), DirectionVerdict::WouldDeny { .. }))
}
