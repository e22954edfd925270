//! The namespaces that peers speak of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::terms::Scope;
use crate::id::{Sequence, id};
use crate::model::{Labels, Namespace, Selector};

id! {
    /// Names a scope of active peers. Given out by [`Scopes`], never again.
    pub(crate) struct ScopeId(u32);
}

/// Scopes of active peers, and the labels of namespaces.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    ids: HashMap<Arc<Scope>, ScopeId>,
    states: BTreeMap<ScopeId, State>,
    /// Scopes with a selector.
    selecting: BTreeSet<ScopeId>,
    namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    sequence: Sequence<ScopeId>,
}

#[derive(Debug)]
struct State {
    scope: Arc<Scope>,
    peers: u32,
}

impl Scopes {
    /// The id of a scope for one more peer.
    pub(crate) fn hold(&mut self, scope: &Scope) -> ScopeId {
        if let Some(&id) = self.ids.get(scope) {
            self.states.entry(id).and_modify(|state| state.peers += 1);
            return id;
        }
        let id = self.sequence.take();
        let scope = Arc::new(scope.clone());
        self.ids.insert(Arc::clone(&scope), id);
        if matches!(*scope, Scope::Matching(_)) {
            self.selecting.insert(id);
        }
        self.states.insert(id, State { scope, peers: 1 });
        id
    }

    /// One peer less has the scope.
    pub(crate) fn release(&mut self, id: ScopeId) {
        let Some(state) = self.states.get_mut(&id) else { return };
        state.peers -= 1;
        if state.peers == 0
            && let Some(state) = self.states.remove(&id)
        {
            self.ids.remove(&state.scope);
            self.selecting.remove(&id);
        }
    }

    /// Notes a namespace's state, `None` if it is gone. Returns whether its labels are others than before.
    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, namespace: Option<&Arc<Namespace>>) -> bool {
        let before = match namespace {
            Some(namespace) => self.namespaces.insert(Arc::clone(name), Arc::clone(namespace)),
            None => self.namespaces.remove(name),
        };
        let labels = |namespace: Option<&Arc<Namespace>>| namespace.map(|it| it.labels.clone()).unwrap_or_default();
        labels(before.as_ref()) != labels(namespace)
    }

    /// The scopes that a namespace's pods are in.
    pub(crate) fn around(&self, namespace: &Arc<str>) -> Vec<ScopeId> {
        let own = self.ids.get(&Scope::Own(Arc::clone(namespace))).copied();
        let selecting = self.selecting.iter().copied().filter(|&id| self.contains(id, namespace));
        own.into_iter().chain(selecting).collect()
    }

    /// Whether a namespace's pods are in a scope.
    pub(crate) fn contains(&self, id: ScopeId, namespace: &str) -> bool {
        match &*self.states[&id].scope {
            Scope::Own(own) => **own == *namespace,
            Scope::Matching(selector) => self.selects(selector, namespace),
        }
    }

    /// The only namespace that a scope contains, if it can contain but one.
    pub(crate) fn only(&self, id: ScopeId) -> Option<&Arc<str>> {
        match &*self.states[&id].scope {
            Scope::Own(own) => Some(own),
            Scope::Matching(_) => None,
        }
    }

    fn selects(&self, selector: &Selector, namespace: &str) -> bool {
        match self.namespaces.get(namespace) {
            Some(namespace) => selector.matches(&namespace.labels),
            None => selector.matches(&Labels::new()),
        }
    }
}
