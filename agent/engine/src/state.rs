//! The engine's decisions: inputs change the state, the state tells what to do next, the outcome comes back as an input.
//! No clock, no kernel, no channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use podgate_datapath::ServiceEgress;
use podgate_host::binding::{Bindings, Decision, NodeFacts, PodId};
use podgate_host::netlink::HostView;
use podgate_policy::cluster::Cluster;
use podgate_policy::compile::{Changes, Endpoint};
use podgate_policy::model::{ObjectKey, Pod};
use podgate_policy::op::Op;
use podgate_policy::services::{EndpointSlice, Frontends, Node, Service};
use podgate_source::{Change, Object, ObjectRef, SourceStatus, Update};

use super::at_source::{AtSource, LeadChanges};
use super::attribution::Attribution;
use super::backoff::Backoff;
use super::command::{Command, Outcome};
use super::deferral::{Deferral, served_by_host};
use super::departed::Departed;
use super::endpoints::{Endpoints, Stage};
use super::enforcement_delays::EnforcementDelays;
use super::guards::Guards;
use super::leases::Leases;
use super::memory::Interface;
use super::names::Names;
use super::neighbours::Neighbours;
use super::planning::{Made, Planning, Work};
use super::setup::{Config, Left, Room, Services};
use super::tags::Tags;
use super::upkeep::{Check, Upkeep};
use crate::status::RepairStatus;

/// So many operations of a plan are applied at once: some milliseconds' worth.
const PART: usize = 4096;

/// Everything the engine knows.
#[derive(Debug)]
pub struct State {
    config: Config,
    pub(super) cluster: Cluster,
    own_node: NodeFacts,
    pub(super) names: Names,
    /// Pods of this node, of every phase.
    pub(super) local: BTreeSet<ObjectKey>,
    /// Whether the first update, which is complete, has come.
    pub(super) synced: bool,
    pub(super) source: Option<SourceStatus>,
    pub(super) view: Option<Arc<HostView>>,
    pub(super) bindings: Bindings,
    /// What the agent before this one enforced.
    pub(super) former: BTreeMap<u32, Interface>,
    /// Whether the bindings may differ from what they were made of.
    pub(super) rebind: bool,
    /// Whether they, or what policies know their pods by, have changed since [`Self::take_enforced`].
    pub(super) rebound: bool,
    pub(super) endpoints: Endpoints,
    pub(super) planning: Planning,
    /// What changed since the last plan began.
    pub(super) changes: Changes,
    /// What of the last plan is not applied yet.
    pub(super) ops: Vec<Op>,
    pub(super) guards: Guards,
    /// Whether the guards may differ from what the host looks like.
    reguard: bool,
    pub(super) frontends: Frontends,
    pub(super) deferral: Deferral,
    /// The Services that are judged at the source; `None`: all are at the exit.
    pub(super) at_source: Option<AtSource>,
    /// Whether Services or the host's addresses have changed.
    redefer: bool,
    /// Whether backends of Services may have changed.
    relead: bool,
    neighbours: Neighbours,
    /// Whether link-local or Ethernet addresses, what CNI has said of these, or who has a slot, have changed.
    pub(super) reown: bool,
    apply_backoff: Backoff,
    upkeep: Upkeep,
    pub(super) enforcement_delays: EnforcementDelays,
    pub(super) leases: Leases,
    pub(super) departed: Departed,
    pub(super) errors: u64,
    pub(super) apply_error: Option<String>,
    pub(super) repairs: RepairStatus,
    pub(super) attribution: Attribution,
    pub(super) tags: Tags,
    /// Whether other policies may isolate pods of this node than [`Self::attribution`] was told.
    reattribute: bool,
}

impl State {
    /// A state that knows nothing but what was left.
    pub fn new(config: Config, room: Room, left: Left) -> Self {
        let at_source = match config.services {
            Services::Exit => None,
            Services::Source(room) => Some(AtSource::new(config.node.clone(), room)),
        };
        let mut bindings = Bindings::resume(left.remembered());
        let enforced = left.enforced.unwrap_or_default();
        enforced.handed_over.iter().for_each(|handed| bindings.recall(handed.into()));
        if config.isolate_unknown {
            bindings.isolate_unknown();
        }
        let attribution = Attribution::new(config.attribution);
        let planning = Planning::new(room.limits, config.audit);
        Self {
            cluster: Cluster { audit: config.audit, ..Cluster::default() },
            config,
            own_node: NodeFacts::default(),
            names: Names::default(),
            local: BTreeSet::new(),
            synced: false,
            source: None,
            view: None,
            bindings,
            former: enforced.interfaces,
            rebind: false,
            rebound: false,
            neighbours: Neighbours::new(&left.slots),
            endpoints: Endpoints::new(room.slots, left.slots),
            planning,
            changes: Changes::default(),
            ops: Vec::new(),
            guards: Guards::default(),
            reguard: false,
            frontends: Frontends::default(),
            deferral: Deferral::new(room.addresses),
            at_source,
            redefer: false,
            relead: false,
            reown: false,
            apply_backoff: Backoff::default(),
            upkeep: Upkeep::default(),
            enforcement_delays: EnforcementDelays::default(),
            leases: Leases::default(),
            departed: Departed::default(),
            errors: 0,
            apply_error: None,
            repairs: RepairStatus::default(),
            attribution,
            tags: Tags::default(),
            reattribute: false,
        }
    }

    /// Takes in changes of objects. The first update is complete.
    pub fn take_update(&mut self, update: Update) {
        for change in update {
            let change = match self.as_lived(change) {
                Change::Apply(Object::Pod(pod)) => Change::Apply(Object::Pod(self.with_lease(pod))),
                change => change,
            };
            self.take_change(change);
        }
        if !self.synced {
            self.synced = true;
            self.rebind = true;
            self.redefer = true;
            self.recall_departed();
        }
    }

    /// Takes in what the host looks like now.
    pub fn take_view(&mut self, view: Arc<HostView>) {
        self.view = Some(view);
        self.rebind = true;
        self.reguard = true;
        self.redefer = true;
        self.reown = true;
    }

    /// Takes in how the source is doing.
    pub fn take_source_status(&mut self, status: SourceStatus) {
        self.source = Some(status);
    }

    /// What to do next; `None`: nothing, before the next input or [`Self::deadline`]. [`Self::report`] must follow.
    pub fn next(&mut self, now: Instant) -> Option<Command> {
        let view = self.view.as_ref()?;
        if self.rebind {
            self.enforcement_delays.look(view, now);
        }
        if !self.synced {
            return self.next_before_sync(now);
        }
        if self.bindings.deadline().is_some_and(|deadline| deadline <= now) {
            self.rebind = true;
        }
        self.rebind(now);
        self.reguard();
        self.redefer();
        let attach = |state: &Self| state.endpoints.next_unattached(now).map(|slot| Command::Attach { slot });
        // What defers must find exit hooks on its way, so the devices come first.
        let command =
            self.release(now).or_else(|| self.guard(now)).or_else(|| self.lead(now)).or_else(|| self.defer(now));
        let command = command.or_else(|| self.identify(now)).or_else(|| self.own(now));
        let command = command.or_else(|| self.isolate(now)).or_else(|| self.confine(now));
        command.or_else(|| self.apply(now)).or_else(|| attach(self)).or_else(|| self.upkeep(now))
    }

    /// The name of this node.
    pub fn node(&self) -> &str {
        &self.config.node
    }

    /// Whether every object has been read.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// When something that failed is to be tried again.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let retries = [self.apply_backoff.deadline(now), self.endpoints.deadline(now)];
        let retries = retries.into_iter().chain([self.guards.deadline(now), self.deferral.deadline(now)]);
        let at_source = self.at_source.as_ref().and_then(|at_source| at_source.deadline(now));
        let doubts = self.bindings.deadline().filter(|deadline| *deadline > now);
        let neighbours = self.neighbours.deadline(now);
        retries.chain([self.upkeep.deadline(now), at_source, doubts, neighbours]).flatten().min()
    }

    /// Takes in how a command ended.
    pub fn report(&mut self, command: Command, outcome: Outcome, now: Instant) {
        if let Outcome::Failed { .. } = outcome {
            self.errors += 1;
        }
        if command.touches_hooks() || outcome == Outcome::Repaired {
            self.tags.hooks_changed();
        }
        match (command, outcome) {
            (Command::Check(check), outcome) => self.checked(check, outcome, now),
            (Command::Guard { ifindex, .. }, Outcome::Gone) => self.guards.gone(ifindex),
            (_, Outcome::Repaired | Outcome::Gone) => {}
            (Command::Apply { .. }, Outcome::Done) if self.ops.is_empty() => self.applied(),
            (Command::Apply { .. }, Outcome::Done) => self.part_applied(),
            (Command::Apply { ops }, Outcome::Failed { applied, error }) => self.not_applied(ops, applied, error, now),
            (Command::Release { slot }, Outcome::Done) => {
                self.endpoints.released(slot);
                self.reguard = true;
                self.reown = true;
            }
            (Command::Release { slot }, Outcome::Failed { .. }) => self.endpoints.not_released(slot, now),
            (Command::Confine { ifindex }, Outcome::Done) => {
                self.endpoints.confined(ifindex);
                self.guards.taken(ifindex);
                self.enforcement_delays.enforced(ifindex, now);
            }
            (Command::Confine { ifindex }, Outcome::Failed { error, .. }) => {
                self.endpoints.not_confined(ifindex, error, now);
            }
            (Command::Unconfine { ifindex }, Outcome::Done) => self.endpoints.unconfined(ifindex),
            (Command::Unconfine { ifindex }, Outcome::Failed { .. }) => self.endpoints.not_unconfined(ifindex, now),
            (Command::FinishTakeover, Outcome::Done) => {
                self.upkeep.finished();
                self.endpoints.forget_former(|_| true);
            }
            (Command::FinishTakeover, Outcome::Failed { .. }) => self.upkeep.not_finished(now),
            (Command::Guard { ifindex, guard }, Outcome::Done) => self.guards.done(ifindex, guard),
            (Command::Guard { ifindex, .. }, Outcome::Failed { error, .. }) => self.guards.failed(ifindex, error, now),
            (Command::Defer { changes }, Outcome::Done) => self.deferral.done(changes),
            (Command::Defer { .. }, Outcome::Failed { .. }) => self.deferral.failed(now),
            (Command::Own { changes }, Outcome::Done) => self.neighbours.done(changes),
            (Command::Own { .. }, Outcome::Failed { .. }) => self.neighbours.failed(now),
            (Command::Lead { changes }, outcome) => self.led(changes, &outcome, now),
            (Command::Identify { slot, .. }, Outcome::Done) => self.identified(slot),
            (Command::Isolate { slot }, Outcome::Done) => self.isolated(slot),
            (Command::Attach { slot }, Outcome::Done) => self.attached(slot, now),
            (
                Command::Identify { slot, .. } | Command::Isolate { slot } | Command::Attach { slot },
                Outcome::Failed { error, .. },
            ) => self.endpoint_failed(slot, error, now),
        }
    }
}

/// Inputs.
impl State {
    pub(super) fn take_change(&mut self, change: Change) {
        let reference = match &change {
            Change::Apply(object) => object.reference(),
            Change::Delete(reference) => reference.clone(),
        };
        match (&change, reference) {
            (Change::Apply(Object::Pod(pod)), _) => self.take_pod(&pod.key, Some(pod)),
            (Change::Apply(Object::Node(node)), _) => self.take_node(&node.name, Some(node)),
            (_, ObjectRef::Pod(key)) => self.take_pod(&key, None),
            (_, ObjectRef::Node(name)) => self.take_node(&name, None),
            (_, ObjectRef::Namespace(name)) => {
                self.changes.namespaces.insert(name);
                self.reattribute = true;
            }
            (_, ObjectRef::Policy(key)) => {
                self.changes.policies.insert(key);
                self.reattribute = true;
            }
            (Change::Apply(Object::Service(service)), _) => self.take_service(&service.key, Some(service)),
            (_, ObjectRef::Service(key)) => self.take_service(&key, None),
            (Change::Apply(Object::EndpointSlice(slice)), _) => self.take_slice(&slice.key, Some(slice)),
            (_, ObjectRef::EndpointSlice(key)) => self.take_slice(&key, None),
        }
        change.apply_to(&mut self.cluster);
    }

    /// A pod is new, changed or gone.
    fn take_pod(&mut self, key: &ObjectKey, pod: Option<&Pod>) {
        let former = self.cluster.pods.get(key).map(|former| &**former);
        self.names.set_pod(former, pod);
        let differs = |(former, pod): (&Pod, &Pod)| (&former.labels, &former.ports) != (&pod.labels, &pod.ports);
        self.rebound |= self.local.contains(key) && former.zip(pod).is_some_and(differs);
        let was_local = self.local.remove(key);
        let is_local = pod.is_some_and(|pod| pod.node.as_ref() == Some(&self.config.node));
        if is_local {
            self.local.insert(key.clone());
        }
        self.rebind |= was_local || is_local;
        self.reattribute |= was_local || is_local;
        self.changes.pods.insert(key.clone());
        if let Some(at_source) = &mut self.at_source {
            let former = self.cluster.pods.get(key).map(|old| &**old);
            at_source.touch_pod(key, former.into_iter().chain(pod).flat_map(|pod| &pod.addresses));
            self.relead = true;
        }
    }

    /// A Service is new, changed or gone.
    fn take_service(&mut self, key: &ObjectKey, service: Option<&Service>) {
        let former = self.cluster.services.get(key).map(|former| &**former);
        self.names.set_service(former, service);
        self.redefer |= self.frontends.update(former, service);
        if let Some(at_source) = &mut self.at_source {
            at_source.touch_service(key);
            self.relead = true;
        }
    }

    /// An EndpointSlice is new, changed or gone.
    fn take_slice(&mut self, key: &ObjectKey, slice: Option<&EndpointSlice>) {
        let Some(at_source) = &mut self.at_source else { return };
        let former = self.cluster.endpoint_slices.get(key).map(|former| &**former);
        former.into_iter().chain(slice).for_each(|slice| at_source.touch_slice(slice));
        self.relead = true;
    }

    /// A node is new, changed or gone.
    fn take_node(&mut self, name: &Arc<str>, node: Option<&Node>) {
        self.names.set_node(name, node);
        if *name == self.config.node {
            self.own_node = node.map(facts).unwrap_or_default();
            self.rebind = true;
        }
    }
}

/// Steps.
impl State {
    /// Brings bindings up to date.
    fn rebind(&mut self, now: Instant) {
        let Some(view) = self.view.as_ref().filter(|_| self.rebind) else { return };
        self.rebind = false;
        self.endpoints.forget_former(|ifindex| !view.veths.contains_key(&ifindex));
        let pods = self.local.iter().filter_map(|key| self.cluster.pods.get(key)).map(|pod| &**pod);
        let decisions = self.bindings.update(view, pods, &self.own_node, now);
        self.carry_out(decisions);
        self.forget_departed();
    }

    pub(super) fn carry_out(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            self.rebound = true;
            match decision {
                Decision::Bind(binding) | Decision::Update(binding) => {
                    self.leave(binding.ifindex, Some(&binding.pod));
                    self.lease(&binding);
                    self.endpoints.bind(binding);
                }
                Decision::Isolate(unclaimed) => {
                    self.leave(unclaimed.ifindex, None);
                    self.endpoints.bind(unclaimed);
                }
                Decision::Unbind { ifindex, pod } => {
                    self.revoke_lease(&pod.key);
                    self.lose_addresses(&pod.key);
                    self.unbind(ifindex);
                }
                Decision::Abandon { ifindex } => self.unbind(ifindex),
            }
        }
    }

    /// An interface is another pod's from now on, or nobody's that is known: what was lent to its former pod is taken back.
    fn leave(&mut self, ifindex: u32, pod: Option<&PodId>) {
        let former = self.endpoints.at(ifindex).and_then(|endpoint| endpoint.tenant.pod());
        if let Some(former) = former.filter(|former| Some(*former) != pod).cloned() {
            self.revoke_lease(&former.key);
        }
    }

    /// The interface is gone: nothing may be written for its slot any more.
    fn unbind(&mut self, ifindex: u32) {
        if let Some(slot) = self.endpoints.unbind(ifindex) {
            self.forget_planned(slot);
        }
    }

    /// The planner's policies for a slot are in force no longer.
    fn forget_planned(&mut self, slot: u32) {
        self.planning.forget(slot, &mut self.ops);
        self.changes.bound.retain(|endpoint| endpoint.slot != slot);
        self.changes.released.insert(slot);
    }

    /// Brings the guards of devices up to date. Interfaces of pods, attached or about to be, are not their business.
    fn reguard(&mut self) {
        let Some(view) = self.view.as_ref().filter(|_| self.reguard) else { return };
        self.reguard = false;
        let tenants = self.endpoints.iter().map(|(_, endpoint)| &endpoint.tenant);
        let tenants = tenants.chain(self.endpoints.waiting().map(|waiting| &waiting.tenant));
        let of_pods = tenants.map(|tenant| tenant.ifindex).collect();
        self.guards.update(view, &of_pods);
    }

    /// Brings the addresses that defer up to date, and the frontends that are judged at the source.
    fn redefer(&mut self) {
        let Some(view) = self.view.as_ref().filter(|_| self.redefer || self.relead) else { return };
        let mut redefer = std::mem::take(&mut self.redefer);
        self.relead = false;
        let Some(at_source) = &mut self.at_source else {
            let services = self.frontends.addresses().map(|address| (address, ServiceEgress::Exit));
            return self.deferral.update(view, services);
        };
        redefer |= at_source.update(&self.cluster, served_by_host(view), |address| self.names.is_pods(address));
        if !redefer {
            return;
        }
        let services = self.frontends.addresses().map(|address| (address, at_source.egress(address)));
        self.deferral.update(view, services);
    }

    fn guard(&self, now: Instant) -> Option<Command> {
        self.guards.next(now).map(|(ifindex, guard)| Command::Guard { ifindex, guard })
    }

    fn lead(&self, now: Instant) -> Option<Command> {
        self.at_source.as_ref()?.next(now).map(|changes| Command::Lead { changes })
    }

    fn defer(&self, now: Instant) -> Option<Command> {
        self.deferral.next(now).map(|changes| Command::Defer { changes })
    }

    pub(super) fn release(&self, now: Instant) -> Option<Command> {
        self.endpoints.next_release(now).map(|slot| Command::Release { slot })
    }

    pub(super) fn identify(&self, now: Instant) -> Option<Command> {
        let (slot, endpoint) = self.endpoints.next_unidentified(now)?;
        let routes = endpoint.tenant.pod().is_some_and(|pod| self.config.routing.contains(&pod.key));
        Some(Command::Identify { slot, identity: endpoint.tenant.identity(routes, self.config.keep) })
    }

    /// Link-local and Ethernet addresses of those that the datapath knows, before their programs run.
    pub(super) fn own(&mut self, now: Instant) -> Option<Command> {
        if let Some(view) = self.view.as_ref().filter(|_| std::mem::take(&mut self.reown)) {
            let handed_over = self.bindings.handovers().filter_map(|it| Some((it.ifindex, it.mac?))).collect();
            self.neighbours.update(view, &handed_over, &self.endpoints);
        }
        self.neighbours.next(now).map(|changes| Command::Own { changes })
    }

    pub(super) fn isolate(&self, now: Instant) -> Option<Command> {
        self.endpoints.next_unisolated(now).map(|slot| Command::Isolate { slot })
    }

    /// Whoever finds no slot is isolated without one.
    fn confine(&self, now: Instant) -> Option<Command> {
        let gone = || self.endpoints.next_unconfine(now).map(|ifindex| Command::Unconfine { ifindex });
        self.endpoints.next_confine(now).map(|ifindex| Command::Confine { ifindex }).or_else(gone)
    }

    /// What is to be done when nothing else is.
    fn upkeep(&mut self, now: Instant) -> Option<Command> {
        let settled = self.unbound().is_empty() && self.endpoints.waiting().all(|it| it.confined);
        let settled = settled && self.endpoints.iter().all(|(_, it)| it.stage == Stage::Attached);
        if self.is_planned() && self.upkeep.may_finish_takeover(settled, now) {
            return Some(Command::FinishTakeover);
        }
        self.upkeep.next_check(&self.endpoints, &self.guards, now).map(Command::Check)
    }

    /// What is next of the last plan: a part of it, so that other things are not held up by all of it.
    fn apply(&mut self, now: Instant) -> Option<Command> {
        if self.ops.is_empty() || !self.apply_backoff.is_over(now) {
            return None;
        }
        let rest = self.ops.split_off(self.ops.len().min(PART));
        Some(Command::Apply { ops: std::mem::replace(&mut self.ops, rest) })
    }

    /// A plan to be made, if something is to be planned, nothing else to be done, and the last plan is applied.
    /// [`Self::end_plan`] must follow, whatever happens meanwhile.
    pub fn begin_plan(&mut self) -> Option<Work> {
        if !self.synced || !self.ops.is_empty() {
            return None;
        }
        let work = self.planning.begin(&self.cluster, &mut self.changes)?;
        self.endpoints.advance(Stage::Identified, Stage::Planned);
        Some(work)
    }

    /// Takes the plan that [`Self::begin_plan`] began.
    pub fn end_plan(&mut self, made: Made) {
        self.ops = self.planning.end(made, &self.changes);
        if self.ops.is_empty() {
            self.applied();
        }
    }

    /// Whether nothing waits to be planned.
    fn is_planned(&self) -> bool {
        self.changes == Changes::default() && self.planning.is_done()
    }
}

/// Outcomes.
impl State {
    fn part_applied(&mut self) {
        self.apply_backoff.succeed();
        self.apply_error = None;
    }

    fn applied(&mut self) {
        self.part_applied();
        self.endpoints.advance(Stage::Planned, Stage::Applied);
    }

    /// What is left must be applied before anything else is planned.
    fn not_applied(&mut self, mut ops: Vec<Op>, applied: usize, error: String, now: Instant) {
        ops.drain(..applied.min(ops.len()));
        ops.append(&mut self.ops);
        self.ops = ops;
        self.apply_error = Some(error);
        self.apply_backoff.fail(now);
    }

    /// Whether the policies of pods may have changed and are in force now. Says so once.
    pub(super) fn take_reattribute(&mut self) -> bool {
        self.is_up_to_date() && std::mem::take(&mut self.reattribute)
    }

    /// Whether everything that is known is in force.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.pending() == 0
    }

    /// How many changes of the tables wait to be applied; what is yet to be planned counts as one.
    pub(super) fn pending(&self) -> usize {
        self.ops.len() + usize::from(!self.is_planned())
    }

    fn led(&mut self, changes: LeadChanges, outcome: &Outcome, now: Instant) {
        let Some(at_source) = &mut self.at_source else { return };
        match outcome {
            Outcome::Done | Outcome::Repaired | Outcome::Gone => at_source.done(changes),
            Outcome::Failed { .. } => at_source.failed(now),
        }
    }

    fn identified(&mut self, slot: u32) {
        let Some(endpoint) = self.endpoints.get_mut(slot) else { return };
        endpoint.identified = true;
        self.reown = true;
        endpoint.succeed();
        if endpoint.stage == Stage::Bound {
            endpoint.stage = Stage::Identified;
            let pod = endpoint.tenant.pod().map(|pod| pod.key.clone());
            endpoint.planned |= pod.is_some();
            self.reattribute = true;
            self.changes.bound.extend(pod.map(|pod| Endpoint { slot, pod }));
        }
    }

    fn isolated(&mut self, slot: u32) {
        let Some(endpoint) = self.endpoints.get_mut(slot) else { return };
        endpoint.stage = Stage::Applied;
        endpoint.succeed();
        if std::mem::take(&mut endpoint.planned) {
            self.forget_planned(slot);
        }
    }

    fn attached(&mut self, slot: u32, now: Instant) {
        if let Some(endpoint) = self.endpoints.get_mut(slot) {
            endpoint.stage = Stage::Attached;
            endpoint.succeed();
            self.guards.taken(endpoint.tenant.ifindex);
            self.enforcement_delays.enforced(endpoint.tenant.ifindex, now);
        }
    }

    /// What is found not to be there, and can't be put there, is like something that never was.
    fn checked(&mut self, check: Check, outcome: Outcome, now: Instant) {
        let failure = match outcome {
            Outcome::Done => return,
            Outcome::Gone => {
                if let Check::Device(ifindex, _) = check {
                    self.guards.gone(ifindex);
                }
                return;
            }
            Outcome::Repaired => None,
            Outcome::Failed { error, .. } => Some(error),
        };
        match (check, failure) {
            (Check::Pod(_) | Check::Confined(_) | Check::Device(..), None) => self.repairs.hooks += 1,
            (Check::Pins, None) => self.repairs.pins += 1,
            (Check::Pod(slot), Some(error)) => self.endpoint_failed(slot, error, now),
            (Check::Confined(ifindex), Some(error)) => self.endpoints.not_confined(ifindex, error, now),
            (Check::Device(ifindex, _), Some(error)) => self.guards.failed(ifindex, error, now),
            (Check::Pins, Some(_)) => {}
        }
    }

    /// Notes that entries of tables were not what had been written, and were put right.
    pub(super) fn tables_repaired(&mut self, entries: u64) {
        self.repairs.tables += entries;
    }

    fn endpoint_failed(&mut self, slot: u32, error: String, now: Instant) {
        let Some(endpoint) = self.endpoints.get_mut(slot) else { return };
        endpoint.fail(error, now);
        // Programs that could not be seen to come first are to be put there again.
        endpoint.stage = endpoint.stage.min(Stage::Applied);
    }
}

/// What bindings need to know of this node.
fn facts(node: &Node) -> NodeFacts {
    NodeFacts { pod_cidrs: node.pod_cidrs.clone(), addresses: node.addresses.iter().copied().collect() }
}
