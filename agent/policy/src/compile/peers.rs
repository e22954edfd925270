//! The peers of active asks, and which profiles they match.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::profiles::Profile;
use crate::compile::profiles::ProfileId;
use crate::compile::scopes::{ScopeId, Scopes};
use crate::compile::terms::{AskId, Who};
use crate::id::{Sequence, id};
use crate::model::{Operator, Selector};

id! {
    /// Names a peer of active asks. Given out by [`Peers`], never again.
    pub(crate) struct PeerId(u32);
}

/// A label that pods must have for a peer to match; `None`: the peer's selector names no such label.
pub(super) type Hook = Option<(Arc<str>, Arc<str>)>;

/// Peers by id, and by the labels that pods need for them, so that a profile is compared with few.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    ids: HashMap<Arc<Who>, PeerId>,
    states: BTreeMap<PeerId, State>,
    /// Peers that select pods.
    hooks: HashMap<(ScopeId, Hook), BTreeSet<PeerId>>,
    sequence: Sequence<PeerId>,
}

/// What is known of a peer.
#[derive(Debug)]
pub(crate) struct State {
    /// The peer.
    pub(crate) who: Arc<Who>,
    /// Its scope, if it selects pods.
    pub(crate) scope: Option<ScopeId>,
    /// The active asks that have it.
    pub(crate) asks: BTreeSet<AskId>,
    /// The profiles it matches.
    pub(crate) profiles: BTreeSet<ProfileId>,
}

impl Peers {
    /// Adds a peer to an ask. Returns its id, and whether it is new.
    pub(crate) fn insert(&mut self, who: &Who, ask: AskId, scopes: &mut Scopes) -> (PeerId, bool) {
        if let Some(&id) = self.ids.get(who) {
            self.state(id).asks.insert(ask);
            return (id, false);
        }
        let id = self.sequence.take();
        let scope = match who {
            Who::Pods { scope, pods } => Some(self.hook(id, scopes.hold(scope), pods)),
            Who::Block(_) => None,
        };
        let who = Arc::new(who.clone());
        self.ids.insert(Arc::clone(&who), id);
        self.states.insert(id, State { who, scope, asks: BTreeSet::from([ask]), profiles: BTreeSet::new() });
        (id, true)
    }

    /// Takes a peer from an ask. Returns the peer's id, and what was known of it if that was the last ask that had it.
    pub(crate) fn remove(&mut self, who: &Who, ask: AskId, scopes: &mut Scopes) -> (PeerId, Option<State>) {
        let id = self.ids[who];
        let state = self.state(id);
        state.asks.remove(&ask);
        if !state.asks.is_empty() {
            return (id, None);
        }
        self.ids.remove(who);
        let state = self.states.remove(&id);
        if let (Who::Pods { pods, .. }, Some(scope)) = (who, state.as_ref().and_then(|state| state.scope)) {
            self.unhook(id, scope, pods);
            scopes.release(scope);
        }
        (id, state)
    }

    /// What is known of a peer.
    pub(crate) fn get(&self, id: PeerId) -> &State {
        &self.states[&id]
    }

    /// The same, to be changed; `None` if the peer is gone.
    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut State> {
        self.states.get_mut(&id)
    }

    /// The peers that match a profile.
    pub(crate) fn matching(&self, profile: &Profile, scopes: &Scopes) -> BTreeSet<PeerId> {
        let mut found = BTreeSet::new();
        for scope in scopes.around(&profile.namespace) {
            let labels = profile.labels.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
            for hook in labels.map(Some).chain([None]) {
                let candidates = self.hooks.get(&(scope, hook)).into_iter().flatten();
                found.extend(candidates.filter(|&&peer| self.selects(peer, profile)));
            }
        }
        found
    }

    /// Whether a peer that selects pods matches the labels of a profile, its namespace left aside.
    pub(crate) fn selects(&self, peer: PeerId, profile: &Profile) -> bool {
        match &*self.states[&peer].who {
            Who::Pods { pods, .. } => profile.fulfils(pods),
            Who::Block(_) => false,
        }
    }

    fn hook(&mut self, id: PeerId, scope: ScopeId, pods: &Selector) -> ScopeId {
        for hook in hooks(pods) {
            self.hooks.entry((scope, hook)).or_default().insert(id);
        }
        scope
    }

    fn unhook(&mut self, id: PeerId, scope: ScopeId, pods: &Selector) {
        for hook in hooks(pods) {
            let key = (scope, hook);
            if let Some(peers) = self.hooks.get_mut(&key) {
                peers.remove(&id);
                if peers.is_empty() {
                    self.hooks.remove(&key);
                }
            }
        }
    }

    fn state(&mut self, id: PeerId) -> &mut State {
        self.states.get_mut(&id).expect("a peer has an id as long as it has a state")
    }
}

/// Where a selector is filed: under each value of the `In` requirement that has the fewest.
pub(super) fn hooks(pods: &Selector) -> Vec<Hook> {
    let values = pods.requirements().iter().filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => Some((&requirement.key, values)),
        _ => None,
    });
    match values.min_by_key(|(_, values)| values.len()) {
        Some((key, values)) => values.iter().map(|value| Some((Arc::clone(key), Arc::clone(value)))).collect(),
        None => vec![None],
    }
}
