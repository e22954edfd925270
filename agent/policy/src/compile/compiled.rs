//! One policy, compiled once for all endpoints that it selects.

use std::sync::Arc;

use crate::compile::asks::Asks;
use crate::compile::rules::Rules;
use crate::compile::terms::{Ask, AskId, Grant, PortName, PortRange, Scope, Term, Who};
use crate::evaluate::RuleRef;
use crate::model::{
    Direction, Isolation, Namespaces, ObjectKey, Peer, Peers, Pod, Policy, PortMatch, PortSpec, Ports, Protocol, Rule,
    Selector,
};
use crate::op::RuleId;

/// A policy's rules as terms.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Tells apart what a policy was compiled to at different times. Never reused.
    pub(crate) id: u32,
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
    /// The terms that follow from the names of an endpoint's ports.
    pub(crate) fn resolve(&self, pod: &Pod) -> Vec<Term> {
        self.named.iter().flat_map(|named| named.resolve(pod)).collect()
    }
}

impl Named {
    fn resolve(&self, pod: &Pod) -> Vec<Term> {
        let served = pod
            .ports
            .iter()
            .filter(|port| port.name.as_ref() == Some(&self.port.name) && port.protocol == self.port.protocol);
        let grant = |number| Grant::Range(PortRange { protocol: self.port.protocol, first: number, last: number });
        served.map(|port| Term { ask: self.ask, grant: grant(port.number), rule: self.rule }).collect()
    }
}

impl Compiled {
    /// Compiles a policy. Its asks and rules are held until [`Self::release`].
    pub(crate) fn new(id: u32, policy: &Policy, asks: &mut Asks, rules: &mut Rules) -> Self {
        let mut compiled = Self { id, ingress: None, egress: None, asks: Vec::new(), rules: Vec::new() };
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
        for (index, rule) in rules.iter().enumerate() {
            let id = ids.hold(RuleRef { policy: policy.key.clone(), direction, index });
            self.rules.push(id);
            RuleCompiler { policy: &policy.key, direction, id, held: &mut self.asks, asks }.compile(rule, &mut terms);
        }
        Some(terms)
    }
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
        match &rule.ports {
            Ports::Any => terms.fixed.push(self.term(peers, Grant::Any)),
            Ports::Listed(ports) => ports.iter().for_each(|port| self.port(peers.as_deref(), port, terms)),
        }
    }

    fn port(&mut self, peers: Option<&[Who]>, port: &PortMatch, terms: &mut Terms) {
        let protocol = port.protocol;
        let peers = peers.map(<[Who]>::to_vec);
        match (&port.port, self.direction) {
            (PortSpec::All, _) => terms.fixed.push(self.term(peers, Grant::Protocol(protocol))),
            (&PortSpec::Range { first, last }, _) => {
                terms.fixed.push(self.term(peers, Grant::Range(PortRange { protocol, first, last })));
            }
            (PortSpec::Named(name), Direction::Ingress) => {
                let ask = peers.map(|peers| self.hold(Ask { peers, port: None }));
                terms.named.push(Named { ask, port: port_name(name, protocol), rule: self.id });
            }
            (PortSpec::Named(name), Direction::Egress) => {
                let peers = peers.unwrap_or_else(|| vec![every_pod()]);
                let ask = self.hold(Ask { peers, port: Some(port_name(name, protocol)) });
                terms.fixed.push(Term { ask: Some(ask), grant: Grant::Named(protocol), rule: self.id });
            }
        }
    }

    fn term(&mut self, peers: Option<Vec<Who>>, grant: Grant) -> Term {
        Term { ask: peers.map(|peers| self.hold(Ask { peers, port: None })), grant, rule: self.id }
    }

    fn hold(&mut self, ask: Ask) -> AskId {
        let id = self.asks.hold(ask);
        self.held.push(id);
        id
    }

    fn resolve(&self, peers: &[Peer]) -> Vec<Who> {
        let mut peers: Vec<_> = peers.iter().map(|peer| self.who(peer)).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
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
