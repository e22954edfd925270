//! One policy, compiled once for all endpoints that it selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster_policy::{Action, ClusterPolicy, ClusterRule, Matches};
use crate::compile::asks::Asks;
use crate::compile::cluster_peers::{Reach, ports_of, reach, whom};
use crate::compile::demand;
use crate::compile::rules::Rules;
use crate::compile::terms::{Ask, AskId, Grant, PortName, PortRange, Scope, Step, Term, Who};
use crate::evaluate::{PolicyRef, RuleRef};
use crate::id::{RuleId, id};
use crate::model::{
    Direction, Isolation, Mode, Namespaces, ObjectKey, Peer, Peers, Pod, Policy, PortMatch, PortSpec, Ports, Protocol,
    Selector,
};

id! {
    /// Tells apart what policies were compiled to at different times. Given out by
    /// [`Subjects`](crate::compile::subjects::Subjects), never again.
    pub(crate) struct CompilationId(u32);
}

/// A policy's rules as terms.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Its id.
    pub(crate) id: CompilationId,
    /// The steps to compile it, where they are too many: then it has no terms.
    pub(crate) excess: Option<u64>,
    ingress: Option<Terms>,
    egress: Option<Terms>,
    asks: Vec<AskId>,
    rules: Vec<RuleId>,
}

/// The rules of one direction.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Those that are the same for every endpoint.
    pub(crate) fixed: Vec<Term>,
    /// Ingress rules that name a port of the endpoint.
    named: Vec<Named>,
    /// The rules of a ClusterNetworkPolicy behind which others are not asked, by index.
    pub(crate) ends: Vec<(u32, Reach)>,
    /// How many rules there are.
    pub(crate) rules: u32,
}

#[derive(Debug)]
struct Named {
    ask: Option<AskId>,
    port: PortName,
    step: Step,
    rule: RuleId,
}

impl Terms {
    /// The terms that follow from the names of an endpoint's ports; so many at most, and whether there are more.
    pub(crate) fn resolve(&self, served: &Served, most: usize) -> (Vec<Term>, bool) {
        let mut terms = self.named.iter().flat_map(|named| named.resolve(served));
        let resolved = terms.by_ref().take(most).collect();
        (resolved, terms.next().is_some())
    }
}

/// The numbers of an endpoint's ports by name.
pub(crate) struct Served(BTreeMap<PortName, Vec<u16>>);

impl Served {
    /// Those of a pod.
    pub(crate) fn by(pod: &Pod) -> Self {
        let mut numbers = BTreeMap::<_, Vec<_>>::new();
        for port in &pod.ports {
            if let Some(name) = &port.name {
                numbers.entry(port_name(name, port.protocol)).or_default().push(port.number);
            }
        }
        Self(numbers)
    }
}

impl Named {
    fn resolve<'s>(&'s self, served: &'s Served) -> impl Iterator<Item = Term> + 's {
        let protocol = self.port.protocol;
        let grant = move |number| Grant::Range(PortRange { protocol, first: number, last: number });
        let numbers = served.0.get(&self.port).into_iter().flatten();
        numbers.map(move |&number| Term { ask: self.ask, grant: grant(number), step: self.step, rule: self.rule })
    }
}

impl Compiled {
    /// Compiles a policy, unless that takes more steps than the budget. Its asks and rules are held until [`Self::release`].
    pub(crate) fn new(id: CompilationId, policy: &Policy, budget: u64, asks: &mut Asks, rules: &mut Rules) -> Self {
        let excess = Some(demand::of_policy(policy)).filter(|&steps| steps > budget);
        let mut compiled = Self { id, excess, ingress: None, egress: None, asks: Vec::new(), rules: Vec::new() };
        compiled.ingress = compiled.direction(policy, Direction::Ingress, asks, rules);
        compiled.egress = compiled.direction(policy, Direction::Egress, asks, rules);
        compiled
    }

    /// Compiles a ClusterNetworkPolicy, likewise. The places of its terms are the indexes of their rules, and all are in force:
    /// what stands before it, and whether it is in audit mode, follows for each endpoint.
    pub(crate) fn cluster(
        id: CompilationId,
        policy: &ClusterPolicy,
        budget: u64,
        asks: &mut Asks,
        rules: &mut Rules,
    ) -> Self {
        let excess = Some(demand::of_cluster_policy(policy)).filter(|&steps| steps > budget);
        let mut compiled = Self { id, excess, ingress: None, egress: None, asks: Vec::new(), rules: Vec::new() };
        compiled.ingress = compiled.cluster_direction(policy, Direction::Ingress, asks, rules);
        compiled.egress = compiled.cluster_direction(policy, Direction::Egress, asks, rules);
        compiled
    }

    /// Gives back what it holds.
    pub(crate) fn release(self, asks: &mut Asks, rules: &mut Rules) {
        for ask in self.asks {
            asks.release(ask);
        }
        for rule in self.rules {
            rules.release(rule);
        }
    }

    /// Its terms in a direction; `None`: it does not isolate in it, or has no rules for it.
    pub(crate) fn terms(&self, direction: Direction) -> Option<&Terms> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }

    fn direction(&mut self, policy: &Policy, direction: Direction, asks: &mut Asks, ids: &mut Rules) -> Option<Terms> {
        let Isolation::Restricted(rules) = policy.isolation(direction) else { return None };
        let mut terms = Terms::default();
        if self.excess.is_some() {
            return Some(terms);
        }
        for (index, rule) in rules.iter().enumerate() {
            let reference = RuleRef { policy: policy.key.clone().into(), direction, index };
            let peers = match &rule.peers {
                Peers::Any => None,
                Peers::Listed(peers) => Some(peers.iter().map(|peer| who(&policy.key, peer)).collect()),
            };
            self.rule(reference, Step::NetworkPolicy, asks, ids).compile(peers, &rule.ports, &mut terms);
        }
        Some(terms)
    }

    fn cluster_direction(
        &mut self,
        policy: &ClusterPolicy,
        direction: Direction,
        asks: &mut Asks,
        ids: &mut Rules,
    ) -> Option<Terms> {
        let rules = policy.rules(direction);
        if rules.is_empty() {
            return None;
        }
        let mut terms = Terms { rules: u32::try_from(rules.len()).unwrap_or(u32::MAX), ..Terms::default() };
        if self.excess.is_some() {
            return Some(terms);
        }
        for (place, (index, rule)) in (0..).zip(rules.iter().enumerate()) {
            terms.ends.extend(reach(rule).map(|reach| (place, reach)));
            let reference = RuleRef { policy: PolicyRef::Cluster(Arc::clone(&policy.name)), direction, index };
            let step = |action| Step::Cluster { tier: policy.tier, place, action, mode: Mode::Enforced };
            let ClusterRule { action, matches, .. } = rule;
            match (matches, whom(rule)) {
                (Matches::Some { protocols, .. }, Some(peers)) => {
                    let ports = ports_of(protocols);
                    self.rule(reference, step(*action), asks, ids).compile(Some(peers), &ports, &mut terms);
                }
                // Of a rule that is not understood, what opens matches nobody, and what else there is denies everybody.
                (Matches::Nothing, _) | (Matches::Some { .. }, None) if *action == Action::Accept => {}
                _ => self.rule(reference, step(Action::Deny), asks, ids).compile(None, &Ports::Any, &mut terms),
            }
        }
        Some(terms)
    }

    /// What a rule is compiled with. Its id is held.
    fn rule<'c>(&'c mut self, reference: RuleRef, step: Step, asks: &'c mut Asks, ids: &mut Rules) -> RuleCompiler<'c> {
        let direction = reference.direction;
        let id = ids.hold(reference);
        self.rules.push(id);
        RuleCompiler { direction, step, id, held: &mut self.asks, asks }
    }
}

/// The peers of a rule, and the ask for them; `None`: everyone.
struct Whose {
    peers: Option<Arc<[Who]>>,
    ask: Option<AskId>,
}

/// What one rule is compiled with.
struct RuleCompiler<'c> {
    direction: Direction,
    step: Step,
    id: RuleId,
    held: &'c mut Vec<AskId>,
    asks: &'c mut Asks,
}

impl RuleCompiler<'_> {
    fn compile(&mut self, peers: Option<Vec<Who>>, ports: &Ports, terms: &mut Terms) {
        let peers: Option<Arc<[Who]>> = peers.map(|mut peers| {
            peers.sort_unstable();
            peers.dedup();
            peers.into()
        });
        let whose = Whose { ask: peers.as_ref().map(|peers| self.hold(peers, None)), peers };
        match ports {
            Ports::Any => terms.fixed.push(self.term(&whose, Grant::Any)),
            Ports::Listed(ports) => ports.iter().for_each(|port| self.port(&whose, port, terms)),
        }
    }

    fn port(&mut self, whose: &Whose, port: &PortMatch, terms: &mut Terms) {
        let protocol = port.protocol;
        match (&port.port, self.direction) {
            (PortSpec::All, _) => terms.fixed.push(self.term(whose, Grant::Protocol(protocol))),
            (&PortSpec::Range { first, last }, _) => {
                terms.fixed.push(self.term(whose, Grant::Range(PortRange { protocol, first, last })));
            }
            (PortSpec::Named(name), Direction::Ingress) => {
                let port = port_name(name, protocol);
                terms.named.push(Named { ask: whose.ask, port, step: self.step, rule: self.id });
            }
            (PortSpec::Named(name), Direction::Egress) => {
                let peers = whose.peers.clone().unwrap_or_else(|| Arc::new([every_pod()]));
                let ask = self.hold(&peers, Some(port_name(name, protocol)));
                terms.fixed.push(Term {
                    ask: Some(ask),
                    grant: Grant::Named(protocol),
                    step: self.step,
                    rule: self.id,
                });
            }
        }
    }

    fn term(&self, whose: &Whose, grant: Grant) -> Term {
        Term { ask: whose.ask, grant, step: self.step, rule: self.id }
    }

    fn hold(&mut self, peers: &Arc<[Who]>, port: Option<PortName>) -> AskId {
        let id = self.asks.hold(Ask { peers: Arc::clone(peers), port });
        self.held.push(id);
        id
    }
}

/// A peer of a policy.
fn who(policy: &ObjectKey, peer: &Peer) -> Who {
    match peer {
        Peer::Block(block) => Who::Block(block.clone()),
        Peer::Pods { namespaces, pods } => {
            let scope = match namespaces {
                Namespaces::Own => Scope::Own(Arc::clone(&policy.namespace)),
                Namespaces::Matching(selector) => Scope::Matching(selector.clone()),
            };
            Who::Pods { scope, pods: pods.clone() }
        }
    }
}

fn port_name(name: &Arc<str>, protocol: Protocol) -> PortName {
    PortName { name: Arc::clone(name), protocol }
}

/// Whom a named port without peers is for: whoever can serve it.
fn every_pod() -> Who {
    Who::Pods { scope: Scope::Matching(Selector::default()), pods: Selector::default() }
}
