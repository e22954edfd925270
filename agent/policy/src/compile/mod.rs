//! From the cluster's state to what the tables shall say, kept up to date change by change.

mod asks;
mod blocks;
mod cluster_peers;
mod compiled;
mod demand;
mod groups;
mod guards;
mod index;
mod mentions;
mod peers;
mod profiles;
mod rules;
mod scopes;
mod specs;
mod subjects;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::evaluate::RuleRef;
use crate::id::RuleId;
use crate::model::{Direction, ObjectKey};

use index::Index;
use subjects::{Outcome, Subjects};

pub(crate) use index::Delta;
pub(crate) use rules::News as RuleNews;
pub(crate) use subjects::{Held, Want, Wants};
pub(crate) use terms::{AskId, Atom, Fulfilled, Grant, GroupNumber, PortRange, Rest, Spec, SpecId, Step, Term};

/// A pod of this node, bound to a slot of the datapath.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The slot, never 0.
    pub slot: u32,
    /// The pod.
    pub pod: ObjectKey,
}

/// What may have changed since the last update: keys of objects that were applied or deleted. Naming an object that
/// did not change costs a comparison and nothing else; leaving out one that did makes its change go unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pods.
    pub pods: BTreeSet<ObjectKey>,
    /// Namespaces.
    pub namespaces: BTreeSet<Arc<str>>,
    /// NetworkPolicies.
    pub policies: BTreeSet<ObjectKey>,
    /// ClusterNetworkPolicies, by name.
    pub cluster_policies: BTreeSet<Arc<str>>,
    /// Slots given back: the datapath has released them already. Taken before `bound`, so that a slot can pass from
    /// one pod to another in one update.
    pub released: BTreeSet<u32>,
    /// Slots that were given to a pod. One that was another pod's and is not among `released` passes to it as if that
    /// pod had changed: in one switch, from the policies of the one to those of the other.
    pub bound: Vec<Endpoint>,
}

/// What changed of what the tables shall say since the last time. The first says everything.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    /// Slots that say nothing any more; those among `wants` begin anew.
    pub(crate) released: BTreeSet<u32>,
    /// Slots with what they shall have by direction.
    pub(crate) wants: BTreeMap<u32, Wants>,
    /// Addresses, groups and blocks.
    pub(crate) peers: Delta,
}

/// Keeps what the cluster's state means for this node up to date, at a cost that follows the change and not the
/// cluster. It knows what addresses fulfil and what endpoints are allowed; it knows no ids of the kernel's tables.
#[derive(Debug)]
pub(crate) struct Compiler {
    subjects: Subjects,
    index: Index,
}

/// Whether the tables still judge by an ask.
pub(crate) type InForce<'f> = &'f dyn Fn(AskId) -> bool;

impl Compiler {
    /// A compiler that knows nothing yet. What is allowed to an endpoint may take so many steps.
    pub(crate) fn new(budget: u64) -> Self {
        Self { subjects: Subjects::new(budget), index: Index::default() }
    }

    /// Takes changes; `cluster` is the state after them.
    pub(crate) fn update(&mut self, cluster: &Cluster, changes: &Changes, in_force: InForce<'_>) -> Desired {
        for name in &changes.namespaces {
            self.index.set_namespace(name, cluster.namespaces.get(name));
        }
        let bound = changes.bound.iter().map(|endpoint| endpoint.slot);
        let new = bound.filter(|slot| !self.subjects.has_endpoint(*slot));
        let released = changes.released.iter().copied().chain(new).collect();
        let outcome = self.subjects.update(cluster, changes);
        let wants = self.take(outcome);
        if self.subjects.asks.crowded() && !wants.is_empty() {
            self.deactivate(in_force);
        }
        for key in &changes.pods {
            self.index.set_pod(key, cluster.pods.get(key));
        }
        Desired { released, wants, peers: self.index.settle() }
    }

    /// The specs that were refused since they take too many steps, with how many that is.
    pub(crate) fn excess(&self) -> impl Iterator<Item = (SpecId, u64)> {
        self.subjects.specs().excess()
    }

    /// Whether one of these takes too many only together with others.
    pub(crate) fn is_crowded(&self) -> bool {
        self.subjects.specs().is_crowded()
    }

    /// Takes back all refusals but those that need not be looked at again.
    pub(crate) fn reconsider(&mut self) -> Desired {
        let outcome = self.subjects.reconsider();
        Desired { wants: self.take(outcome), peers: self.index.settle(), ..Desired::default() }
    }

    /// Lets nothing pass where a spec would stand, and lets go of what only unused specs ask.
    pub(crate) fn refuse(&mut self, spec: SpecId, in_force: InForce<'_>) -> Desired {
        let outcome = self.subjects.refuse(spec);
        let wants = self.take(outcome);
        self.deactivate(in_force);
        Desired { wants, peers: self.index.settle(), ..Desired::default() }
    }

    /// Makes as few groups as possible: lets go of what only unused specs ask, and of differences that nothing asks
    /// for any more.
    pub(crate) fn coarsen(&mut self, in_force: InForce<'_>) -> Desired {
        self.deactivate(in_force);
        self.index.coarsen();
        Desired { peers: self.index.settle(), ..Desired::default() }
    }

    /// The specs that were refused.
    pub(crate) fn refused(&self) -> &BTreeSet<SpecId> {
        self.subjects.specs().refused()
    }

    /// The specs that the tables are asked to hold.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Arc<Spec>> {
        self.subjects.specs().accepted()
    }

    /// The slots and directions that have a spec.
    pub(crate) fn users(&self, spec: SpecId) -> Vec<(u32, Direction)> {
        self.subjects.users(spec)
    }

    /// The namespace of the pods that have each spec.
    pub(crate) fn holders(&self) -> BTreeMap<SpecId, &Arc<str>> {
        self.subjects.holders()
    }

    /// The specs that the tables are asked to hold and that deny something to pods by what these are: to an address that is
    /// not known as a pod's they would allow too much.
    pub(crate) fn denying_pods(&self) -> Vec<SpecId> {
        let about_pods = |ask: AskId| {
            let ask = self.subjects.asks.get(ask);
            ask.port.is_some() || ask.peers.iter().any(terms::Who::is_pods)
        };
        let denying = self.accepted().filter(|spec| spec.shifting().any(about_pods));
        denying.map(|spec| spec.id).collect()
    }

    /// How many blocks and exceptions a spec has.
    pub(crate) fn prefixes(&self, spec: &Spec) -> usize {
        self.subjects.prefixes(spec)
    }

    /// The rule with an id.
    pub(crate) fn rule(&self, id: RuleId) -> Option<&RuleRef> {
        self.subjects.rules.get(id)
    }

    /// Which ids of rules came and went since the last call.
    pub(crate) fn take_rule_news(&mut self) -> RuleNews {
        self.subjects.rules.take_news()
    }

    fn take(&mut self, outcome: Outcome) -> BTreeMap<u32, Wants> {
        for (id, ask) in outcome.activated {
            self.index.activate(id, ask);
        }
        self.index.meet();
        outcome.wants
    }

    fn deactivate(&mut self, in_force: InForce<'_>) {
        for (id, ask) in self.subjects.asks.deactivate(in_force) {
            self.index.deactivate(id, &ask);
        }
    }
}
