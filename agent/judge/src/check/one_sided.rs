//! Permissions of which the other half is missing: both the sender's egress and the receiver's ingress must allow a
//! connection.
//!
//! Only what a rule names is asked for: pods, by a selector. A rule that lets anybody in, or that has a block, promises
//! nothing of any end in particular. And it is one-sided only if it has no effect at all: where some of its pods pass,
//! the others may be kept out on purpose.

use podgate_policy::evaluate::{Party, Traffic, isolating, judge_among, numbers_of, peers_match, rules};
use podgate_policy::model::{self, Direction, Namespaces, Peer, Peers, Pod, Policy, PortMatch, PortSpec, Ports};

use crate::check::half::{Half, name_of, one_of_each};
use crate::check::known::{Known, all_rules};
use crate::check::service_ports::is_only_of_service;
use crate::check::{Field, Finding, Part, Rule, Severity};
use crate::explain::{listed, words};

/// So many policies are written out; they are examples of the others.
const MOST: usize = 3;

pub(super) fn findings(known: &Known<'_>, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (direction, index, rule) in all_rules(policy) {
        let Peers::Listed(peers) = &rule.peers else { continue };
        for (number, peer) in peers.iter().enumerate() {
            if let Some(allow) = Allow::new(known, policy, direction, rule, peer) {
                let part = match peer {
                    Peer::Pods { namespaces: Namespaces::Matching(_), pods } if pods.requirements().is_empty() => {
                        Part::NamespaceSelector
                    }
                    _ => Part::PodSelector,
                };
                findings.extend(allow.finding(policy, Field::Peer(direction, index, number, part)));
            }
        }
    }
    findings
}

/// What a rule says of one of its peers.
struct Allow<'c> {
    known: &'c Known<'c>,
    direction: Direction,
    ports: &'c Ports,
    /// The pods that the policy selects, those that are alike together.
    near: Vec<&'c [&'c Pod]>,
    /// Those that the peer matches; all are isolated in the other direction.
    far: Vec<&'c [&'c Pod]>,
}

impl<'c> Allow<'c> {
    /// `None` where it is not judged, or where some end is open.
    fn new(
        known: &'c Known<'c>,
        policy: &Policy,
        direction: Direction,
        rule: &'c model::Rule,
        peer: &Peer,
    ) -> Option<Self> {
        let Peer::Pods { pods, .. } = peer else { return None };
        let own = &*policy.key.namespace;
        let peers = Peers::Listed(vec![peer.clone()]);
        let groups = || known.groups().iter().map(Vec::as_slice);
        let is_near = |pod: &Pod| *pod.key.namespace == *own && policy.pod_selector.matches(&pod.labels);
        // Labels first: most pods are none of them.
        let is_far = |pod: &Pod| {
            let party = Party::pod_at(pod, None);
            pods.matches(&pod.labels) && peers_match(known.cluster, own, &peers, &party).is_match()
        };
        let first = |group: &&[&Pod], fits: &dyn Fn(&Pod) -> bool| group.first().is_some_and(|pod| fits(pod));
        let far: Vec<_> = groups().filter(|group| first(group, &is_far)).collect();
        let allow = Self {
            known,
            direction,
            ports: &rule.ports,
            near: groups().filter(|group| first(group, &is_near)).collect(),
            far,
        };
        let is_closed = |group: &&[&Pod]| group.first().is_some_and(|pod| allow.is_closed(pod));
        (!allow.near.is_empty() && !allow.far.is_empty() && allow.far.iter().all(is_closed)).then_some(allow)
    }

    fn other(&self) -> Direction {
        match self.direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        }
    }

    /// Whether policies that are known isolate a pod of the other end.
    fn is_closed(&self, far: &Pod) -> bool {
        let policies = isolating(self.known.cluster, far, self.other());
        !policies.is_empty() && !policies.iter().any(|policy| self.known.written.unsound.contains(&policy.key))
    }

    fn finding(&self, policy: &Policy, field: Field) -> Option<Finding> {
        let ports = match self.ports {
            Ports::Any => (!self.passes(None)?).then_some(Ports::Any)?,
            Ports::Listed(ports) => {
                let void: Vec<_> =
                    ports.iter().filter(|port| self.passes(Some(port)) == Some(false)).cloned().collect();
                (!void.is_empty()).then_some(Ports::Listed(void))?
            }
        };
        // A pod is not told to let itself in.
        let meets = |near: &&&[&Pod]| self.far.iter().any(|far| pair(near, far).is_some());
        let near = one_of_each(self.near.iter().filter(meets).flat_map(|group| group.iter().copied()));
        let far = one_of_each(self.far.iter().flat_map(|group| group.iter().copied()));
        let mut by: Vec<_> = far
            .iter()
            .flat_map(|pod| isolating(self.known.cluster, pod, self.other()))
            .map(|it| it.key.to_string())
            .collect();
        by.sort();
        by.dedup();
        let halves = far.iter().take(MOST).map(|&subject| {
            let peers = near.clone();
            Half { subject, direction: self.other(), peers, ports: ports.clone() }.yaml(self.known)
        });
        let yaml: Option<Vec<_>> = halves.collect();
        let (near, far) = (names(&near), names(&far));
        let on = match &ports {
            Ports::Any => String::new(),
            Ports::Listed(ports) => format!(" on {}", listed(&ports.iter().map(words::port).collect::<Vec<_>>())),
        };
        let by = listed(&by);
        let why = match self.direction {
            Direction::Egress => format!(
                "the rule lets {near} open connections to {far}{on}, but ingress of {far} is isolated by {by}, and no rule there \
                 allows them"
            ),
            Direction::Ingress => format!(
                "the rule lets {near} take connections from {far}{on}, but egress of {far} is isolated by {by}, and no rule there \
                 allows them"
            ),
        };
        let instead = format!("allow it in {} of {far} too", self.other());
        let (rule, severity) = (Rule::OneSided, Severity::Warning);
        Some(Finding {
            object: policy.into(),
            field,
            rule,
            severity,
            why,
            instead,
            yaml: yaml.map(|all| all.join("---\n")),
        })
    }

    /// Whether any connection that the rule allows passes at the other end too, on this of its ports; `None`: there is none to ask about.
    fn passes(&self, port: Option<&PortMatch>) -> Option<bool> {
        let mut asked = None;
        for near in &self.near {
            for far in &self.far {
                let Some((near, far)) = pair(near, far) else { continue };
                match self.pair_passes(near, far, port) {
                    Some(true) => return Some(true),
                    Some(false) => asked = Some(false),
                    None => {}
                }
            }
        }
        asked
    }

    fn pair_passes(&self, near: &'c Pod, far: &'c Pod, port: Option<&PortMatch>) -> Option<bool> {
        let destination = match self.direction {
            Direction::Ingress => near,
            Direction::Egress => far,
        };
        let Some(port) = port else { return Some(self.may_pass(near, far, None)) };
        let protocol = port.protocol;
        let numbers = match &port.port {
            PortSpec::All => return Some(self.may_pass(near, far, Some(port))),
            PortSpec::Range { first, last } if first == last => vec![*first],
            PortSpec::Range { .. } => return Some(self.may_pass(near, far, Some(port))),
            PortSpec::Named(name) => numbers_of(destination, name, protocol),
        };
        // That the port is the wrong one is a finding of its own.
        let mut numbers = numbers
            .into_iter()
            .filter(|&number| !is_only_of_service(self.known, destination, protocol, number))
            .peekable();
        numbers.peek()?;
        Some(numbers.any(|number| self.is_allowed(near, far, Traffic::Port { protocol, number })))
    }

    fn is_allowed(&self, near: &'c Pod, far: &'c Pod, traffic: Traffic) -> bool {
        let passes = |party: Party<'c>| {
            let everybody = || self.known.everybody(&party);
            let verdict = judge_among(self.known.cluster, self.other(), far, &party, everybody, traffic);
            // In audit mode too: what passes now would not without it.
            verdict.is_allowed() && !verdict.would_deny()
        };
        if near.addresses.is_empty() {
            // A block may turn out to have the address.
            return self.rules(far).any(|(_, rule)| has_block(rule)) || passes(Party::pod_at(near, None));
        }
        near.addresses.iter().any(|&address| passes(Party::pod_at(near, Some(address))))
    }

    /// Whether some rule of the other end names this one, with a port that may be one of these.
    fn may_pass(&self, near: &Pod, far: &Pod, port: Option<&PortMatch>) -> bool {
        let parties = || near.addresses.iter().map(|&address| Party::pod_at(near, Some(address)));
        self.rules(far).any(|(policy, rule)| {
            let names = |party| peers_match(self.known.cluster, &policy.key.namespace, &rule.peers, &party).is_match();
            let has_peer = names(Party::pod_at(near, None))
                || parties().any(names)
                || (near.addresses.is_empty() && has_block(rule));
            let has_port = match (port, &rule.ports) {
                (None, _) | (_, Ports::Any) => true,
                (Some(port), Ports::Listed(theirs)) => theirs.iter().any(|their| may_meet(port, their)),
            };
            has_peer && has_port
        })
    }

    fn rules(&self, far: &Pod) -> impl Iterator<Item = (&'c Policy, &'c model::Rule)> {
        let other = self.other();
        let policies = isolating(self.known.cluster, far, other).into_iter();
        policies.flat_map(move |policy| rules(policy, other).unwrap_or_default().iter().map(move |rule| (policy, rule)))
    }
}

/// A pod of each group, not the same: a pod always reaches itself.
fn pair<'c>(near: &[&'c Pod], far: &[&'c Pod]) -> Option<(&'c Pod, &'c Pod)> {
    let near = *near.first()?;
    let far = far.iter().copied().find(|far| far.key != near.key)?;
    Some((near, far))
}

fn has_block(rule: &model::Rule) -> bool {
    matches!(&rule.peers, Peers::Listed(peers) if peers.iter().any(|peer| matches!(peer, Peer::Block(_))))
}

/// Whether two elements of `ports` may mean one port.
fn may_meet(one: &PortMatch, other: &PortMatch) -> bool {
    let overlap = match (&one.port, &other.port) {
        (PortSpec::Range { first, last }, PortSpec::Range { first: from, last: to }) => first <= to && from <= last,
        (PortSpec::All | PortSpec::Named(_), _) | (_, PortSpec::All | PortSpec::Named(_)) => true,
    };
    one.protocol == other.protocol && overlap
}

fn names(pods: &[&Pod]) -> String {
    listed(&pods.iter().map(|pod| name_of(pod)).collect::<Vec<_>>())
}
