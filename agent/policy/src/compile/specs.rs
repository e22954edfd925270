//! Specs by content, with their users.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::asks::Asks;
use crate::compile::terms::{Ask, AskId, Spec, SpecId, Term};

/// The spec without terms: nothing is allowed. It is always there, and its id is that of
/// [`EndpointPolicy::NOTHING`](crate::op::EndpointPolicy::NOTHING).
pub(super) const DENY: SpecId = 1;

/// Specs in use by endpoints. Endpoints that are allowed the same by the same rules share one.
#[derive(Debug)]
pub(crate) struct Specs {
    ids: HashMap<Vec<Term>, SpecId>,
    specs: BTreeMap<SpecId, State>,
    refused: BTreeSet<SpecId>,
    last: SpecId,
}

#[derive(Debug)]
struct State {
    spec: Arc<Spec>,
    users: u32,
}

/// Asks that specs made active.
pub(crate) type Activated = Vec<(AskId, Arc<Ask>)>;

impl Specs {
    /// Only the spec that allows nothing.
    pub(crate) fn new() -> Self {
        let deny = State { spec: Arc::new(Spec { id: DENY, terms: Vec::new() }), users: 1 };
        Self {
            ids: HashMap::from([(Vec::new(), DENY)]),
            specs: BTreeMap::from([(DENY, deny)]),
            refused: BTreeSet::new(),
            last: DENY,
        }
    }

    /// The spec with these terms, in any order, for one more user.
    pub(crate) fn hold(&mut self, mut terms: Vec<Term>, asks: &mut Asks) -> (SpecId, Activated) {
        terms.sort_unstable();
        terms.dedup();
        if let Some(&id) = self.ids.get(&terms) {
            self.share(id);
            return (id, Vec::new());
        }
        self.last += 1;
        self.ids.insert(terms.clone(), self.last);
        let spec = Arc::new(Spec { id: self.last, terms });
        let activated = put_to_use(&spec, asks);
        self.specs.insert(self.last, State { spec, users: 1 });
        (self.last, activated)
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
            self.ids.remove(&state.spec.terms);
            if !self.refused.remove(&id) {
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
            end_use(&self.specs[&id].spec, asks);
        }
    }

    /// Takes back all refusals. Returns the specs concerned, and the asks that are active again.
    pub(crate) fn reconsider(&mut self, asks: &mut Asks) -> (BTreeSet<SpecId>, Activated) {
        let refused = std::mem::take(&mut self.refused);
        let activated = refused.iter().flat_map(|id| put_to_use(&self.specs[id].spec, asks)).collect();
        (refused, activated)
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
