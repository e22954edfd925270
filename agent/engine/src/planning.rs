//! Planning beside the engine: the planner goes away with what changed and comes back with a plan, however long that takes.
//! A few pods that change are planned in a few microseconds, in which no thread is woken; so that is done at once.
//!
//! A plan is made of the objects as they were when it began; what changes meanwhile is in the next. Nothing else of the engine
//! waits for it: a slot that is given back meanwhile is left out of the plan when that comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use podgate_policy::cluster::Cluster;
use podgate_policy::cluster_policy::ClusterPolicy;
use podgate_policy::compile::Changes;
use podgate_policy::evaluate::RuleRef;
use podgate_policy::id::RuleId;
use podgate_policy::model::{Namespace, Pod, Policy};
use podgate_policy::op::Op;
use podgate_policy::plan::{Plan, Planner, Subject, Unfit};
use podgate_policy::tables::{Limits, Usage};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::backoff::Backoff;
use super::command::{Command, Outcome, Reconciler};
use super::endpoints::Stage;
use super::state::State;

/// So many operations of a plan are applied at once: some milliseconds' worth.
const PART: usize = 4096;

/// So many pods' changes may be few.
const FEW: usize = 64;

/// A plan that takes no longer holds nobody up.
const QUICK: Duration = Duration::from_millis(1);

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
    cluster_policies: Vec<Option<Arc<ClusterPolicy>>>,
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
    took: Duration,
}

impl News {
    fn of(changes: Changes, cluster: &Cluster) -> Self {
        Self {
            pods: changes.pods.iter().map(|key| cluster.pods.get(key).cloned()).collect(),
            namespaces: changes.namespaces.iter().map(|name| cluster.namespaces.get(name).cloned()).collect(),
            policies: changes.policies.iter().map(|key| cluster.policies.get(key).cloned()).collect(),
            cluster_policies: changes
                .cluster_policies
                .iter()
                .map(|name| cluster.cluster_policies.get(name).cloned())
                .collect(),
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
        let begun = Instant::now();
        let Self { mut desk, news: News { changes, pods, namespaces, policies, cluster_policies } } = self;
        take(&mut desk.cluster.pods, &changes.pods, pods);
        take(&mut desk.cluster.namespaces, &changes.namespaces, namespaces);
        take(&mut desk.cluster.policies, &changes.policies, policies);
        for (name, policy) in changes.cluster_policies.iter().zip(cluster_policies) {
            match policy {
                Some(policy) => drop(desk.cluster.cluster_policies.insert(policy)),
                None => drop(desk.cluster.cluster_policies.remove(name)),
            }
        }
        let plan = desk.planner.update(&desk.cluster, &changes);
        Made { desk, plan, took: begun.elapsed() }
    }

    /// Whether only pods have changed, and few of them.
    fn is_small(&self) -> bool {
        let Changes { pods, namespaces, policies, cluster_policies, released, bound } = &self.news.changes;
        let policies = policies.len() + cluster_policies.len();
        let others = namespaces.len() + policies + released.len() + bound.len();
        others == 0 && (1..=FEW).contains(&pods.len())
    }
}

/// The policies in the kernel's tables: what changed, the plan for it, and what of that is not applied yet.
#[derive(Debug)]
pub(super) struct Planning {
    /// What changed since the last plan began.
    pub(super) changes: Changes,
    /// The planner; `None`: it is at work.
    desk: Option<Box<Desk>>,
    /// What of the last plan is not applied yet.
    pub(super) ops: Vec<Op>,
    /// Why that failed the last time, until it is applied.
    error: Option<String>,
    backoff: Backoff,
    /// Rules by id, those that are gone included for a while.
    rules: BTreeMap<RuleId, RuleRef>,
    /// How full the tables are by the last plan.
    usage: Vec<Usage>,
    /// What the tables have no room for by the last plan.
    pub(super) unfit: Vec<Unfit>,
    /// Whether to plan although nothing changed.
    again: bool,
    /// How long the last plan took to make.
    took: Duration,
}

impl Planning {
    /// A planner with this much room. `audit`: all policies are in audit mode.
    pub(super) fn new(limits: Limits, audit: bool) -> Self {
        let planner = Planner::new(limits);
        let usage = planner.usage();
        let desk = Some(Box::new(Desk { planner, cluster: Cluster { audit, ..Cluster::default() } }));
        Self {
            changes: Changes::default(),
            desk,
            ops: Vec::new(),
            error: None,
            backoff: Backoff::default(),
            rules: BTreeMap::new(),
            usage,
            unfit: Vec::new(),
            again: false,
            took: Duration::MAX,
        }
    }

    /// Whether nothing waits to be planned.
    pub(super) fn is_planned(&self) -> bool {
        self.changes == Changes::default() && self.desk.is_some() && !self.again
    }

    /// Whether all of the last plan is in force.
    pub(super) fn is_applied(&self) -> bool {
        self.ops.is_empty() && self.error.is_none()
    }

    /// How many changes of the tables wait to be applied; what is yet to be planned counts as one.
    pub(super) fn pending(&self) -> usize {
        self.ops.len() + usize::from(!self.is_planned())
    }

    /// Begins a plan, unless one is being made or applied, or there is nothing to plan; takes the changes then.
    pub(super) fn begin(&mut self, cluster: &Cluster) -> Option<Work> {
        if !self.ops.is_empty() || self.changes == Changes::default() && !self.again {
            return None;
        }
        let desk = self.desk.take()?;
        Some(Work { desk, news: News::of(std::mem::take(&mut self.changes), cluster) })
    }

    /// Takes a plan, without what it has for slots that have changed hands since it began.
    pub(super) fn end(&mut self, made: Made) {
        self.took = made.took;
        let Plan { ops, unfit, again, named, forgotten } = made.plan;
        self.ops = ops;
        self.usage = made.desk.planner.usage();
        self.desk = Some(made.desk);
        self.rules.extend(named);
        forgotten.iter().for_each(|rule| drop(self.rules.remove(rule)));
        self.unfit = unfit;
        self.again = again;
        let bound = self.changes.bound.iter().map(|endpoint| &endpoint.slot);
        for slot in self.changes.released.iter().chain(bound).copied().collect::<Vec<_>>() {
            self.leave_out(slot);
        }
        if self.ops.is_empty() {
            self.error = None;
        }
    }

    fn leave_out(&mut self, slot: u32) {
        self.ops.retain(|op| !matches!(op, Op::Switch { slot: switched, .. } if *switched == slot));
        self.unfit.retain(|it| !matches!(it.subject, Subject::Endpoint { slot: unfit, .. } if unfit == slot));
    }

    /// The policies for a slot are in force no longer: who has had it has left.
    pub(super) fn forget(&mut self, slot: u32) {
        self.leave_out(slot);
        self.changes.bound.retain(|endpoint| endpoint.slot != slot);
        self.changes.released.insert(slot);
    }

    /// Why the last plan could not be applied, until it is.
    pub(super) fn error(&self) -> Option<&String> {
        self.error.as_ref()
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

impl Reconciler for Planning {
    /// A part of the last plan, so that other things are not held up by all of it.
    fn next(&mut self, now: Instant) -> Option<Command> {
        if self.ops.is_empty() || !self.backoff.is_over(now) {
            return None;
        }
        let rest = self.ops.split_off(self.ops.len().min(PART));
        Some(Command::Apply { ops: std::mem::replace(&mut self.ops, rest) })
    }

    /// What is left of a part that failed must be applied before anything else.
    fn report(&mut self, command: Command, outcome: Outcome, now: Instant) {
        let Command::Apply { mut ops } = command else { return };
        match outcome {
            Outcome::Failed { applied, error } => {
                ops.drain(..applied.min(ops.len()));
                ops.append(&mut self.ops);
                self.ops = ops;
                self.error = Some(error);
                self.backoff.fail(now);
            }
            Outcome::Done | Outcome::Provisional | Outcome::Repaired | Outcome::Gone => {
                self.error = None;
                self.backoff.succeed();
            }
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        self.backoff.deadline(now)
    }
}

impl State {
    /// A plan to be made, if something is to be planned, nothing else to be done, and the last plan is applied.
    /// [`Self::end_plan`] must follow, whatever happens meanwhile.
    pub fn begin_plan(&mut self) -> Option<Work> {
        if !self.synced {
            return None;
        }
        let work = self.planning.begin(&self.cluster)?;
        self.endpoints.advance(Stage::Identified, Stage::Planned);
        Some(work)
    }

    /// Whether a plan may be made right here: it is about few pods, and the last one did not take long.
    pub(super) fn is_quick(&self, work: &Work) -> bool {
        work.is_small() && self.planning.took <= QUICK
    }

    /// Takes the plan that [`Self::begin_plan`] began.
    pub fn end_plan(&mut self, made: Made) {
        self.planning.end(made);
        self.applied();
    }

    /// What is planned is in force once all of the plan is.
    pub(super) fn applied(&mut self) {
        if self.planning.is_applied() {
            self.endpoints.advance(Stage::Planned, Stage::Applied);
        }
    }

    /// Whether everything that is known is in force.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.pending() == 0
    }

    /// How many changes are not in force: of the tables, and pods that are enforced still though they have gone.
    pub(super) fn pending(&self) -> usize {
        self.planning.pending() + self.endpoints.leaving()
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
