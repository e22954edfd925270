//! Planning beside the engine: the planner goes away with what changed and comes back with a plan, however long that takes.
//!
//! A plan is made of the objects as they were when it began; what changes meanwhile is in the next. Nothing else of the engine
//! waits for it: a slot that is given back meanwhile is left out of the plan when that comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use podgate_policy::cluster::Cluster;
use podgate_policy::compile::Changes;
use podgate_policy::evaluate::RuleRef;
use podgate_policy::id::RuleId;
use podgate_policy::model::{Namespace, Pod, Policy};
use podgate_policy::op::Op;
use podgate_policy::plan::{Plan, Planner, Subject, Unfit};
use podgate_policy::tables::{Limits, Usage};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The planner, with the objects that it knows: those of the engine as of the last plan.
#[derive(Debug)]
struct Desk {
    planner: Planner,
    cluster: Cluster,
}

/// What changed since the last plan, with the objects as they are now; `None`: gone.
#[derive(Debug)]
struct News {
    changes: Changes,
    pods: Vec<Option<Arc<Pod>>>,
    namespaces: Vec<Option<Arc<Namespace>>>,
    policies: Vec<Option<Arc<Policy>>>,
}

/// A plan to be made.
#[derive(Debug)]
pub struct Work {
    desk: Box<Desk>,
    news: News,
}

/// A plan that was made.
#[derive(Debug)]
pub struct Made {
    desk: Box<Desk>,
    plan: Plan,
}

impl News {
    fn of(changes: Changes, cluster: &Cluster) -> Self {
        Self {
            pods: changes.pods.iter().map(|key| cluster.pods.get(key).cloned()).collect(),
            namespaces: changes.namespaces.iter().map(|name| cluster.namespaces.get(name).cloned()).collect(),
            policies: changes.policies.iter().map(|key| cluster.policies.get(key).cloned()).collect(),
            changes,
        }
    }
}

fn take<'k, K: Ord + Clone + 'k, V>(
    objects: &mut BTreeMap<K, V>,
    keys: impl IntoIterator<Item = &'k K>,
    values: Vec<Option<V>>,
) {
    for (key, value) in keys.into_iter().zip(values) {
        match value {
            Some(value) => drop(objects.insert(key.clone(), value)),
            None => drop(objects.remove(key)),
        }
    }
}

impl Work {
    /// Makes the plan, which may take long.
    pub fn run(self) -> Made {
        let Self { mut desk, news: News { changes, pods, namespaces, policies } } = self;
        take(&mut desk.cluster.pods, &changes.pods, pods);
        take(&mut desk.cluster.namespaces, &changes.namespaces, namespaces);
        take(&mut desk.cluster.policies, &changes.policies, policies);
        let plan = desk.planner.update(&desk.cluster, &changes);
        Made { desk, plan }
    }
}

/// What the engine knows of its planner.
#[derive(Debug)]
pub(super) struct Planning {
    /// `None`: it is at work.
    desk: Option<Box<Desk>>,
    /// Rules by id, those that are gone included for a while.
    rules: BTreeMap<RuleId, RuleRef>,
    /// How full the tables are by the last plan.
    usage: Vec<Usage>,
    /// What the tables have no room for by the last plan.
    pub(super) unfit: Vec<Unfit>,
    /// Whether to plan although nothing changed.
    again: bool,
}

impl Planning {
    /// A planner with this much room. `audit`: all policies are in audit mode.
    pub(super) fn new(limits: Limits, audit: bool) -> Self {
        let planner = Planner::new(limits);
        let usage = planner.usage();
        let desk = Some(Box::new(Desk { planner, cluster: Cluster { audit, ..Cluster::default() } }));
        Self { desk, rules: BTreeMap::new(), usage, unfit: Vec::new(), again: false }
    }

    /// Whether no plan is being made, and none is due although nothing changed.
    pub(super) fn is_done(&self) -> bool {
        self.desk.is_some() && !self.again
    }

    /// Begins a plan, unless one is being made or there is nothing to plan; takes the changes then.
    pub(super) fn begin(&mut self, cluster: &Cluster, changes: &mut Changes) -> Option<Work> {
        if *changes == Changes::default() && !self.again {
            return None;
        }
        let desk = self.desk.take()?;
        Some(Work { desk, news: News::of(std::mem::take(changes), cluster) })
    }

    /// Takes a plan; `meanwhile`: what has changed since it began. Returns what is to be done.
    pub(super) fn end(&mut self, made: Made, meanwhile: &Changes) -> Vec<Op> {
        let Plan { mut ops, unfit, again, named, forgotten } = made.plan;
        self.usage = made.desk.planner.usage();
        self.desk = Some(made.desk);
        self.rules.extend(named);
        forgotten.iter().for_each(|rule| drop(self.rules.remove(rule)));
        self.unfit = unfit;
        self.again = again;
        let of_others = meanwhile.released.iter().chain(meanwhile.bound.iter().map(|endpoint| &endpoint.slot)).copied();
        for slot in of_others {
            self.forget(slot, &mut ops);
        }
        ops
    }

    /// Forgets what was planned for a slot.
    pub(super) fn forget(&mut self, slot: u32, ops: &mut Vec<Op>) {
        ops.retain(|op| !matches!(op, Op::Switch { slot: switched, .. } if *switched == slot));
        self.unfit.retain(|it| !matches!(it.subject, Subject::Endpoint { slot: unfit, .. } if unfit == slot));
    }

    /// The rule with an id.
    pub(super) fn rule(&self, id: RuleId) -> Option<&RuleRef> {
        self.rules.get(&id)
    }

    /// How full the tables are.
    pub(super) fn usage(&self) -> &[Usage] {
        &self.usage
    }
}

/// A thread that makes plans one after the other.
#[derive(Debug)]
pub(super) struct Beside {
    work: mpsc::Sender<Work>,
    /// Plans that were made. It ends where the thread has panicked.
    pub(super) made: UnboundedReceiver<Made>,
}

impl Beside {
    /// Starts it; it ends when this is dropped.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (work, todo) = mpsc::channel::<Work>();
        let (done, made) = unbounded_channel();
        thread::Builder::new().name("planner".to_owned()).spawn(move || {
            while let Ok(work) = todo.recv() {
                if done.send(work.run()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { work, made })
    }

    /// Lets a plan be made.
    pub(super) fn make(&self, work: Work) {
        // Where the thread is gone, so is what it made: who waits for that is told.
        drop(self.work.send(work));
    }
}

#[cfg(test)]
mod tests;
