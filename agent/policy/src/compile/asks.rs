//! Ids of asks, and which of them peers are compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::terms::{Ask, AskId};
use crate::id::Sequence;

/// More unused asks than this, and than a quarter of those in use, are let go.
const UNUSED: usize = 4;

/// Asks by id. An ask is *held* by the compiled policies that have it, *used* by the specs in force; from its first use
/// on it is *active*, which means that peers are compared with it. It stays active for a while after its last use: a
/// policy that comes back finds its classes in place, and a policy that goes leaves the groups as they are.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    ids: HashMap<Arc<Ask>, AskId>,
    asks: BTreeMap<AskId, State>,
    unused: BTreeSet<AskId>,
    active: usize,
    sequence: Sequence<AskId>,
}

#[derive(Debug)]
struct State {
    ask: Arc<Ask>,
    holders: u32,
    users: u32,
    active: bool,
}

impl Asks {
    /// The id of an ask, held until it is released.
    pub(crate) fn hold(&mut self, ask: Ask) -> AskId {
        if let Some(&id) = self.ids.get(&ask) {
            self.state(id).holders += 1;
            return id;
        }
        let id = self.sequence.take();
        let ask = Arc::new(ask);
        self.ids.insert(Arc::clone(&ask), id);
        self.asks.insert(id, State { ask, holders: 1, users: 0, active: false });
        id
    }

    /// Gives back a hold.
    pub(crate) fn release(&mut self, id: AskId) {
        self.state(id).holders -= 1;
        self.forget_if_idle(id);
    }

    /// Notes a use. Returns the ask if it becomes active by that.
    pub(crate) fn put_to_use(&mut self, id: AskId) -> Option<Arc<Ask>> {
        let state = self.state(id);
        state.users += 1;
        let activated = !std::mem::replace(&mut state.active, true);
        let ask = Arc::clone(&state.ask);
        self.unused.remove(&id);
        self.active += usize::from(activated);
        activated.then_some(ask)
    }

    /// Notes the end of a use. The ask stays active.
    pub(crate) fn end_use(&mut self, id: AskId) {
        let state = self.state(id);
        state.users -= 1;
        if state.users == 0 {
            self.unused.insert(id);
        }
    }

    /// Whether so many active asks are unused that it is time to let go of them.
    pub(crate) fn crowded(&self) -> bool {
        self.unused.len() > UNUSED && self.unused.len() > self.active / 4
    }

    /// Ends the activity of every unused ask except those that the tables still judge by. Returns them.
    pub(crate) fn deactivate(&mut self, in_force: &dyn Fn(AskId) -> bool) -> Vec<(AskId, Arc<Ask>)> {
        let ended: Vec<_> = self.unused.iter().copied().filter(|&id| !in_force(id)).collect();
        let mut asks = Vec::new();
        for id in ended {
            self.unused.remove(&id);
            self.active -= 1;
            let state = self.state(id);
            state.active = false;
            asks.push((id, Arc::clone(&state.ask)));
            self.forget_if_idle(id);
        }
        asks
    }

    /// The ask with an id.
    pub(crate) fn get(&self, id: AskId) -> &Ask {
        &self.asks[&id].ask
    }

    fn state(&mut self, id: AskId) -> &mut State {
        self.asks.get_mut(&id).expect("ids are given out by hold and end with the last hold or use")
    }

    fn forget_if_idle(&mut self, id: AskId) {
        let state = &self.asks[&id];
        if state.holders == 0
            && !state.active
            && let Some(state) = self.asks.remove(&id)
        {
            self.ids.remove(&state.ask);
        }
    }
}
