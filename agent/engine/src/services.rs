//! What the kernel knows of Services: which addresses defer, and where frontends lead that are judged at the source.

use std::sync::Arc;
use std::time::Instant;

use podgate_datapath::ServiceEgress;
use podgate_host::netlink::HostView;
use podgate_policy::cluster::Cluster;
use podgate_policy::model::{ObjectKey, Pod};
use podgate_policy::services::{EndpointSlice, Frontends, Service};

use super::at_source::AtSource;
use super::command::{Command, Outcome, Reconciler};
use super::deferral::{Deferral, served_by_host};
use super::names::Names;
use super::setup;
use super::stale::{Derived, Stale};

/// Both, with the Services' addresses that they are made of.
#[derive(Debug)]
pub(super) struct Services {
    frontends: Frontends,
    pub(super) deferral: Deferral,
    /// The Services that are judged at the source; `None`: all are at the exit.
    pub(super) at_source: Option<AtSource>,
}

impl Services {
    /// No Services. `addresses`: how many there may be that defer, of each family.
    pub(super) fn new(services: setup::Services, addresses: usize, node: &Arc<str>) -> Self {
        let at_source = match services {
            setup::Services::Exit => None,
            setup::Services::Source(room) => Some(AtSource::new(node.clone(), room)),
        };
        Self { frontends: Frontends::default(), deferral: Deferral::new(addresses), at_source }
    }

    /// A Service is new, changed or gone.
    pub(super) fn set_service(&mut self, former: Option<&Service>, now: Option<&Service>, stale: &mut Stale) {
        stale.mark_if(self.frontends.update(former, now), Derived::Deferral);
        if let Some(at_source) = &mut self.at_source {
            former.or(now).into_iter().for_each(|service| at_source.touch_service(&service.key));
            stale.mark(Derived::Leads);
        }
    }

    /// An EndpointSlice is new, changed or gone.
    pub(super) fn set_slice(&mut self, former: Option<&EndpointSlice>, now: Option<&EndpointSlice>, stale: &mut Stale) {
        let Some(at_source) = &mut self.at_source else { return };
        former.into_iter().chain(now).for_each(|slice| at_source.touch_slice(slice));
        stale.mark(Derived::Leads);
    }

    /// A pod is new, changed or gone.
    pub(super) fn set_pod(&mut self, key: &ObjectKey, former: Option<&Pod>, now: Option<&Pod>, stale: &mut Stale) {
        let Some(at_source) = &mut self.at_source else { return };
        at_source.touch_pod(key, former.into_iter().chain(now).flat_map(|pod| &pod.addresses));
        stale.mark(Derived::Leads);
    }

    /// Brings the addresses that defer up to date, and the frontends that are judged at the source.
    pub(super) fn update(&mut self, view: &HostView, cluster: &Cluster, names: &Names, stale: &mut Stale) {
        let (deferral, leads) = (stale.take(Derived::Deferral), stale.take(Derived::Leads));
        if !deferral && !leads {
            return;
        }
        let Some(at_source) = &mut self.at_source else {
            let services = self.frontends.addresses().map(|(address, rank)| (address, rank, ServiceEgress::Exit));
            return self.deferral.update(view, services);
        };
        let differs = at_source.update(cluster, served_by_host(view), |address| names.is_pods(address));
        if deferral || differs {
            let services = self.frontends.addresses().map(|(address, rank)| (address, rank, at_source.egress(address)));
            self.deferral.update(view, services);
        }
    }
}

impl Reconciler for Services {
    /// What is judged at the source first: what defers less than before must be known there.
    fn next(&mut self, now: Instant) -> Option<Command> {
        let leads = self.at_source.as_ref().and_then(|at_source| at_source.next(now));
        let leads = leads.map(|changes| Command::Lead { changes });
        leads.or_else(|| self.deferral.next(now).map(|changes| Command::Defer { changes }))
    }

    fn report(&mut self, command: Command, outcome: Outcome, now: Instant) {
        match (command, &mut self.at_source) {
            (Command::Defer { changes }, _) => self.deferral.report(changes, &outcome, now),
            (Command::Lead { changes }, Some(at_source)) => at_source.report(changes, &outcome, now),
            _ => {}
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let leads = self.at_source.as_ref().and_then(|at_source| at_source.deadline(now));
        [leads, self.deferral.deadline(now)].into_iter().flatten().min()
    }
}
