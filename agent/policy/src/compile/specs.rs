//! Specs by content, with their users.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::compile::asks::Asks;
use crate::compile::demand::{self, Together};
use crate::compile::terms::{Ask, AskId, Content, Spec, SpecId};
use crate::id::{PolicyId, Sequence};

/// The spec without terms: nothing is allowed. It is always there, and its id is that of
/// [`EndpointPolicy::NOTHING`](crate::op::EndpointPolicy::NOTHING).
pub(super) const DENY: SpecId = PolicyId::NOTHING;

/// Specs in use by endpoints. Endpoints that are allowed the same by the same rules share one.
#[derive(Debug)]
pub(crate) struct Specs {
    ids: HashMap<Content, SpecId>,
    specs: BTreeMap<SpecId, State>,
    refused: BTreeSet<SpecId>,
    /// Of those that are refused, the ones that take too many steps, with how many that is.
    excess: BTreeMap<SpecId, Excess>,
    together: Together,
    budget: u64,
    sequence: Sequence<SpecId>,
}

/// More steps than the budget has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excess {
    /// It takes them by itself.
    Own(u64),
    /// Together with the others.
    Shared(u64),
}

#[derive(Debug)]
struct State {
    spec: Arc<Spec>,
    users: u32,
}

/// Asks that specs made active.
pub(crate) type Activated = Vec<(AskId, Arc<Ask>)>;

impl Specs {
    /// Only the spec that allows nothing. Others may take this many steps.
    pub(crate) fn new(budget: u64) -> Self {
        let deny = State { spec: Arc::new(Spec { id: DENY, content: Content::NOTHING }), users: 1 };
        Self {
            ids: HashMap::from([(Content::NOTHING, DENY)]),
            specs: BTreeMap::from([(DENY, deny)]),
            refused: BTreeSet::new(),
            excess: BTreeMap::new(),
            together: Together::default(),
            budget,
            sequence: Sequence::after(DENY),
        }
    }

    /// The spec with this content, whose terms may be in any order, for one more user. It is refused from the start if it takes
    /// too many steps.
    pub(crate) fn hold(&mut self, mut content: Content, asks: &mut Asks, cluster: &Cluster) -> (SpecId, Activated) {
        content.terms.sort_unstable();
        content.terms.dedup();
        if let Some(&id) = self.ids.get(&content) {
            self.share(id);
            return (id, Vec::new());
        }
        let id = self.sequence.take();
        self.ids.insert(content.clone(), id);
        let spec = Arc::new(Spec { id, content });
        let own = demand::of_spec(&spec, asks, cluster, self.budget);
        if own > self.budget {
            self.exceed(&spec, Excess::Own(own));
        }
        self.specs.insert(id, State { spec: Arc::clone(&spec), users: 1 });
        (id, self.accept(&spec, asks))
    }

    /// A spec that is refused for good, since it takes so many steps to tell its terms.
    pub(crate) fn hold_excess(&mut self, steps: u64) -> SpecId {
        let id = self.sequence.take();
        let spec = Arc::new(Spec { id, content: Content::NOTHING });
        self.exceed(&spec, Excess::Own(steps));
        self.specs.insert(id, State { spec, users: 1 });
        id
    }

    fn exceed(&mut self, spec: &Spec, excess: Excess) {
        self.refused.insert(spec.id);
        self.excess.insert(spec.id, excess);
    }

    /// Puts a spec to use, unless it is refused or takes too many steps together with the others.
    fn accept(&mut self, spec: &Arc<Spec>, asks: &mut Asks) -> Activated {
        if self.refused.contains(&spec.id) {
            return Vec::new();
        }
        let steps = self.together.steps_with(spec, asks);
        if steps > self.budget {
            self.exceed(spec, Excess::Shared(steps));
            return Vec::new();
        }
        self.together.add(spec, asks);
        put_to_use(spec, asks)
    }

    /// One more user of a spec that is in use.
    pub(crate) fn share(&mut self, id: SpecId) {
        self.specs.entry(id).and_modify(|state| state.users += 1);
    }

    /// One user less.
    pub(crate) fn release(&mut self, id: SpecId, asks: &mut Asks) {
        let Some(state) = self.specs.get_mut(&id) else { return };
        state.users -= 1;
        if state.users == 0
            && let Some(state) = self.specs.remove(&id)
        {
            if self.ids.get(&state.spec.content) == Some(&id) {
                self.ids.remove(&state.spec.content);
            }
            self.excess.remove(&id);
            if !self.refused.remove(&id) {
                self.together.remove(&state.spec, asks);
                end_use(&state.spec, asks);
            }
        }
    }

    /// What stands in the tables for a spec: itself, or if it was refused the spec that allows nothing.
    pub(crate) fn effective(&self, id: SpecId) -> Arc<Spec> {
        let id = if self.refused.contains(&id) { DENY } else { id };
        Arc::clone(&self.specs[&id].spec)
    }

    /// Puts the spec that allows nothing in the place of one that the tables have no room for.
    pub(crate) fn refuse(&mut self, id: SpecId, asks: &mut Asks) {
        if id != DENY && self.refused.insert(id) {
            self.together.remove(&self.specs[&id].spec, asks);
            end_use(&self.specs[&id].spec, asks);
        }
    }

    /// Takes back all refusals but of those that take too many steps. Returns the specs concerned, and the asks that are active
    /// again.
    pub(crate) fn reconsider(&mut self, asks: &mut Asks) -> (BTreeSet<SpecId>, Activated) {
        self.excess.retain(|_, excess| matches!(excess, Excess::Own(_)));
        let (for_good, refused): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.refused).into_iter().partition(|id| self.excess.contains_key(id));
        self.refused = for_good;
        let specs: Vec<_> = refused.iter().map(|id| Arc::clone(&self.specs[id].spec)).collect();
        let activated = specs.iter().flat_map(|spec| self.accept(spec, asks)).collect();
        (refused, activated)
    }

    /// The specs that were refused since they take too many steps, with how many that is.
    pub(crate) fn excess(&self) -> impl Iterator<Item = (SpecId, u64)> {
        self.excess.iter().map(|(&id, &(Excess::Own(steps) | Excess::Shared(steps)))| (id, steps))
    }

    /// Whether a spec was refused only since there are others.
    pub(crate) fn is_crowded(&self) -> bool {
        self.excess.values().any(|excess| matches!(excess, Excess::Shared(_)))
    }

    /// The specs that were refused.
    pub(crate) fn refused(&self) -> &BTreeSet<SpecId> {
        &self.refused
    }

    /// The specs that the tables are asked to hold.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Arc<Spec>> {
        self.specs.values().map(|state| &state.spec).filter(|spec| !self.refused.contains(&spec.id))
    }
}

fn put_to_use(spec: &Spec, asks: &mut Asks) -> Activated {
    spec.asks().filter_map(|id| Some((id, asks.put_to_use(id)?))).collect()
}

fn end_use(spec: &Spec, asks: &mut Asks) {
    for id in spec.asks() {
        asks.end_use(id);
    }
}
