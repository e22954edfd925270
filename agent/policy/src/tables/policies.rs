//! Policies and classes: which row a policy has for which class.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::compile::{AskId, Fulfilled, Spec, SpecId};
use crate::id::{ClassId, Sequence};
use crate::tables::image::Image;
use crate::tables::rows::{RowNumber, Rows};
use crate::tables::sayings::row_key;

/// Policies, classes and their rows.
#[derive(Debug)]
pub(crate) struct Policies {
    policies: BTreeMap<SpecId, Policy>,
    policies_by_ask: BTreeMap<AskId, BTreeSet<SpecId>>,
    idle_policies: BTreeSet<SpecId>,
    /// Those that may allow less to who fulfils more.
    shifting: BTreeSet<SpecId>,
    classes: BTreeMap<ClassId, Class>,
    class_ids: HashMap<Fulfilled, ClassId>,
    classes_by_ask: BTreeMap<AskId, BTreeSet<ClassId>>,
    idle_classes: BTreeSet<ClassId>,
    new_classes: Sequence<ClassId>,
    /// Rows by policy and class.
    pub(crate) class_rows: Image<(SpecId, ClassId), RowNumber>,
    /// The rows.
    pub(crate) rows: Rows,
}

#[derive(Debug)]
struct Policy {
    spec: Arc<Spec>,
    /// Endpoints and directions that shall have it.
    wanted: u32,
    /// Endpoints and directions that have it in the kernel.
    kernel: u32,
    default_row: RowNumber,
    classes: BTreeSet<ClassId>,
}

#[derive(Debug)]
struct Class {
    fulfilled: Fulfilled,
    users: u32,
    policies: BTreeSet<SpecId>,
    /// Whether the kernel may know it.
    written: bool,
}

impl Policies {
    /// No policies, and no class but the one without atoms.
    pub(crate) fn new() -> Self {
        let none = Class { fulfilled: Fulfilled::nothing(), users: 1, policies: BTreeSet::new(), written: true };
        Self {
            policies: BTreeMap::new(),
            policies_by_ask: BTreeMap::new(),
            idle_policies: BTreeSet::new(),
            shifting: BTreeSet::new(),
            class_ids: HashMap::from([(none.fulfilled.clone(), ClassId::NONE)]),
            classes: BTreeMap::from([(ClassId::NONE, none)]),
            classes_by_ask: BTreeMap::new(),
            idle_classes: BTreeSet::new(),
            new_classes: Sequence::default(),
            class_rows: Image::default(),
            rows: Rows::new(),
        }
    }

    /// One more endpoint shall have a policy in a direction.
    pub(crate) fn hold(&mut self, spec: &Arc<Spec>) {
        if let Some(policy) = self.policies.get_mut(&spec.id) {
            policy.wanted += 1;
            return;
        }
        let default_row = self.rows.hold(row_key(spec, &Fulfilled::nothing()));
        let policy = Policy { spec: Arc::clone(spec), wanted: 1, kernel: 0, default_row, classes: BTreeSet::new() };
        self.policies.insert(spec.id, policy);
        if spec.shifting().next().is_some() {
            self.shifting.insert(spec.id);
        }
        let mut classes = BTreeSet::new();
        for ask in spec.asks() {
            self.policies_by_ask.entry(ask).or_default().insert(spec.id);
            classes.extend(self.classes_by_ask.get(&ask).into_iter().flatten());
        }
        for class in classes.difference(&self.idle_classes).copied().collect::<Vec<_>>() {
            self.fill(spec.id, class);
        }
    }

    /// One endpoint less shall have a policy. One that the kernel does not have either is gone at once.
    pub(crate) fn release(&mut self, id: SpecId) {
        let Some(policy) = self.policies.get_mut(&id) else { return };
        policy.wanted -= 1;
        match (policy.wanted, policy.kernel) {
            (0, 0) => self.remove_policy(id),
            (0, _) => drop(self.idle_policies.insert(id)),
            _ => {}
        }
    }

    /// Notes that one more or one less endpoint has a policy in the kernel.
    pub(crate) fn count_kernel(&mut self, id: SpecId, change: i32) {
        self.policies.entry(id).and_modify(|policy| policy.kernel = policy.kernel.saturating_add_signed(change));
    }

    /// A policy's default row.
    pub(crate) fn default_row(&self, id: SpecId) -> RowNumber {
        self.policies.get(&id).map_or(RowNumber::NONE, |policy| policy.default_row)
    }

    /// Stops to prepare a policy for classes that the kernel does not know yet: it is about to go, and room is short.
    pub(crate) fn abandon(&mut self, id: SpecId) {
        let Some(policy) = self.policies.get_mut(&id) else { return };
        let new: Vec<_> =
            policy.classes.iter().copied().filter(|&class| self.class_rows.kernel((id, class)).is_none()).collect();
        for class in new {
            self.empty(id, class);
        }
        for ask in self.policies[&id].spec.asks() {
            remove_from(&mut self.policies_by_ask, ask, id);
        }
    }

    /// The policies that endpoints in the kernel have and none is to have.
    pub(crate) fn leaving(&self) -> Vec<SpecId> {
        self.idle_policies.iter().copied().filter(|id| self.policies.get(id).is_some_and(|it| it.wanted == 0)).collect()
    }

    /// The class that fulfils this, for one more user.
    pub(crate) fn hold_class(&mut self, fulfilled: &Fulfilled) -> ClassId {
        if let Some(&id) = self.class_ids.get(fulfilled) {
            self.classes.entry(id).and_modify(|class| class.users += 1);
            if self.idle_classes.remove(&id) {
                self.fill_class(id);
            }
            return id;
        }
        let id = self.new_classes.take();
        self.class_ids.insert(fulfilled.clone(), id);
        for ask in fulfilled.asks() {
            self.classes_by_ask.entry(ask).or_default().insert(id);
        }
        let class = Class { fulfilled: fulfilled.clone(), users: 1, policies: BTreeSet::new(), written: false };
        self.classes.insert(id, class);
        self.fill_class(id);
        id
    }

    /// One user less. A class that the kernel never saw is gone at once, another with [`Self::collect`].
    pub(crate) fn release_class(&mut self, id: ClassId) {
        let Some(class) = self.classes.get_mut(&id).filter(|_| id != ClassId::NONE) else { return };
        class.users -= 1;
        match (class.users, class.written) {
            (0, false) => self.remove_class(id),
            (0, true) => drop(self.idle_classes.insert(id)),
            _ => {}
        }
    }

    /// Notes that the kernel is about to see a class.
    pub(crate) fn mark_written(&mut self, id: ClassId) {
        self.classes.entry(id).and_modify(|class| class.written = true);
    }

    /// Removes policies that no endpoint has, and with `all` the classes that nothing has.
    pub(crate) fn collect(&mut self, all: bool) {
        for id in std::mem::take(&mut self.idle_policies) {
            match self.policies.get(&id).map(|policy| (policy.wanted, policy.kernel)) {
                Some((0, 0)) => self.remove_policy(id),
                Some((0, _)) => drop(self.idle_policies.insert(id)),
                _ => {}
            }
        }
        if all {
            for id in std::mem::take(&mut self.idle_classes) {
                self.remove_class(id);
            }
        }
        self.rows.collect();
    }

    /// Classes that nothing has.
    pub(crate) fn idle_classes(&self) -> usize {
        self.idle_classes.len()
    }

    /// All classes.
    pub(crate) fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// Whether an endpoint in the kernel is judged by an ask.
    pub(crate) fn in_force(&self, ask: AskId) -> bool {
        let policies = self.policies_by_ask.get(&ask).into_iter().flatten();
        policies.into_iter().any(|id| self.policies[id].kernel > 0)
    }

    /// Whether going from one class to another may take an allow away: what is fulfilled no more was allowed, or what is
    /// fulfilled now is denied.
    pub(crate) fn takes_away(&self, before: ClassId, after: ClassId) -> bool {
        let (before, after) = (&self.classes[&before].fulfilled, &self.classes[&after].fulfilled);
        let differ = |one: &Fulfilled, other: &Fulfilled, matters: &dyn Fn(AskId) -> bool| {
            one.all.iter().any(|atom| other.all.binary_search(atom).is_err() && matters(atom.ask))
        };
        let shifts = |ask| self.shifts(ask);
        differ(before, after, &|ask| self.in_force(ask))
            || (!self.shifting.is_empty() && (differ(before, after, &shifts) || differ(after, before, &shifts)))
            || (before.each != after.each && before.asks().chain(after.asks()).any(|ask| self.in_force(ask)))
    }

    /// Whether an endpoint in the kernel may be allowed less by those who fulfil an ask.
    fn shifts(&self, ask: AskId) -> bool {
        let policies = self.policies_by_ask.get(&ask).into_iter().flatten().filter(|id| self.shifting.contains(id));
        policies.map(|id| &self.policies[id]).any(|policy| policy.kernel > 0 && policy.spec.shifts(ask))
    }

    /// Whether a policy may allow less to who fulfils more.
    pub(crate) fn is_shifting(&self, id: SpecId) -> bool {
        self.shifting.contains(&id)
    }

    /// Whether two classes are the same to every endpoint in the kernel.
    pub(crate) fn alike(&self, one: ClassId, other: ClassId) -> bool {
        one == other || !(self.takes_away(one, other) || self.takes_away(other, one))
    }

    /// A policy's rows, its default row included.
    pub(crate) fn rows_of(&self, id: SpecId) -> BTreeSet<RowNumber> {
        let Some(policy) = self.policies.get(&id) else { return BTreeSet::new() };
        let rows = policy.classes.iter().filter_map(|&class| self.class_rows.wanted((id, class)));
        rows.chain([policy.default_row]).filter(|&row| row != RowNumber::NONE).collect()
    }

    /// How many classes a policy has a row of its own for.
    pub(crate) fn class_rows_of(&self, id: SpecId) -> usize {
        self.policies.get(&id).map_or(0, |policy| policy.classes.len())
    }

    /// Whether an endpoint in the kernel has a policy.
    pub(crate) fn is_in_kernel(&self, id: SpecId) -> bool {
        self.policies.get(&id).is_some_and(|policy| policy.kernel > 0)
    }

    /// Gives every policy that asks for one of a class's atoms its row for it.
    fn fill_class(&mut self, id: ClassId) {
        let class = &self.classes[&id];
        let asks = class.fulfilled.asks().filter_map(|ask| self.policies_by_ask.get(&ask));
        let policies: BTreeSet<_> = asks.flatten().copied().collect();
        for policy in policies.difference(&class.policies).copied().collect::<Vec<_>>() {
            self.fill(policy, id);
        }
    }

    /// Gives a policy its row for a class.
    fn fill(&mut self, id: SpecId, class: ClassId) {
        let (Some(policy), Some(state)) = (self.policies.get_mut(&id), self.classes.get_mut(&class)) else { return };
        let row = self.rows.hold(row_key(&policy.spec, &state.fulfilled));
        if row == policy.default_row {
            self.rows.release(row);
            return;
        }
        policy.classes.insert(class);
        state.policies.insert(id);
        self.class_rows.set((id, class), row);
    }

    fn empty(&mut self, id: SpecId, class: ClassId) {
        let Some(row) = self.class_rows.wanted((id, class)) else { return };
        if let (Some(policy), Some(state)) = (self.policies.get_mut(&id), self.classes.get_mut(&class)) {
            policy.classes.remove(&class);
            state.policies.remove(&id);
        }
        self.class_rows.unset((id, class));
        self.rows.release(row);
    }

    fn remove_policy(&mut self, id: SpecId) {
        let classes = self.policies.get(&id).map(|policy| policy.classes.clone()).unwrap_or_default();
        for class in classes {
            self.empty(id, class);
        }
        self.shifting.remove(&id);
        if let Some(policy) = self.policies.remove(&id) {
            self.rows.release(policy.default_row);
            for ask in policy.spec.asks() {
                remove_from(&mut self.policies_by_ask, ask, id);
            }
        }
    }

    fn remove_class(&mut self, id: ClassId) {
        let policies = self.classes.get(&id).map(|class| class.policies.clone()).unwrap_or_default();
        for policy in policies {
            self.empty(policy, id);
        }
        if let Some(class) = self.classes.remove(&id) {
            self.class_ids.remove(&class.fulfilled);
            for ask in class.fulfilled.asks() {
                remove_from(&mut self.classes_by_ask, ask, id);
            }
        }
    }
}

fn remove_from<I: Ord>(index: &mut BTreeMap<AskId, BTreeSet<I>>, ask: AskId, id: I) {
    if let Some(ids) = index.get_mut(&ask) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(&ask);
        }
    }
}
