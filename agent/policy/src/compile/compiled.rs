//! One policy, compiled once for all endpoints that it selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compile::asks::Asks;
use crate::compile::demand;
use crate::compile::rules::Rules;
use crate::compile::terms::{Ask, AskId, Grant, PortName, PortRange, Scope, Term, Who};
use crate::evaluate::RuleRef;
use crate::id::{RuleId, id};
use crate::model::{
    Direction, Isolation, Namespaces, ObjectKey, Peer, Peers, Pod, Policy, PortMatch, PortSpec, Ports, Protocol, Rule,
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
}

#[derive(Debug)]
struct Named {
    ask: Option<AskId>,
    port: PortName,
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
        numbers.map(move |&number| Term { ask: self.ask, grant: grant(number), rule: self.rule })
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

    /// Gives back what it holds.
    pub(crate) fn release(self, asks: &mut Asks, rules: &mut Rules) {
        for ask in self.asks {
            asks.release(ask);
        }
        for rule in self.rules {
            rules.release(rule);
        }
    }

    /// Its terms in a direction; `None` if it does not isolate in it.
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
            let id = ids.hold(RuleRef { policy: policy.key.clone().into(), direction, index });
            self.rules.push(id);
            RuleCompiler { policy: &policy.key, direction, id, held: &mut self.asks, asks }.compile(rule, &mut terms);
        }
        Some(terms)
    }
}

/// The peers of a rule, and the ask for them; `None`: everyone.
struct Whose {
    peers: Option<Arc<[Who]>>,
    ask: Option<AskId>,
}

/// What one rule is compiled with.
struct RuleCompiler<'c> {
    policy: &'c ObjectKey,
    direction: Direction,
    id: RuleId,
    held: &'c mut Vec<AskId>,
    asks: &'c mut Asks,
}

impl RuleCompiler<'_> {
    fn compile(&mut self, rule: &Rule, terms: &mut Terms) {
        let peers = match &rule.peers {
            Peers::Any => None,
            Peers::Listed(peers) => Some(self.resolve(peers)),
        };
        let whose = Whose { ask: peers.as_ref().map(|peers| self.hold(peers, None)), peers };
        match &rule.ports {
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
                terms.named.push(Named { ask: whose.ask, port: port_name(name, protocol), rule: self.id });
            }
            (PortSpec::Named(name), Direction::Egress) => {
                let peers = whose.peers.clone().unwrap_or_else(|| Arc::new([every_pod()]));
                let ask = self.hold(&peers, Some(port_name(name, protocol)));
                terms.fixed.push(Term { ask: Some(ask), grant: Grant::Named(protocol), rule: self.id });
            }
        }
    }

    fn term(&self, whose: &Whose, grant: Grant) -> Term {
        Term { ask: whose.ask, grant, rule: self.id }
    }

    fn hold(&mut self, peers: &Arc<[Who]>, port: Option<PortName>) -> AskId {
        let id = self.asks.hold(Ask { peers: Arc::clone(peers), port });
        self.held.push(id);
        id
    }

    fn resolve(&self, peers: &[Peer]) -> Arc<[Who]> {
        let mut peers: Vec<_> = peers.iter().map(|peer| self.who(peer)).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.into()
    }

    fn who(&self, peer: &Peer) -> Who {
        match peer {
            Peer::Block(block) => Who::Block(block.clone()),
            Peer::Pods { namespaces, pods } => {
                let scope = match namespaces {
                    Namespaces::Own => Scope::Own(Arc::clone(&self.policy.namespace)),
                    Namespaces::Matching(selector) => Scope::Matching(selector.clone()),
                };
                Who::Pods { scope, pods: pods.clone() }
            }
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
