//! The endpoints of this node and the policies that select them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cluster_policy::{ClusterPolicy, Tier};
use crate::compile::Changes;
use crate::compile::asks::Asks;
use crate::compile::compiled::{CompilationId, Compiled, Served, Terms};
use crate::compile::guards::{Guard, Guarded};
use crate::compile::rules::Rules;
use crate::compile::specs::{Activated, DENY, Specs};
use crate::compile::terms::{AskId, Content, Rest, Spec, SpecId, Term, Who};
use crate::evaluate::{PolicyRef, selects};
use crate::id::Sequence;
use crate::model::{Direction, Mode, ObjectKey, Pod, Policy};

/// What an endpoint shall have in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// No policy can deny anything.
    Open,
    /// It is judged, by what this says.
    Judged(Arc<Spec>, Mode),
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
    policies: BTreeMap<PolicyRef, Selecting>,
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
    policies: BTreeSet<PolicyRef>,
}

/// A policy of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AnyPolicy {
    Network(Arc<Policy>),
    Cluster(Arc<ClusterPolicy>),
}

impl AnyPolicy {
    /// The policy that has a name.
    fn named(cluster: &Cluster, name: &PolicyRef) -> Option<Self> {
        match name {
            PolicyRef::NetworkPolicy(key) => cluster.policies.get(key).cloned().map(Self::Network),
            PolicyRef::Cluster(name) => cluster.cluster_policies.get(name).cloned().map(Self::Cluster),
        }
    }

    /// Whether it selects a pod of the pod network that is in its namespace, if it has one.
    fn selects(&self, cluster: &Cluster, pod: &Pod) -> bool {
        match self {
            Self::Network(policy) => policy.pod_selector.matches(&pod.labels),
            Self::Cluster(policy) => selects(cluster, &policy.subject, pod),
        }
    }
}

/// A policy that selects an endpoint.
#[derive(Debug)]
struct Selecting {
    policy: AnyPolicy,
    compiled: Compiled,
    slots: BTreeSet<u32>,
}

/// What makes endpoints have the same spec: direction, compiled policies, ports of their own that policies name.
type Likeness = (Direction, Vec<CompilationId>, Vec<Term>);

/// What an endpoint's policies say in a direction.
struct Said {
    mode: Mode,
    rest: Rest,
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
        if !cluster.cluster_policies.is_empty() {
            slots.extend(changes.namespaces.iter().filter_map(|name| self.by_namespace.get(name)).flatten());
        }
        // Policies first: an endpoint that is looked at anew takes up the new state of a policy, for itself alone.
        let mut dirty = slots.clone();
        let policies = changes.policies.iter().cloned().map(PolicyRef::NetworkPolicy);
        for name in policies.chain(changes.cluster_policies.iter().cloned().map(PolicyRef::Cluster)) {
            dirty.extend(self.policy_changed(&name, cluster));
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

    /// The namespace of the pods that have each spec, or of one of them: a NetworkPolicy selects pods of its own alone.
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
    fn policy_changed(&mut self, name: &PolicyRef, cluster: &Cluster) -> BTreeSet<u32> {
        let policy = AnyPolicy::named(cluster, name);
        let before = self.policies.get(name);
        if before.is_some_and(|before| policy.as_ref() == Some(&before.policy)) {
            return BTreeSet::new();
        }
        let mut slots = before.map(|before| before.slots.clone()).unwrap_or_default();
        let after = policy.as_ref().map(|policy| self.selected(policy, cluster)).unwrap_or_default();
        if let (Some(policy), false) = (policy, before.is_none() || after.is_empty()) {
            self.compile_again(name, policy);
        }
        for &slot in slots.difference(&after) {
            self.deselect(name, slot);
        }
        for &slot in &after {
            self.select(name, slot, cluster);
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

    fn selected(&self, policy: &AnyPolicy, cluster: &Cluster) -> BTreeSet<u32> {
        let slots: Vec<_> = match policy {
            AnyPolicy::Network(policy) => {
                self.by_namespace.get(&policy.key.namespace).into_iter().flatten().copied().collect()
            }
            AnyPolicy::Cluster(_) => self.endpoints.keys().copied().collect(),
        };
        let is_selected = |slot: &u32| {
            let pod = cluster.pods.get(&self.endpoints[slot].pod).filter(|pod| pod.is_networked());
            pod.is_some_and(|pod| policy.selects(cluster, pod))
        };
        slots.into_iter().filter(is_selected).collect()
    }

    fn select(&mut self, name: &PolicyRef, slot: u32, cluster: &Cluster) {
        if let Some(endpoint) = self.endpoints.get_mut(&slot) {
            endpoint.policies.insert(name.clone());
        }
        if !self.policies.contains_key(name) {
            let Some(policy) = AnyPolicy::named(cluster, name) else { return };
            let compiled = self.compile(&policy);
            self.policies.insert(name.clone(), Selecting { policy, compiled, slots: BTreeSet::new() });
        }
        if let Some(policy) = self.policies.get_mut(name) {
            policy.slots.insert(slot);
        }
    }

    fn deselect(&mut self, name: &PolicyRef, slot: u32) {
        if let Some(endpoint) = self.endpoints.get_mut(&slot) {
            endpoint.policies.remove(name);
        }
        let Some(policy) = self.policies.get_mut(name) else { return };
        policy.slots.remove(&slot);
        if policy.slots.is_empty()
            && let Some(policy) = self.policies.remove(name)
        {
            policy.compiled.release(&mut self.asks, &mut self.rules);
        }
    }

    fn compile(&mut self, policy: &AnyPolicy) -> Compiled {
        let (id, budget) = (self.compilations.take(), self.budget);
        match policy {
            AnyPolicy::Network(policy) => Compiled::new(id, policy, budget, &mut self.asks, &mut self.rules),
            AnyPolicy::Cluster(policy) => Compiled::cluster(id, policy, budget, &mut self.asks, &mut self.rules),
        }
    }

    fn compile_again(&mut self, name: &PolicyRef, policy: AnyPolicy) {
        // Compiled before the old state is released, so that rules and asks that stay keep their ids.
        let mut compiled = self.compile(&policy);
        if let Some(selecting) = self.policies.get_mut(name) {
            selecting.policy = policy;
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
        let Said { mode, rest, likeness, fixed, excess } = self.said(slot, direction, pod)?;
        if let Some(&spec) = alike.get(&likeness) {
            self.specs.share(spec);
            return Some((spec, mode));
        }
        let (spec, active) = match excess {
            Some(steps) => (self.specs.hold_excess(steps), Vec::new()),
            None => {
                let terms = [fixed, likeness.2.clone()].concat();
                self.specs.hold(Content { terms, rest }, &mut self.asks, cluster)
            }
        };
        activated.extend(active);
        alike.insert(likeness, spec);
        Some((spec, mode))
    }

    /// What an endpoint's policies say in a direction. `None`: none of them can deny anything. NetworkPolicies in audit mode
    /// count only where there are no others.
    fn said(&self, slot: u32, direction: Direction, pod: &Pod) -> Option<Said> {
        let selecting = || self.endpoints[&slot].policies.iter().map(|name| &self.policies[name]);
        let isolating: Vec<_> = selecting().filter_map(|it| self.isolating(it, direction)).collect();
        let mut guards: Vec<_> = selecting().filter_map(|it| self.guarding(it, direction)).collect();
        guards.sort_by_key(|(order, _)| *order);
        let mode = isolating.iter().map(|(mode, ..)| *mode).min();
        let rest = match mode {
            Some(Mode::Enforced) => Rest::Denied,
            Some(Mode::Audited) => Rest::WouldDeny,
            None => Rest::Undecided,
        };
        let isolating: Vec<_> = isolating.into_iter().filter(|(its, ..)| Some(*its) == mode).collect();
        // The Baseline tier is not asked where a NetworkPolicy in force isolates the endpoint.
        let guards = guards.into_iter().map(|(_, guard)| guard);
        let guards: Vec<_> = guards.filter(|it| it.tier == Tier::Admin || rest != Rest::Denied).collect();

        let most = usize::try_from(self.budget).unwrap_or(usize::MAX);
        let (mut terms, served) = (Guarded::default(), Served::by(pod));
        for tier in Tier::ALL {
            let asked: Vec<_> = guards.iter().filter(|guard| guard.tier == tier).copied().collect();
            terms.take(&asked, &served, most, &self.asks);
        }
        let denies = terms.fixed.iter().chain(&terms.resolved).filter_map(|term| term.step.denies()).min();
        let compiled = isolating.iter().map(|(_, compiled, _)| *compiled).chain(guards.iter().map(|it| it.compiled));
        let (ids, excess): (Vec<_>, Vec<_>) = compiled.map(|it| (it.id, it.excess)).unzip();
        let excess = excess.into_iter().flatten().max();
        if rest == Rest::Undecided && denies.is_none() && excess.is_none() && !terms.more {
            return None;
        }
        // Alone, policies in audit mode say what they would in force.
        let rest = if guards.is_empty() { Rest::Denied } else { rest };
        for (_, _, of_policy) in &isolating {
            let (named, more) = of_policy.resolve(&served, most.saturating_sub(terms.resolved.len()));
            terms.resolved.extend(named);
            terms.more |= more;
            terms.fixed.extend(&of_policy.fixed);
        }
        let excess = excess.or_else(|| terms.more.then(|| self.budget.saturating_add(1)));
        // What takes too many steps to tell is in force, whatever it says.
        let mode =
            mode.into_iter().chain(denies).chain(excess.filter(|_| mode.is_none()).map(|_| Mode::Enforced)).min();
        let likeness = (direction, ids, terms.resolved);
        Some(Said { mode: mode.unwrap_or(Mode::Enforced), rest, likeness, fixed: terms.fixed, excess })
    }

    /// What a NetworkPolicy says that isolates in a direction.
    fn isolating<'s>(&self, it: &'s Selecting, direction: Direction) -> Option<(Mode, &'s Compiled, &'s Terms)> {
        let AnyPolicy::Network(policy) = &it.policy else { return None };
        Some((self.mode(policy), &it.compiled, it.compiled.terms(direction)?))
    }

    /// What a ClusterNetworkPolicy says in a direction, with its place among all.
    fn guarding<'s>(&self, it: &'s Selecting, direction: Direction) -> Option<((u16, &'s Arc<str>), Guard<'s>)> {
        let AnyPolicy::Cluster(policy) = &it.policy else { return None };
        let mode = if self.audited.all || policy.audit { Mode::Audited } else { Mode::Enforced };
        let terms = it.compiled.terms(direction)?;
        Some(((policy.priority, &policy.name), Guard { tier: policy.tier, mode, compiled: &it.compiled, terms }))
    }

    fn want(&self, specs: [Held; 2]) -> Wants {
        specs.map(|held| held.map_or(Want::Open, |(spec, mode)| Want::Judged(self.specs.effective(spec), mode)))
    }

    fn wants_of(&self, specs: &BTreeSet<SpecId>) -> BTreeMap<u32, Wants> {
        let compiled = self.endpoints.iter().filter_map(|(&slot, endpoint)| Some((slot, endpoint.specs?)));
        let concerned = compiled.filter(|(_, of)| of.iter().flatten().any(|(spec, _)| specs.contains(spec)));
        concerned.map(|(slot, specs)| (slot, self.want(specs))).collect()
    }
}

/// The policies that select a pod.
fn selecting(cluster: &Cluster, pod: &Pod) -> BTreeSet<PolicyRef> {
    let start = ObjectKey { namespace: Arc::clone(&pod.key.namespace), name: Arc::from("") };
    let own = cluster.policies.range(start..).take_while(|(key, _)| key.namespace == pod.key.namespace);
    let own = own.filter(|(_, policy)| policy.pod_selector.matches(&pod.labels));
    let guards = cluster.cluster_policies.iter().filter(|policy| selects(cluster, &policy.subject, pod));
    let guards = guards.map(|policy| PolicyRef::Cluster(Arc::clone(&policy.name)));
    own.map(|(key, _)| PolicyRef::NetworkPolicy(key.clone())).chain(guards).collect()
}

fn prefixes(asks: &Asks, ask: AskId) -> usize {
    let peers = asks.get(ask).peers.iter();
    peers.map(|who| if let Who::Block(block) = who { block.prefixes().count() } else { 0 }).sum()
}
