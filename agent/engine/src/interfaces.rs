//! How interfaces come to be enforced: from who is on them to slots, and from slots to programs.

use std::time::Instant;

use podgate_host::binding::{Decision, PodId};
use podgate_policy::compile::Endpoint;

use super::command::{Command, Outcome, Reconciler as _};
use super::endpoints::Stage;
use super::stale::Derived;
use super::state::State;

/// Who is where.
impl State {
    /// Brings bindings up to date.
    pub(super) fn rebind(&mut self, now: Instant) {
        let Some(view) = self.view.as_ref().filter(|_| self.stale.take(Derived::Bindings)) else { return };
        self.endpoints.forget_former(|ifindex| !view.veths.contains_key(&ifindex));
        let pods = self.local.iter().filter_map(|key| self.cluster.pods.get(key)).map(|pod| &**pod);
        let decisions = self.bindings.update(view, pods, &self.own_node, now);
        self.carry_out(decisions);
        self.forget_departed();
    }

    pub(super) fn carry_out(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            self.stale.mark(Derived::Enforced);
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
            self.planning.forget(slot);
        }
    }

    /// Brings the guards of devices up to date. Interfaces of pods, attached or about to be, are not their business.
    pub(super) fn reguard(&mut self) {
        let Some(view) = self.view.as_ref().filter(|_| self.stale.take(Derived::Guards)) else { return };
        let tenants = self.endpoints.iter().map(|(_, endpoint)| &endpoint.tenant);
        let tenants = tenants.chain(self.endpoints.waiting().map(|waiting| &waiting.tenant));
        let of_pods = tenants.map(|tenant| tenant.ifindex).collect();
        self.guards.update(view, &of_pods);
    }

    /// Link-local and Ethernet addresses of those that the datapath knows, before their programs run.
    pub(super) fn next_own(&mut self, now: Instant) -> Option<Command> {
        if let Some(view) = self.view.as_ref().filter(|_| self.stale.take(Derived::Neighbours)) {
            let handed_over = self.bindings.handovers().filter_map(|it| Some((it.ifindex, it.mac?))).collect();
            self.neighbours.update(view, &handed_over, &self.endpoints);
        }
        self.neighbours.next(now)
    }
}

/// What to do next about an endpoint.
impl State {
    pub(super) fn release(&self, now: Instant) -> Option<Command> {
        self.endpoints.next_release(now).map(|slot| Command::Release { slot })
    }

    pub(super) fn identify(&self, now: Instant) -> Option<Command> {
        let (slot, endpoint) = self.endpoints.next_unidentified(now)?;
        let routes = endpoint.tenant.pod().is_some_and(|pod| self.config.routing.contains(&pod.key));
        Some(Command::Identify { slot, identity: endpoint.tenant.identity(routes, self.config.keep) })
    }

    pub(super) fn isolate(&self, now: Instant) -> Option<Command> {
        self.endpoints.next_unisolated(now).map(|slot| Command::Isolate { slot })
    }

    /// Whoever finds no slot is isolated without one.
    pub(super) fn confine(&self, now: Instant) -> Option<Command> {
        let gone = || self.endpoints.next_unconfine(now).map(|ifindex| Command::Unconfine { ifindex });
        self.endpoints.next_confine(now).map(|ifindex| Command::Confine { ifindex }).or_else(gone)
    }

    pub(super) fn attach(&self, now: Instant) -> Option<Command> {
        self.endpoints.next_unattached(now).map(|slot| Command::Attach { slot })
    }
}

/// How that ended.
impl State {
    /// Takes in how a command about an endpoint ended.
    pub(super) fn endpoint_reported(&mut self, command: Command, outcome: Outcome, now: Instant) {
        match (command, outcome) {
            (_, Outcome::Repaired | Outcome::Provisional | Outcome::Gone) => {}
            (Command::Release { slot }, Outcome::Done) => {
                self.endpoints.released(slot);
                self.stale.mark(Derived::Guards);
                self.stale.mark(Derived::Neighbours);
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
            (Command::Identify { slot, .. }, Outcome::Done) => self.identified(slot),
            (Command::Isolate { slot }, Outcome::Done) => self.isolated(slot),
            (Command::Attach { slot }, Outcome::Done) => self.attached(slot, now),
            (
                Command::Identify { slot, .. } | Command::Isolate { slot } | Command::Attach { slot },
                Outcome::Failed { error, .. },
            ) => self.endpoint_failed(slot, error, now),
            (
                Command::Apply { .. }
                | Command::Guard { .. }
                | Command::Defer { .. }
                | Command::Lead { .. }
                | Command::Own { .. }
                | Command::Link { .. }
                | Command::FinishTakeover
                | Command::Check(_),
                Outcome::Done | Outcome::Failed { .. },
            ) => {}
        }
    }

    fn identified(&mut self, slot: u32) {
        let Some(endpoint) = self.endpoints.get_mut(slot) else { return };
        endpoint.identified = true;
        self.stale.mark(Derived::Neighbours);
        endpoint.succeed();
        if endpoint.stage == Stage::Bound {
            endpoint.stage = Stage::Identified;
            let pod = endpoint.tenant.pod().map(|pod| pod.key.clone());
            endpoint.planned |= pod.is_some();
            if let Some(pod) = &pod {
                self.doubt_attribution(&pod.namespace);
            }
            self.planning.changes.bound.extend(pod.map(|pod| Endpoint { slot, pod }));
        }
    }

    fn isolated(&mut self, slot: u32) {
        let Some(endpoint) = self.endpoints.get_mut(slot) else { return };
        endpoint.stage = Stage::Applied;
        endpoint.isolates = true;
        endpoint.succeed();
        if std::mem::take(&mut endpoint.planned) {
            self.planning.forget(slot);
        }
    }

    fn attached(&mut self, slot: u32, now: Instant) {
        let Some(endpoint) = self.endpoints.get_mut(slot) else { return };
        self.guards.taken(endpoint.tenant.ifindex);
        // Who is another since that began has no policies yet.
        if endpoint.stage == Stage::Applied {
            endpoint.stage = Stage::Attached;
            endpoint.succeed();
            self.enforcement_delays.enforced(endpoint.tenant.ifindex, now);
        }
    }

    pub(super) fn endpoint_failed(&mut self, slot: u32, error: String, now: Instant) {
        let Some(endpoint) = self.endpoints.get_mut(slot) else { return };
        endpoint.fail(error, now);
        // Programs that could not be seen to come first are to be put there again.
        endpoint.stage = endpoint.stage.min(Stage::Applied);
    }
}
