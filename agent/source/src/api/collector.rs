//! The state of the cluster, as the watches tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::failure::Failure;
use super::watch::Seen;
use crate::cluster_policies::{ClusterPolicies, KnownClusterPolicies, close_what_the_agent_cannot_judge};
use crate::convert::{Converted, Issue, Outcome};
use crate::object::{Kind, Object, ObjectRef, Update};
use crate::problem::{Effect, Origin, Problem};
use crate::status::{ErrorClass, ResourceStatus, SourceStatus};
use crate::store::Store;

/// The state of the cluster. Time comes in with each event.
#[derive(Debug)]
pub(super) struct Collector {
    /// The agent's own node.
    node: Arc<str>,
    store: Store,
    /// Those of the kinds that are read.
    watches: BTreeMap<Kind, WatchState>,
    /// What is known of ClusterNetworkPolicies.
    cluster_policies: KnownClusterPolicies,
    /// Objects in the store that stand in for invalid ones.
    stand_ins: BTreeSet<ObjectRef>,
    /// What is wrong with objects now.
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    /// Whether these may differ from those that were shown last.
    problems_differ: bool,
    /// Problems met since the status was last shown.
    met: Vec<Problem>,
}

#[derive(Debug, Default)]
struct WatchState {
    status: ResourceStatus,
    list: Option<List>,
    /// Whether it can't be read, and waiting alone doesn't help: everything else is enforced without it.
    is_unreadable: bool,
}

/// A list that is not complete yet. Until it is, what was known before stays in force.
#[derive(Debug, Default)]
struct List {
    objects: BTreeMap<ObjectRef, Object>,
    stand_ins: BTreeSet<ObjectRef>,
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
}

/// What to put in force for an object: none leaves it out.
struct Resolved {
    object: Option<Object>,
    stands_in: bool,
    problems: Vec<Problem>,
}

impl Collector {
    pub(super) fn new(kinds: &[Kind], node: &str, cluster_policies: ClusterPolicies) -> Self {
        let is_read = |kind: &Kind| *kind != Kind::ClusterNetworkPolicy || cluster_policies == ClusterPolicies::Auto;
        let kinds = kinds.iter().copied().filter(is_read);
        Self {
            node: node.into(),
            store: Store::default(),
            watches: kinds.map(|kind| (kind, WatchState::default())).collect(),
            cluster_policies: KnownClusterPolicies::new(cluster_policies),
            stand_ins: BTreeSet::new(),
            problems: BTreeMap::new(),
            problems_differ: false,
            met: vec![],
        }
    }

    /// Takes in what the watch of a kind saw. Whether it is urgent: all but changes of other nodes' pods, the most
    /// frequent of all, is.
    pub(super) fn observe(&mut self, kind: Kind, seen: Seen, now: SystemTime) -> bool {
        let urgent = self.is_urgent(&seen);
        if !self.watches.contains_key(&kind) {
            self.count(seen);
            return urgent;
        }
        match seen {
            Seen::Listing => self.watch(kind).list = Some(List::default()),
            Seen::Listed(reference, converted) => self.list(kind, reference, converted),
            Seen::ListedAll => {
                self.replace(kind);
                self.watch(kind).status.list(now);
            }
            Seen::Applied(reference, converted) => {
                self.apply(reference, converted);
                self.watch(kind).status.recover();
            }
            Seen::Deleted(reference) => {
                self.delete(&reference);
                self.watch(kind).status.recover();
            }
            Seen::Failed(failure) => {
                // Who may not read it is told so whenever he asks.
                let is_unreadable = kind == Kind::ClusterNetworkPolicy && failure.class == ErrorClass::Forbidden;
                self.watch(kind).is_unreadable |= is_unreadable;
                self.fail(kind, failure, now);
            }
            Seen::Unreadable(failure) => {
                self.watch(kind).is_unreadable = true;
                self.fail(kind, failure, now);
            }
            Seen::Unserved(failure) if self.store.count(kind) > 0 => self.fail(kind, failure, now),
            Seen::Absent | Seen::Unserved(_) => {
                self.watch(kind).list = None;
                self.replace(kind);
                self.watch(kind).status.succeed(now);
                self.cluster_policies.served = Some(false);
            }
            Seen::Served => {
                self.cluster_policies.served = Some(true);
                self.watch(kind).status.recover();
            }
            Seen::Recovered => self.watch(kind).status.recover(),
            // Only of what is not read.
            Seen::Counted(_) => {}
        }
        urgent
    }

    fn fail(&mut self, kind: Kind, Failure { class, message }: Failure, now: SystemTime) {
        tracing::warn!(%kind, class = class.as_str(), message, "Kubernetes API");
        self.watch(kind).status.fail(class, message, now);
    }

    /// Takes in what is seen of ClusterNetworkPolicies where they are not read.
    fn count(&mut self, seen: Seen) {
        let known = &mut self.cluster_policies;
        match seen {
            Seen::Served => known.served = Some(true),
            Seen::Counted(objects) => {
                if objects > 0 && known.objects == 0 {
                    tracing::warn!(objects, "ClusterNetworkPolicies are not enforced: --cluster-policies=off");
                }
                (known.objects, known.error) = (objects, None);
            }
            Seen::Absent | Seen::Unserved(_) => {
                (known.served, known.objects, known.error) = (Some(false), 0, None);
            }
            Seen::Recovered => known.error = None,
            Seen::Failed(failure) | Seen::Unreadable(failure) => known.error = Some(failure.message),
            Seen::Listing | Seen::Listed(..) | Seen::ListedAll | Seen::Applied(..) | Seen::Deleted(_) => {}
        }
    }

    /// The kinds that are read.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.watches.keys().copied()
    }

    fn is_urgent(&self, seen: &Seen) -> bool {
        let is_elsewhere =
            |object: &Object| matches!(object, Object::Pod(pod) if pod.node.as_ref() != Some(&self.node));
        match seen {
            Seen::Applied(_, Converted { outcome: Outcome::Good(object), .. }) => !is_elsewhere(object),
            Seen::Deleted(reference) => self.store.get(reference).is_some_and(|object| !is_elsewhere(object)),
            _ => true,
        }
    }

    /// Whether every kind was listed once, but for one that is not there or can't be read, which keeps no other from being
    /// enforced.
    pub(super) fn is_synced(&self) -> bool {
        self.watches.values().all(|watch| watch.status.synced.is_some() || watch.is_unreadable)
    }

    /// What has changed since the last call.
    pub(super) fn take_update(&mut self) -> Update {
        self.store.take_update()
    }

    /// Brings the status up to date; whether it differs in more than how many objects there are, which changes with
    /// every other event.
    pub(super) fn show(&mut self, status: &mut SourceStatus) -> bool {
        let mut differs = !self.met.is_empty();
        for (&kind, watch) in &mut self.watches {
            watch.status.objects = self.store.count(kind);
            if let Some(shown) = status.resources.get_mut(kind.as_str()) {
                shown.objects = watch.status.objects;
            }
            if status.resources.get(kind.as_str()) != Some(&watch.status) {
                status.resources.insert(kind.as_str().to_owned(), watch.status.clone());
                differs = true;
            }
        }
        if self.watches.contains_key(&Kind::ClusterNetworkPolicy) {
            self.cluster_policies.objects = self.store.count(Kind::ClusterNetworkPolicy);
        }
        let known = &self.cluster_policies;
        let shown = &mut status.cluster_policies;
        differs |= (known.served, &known.error) != (shown.served, &shown.error);
        differs |= (known.objects == 0) != (shown.objects == 0);
        shown.clone_from(known);
        if std::mem::take(&mut self.problems_differ) {
            status.set_problems(self.problems.values().flatten());
            differs = true;
        }
        status.meet(&std::mem::take(&mut self.met));
        differs
    }

    fn watch(&mut self, kind: Kind) -> &mut WatchState {
        self.watches.entry(kind).or_default()
    }

    fn list(&mut self, kind: Kind, reference: ObjectRef, converted: Converted) {
        let Resolved { object, stands_in, problems } = self.resolve(&reference, converted);
        let list = self.watch(kind).list.get_or_insert_default();
        if let Some(object) = object {
            list.objects.insert(reference.clone(), object);
        }
        if stands_in {
            list.stand_ins.insert(reference.clone());
        }
        if !problems.is_empty() {
            list.problems.insert(reference, problems);
        }
    }

    fn replace(&mut self, kind: Kind) {
        let List { objects, stand_ins, problems } = self.watch(kind).list.take().unwrap_or_default();
        self.store.replace(|replaced| replaced == kind, objects);
        self.stand_ins.retain(|reference| reference.kind() != kind);
        self.stand_ins.extend(stand_ins);
        self.problems_differ |= !problems.is_empty() || !self.problems.is_empty();
        self.problems.retain(|reference, _| reference.kind() != kind);
        self.problems.extend(problems);
    }

    fn apply(&mut self, reference: ObjectRef, converted: Converted) {
        let Resolved { object, stands_in, problems } = self.resolve(&reference, converted);
        match object {
            Some(object) => self.store.apply(object),
            None => self.store.delete(&reference),
        }
        if stands_in {
            self.stand_ins.insert(reference.clone());
        } else {
            self.stand_ins.remove(&reference);
        }
        let before = if problems.is_empty() {
            self.problems.remove(&reference)
        } else {
            self.problems_differ = true;
            self.problems.insert(reference, problems)
        };
        self.problems_differ |= before.is_some();
    }

    fn delete(&mut self, reference: &ObjectRef) {
        self.store.delete(reference);
        self.stand_ins.remove(reference);
        self.problems_differ |= self.problems.remove(reference).is_some();
    }

    /// An object as it is, or, where it is broken, its last good version if there is one.
    fn resolve(&mut self, reference: &ObjectRef, mut converted: Converted) -> Resolved {
        close_what_the_agent_cannot_judge(&mut converted);
        let Converted { name, outcome, issues } = converted;
        let good = self.store.get(reference).filter(|_| !self.stand_ins.contains(reference));
        let (object, stands_in, kept) = match (outcome, good) {
            (Outcome::Good(object), _) => (Some(object), false, false),
            (_, Some(good)) => (Some(good.clone()), false, true),
            (Outcome::StandIn(object), None) => (Some(object), true, false),
            (Outcome::Nothing, None) => (None, false, false),
        };
        let problem = |Issue { field, kind, message, effect }| {
            let effect = if kept { Effect::LastGoodKept } else { effect };
            Problem { origin: Origin::Api, object: Some(name.clone()), field, kind, message, effect }
        };
        let problems: Vec<_> = issues.into_iter().map(problem).collect();
        for problem in &problems {
            tracing::warn!(%problem, "object");
        }
        self.met.extend_from_slice(&problems);
        Resolved { object, stands_in, problems }
    }
}
