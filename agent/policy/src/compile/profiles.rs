//! Pods as asks see them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::peers::PeerId;
use crate::compile::terms::{GroupNumber, PortName};
use crate::id::{Sequence, id};
use crate::model::{Operator, Selector};

id! {
    /// Names a [`Profile`]. Given out by [`Profiles`], never again.
    pub(crate) struct ProfileId(u32);
}

/// What active asks can see of a pod. Ordered as its fields stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Profile {
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its mentioned labels by key, with the value where that is mentioned too.
    pub(crate) labels: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// Its mentioned ports, sorted.
    pub(crate) ports: Vec<(PortName, u16)>,
}

impl Profile {
    /// Whether an active ask's selector matches the pod: it can't see what is not mentioned.
    pub(crate) fn fulfils(&self, selector: &Selector) -> bool {
        selector.requirements().iter().all(|requirement| {
            let found = self.labels.binary_search_by(|(key, _)| key.cmp(&requirement.key)).ok();
            let value = found.and_then(|at| self.labels[at].1.as_ref());
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.binary_search(value).is_ok()),
                Operator::NotIn(values) => value.is_none_or(|value| values.binary_search(value).is_err()),
                Operator::Exists => found.is_some(),
                Operator::DoesNotExist => found.is_none(),
            }
        })
    }
}

/// Profiles by id, as long as a pod has them.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    ids: HashMap<Arc<Profile>, ProfileId>,
    states: BTreeMap<ProfileId, State>,
    by_namespace: BTreeMap<Arc<str>, BTreeSet<ProfileId>>,
    idle: BTreeSet<ProfileId>,
    sequence: Sequence<ProfileId>,
}

/// What is known of a profile.
#[derive(Debug)]
pub(crate) struct State {
    /// The profile.
    pub(crate) profile: Arc<Profile>,
    /// The peers that match it.
    pub(crate) peers: BTreeSet<PeerId>,
    /// The groups that have it.
    pub(crate) groups: BTreeSet<GroupNumber>,
    pods: u32,
}

impl Profiles {
    /// The id of a profile for one more pod, and whether it is new.
    pub(crate) fn hold(&mut self, profile: Profile) -> (ProfileId, bool) {
        if let Some(&id) = self.ids.get(&profile) {
            self.state(id).pods += 1;
            self.idle.remove(&id);
            return (id, false);
        }
        let id = self.sequence.take();
        let profile = Arc::new(profile);
        self.ids.insert(Arc::clone(&profile), id);
        self.by_namespace.entry(Arc::clone(&profile.namespace)).or_default().insert(id);
        self.states.insert(id, State { profile, peers: BTreeSet::new(), groups: BTreeSet::new(), pods: 1 });
        (id, true)
    }

    /// One pod less has the profile. It stays until [`Self::take_idle`].
    pub(crate) fn release(&mut self, id: ProfileId) {
        let state = self.state(id);
        state.pods -= 1;
        if state.pods == 0 {
            self.idle.insert(id);
        }
    }

    /// Removes the profiles that no pod has any more. Returns each with the peers that matched it.
    pub(crate) fn take_idle(&mut self) -> Vec<(ProfileId, BTreeSet<PeerId>)> {
        std::mem::take(&mut self.idle).into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    fn remove(&mut self, id: ProfileId) -> Option<BTreeSet<PeerId>> {
        let state = self.states.remove(&id)?;
        self.ids.remove(&state.profile);
        if let Some(ids) = self.by_namespace.get_mut(&state.profile.namespace) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_namespace.remove(&state.profile.namespace);
            }
        }
        Some(state.peers)
    }

    /// What is known of a profile.
    pub(crate) fn get(&self, id: ProfileId) -> &State {
        &self.states[&id]
    }

    /// The same, to be changed.
    pub(crate) fn state(&mut self, id: ProfileId) -> &mut State {
        self.states.get_mut(&id).expect("ids are given out by hold and end in take_idle")
    }

    /// The profiles of a namespace's pods.
    pub(crate) fn of_namespace(&self, namespace: &str) -> Vec<ProfileId> {
        self.by_namespace.get(namespace).into_iter().flatten().copied().collect()
    }

    /// The namespaces that have pods.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_namespace.keys()
    }
}
