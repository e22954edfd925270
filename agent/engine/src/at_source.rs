//! Services that are judged where packets leave the pod, by all of their backends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use podgate_common::MAX_BACKENDS;
use podgate_datapath::{Lead, ServiceEgress};
use podgate_policy::cluster::Cluster;
use podgate_policy::model::ObjectKey;
use podgate_policy::services::{EndpointSlice, Frontend, Leads, ends};

use super::command::Outcome;
use super::reconciled::{self, Reconciled};

/// What changes: `None` for a frontend that is none any more.
pub(super) type LeadChanges = reconciled::Changes<Frontend, Lead>;

/// How much of one family there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRoom {
    /// Frontends.
    pub frontends: usize,
    /// Backends of all frontends together. While backends change the tables hold the old ones too.
    pub backends: usize,
}

/// Why egress to a frontend is denied, whatever policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It leads to so many backends, more than a packet can be judged by.
    TooMany(usize),
    /// The tables are full.
    NoRoom,
}

/// A frontend to which egress is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The frontend.
    pub(super) frontend: Frontend,
    /// The Services that have it.
    pub(super) services: BTreeSet<ObjectKey>,
    /// Why.
    pub(super) refusal: Refusal,
}

/// The frontends that the kernel has, and what is to change about them.
#[derive(Debug)]
pub(super) struct AtSource {
    node: Arc<str>,
    room: ServiceRoom,
    leads: Leads,
    /// Services whose backends may differ.
    services: BTreeSet<ObjectKey>,
    /// Namespaces with pods that may be backends of Services without EndpointSlices.
    namespaces: BTreeSet<Arc<str>>,
    reconciled: Reconciled<Frontend, Lead>,
    /// The addresses that the host serves itself.
    own: BTreeSet<IpAddr>,
    /// Addresses of frontends of which nobody can say here where they lead: several Services have the same port of them, or
    /// they are pods' too.
    doubtful: BTreeSet<IpAddr>,
    /// Whether addresses of frontends may be pods', or no pods' any more.
    pods_differ: bool,
    refused: Vec<Refused>,
    /// Addresses of frontends that the table of frontends has no room for.
    short: BTreeSet<IpAddr>,
}

impl AtSource {
    /// No frontends. `room` is for each family.
    pub(super) fn new(node: Arc<str>, room: ServiceRoom) -> Self {
        Self {
            node,
            room,
            leads: Leads::default(),
            services: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            reconciled: Reconciled::default(),
            own: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            pods_differ: false,
            refused: Vec::new(),
            short: BTreeSet::new(),
        }
    }

    /// Notes that a Service is new, changed or gone.
    pub(super) fn touch_service(&mut self, key: &ObjectKey) {
        self.services.insert(key.clone());
    }

    /// Notes that an EndpointSlice is new, changed or gone.
    pub(super) fn touch_slice(&mut self, slice: &EndpointSlice) {
        let service = slice.service.iter().map(|name| ObjectKey::new(slice.key.namespace.clone(), name.clone()));
        self.services.extend(service);
    }

    /// Notes that a pod is new, changed or gone, which has or had these addresses.
    pub(super) fn touch_pod<'p>(&mut self, key: &ObjectKey, addresses: impl IntoIterator<Item = &'p IpAddr>) {
        self.namespaces.insert(key.namespace.clone());
        self.pods_differ |= addresses.into_iter().any(|address| self.leads.has(*address));
    }

    /// Takes in what was touched, which addresses the host serves itself and which are pods'; tells whether [`Self::egress`] may
    /// differ.
    pub(super) fn update(
        &mut self,
        cluster: &Cluster,
        own: BTreeSet<IpAddr>,
        is_pods: impl Fn(IpAddr) -> bool,
    ) -> bool {
        let mut differs = self.own != own || std::mem::take(&mut self.pods_differ);
        self.own = own;
        for namespace in std::mem::take(&mut self.namespaces) {
            self.services.extend(without_slices(cluster, &namespace));
        }
        for key in std::mem::take(&mut self.services) {
            let now = cluster.services.get(&key).map(|service| ends(cluster, service, &self.node));
            differs |= self.leads.update(&key, now.unwrap_or_default());
        }
        if !differs {
            return false;
        }
        let mut doubtful = self.leads.contested();
        doubtful.extend(self.leads.iter().map(|(frontend, _)| frontend.address).filter(|address| is_pods(*address)));
        let former = (std::mem::take(&mut self.short), std::mem::replace(&mut self.doubtful, doubtful));
        let wanted = self.fitting();
        self.reconciled.want(&wanted);
        former.0 != self.short || former.1 != self.doubtful
    }

    /// The frontends that there is room for. Those of addresses that the host serves itself are left to the exit hook, and so
    /// are doubtful ones: what was allowed here would pass wherever it goes.
    fn fitting(&mut self) -> BTreeMap<Frontend, Lead> {
        let mut free = [self.room; 2];
        let (mut wanted, mut refused) = (BTreeMap::new(), Vec::new());
        let is_left = |address: IpAddr| self.own.contains(&address) || self.doubtful.contains(&address);
        for (frontend, services) in self.leads.iter().filter(|(frontend, _)| !is_left(frontend.address)) {
            let free = &mut free[usize::from(frontend.address.is_ipv6())];
            let backends = self.leads.backends(frontend);
            let fits = fit(free, backends.len());
            match fits {
                Ok(()) => drop(wanted.insert(frontend, Lead::Backends(backends.into_iter().collect()))),
                Err(refusal) => refused.push(Refused { frontend, services: services.clone(), refusal }),
            }
            if fits.is_err() && free.frontends > 0 {
                free.frontends -= 1;
                wanted.insert(frontend, Lead::Unknown);
            } else if fits.is_err() {
                self.short.insert(frontend.address);
            }
        }
        self.refused = refused;
        wanted
    }

    /// Where egress to a Service's address is judged.
    pub(super) fn egress(&self, address: IpAddr) -> ServiceEgress {
        match address {
            _ if self.doubtful.contains(&address) => ServiceEgress::Exit,
            _ if self.short.contains(&address) => ServiceEgress::SourceShort,
            _ => ServiceEgress::Source,
        }
    }

    /// What to change now.
    pub(super) fn next(&self, now: Instant) -> Option<LeadChanges> {
        self.reconciled.next(now)
    }

    /// Takes in how the changes that [`Self::next`] told ended.
    pub(super) fn report(&mut self, changes: LeadChanges, outcome: &Outcome, now: Instant) {
        self.reconciled.report(changes, outcome, now);
    }

    /// When to try again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.reconciled.deadline(now)
    }

    /// How many frontends the kernel judges by their backends.
    pub(super) fn judged(&self) -> usize {
        self.reconciled.values().filter(|lead| **lead != Lead::Unknown).count()
    }

    /// The frontends to which egress is denied, in order.
    pub(super) fn refused(&self) -> &[Refused] {
        &self.refused
    }
}

/// Takes room for a frontend with so many backends.
fn fit(free: &mut ServiceRoom, backends: usize) -> Result<(), Refusal> {
    if backends > MAX_BACKENDS as usize {
        return Err(Refusal::TooMany(backends));
    }
    if free.frontends == 0 || free.backends < backends {
        return Err(Refusal::NoRoom);
    }
    free.frontends -= 1;
    free.backends -= backends;
    Ok(())
}

/// The Services of a namespace that nobody has made EndpointSlices for: their backends are pods.
fn without_slices(cluster: &Cluster, namespace: &Arc<str>) -> Vec<ObjectKey> {
    let start = ObjectKey::new(namespace.clone(), "");
    let slices = cluster.endpoint_slices.range(start.clone()..).take_while(|(key, _)| key.namespace == *namespace);
    let served: BTreeSet<_> = slices.filter_map(|(_, slice)| slice.service.clone()).collect();
    let services = cluster.services.range(start..).take_while(|(key, _)| key.namespace == *namespace);
    services.map(|(key, _)| key).filter(|key| !served.contains(&key.name)).cloned().collect()
}

#[cfg(test)]
mod tests;
