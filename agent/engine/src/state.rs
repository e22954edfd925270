//! The engine's decisions: inputs change the state, the state tells what to do next, the outcome comes back as an input.
//! No clock, no kernel, no channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use podgate_host::binding::{Bindings, NodeFacts};
use podgate_host::netlink::HostView;
use podgate_policy::cluster::Cluster;
use podgate_policy::model::ObjectKey;
use podgate_source::SourceStatus;

use super::attribution::Attribution;
use super::command::{Command, Outcome, Reconciler as _};
use super::departed::Departed;
use super::endpoints::Endpoints;
use super::enforcement_delays::EnforcementDelays;
use super::guards::Guards;
use super::leases::Leases;
use super::links::Links;
use super::memory::Interface;
use super::names::Names;
use super::neighbours::Neighbours;
use super::planning::Planning;
use super::services::Services;
use super::setup::{Config, Left, Room};
use super::stale::{Derived, Stale};
use super::tags::Tags;
use super::upkeep::{Check, Upkeep};
use crate::status::RepairStatus;

/// Everything the engine knows.
#[derive(Debug)]
pub struct State {
    pub(super) config: Config,
    // What it was told.
    pub(super) cluster: Cluster,
    pub(super) own_node: NodeFacts,
    /// Pods of this node, of every phase.
    pub(super) local: BTreeSet<ObjectKey>,
    /// Whether the first update, which is complete, has come.
    pub(super) synced: bool,
    pub(super) source: Option<SourceStatus>,
    pub(super) view: Option<Arc<HostView>>,
    /// What the agent before this one enforced.
    pub(super) former: BTreeMap<u32, Interface>,
    // What it makes of that.
    pub(super) stale: Stale,
    pub(super) names: Names,
    pub(super) bindings: Bindings,
    pub(super) leases: Leases,
    pub(super) departed: Departed,
    // What is to be in the kernel.
    pub(super) endpoints: Endpoints,
    pub(super) guards: Guards,
    pub(super) services: Services,
    pub(super) neighbours: Neighbours,
    pub(super) planning: Planning,
    pub(super) links: Links,
    pub(super) upkeep: Upkeep,
    /// Whether a command is being carried out at hooks, while others go on.
    pub(super) at_hooks: bool,
    // What there is to tell.
    pub(super) enforcement_delays: EnforcementDelays,
    pub(super) attribution: Attribution,
    pub(super) tags: Tags,
    pub(super) errors: u64,
    pub(super) repairs: RepairStatus,
}

impl State {
    /// A state that knows nothing but what was left.
    pub fn new(config: Config, room: Room, left: Left) -> Self {
        let bindings = left.bindings(config.isolate_unknown);
        Self {
            cluster: Cluster { audit: config.audit, ..Cluster::default() },
            own_node: NodeFacts::default(),
            local: BTreeSet::new(),
            synced: false,
            source: None,
            view: None,
            former: left.enforced.unwrap_or_default().interfaces,
            stale: Stale::default(),
            names: Names::default(),
            bindings,
            leases: Leases::default(),
            departed: Departed::default(),
            neighbours: Neighbours::new(&left.slots),
            endpoints: Endpoints::new(room.slots, left.slots),
            guards: Guards::default(),
            services: Services::new(config.services, room.addresses, &config.node),
            planning: Planning::new(room.limits, config.audit),
            links: Links::default(),
            upkeep: Upkeep::default(),
            at_hooks: false,
            enforcement_delays: EnforcementDelays::default(),
            attribution: Attribution::new(config.attribution),
            tags: Tags::default(),
            errors: 0,
            repairs: RepairStatus::default(),
            config,
        }
    }

    /// What to do next; `None`: nothing, before the next input, report or [`Self::deadline`]. [`Self::report`] must follow:
    /// at once, but for a command at hooks, beside which others may be carried out.
    pub fn next(&mut self, now: Instant) -> Option<Command> {
        let command = self.decide(now)?;
        self.at_hooks |= command.is_at_hooks();
        Some(command)
    }

    fn decide(&mut self, now: Instant) -> Option<Command> {
        let view = self.view.as_ref()?;
        self.endpoints.forget_settled();
        if self.stale.has(Derived::Bindings) {
            self.enforcement_delays.look(view, now);
        }
        if !self.synced {
            return self.next_before_sync(now);
        }
        let doubts = self.bindings.deadline().is_some_and(|deadline| deadline <= now);
        self.stale.mark_if(doubts, Derived::Bindings);
        self.rebind(now);
        self.reguard();
        if let Some(view) = &self.view {
            self.services.update(view, &self.cluster, &self.names, &mut self.stale);
        }
        let command = self.at_free_hooks(|state| state.release(now).or_else(|| state.guards.next(now)));
        let command = command.or_else(|| self.next_of_services(now));
        let command = command.or_else(|| self.identify(now)).or_else(|| self.next_own(now));
        let command = command.or_else(|| self.isolate(now)).or_else(|| self.at_free_hooks(|state| state.confine(now)));
        let command = command.or_else(|| self.planning.next(now));
        command.or_else(|| {
            self.at_free_hooks(|state| {
                let command = state.attach(now).or_else(|| state.links.next(now));
                command.or_else(|| state.next_upkeep(now))
            })
        })
    }

    /// What to do at hooks next, where nothing is being done there.
    pub(super) fn at_free_hooks(&mut self, next: impl FnOnce(&mut Self) -> Option<Command>) -> Option<Command> {
        if self.at_hooks { None } else { next(self) }
    }

    /// What defers must find exit hooks on its way, so the devices come first.
    fn next_of_services(&mut self, now: Instant) -> Option<Command> {
        if self.guards.is_due(now) { None } else { self.services.next(now) }
    }

    /// When something that failed is to be tried again.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let doubts = self.bindings.deadline().filter(|deadline| *deadline > now);
        let kept = [self.guards.deadline(now), self.services.deadline(now), self.neighbours.deadline(now)];
        let kept = kept.into_iter().chain([self.planning.deadline(now), self.endpoints.deadline(now)]);
        kept.chain([self.links.deadline(now), self.upkeep.deadline(now), doubts]).flatten().min()
    }

    /// Takes in how a command ended.
    pub fn report(&mut self, command: Command, outcome: Outcome, now: Instant) {
        self.at_hooks &= !command.is_at_hooks();
        if command.touches_hooks() && !matches!(command, Command::Link { .. }) {
            self.links.disturbed(now);
        }
        let outcome = self.without_links(&command, outcome);
        self.errors += u64::from(matches!(outcome, Outcome::Failed { .. }));
        if command.touches_hooks() || outcome == Outcome::Repaired {
            self.tags.hooks_changed();
        }
        match command {
            Command::Guard { .. } => self.guards.report(command, outcome, now),
            Command::Defer { .. } | Command::Lead { .. } => self.services.report(command, outcome, now),
            Command::Own { .. } => self.neighbours.report(command, outcome, now),
            Command::Apply { .. } => {
                self.endpoints.switched(&command);
                self.planning.report(command, outcome, now);
                self.applied();
            }
            Command::Check(check) => self.checked(check, outcome, now),
            Command::Link { .. } => self.links.report(command, outcome, now),
            Command::FinishTakeover => self.takeover_reported(&outcome, now),
            Command::Release { .. }
            | Command::Identify { .. }
            | Command::Isolate { .. }
            | Command::Attach { .. }
            | Command::Confine { .. }
            | Command::Unconfine { .. } => self.endpoint_reported(command, outcome, now),
        }
    }

    /// Notes where a link is to take a filter's place; for all else the filter is as good.
    fn without_links(&mut self, command: &Command, outcome: Outcome) -> Outcome {
        if outcome != Outcome::Provisional || matches!(command, Command::Link { .. }) {
            return outcome;
        }
        let ifindex = match command {
            Command::Attach { slot } | Command::Check(Check::Pod(slot)) => {
                self.endpoints.get(*slot).map(|endpoint| endpoint.tenant.ifindex)
            }
            Command::Confine { ifindex } | Command::Guard { ifindex, .. } => Some(*ifindex),
            Command::Check(Check::Confined(ifindex) | Check::Device(ifindex, _)) => Some(*ifindex),
            _ => None,
        };
        ifindex.into_iter().for_each(|ifindex| self.links.await_on(ifindex));
        Outcome::Done
    }

    /// Whether a command is being carried out at hooks.
    pub(super) const fn is_at_hooks(&self) -> bool {
        self.at_hooks
    }

    /// The name of this node.
    pub fn node(&self) -> &str {
        &self.config.node
    }

    /// Whether every object has been read.
    pub fn is_synced(&self) -> bool {
        self.synced
    }
}
