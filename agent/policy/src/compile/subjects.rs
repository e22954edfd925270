//! The endpoints of this node and the policies that select them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::compile::Changes;
use crate::compile::asks::Asks;
use crate::compile::compiled::{CompilationId, Compiled, Served};
use crate::compile::rules::Rules;
use crate::compile::specs::{Activated, DENY, Specs};
use crate::compile::terms::{AskId, Spec, SpecId, Term, Who};
use crate::id::Sequence;
use crate::model::{Direction, Mode, ObjectKey, Pod, Policy};

/// What an endpoint shall have in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// It is not isolated.
    Open,
    /// It is isolated, with what this allows.
    Isolated(Arc<Spec>, Mode),
}

/// What an endpoint is compiled to in one direction; `None`: it is open.
pub(crate) type Held = Option<(SpecId, Mode)>;

/// By direction, in the order of [`Direction::ALL`].
pub(crate) type Wants = [Want; 2];

/// Endpoints and policies.
#[derive(Debug)]
pub(crate) struct Subjects {
    /// What rules ask.
    pub(crate) asks: Asks,
    /// Ids of rules.
    pub(crate) rules: Rules,
    specs: Specs,
    endpoints: BTreeMap<u32, Endpoint>,
    by_namespace: BTreeMap<Arc<str>, BTreeSet<u32>>,
    policies: BTreeMap<ObjectKey, Selecting>,
    audited: Audited,
    compilations: Sequence<CompilationId>,
    /// How many steps a policy, and what is allowed to an endpoint, may take.
    budget: u64,
}

/// What is in audit mode beside single policies.
#[derive(Debug, Default, PartialEq, Eq)]
struct Audited {
    all: bool,
    namespaces: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Endpoint {
    pod: ObjectKey,
    /// By direction. Nothing before it is compiled for the first time.
    specs: Option<[Held; 2]>,
    policies: BTreeSet<ObjectKey>,
}

/// A policy that selects an endpoint.
#[derive(Debug)]
struct Selecting {
    policy: Arc<Policy>,
    compiled: Compiled,
    slots: BTreeSet<u32>,
}

/// What makes endpoints have the same spec: direction, compiled policies, ports of their own that policies name.
type Likeness = (Direction, Vec<CompilationId>, Vec<Term>);

/// What an endpoint's policies allow in a direction.
struct Allowed {
    mode: Mode,
    /// What depends on its ports, with what else makes endpoints alike.
    likeness: Likeness,
    /// What does not.
    fixed: Vec<Term>,
    /// The steps that it takes to tell, if they are too many.
    excess: Option<u64>,
}

/// What changed for endpoints.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Slots with what they shall have.
    pub(crate) wants: BTreeMap<u32, Wants>,
    /// Asks to activate.
    pub(crate) activated: Activated,
}

impl Subjects {
    /// Without endpoints and policies. These may take so many steps.
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            asks: Asks::default(),
            rules: Rules::default(),
            specs: Specs::new(budget),
            endpoints: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            policies: BTreeMap::new(),
            audited: Audited::default(),
            compilations: Sequence::default(),
            budget,
        }
    }

    /// Takes changes of endpoints, of their pods and of policies.
    pub(crate) fn update(&mut self, cluster: &Cluster, changes: &Changes) -> Outcome {
        for &slot in &changes.released {
            self.release(slot);
        }
        let mut slots = BTreeSet::new();
        for endpoint in &changes.bound {
            self.bind(endpoint.slot, endpoint.pod.clone());
            slots.insert(endpoint.slot);
        }
        slots.extend(changes.pods.iter().flat_map(|pod| self.slots_of(pod)));
        // Policies first: an endpoint that is looked at anew takes up the new state of a policy, for itself alone.
        let mut dirty = slots.clone();
        for key in &changes.policies {
            dirty.extend(self.policy_changed(key, cluster));
        }
        dirty.extend(self.audit_changed(cluster, changes));
        for slot in slots {
            self.select_policies(slot, cluster);
        }
        self.wants(&dirty, cluster)
    }

    /// Takes back all refusals.
    pub(crate) fn reconsider(&mut self) -> Outcome {
        let (specs, activated) = self.specs.reconsider(&mut self.asks);
        Outcome { wants: self.wants_of(&specs), activated }
    }

    /// Lets nothing pass where a spec would stand.
    pub(crate) fn refuse(&mut self, spec: SpecId) -> Outcome {
        self.specs.refuse(spec, &mut self.asks);
        Outcome { wants: self.wants_of(&BTreeSet::from([spec])), activated: Vec::new() }
    }

    /// The specs in use.
    pub(crate) fn specs(&self) -> &Specs {
        &self.specs
    }

    /// The slots and directions that have a spec.
    pub(crate) fn users(&self, spec: SpecId) -> Vec<(u32, Direction)> {
        let of = |(&slot, endpoint): (&u32, &Endpoint)| {
            let pairs = Direction::ALL.into_iter().zip(endpoint.specs.into_iter().flatten());
            pairs
                .filter(|(_, it)| it.is_some_and(|(id, _)| id == spec))
                .map(|(direction, _)| (slot, direction))
                .collect::<Vec<_>>()
        };
        self.endpoints.iter().flat_map(of).collect()
    }

    /// The namespace of the pods that have each spec: a policy selects pods of its own alone.
    pub(crate) fn holders(&self) -> BTreeMap<SpecId, &Arc<str>> {
        let of = |endpoint: &Endpoint| {
            let specs = endpoint.specs.into_iter().flatten().flatten();
            specs.map(|(id, _)| id).collect::<Vec<_>>()
        };
        let endpoints = self.endpoints.values();
        endpoints.flat_map(|endpoint| of(endpoint).into_iter().map(|id| (id, &endpoint.pod.namespace))).collect()
    }

    /// How many blocks and exceptions a spec has.
    pub(crate) fn prefixes(&self, spec: &Spec) -> usize {
        spec.asks().map(|ask| prefixes(&self.asks, ask)).sum()
    }

    /// Whether a slot is an endpoint's.
    pub(crate) fn has_endpoint(&self, slot: u32) -> bool {
        self.endpoints.contains_key(&slot)
    }

    /// Gives a slot to a pod. Where it was another's it keeps that one's policies until its own are found.
    fn bind(&mut self, slot: u32, pod: ObjectKey) {
        self.leave_namespace(slot);
        self.by_namespace.entry(Arc::clone(&pod.namespace)).or_default().insert(slot);
        let new = || Endpoint { pod: pod.clone(), specs: None, policies: BTreeSet::new() };
        self.endpoints.entry(slot).or_insert_with(new).pod = pod.clone();
    }

    fn leave_namespace(&mut self, slot: u32) {
        let Some(namespace) = self.endpoints.get(&slot).map(|endpoint| &endpoint.pod.namespace) else { return };
        if let Some(slots) = self.by_namespace.get_mut(namespace) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.by_namespace.remove(namespace);
            }
        }
    }

    fn slots_of(&self, pod: &ObjectKey) -> impl Iterator<Item = u32> {
        let near = self.by_namespace.get(&pod.namespace).into_iter().flatten();
        near.copied().filter(move |slot| self.endpoints[slot].pod == *pod)
    }

    fn release(&mut self, slot: u32) {
        self.leave_namespace(slot);
        let Some(endpoint) = self.endpoints.remove(&slot) else { return };
        for key in &endpoint.policies {
            self.deselect(key, slot);
        }
        for (spec, _) in endpoint.specs.into_iter().flatten().flatten() {
            self.specs.release(spec, &mut self.asks);
        }
    }

    /// Finds anew which policies select an endpoint.
    fn select_policies(&mut self, slot: u32, cluster: &Cluster) {
        let endpoint = &self.endpoints[&slot];
        let pod = cluster.pods.get(&endpoint.pod).filter(|pod| pod.is_networked());
        let selecting: BTreeSet<_> = pod.map(|pod| selecting(cluster, pod)).unwrap_or_default();
        for key in endpoint.policies.clone().difference(&selecting) {
            self.deselect(key, slot);
        }
        for key in &selecting {
            self.select(key, slot, cluster);
        }
    }

    /// Takes a policy's new state. Returns the slots that it selected or selects.
    fn policy_changed(&mut self, key: &ObjectKey, cluster: &Cluster) -> BTreeSet<u32> {
        let policy = cluster.policies.get(key);
        let before = self.policies.get(key);
        if before.is_some_and(|before| policy == Some(&before.policy)) {
            return BTreeSet::new();
        }
        let mut slots = before.map(|before| before.slots.clone()).unwrap_or_default();
        let after = policy.map(|policy| self.selected(policy, cluster)).unwrap_or_default();
        if let (Some(policy), false) = (policy, before.is_none() || after.is_empty()) {
            self.compile_again(key, policy);
        }
        for &slot in slots.difference(&after) {
            self.deselect(key, slot);
        }
        for &slot in &after {
            self.select(key, slot, cluster);
        }
        slots.extend(after);
        slots
    }

    /// Takes which namespaces are in audit mode. Returns the slots that this concerns.
    fn audit_changed(&mut self, cluster: &Cluster, changes: &Changes) -> BTreeSet<u32> {
        if std::mem::replace(&mut self.audited.all, cluster.audit) != cluster.audit {
            return self.endpoints.keys().copied().collect();
        }
        let mut slots = BTreeSet::new();
        for name in &changes.namespaces {
            let changed = match cluster.namespaces.get(name) {
                Some(namespace) if namespace.audit => self.audited.namespaces.insert(Arc::clone(name)),
                _ => self.audited.namespaces.remove(name),
            };
            if changed {
                slots.extend(self.by_namespace.get(name).into_iter().flatten());
            }
        }
        slots
    }

    fn mode(&self, policy: &Policy) -> Mode {
        let audited = self.audited.all || policy.audit || self.audited.namespaces.contains(&policy.key.namespace);
        if audited { Mode::Audited } else { Mode::Enforced }
    }

    fn selected(&self, policy: &Policy, cluster: &Cluster) -> BTreeSet<u32> {
        let slots = self.by_namespace.get(&policy.key.namespace).into_iter().flatten().copied();
        let selects = |slot: &u32| {
            let pod = cluster.pods.get(&self.endpoints[slot].pod).filter(|pod| pod.is_networked());
            pod.is_some_and(|pod| policy.pod_selector.matches(&pod.labels))
        };
        slots.filter(selects).collect()
    }

    fn select(&mut self, key: &ObjectKey, slot: u32, cluster: &Cluster) {
        if let Some(endpoint) = self.endpoints.get_mut(&slot) {
            endpoint.policies.insert(key.clone());
        }
        if !self.policies.contains_key(key) {
            let Some(policy) = cluster.policies.get(key) else { return };
            let compiled = self.compile(policy);
            self.policies
                .insert(key.clone(), Selecting { policy: Arc::clone(policy), compiled, slots: BTreeSet::new() });
        }
        if let Some(policy) = self.policies.get_mut(key) {
            policy.slots.insert(slot);
        }
    }

    fn deselect(&mut self, key: &ObjectKey, slot: u32) {
        if let Some(endpoint) = self.endpoints.get_mut(&slot) {
            endpoint.policies.remove(key);
        }
        let Some(policy) = self.policies.get_mut(key) else { return };
        policy.slots.remove(&slot);
        if policy.slots.is_empty()
            && let Some(policy) = self.policies.remove(key)
        {
            policy.compiled.release(&mut self.asks, &mut self.rules);
        }
    }

    fn compile(&mut self, policy: &Policy) -> Compiled {
        Compiled::new(self.compilations.take(), policy, self.budget, &mut self.asks, &mut self.rules)
    }

    fn compile_again(&mut self, key: &ObjectKey, policy: &Arc<Policy>) {
        // Compiled before the old state is released, so that rules and asks that stay keep their ids.
        let mut compiled = self.compile(policy);
        if let Some(selecting) = self.policies.get_mut(key) {
            selecting.policy = Arc::clone(policy);
            std::mem::swap(&mut selecting.compiled, &mut compiled);
        }
        compiled.release(&mut self.asks, &mut self.rules);
    }

    /// What endpoints shall have now.
    fn wants(&mut self, slots: &BTreeSet<u32>, cluster: &Cluster) -> Outcome {
        let mut alike = HashMap::new();
        let mut outcome = Outcome::default();
        for &slot in slots {
            let Some(endpoint) = self.endpoints.get(&slot) else { continue };
            let before = endpoint.specs;
            let pod = cluster.pods.get(&endpoint.pod).cloned();
            let specs = Direction::ALL.map(|direction| {
                self.spec(slot, direction, pod.as_deref(), cluster, &mut alike, &mut outcome.activated)
            });
            for (spec, _) in before.into_iter().flatten().flatten() {
                self.specs.release(spec, &mut self.asks);
            }
            self.endpoints.entry(slot).and_modify(|endpoint| endpoint.specs = Some(specs));
            if before != Some(specs) {
                outcome.wants.insert(slot, self.want(specs));
            }
        }
        outcome
    }

    /// The spec of an endpoint in a direction, held; `None`: it is open. An endpoint whose pod nobody knows is allowed
    /// nothing; one whose pod is finished has nothing to be protected.
    fn spec(
        &mut self,
        slot: u32,
        direction: Direction,
        pod: Option<&Pod>,
        cluster: &Cluster,
        alike: &mut HashMap<Likeness, SpecId>,
        activated: &mut Activated,
    ) -> Held {
        let Some(pod) = pod else {
            self.specs.share(DENY);
            return Some((DENY, Mode::Enforced));
        };
        let Allowed { mode, likeness, fixed, excess } = self.terms(slot, direction, pod)?;
        if let Some(&spec) = alike.get(&likeness) {
            self.specs.share(spec);
            return Some((spec, mode));
        }
        let (spec, active) = match excess {
            Some(steps) => (self.specs.hold_excess(steps), Vec::new()),
            None => self.specs.hold([fixed, likeness.2.clone()].concat(), &mut self.asks, cluster),
        };
        activated.extend(active);
        alike.insert(likeness, spec);
        Some((spec, mode))
    }

    /// What an endpoint's policies allow in a direction. `None`: it is not isolated. Policies in audit mode count only where
    /// there are no others.
    fn terms(&self, slot: u32, direction: Direction, pod: &Pod) -> Option<Allowed> {
        let policies = self.endpoints[&slot].policies.iter().map(|key| &self.policies[key]);
        let isolating =
            policies.filter_map(|it| Some((self.mode(&it.policy), &it.compiled, it.compiled.terms(direction)?)));
        let isolating: Vec<_> = isolating.collect();
        let mode = isolating.iter().map(|(mode, ..)| *mode).min()?;
        let in_force = isolating.into_iter().filter(|(its, ..)| *its == mode);
        let isolating: Vec<_> = in_force.map(|(_, compiled, terms)| (compiled, terms)).collect();
        let ids = isolating.iter().map(|(compiled, _)| compiled.id).collect();
        let most = usize::try_from(self.budget).unwrap_or(usize::MAX);
        let (mut resolved, mut more, served) = (Vec::new(), false, Served::by(pod));
        for (_, terms) in &isolating {
            let (named, others) = terms.resolve(&served, most - resolved.len().min(most));
            resolved.extend(named);
            more |= others;
        }
        let excess = isolating.iter().filter_map(|(compiled, _)| compiled.excess).max();
        let excess = excess.or_else(|| more.then(|| self.budget.saturating_add(1)));
        let fixed = isolating.iter().flat_map(|(_, terms)| &terms.fixed).copied().collect();
        Some(Allowed { mode, likeness: (direction, ids, resolved), fixed, excess })
    }

    fn want(&self, specs: [Held; 2]) -> Wants {
        specs.map(|held| held.map_or(Want::Open, |(spec, mode)| Want::Isolated(self.specs.effective(spec), mode)))
    }

    fn wants_of(&self, specs: &BTreeSet<SpecId>) -> BTreeMap<u32, Wants> {
        let compiled = self.endpoints.iter().filter_map(|(&slot, endpoint)| Some((slot, endpoint.specs?)));
        let concerned = compiled.filter(|(_, of)| of.iter().flatten().any(|(spec, _)| specs.contains(spec)));
        concerned.map(|(slot, specs)| (slot, self.want(specs))).collect()
    }
}

/// The policies that select a pod.
fn selecting(cluster: &Cluster, pod: &Pod) -> BTreeSet<ObjectKey> {
    let start = ObjectKey { namespace: Arc::clone(&pod.key.namespace), name: Arc::from("") };
    let own = cluster.policies.range(start..).take_while(|(key, _)| key.namespace == pod.key.namespace);
    own.filter(|(_, policy)| policy.pod_selector.matches(&pod.labels)).map(|(key, _)| key.clone()).collect()
}

fn prefixes(asks: &Asks, ask: AskId) -> usize {
    let peers = asks.get(ask).peers.iter();
    peers.map(|who| if let Who::Block(block) = who { block.prefixes().count() } else { 0 }).sum()
}
