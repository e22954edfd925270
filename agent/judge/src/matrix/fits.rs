//! The verdicts of all pairs of groups. What a rule says of a peer is asked once, and what it says of a port once per
//! destination, not once per pair. One pod of each group is asked about, since all of them have the same answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use podgate_policy::cluster::Cluster;
use podgate_policy::evaluate::{
    Party, Traffic, claims, in_force, judge, owners_among, peers_match, ports_match, rules,
};
use podgate_policy::model::{Direction, Mode, ObjectKey, Pod, Policy, Ports, Protocol};

use crate::groups::Members;
use crate::matrix::PortChoice;
use crate::matrix::tiers::{Guarded, Guards};
use crate::routes::same_family;

/// Who reaches the ports of each group, by group.
pub(super) fn columns(
    cluster: &Cluster,
    groups: &[Members<'_>],
    choice: &PortChoice,
    tell: &mut dyn FnMut(usize, usize),
) -> Vec<Vec<Column>> {
    let fits = Fits::new(cluster, groups);
    let mut columns = Vec::with_capacity(groups.len());
    for to in &fits.members {
        columns.push(fits.columns(to, choice));
        tell(columns.len(), groups.len());
    }
    columns
}

/// What every rule says of every party.
struct Fits<'c> {
    cluster: &'c Cluster,
    members: Vec<Member<'c>>,
    /// Every address of every member.
    parties: Vec<Party<'c>>,
    /// The pods that have an address which several claim.
    owners: BTreeMap<IpAddr, Vec<&'c Pod>>,
    rules: Vec<Fit<'c>>,
    /// Where the rules of a policy in a direction are among `rules`.
    policies: BTreeMap<(&'c ObjectKey, Direction), Range<usize>>,
    guards: Guards<'c>,
}

/// A pod as an end of connections, instead of all that are alike.
struct Member<'c> {
    pod: &'c Pod,
    /// Whether there is no other like it.
    is_single: bool,
    parties: Range<usize>,
    egress: Isolated,
    ingress: Isolated,
    /// What ClusterNetworkPolicies say of what leaves it, and of what enters it.
    egress_guards: Guarded,
    ingress_guards: Guarded,
}

/// The rules, as indexes among [`Fits::rules`], of the policies that isolate a pod in a direction.
enum Isolated {
    No,
    By(Vec<usize>),
}

/// A rule of a policy that isolates somebody.
struct Fit<'c> {
    ports: &'c Ports,
    /// Whether its peers match, by party.
    peers: Vec<bool>,
}

/// Who reaches a port of the pods of a group.
pub(super) struct Column {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// By source group. Of pods of one group it says whether one reaches another.
    pub(super) allowed: Vec<bool>,
}

/// Which rules let a port of a destination pass.
struct Port {
    traffic: Traffic,
    /// By rule of a ClusterNetworkPolicy: whether its protocols match.
    guards: Vec<bool>,
    /// By rule: whether its ports match. Names mean the destination's, whichever way the rule looks.
    own: Vec<bool>,
    /// By party of the destination: the same for egress rules, where several pods claim the party's address.
    targets: Vec<Option<Vec<bool>>>,
    /// Those that match among the ingress rules of the destination; `None`: it is not isolated.
    ingress: Option<Vec<usize>>,
}

impl<'c> Fits<'c> {
    fn new(cluster: &'c Cluster, groups: &[Members<'_>]) -> Self {
        let pods: Vec<&Pod> = cluster.pods.values().map(|pod| &**pod).filter(|pod| pod.is_networked()).collect();
        let firsts = groups.iter().filter_map(|members| Some((&**cluster.pods.get(members.pods[0])?, members)));
        let mut fits = Self {
            cluster,
            guards: Guards::default(),
            members: Vec::new(),
            parties: Vec::new(),
            owners: contested(&pods),
            rules: Vec::new(),
            policies: BTreeMap::new(),
        };
        let firsts: Vec<_> =
            firsts.map(|(pod, members)| (pod, members.group.is_pod(), fits.add_parties(pod))).collect();
        for (pod, is_single, parties) in firsts {
            let egress = fits.isolated(cluster, pod, Direction::Egress);
            let ingress = fits.isolated(cluster, pod, Direction::Ingress);
            let mut guarded = |direction| fits.guards.guarded(cluster, &fits.parties, pod, direction);
            let (egress_guards, ingress_guards) = (guarded(Direction::Egress), guarded(Direction::Ingress));
            fits.members.push(Member { pod, is_single, parties, egress, ingress, egress_guards, ingress_guards });
        }
        fits
    }

    fn add_parties(&mut self, pod: &'c Pod) -> Range<usize> {
        let first = self.parties.len();
        match pod.addresses.as_slice() {
            [] => self.parties.push(Party::pod_at(pod, None)),
            known => self.parties.extend(known.iter().map(|&address| Party::pod_at(pod, Some(address)))),
        }
        first..self.parties.len()
    }

    fn isolated(&mut self, cluster: &'c Cluster, pod: &Pod, direction: Direction) -> Isolated {
        // What policies in audit mode deny passes.
        match in_force(cluster, pod, direction) {
            (Mode::Audited, _) => Isolated::No,
            (Mode::Enforced, policies) if policies.is_empty() => Isolated::No,
            (Mode::Enforced, policies) => {
                let rules = policies.into_iter().flat_map(|policy| self.add_policy(cluster, policy, direction));
                Isolated::By(rules.collect())
            }
        }
    }

    fn add_policy(&mut self, cluster: &Cluster, policy: &'c Policy, direction: Direction) -> Range<usize> {
        if let Some(range) = self.policies.get(&(&policy.key, direction)) {
            return range.clone();
        }
        let first = self.rules.len();
        for rule in rules(policy, direction).unwrap_or_default() {
            let matches =
                |party: &Party<'_>| peers_match(cluster, &policy.key.namespace, &rule.peers, party).is_match();
            let peers = self.parties.iter().map(|party| self.everybody(party).iter().all(matches)).collect();
            self.rules.push(Fit { ports: &rule.ports, peers });
        }
        let range = first..self.rules.len();
        self.policies.insert((&policy.key, direction), range.clone());
        range
    }

    /// Whoever may be behind the address of a party.
    fn everybody(&self, party: &Party<'c>) -> Vec<Party<'c>> {
        match party.address.and_then(|address| self.owners.get(&address)) {
            Some(owners) => owners.iter().map(|pod| Party::pod_at(pod, party.address)).collect(),
            None => vec![*party],
        }
    }

    fn columns(&self, to: &Member<'_>, choice: &PortChoice) -> Vec<Column> {
        choice.of(to.pod).into_iter().map(|(protocol, port)| self.column(to, protocol, port)).collect()
    }

    fn column(&self, to: &Member<'_>, protocol: Protocol, port: u16) -> Column {
        let traffic = Traffic::Port { protocol, number: port };
        let matching = |pod: &Pod| -> Vec<bool> {
            self.rules.iter().map(|rule| ports_match(rule.ports, Some(pod), traffic).is_match()).collect()
        };
        let own = matching(to.pod);
        let ingress = match &to.ingress {
            Isolated::No => None,
            Isolated::By(rules) => Some(rules.iter().copied().filter(|&rule| own[rule]).collect()),
        };
        let targets = self.parties[to.parties.clone()].iter().map(|target| {
            let owners = target.address.and_then(|address| self.owners.get(&address));
            owners.map(|owners| all_of(owners.iter().map(|pod| matching(pod))))
        });
        let targets = targets.collect();
        let guards = self.guards.matching(to.pod, traffic);
        let port_rules = Port { traffic, guards, own, targets, ingress };
        let allowed = self.members.iter().map(|from| self.is_allowed(from, to, &port_rules)).collect();
        Column { protocol, port, allowed }
    }

    /// Whether every pair of addresses of one family may talk, and there is one.
    fn is_allowed(&self, from: &Member<'_>, to: &Member<'_>, port: &Port) -> bool {
        if to.is_single && from.pod.key == to.pod.key {
            return true;
        }
        let family =
            |source: usize, target: usize| same_family(self.parties[source].address, self.parties[target].address);
        let routes = from.parties.clone().flat_map(|source| to.parties.clone().map(move |target| (source, target)));
        let mut verdicts = routes
            .filter(|&(source, target)| family(source, target))
            .map(|(source, target)| self.leaves(from, to, target, port) && self.enters(source, to, port))
            .peekable();
        verdicts.peek().is_some() && verdicts.all(|allowed| allowed)
    }

    /// Whether the egress policies of `from` let the port of party `target` pass.
    fn leaves(&self, from: &Member<'_>, to: &Member<'_>, target: usize, port: &Port) -> bool {
        let matching = port.targets[target - to.parties.start].as_ref().unwrap_or(&port.own);
        let network_policies = || match &from.egress {
            Isolated::No => None,
            Isolated::By(rules) => Some(rules.iter().any(|&rule| matching[rule] && self.rules[rule].peers[target])),
        };
        match &from.egress_guards {
            guarded if guarded.is_empty() => network_policies().unwrap_or(true),
            _ if self.is_contested(target) => self.is_judged_allowed(Direction::Egress, from, target, port),
            guarded => self.guards.pass(guarded, &port.guards, target, network_policies),
        }
    }

    /// Whether the ingress policies of the destination let party `source` in.
    fn enters(&self, source: usize, to: &Member<'_>, port: &Port) -> bool {
        let any = |rules: &Vec<usize>| rules.iter().any(|&rule| self.rules[rule].peers[source]);
        let network_policies = || port.ingress.as_ref().map(any);
        match &to.ingress_guards {
            guarded if guarded.is_empty() => network_policies().unwrap_or(true),
            _ if self.is_contested(source) => self.is_judged_allowed(Direction::Ingress, to, source, port),
            guarded => self.guards.pass(guarded, &port.guards, source, network_policies),
        }
    }

    fn is_contested(&self, party: usize) -> bool {
        self.parties[party].address.is_some_and(|address| self.owners.contains_key(&address))
    }

    /// What the evaluator says: rules of ClusterNetworkPolicies are asked about each pod that has the party's address.
    fn is_judged_allowed(&self, direction: Direction, subject: &Member<'_>, party: usize, port: &Port) -> bool {
        judge(self.cluster, direction, subject.pod, &self.parties[party], port.traffic).is_allowed()
    }
}

/// The owners of the addresses that are not simply one pod's.
fn contested<'c>(pods: &[&'c Pod]) -> BTreeMap<IpAddr, Vec<&'c Pod>> {
    let mut claims = claims(pods.iter().copied());
    claims.retain(|_, pods| pods.len() > 1);
    claims.into_iter().map(|(address, pods)| (address, owners_among(pods.into_iter()))).collect()
}

/// What all of these say together; at least one.
fn all_of(outcomes: impl Iterator<Item = Vec<bool>>) -> Vec<bool> {
    let both = |first: Vec<bool>, second: Vec<bool>| {
        first.iter().zip(second).map(|(first, second)| *first && second).collect()
    };
    outcomes.reduce(both).unwrap_or_default()
}
