//! Which slot of the datapath belongs to which pod, and how far each is.
//!
//! ```text
//! bound ──identify──► Identified ──plan──► Planned ──apply──► Applied ──attach──► Attached
//!                          └── isolate, where no pod is known ──►┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use podgate_datapath::FormerSlot;

use super::backoff::Backoff;
use super::tenant::Tenant;

/// How far an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The datapath does not know it.
    Bound,
    /// The datapath knows it, the planner not yet.
    Identified,
    /// Its policies are in a plan.
    Planned,
    /// Its policies are in the tables.
    Applied,
    /// Its programs run.
    Attached,
}

/// A pod of this node on its interface, or what may be one.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Pod, interface and addresses.
    pub(super) tenant: Tenant,
    /// How far it is.
    pub(super) stage: Stage,
    /// Whether the datapath knows it as `tenant` says.
    pub(super) identified: bool,
    /// The last failure, while it lasts.
    pub(super) error: Option<String>,
    /// When to try again. Each endpoint has its own: one that never works must not hold up the others.
    backoff: Backoff,
}

impl Endpoint {
    fn new(tenant: Tenant) -> Self {
        Self { tenant, stage: Stage::Bound, identified: false, error: None, backoff: Backoff::default() }
    }

    /// Notes who the tenant is now. A pod that becomes known has its policies before it, in place of isolation.
    fn replace(&mut self, tenant: Tenant) {
        if self.tenant.occupant != tenant.occupant && tenant.pod().is_some() {
            self.stage = Stage::Bound;
        }
        self.identified = false;
        self.tenant = tenant;
    }

    /// Notes that something worked.
    pub(super) fn succeed(&mut self) {
        self.error = None;
        self.backoff.succeed();
    }

    /// Notes that something did not.
    pub(super) fn fail(&mut self, error: String, now: Instant) {
        self.error = Some(error);
        self.backoff.fail(now);
    }
}

/// A slot whose endpoint is gone.
#[derive(Debug)]
struct Leaving {
    ifindex: u32,
    backoff: Backoff,
}

/// The slots.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// The number of slots, slot 0 included, which is never given.
    limit: u32,
    by_slot: BTreeMap<u32, Endpoint>,
    /// Slots that wait to be released.
    leaving: BTreeMap<u32, Leaving>,
    /// Tenants that found no free slot, by interface.
    waiting: BTreeMap<u32, Tenant>,
    /// Slots that a former agent gave away, by interface.
    former: BTreeMap<u32, FormerSlot>,
}

impl Endpoints {
    /// Slots 1 to `limit` - 1 are free but for those that a former agent gave away.
    pub(super) fn new(limit: u32, former: Vec<FormerSlot>) -> Self {
        let former = former.into_iter().map(|slot| (slot.ifindex, slot)).collect();
        Self { limit, by_slot: BTreeMap::new(), leaving: BTreeMap::new(), waiting: BTreeMap::new(), former }
    }

    /// Frees the slots that a former agent gave to interfaces that are gone.
    pub(super) fn forget_former(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.former.retain(|&ifindex, _| !is_gone(ifindex));
        for (_, tenant) in std::mem::take(&mut self.waiting) {
            self.bind(tenant);
        }
    }

    /// The slot that a pod has had before, so that its flows and counters go on.
    fn former_slot(&mut self, tenant: &Tenant) -> Option<u32> {
        let former = self.former.get(&tenant.ifindex)?;
        let itself = former.addresses.iter().any(|address| tenant.addresses.contains(address));
        itself.then_some(former.slot).inspect(|_| drop(self.former.remove(&tenant.ifindex)))
    }

    fn free(&self) -> Option<u32> {
        let former: BTreeSet<u32> = self.former.values().map(|former| former.slot).collect();
        let is_taken =
            |slot: &u32| self.by_slot.contains_key(slot) || self.leaving.contains_key(slot) || former.contains(slot);
        (1..self.limit).find(|slot| !is_taken(slot))
    }

    /// Gives whoever is on an interface a slot, or lets it wait for one. An interface that has one keeps it: who was isolated
    /// there becomes a pod, or more is known of it. Nothing of what is in force ends by that.
    pub(super) fn bind(&mut self, tenant: impl Into<Tenant>) {
        let tenant = tenant.into();
        if let Some(endpoint) = self.slot_of(tenant.ifindex).and_then(|slot| self.by_slot.get_mut(&slot)) {
            endpoint.replace(tenant);
            return;
        }
        // What waits goes on waiting with what is known now.
        let waits = self.waiting.contains_key(&tenant.ifindex);
        match if waits { None } else { self.former_slot(&tenant).or_else(|| self.free()) } {
            Some(slot) => drop(self.by_slot.insert(slot, Endpoint::new(tenant))),
            None => drop(self.waiting.insert(tenant.ifindex, tenant)),
        }
    }

    /// Takes the slot of the pod on an interface from it: the slot, if it had one.
    pub(super) fn unbind(&mut self, ifindex: u32) -> Option<u32> {
        self.waiting.remove(&ifindex);
        let slot = self.slot_of(ifindex)?;
        self.by_slot.remove(&slot);
        self.leaving.insert(slot, Leaving { ifindex, backoff: Backoff::default() });
        Some(slot)
    }

    /// A slot to be released.
    pub(super) fn next_release(&self, now: Instant) -> Option<u32> {
        self.leaving.iter().find(|(_, leaving)| leaving.backoff.is_over(now)).map(|(&slot, _)| slot)
    }

    /// Notes that a slot is released; whoever waits for one gets it.
    pub(super) fn released(&mut self, slot: u32) {
        self.leaving.remove(&slot);
        if let Some((_, tenant)) = self.waiting.pop_first() {
            self.bind(tenant);
        }
    }

    /// Notes that a slot could not be released.
    pub(super) fn not_released(&mut self, slot: u32, now: Instant) {
        if let Some(leaving) = self.leaving.get_mut(&slot) {
            leaving.backoff.fail(now);
        }
    }

    /// An endpoint that the datapath does not know as it is.
    pub(super) fn next_unidentified(&self, now: Instant) -> Option<(u32, &Endpoint)> {
        // An interface has one slot at a time: its former one must be released first.
        let is_leaving = |ifindex: u32| self.leaving.values().any(|leaving| leaving.ifindex == ifindex);
        let mut due = self.iter().filter(|(_, endpoint)| !endpoint.identified && endpoint.backoff.is_over(now));
        due.find(|(_, endpoint)| !is_leaving(endpoint.tenant.ifindex))
    }

    /// An endpoint that the datapath knows and that is to be isolated, since no pod is known behind it.
    pub(super) fn next_unisolated(&self, now: Instant) -> Option<u32> {
        let mut due = self.iter().filter(|(_, endpoint)| endpoint.backoff.is_over(now));
        let waits = |endpoint: &Endpoint| endpoint.stage == Stage::Identified && endpoint.tenant.pod().is_none();
        due.find(|(_, endpoint)| waits(endpoint)).map(|(slot, _)| slot)
    }

    /// An endpoint whose policies are in the tables and whose programs do not run.
    pub(super) fn next_unattached(&self, now: Instant) -> Option<u32> {
        let mut due = self.iter().filter(|(_, endpoint)| endpoint.backoff.is_over(now));
        due.find(|(_, endpoint)| endpoint.stage == Stage::Applied).map(|(slot, _)| slot)
    }

    /// When something that failed is to be tried again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let leaving = self.leaving.values().map(|leaving| &leaving.backoff);
        let endpoints = self.by_slot.values().map(|endpoint| &endpoint.backoff);
        leaving.chain(endpoints).filter_map(|backoff| backoff.deadline(now)).min()
    }

    /// Moves every pod at one stage to the next.
    pub(super) fn advance(&mut self, from: Stage, to: Stage) {
        let pods = self.by_slot.values_mut().filter(|endpoint| endpoint.tenant.pod().is_some());
        for endpoint in pods.filter(|endpoint| endpoint.stage == from) {
            endpoint.stage = to;
        }
    }

    /// Every endpoint with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Endpoint)> {
        self.by_slot.iter().map(|(&slot, endpoint)| (slot, endpoint))
    }

    /// The endpoint in a slot.
    pub(super) fn get(&self, slot: u32) -> Option<&Endpoint> {
        self.by_slot.get(&slot)
    }

    /// The endpoint in a slot.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Endpoint> {
        self.by_slot.get_mut(&slot)
    }

    /// Tenants without a slot.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Tenant> {
        self.waiting.values()
    }

    /// The slot of an interface.
    pub(super) fn slot_of(&self, ifindex: u32) -> Option<u32> {
        self.iter().find(|(_, endpoint)| endpoint.tenant.ifindex == ifindex).map(|(slot, _)| slot)
    }
}

#[cfg(test)]
mod tests {
    use podgate_datapath::binding::{PodId, Unclaimed};
    use podgate_policy::model::ObjectKey;

    use super::super::tenant::Occupant;
    use super::*;

    fn binding(ifindex: u32) -> Tenant {
        let pod = PodId { key: ObjectKey::new("default", format!("pod-{ifindex}")), uid: "1".into() };
        let addresses = ["10.0.0.1".parse().unwrap()].into();
        Tenant { ifindex, netns_id: 4, addresses, occupant: Occupant::Pod(pod) }
    }

    fn unknown(ifindex: u32) -> Unclaimed {
        Unclaimed { ifindex, netns_id: 4, addresses: ["10.0.0.1".parse().unwrap()].into(), announced: None }
    }

    fn slots(endpoints: &Endpoints) -> Vec<(u32, u32)> {
        endpoints.iter().map(|(slot, endpoint)| (slot, endpoint.tenant.ifindex)).collect()
    }

    #[test]
    fn a_slot_is_given_again_only_after_its_release() {
        let mut endpoints = Endpoints::new(4, Vec::new());
        endpoints.bind(binding(10));
        assert_eq!(endpoints.unbind(10), Some(1));
        endpoints.bind(binding(11));
        assert_eq!(slots(&endpoints), [(2, 11)]);
        endpoints.released(1);
        endpoints.bind(binding(12));
        assert_eq!(slots(&endpoints), [(1, 12), (2, 11)]);
    }

    #[test]
    fn who_finds_no_slot_gets_the_next_that_is_released() {
        let mut endpoints = Endpoints::new(2, Vec::new());
        endpoints.bind(binding(10));
        endpoints.bind(binding(11));
        assert_eq!(endpoints.waiting().map(|binding| binding.ifindex).collect::<Vec<_>>(), [11]);
        assert_eq!(endpoints.unbind(10), Some(1));
        endpoints.released(1);
        assert_eq!(slots(&endpoints), [(1, 11)]);
        assert_eq!(endpoints.waiting().count(), 0);
    }

    #[test]
    fn a_pod_gets_the_slot_that_a_former_agent_gave_it_and_others_get_none_of_these_yet() {
        let former =
            |slot, ifindex, address: &str| FormerSlot { slot, ifindex, addresses: vec![address.parse().unwrap()] };
        let left = vec![former(3, 10, "10.0.0.1"), former(1, 11, "10.0.0.9"), former(2, 99, "10.0.0.1")];
        let mut endpoints = Endpoints::new(5, left);
        for ifindex in [11, 10, 12] {
            endpoints.bind(binding(ifindex));
        }
        assert_eq!(slots(&endpoints), [(3, 10), (4, 11)], "another pod is on 11, and 99 may come back");
        endpoints.forget_former(|ifindex| ifindex == 99);
        assert_eq!(slots(&endpoints), [(2, 12), (3, 10), (4, 11)]);
    }

    #[test]
    fn an_interface_that_changes_its_pod_is_released_before_it_is_identified() {
        let mut endpoints = Endpoints::new(4, Vec::new());
        endpoints.bind(binding(10));
        endpoints.unbind(10);
        endpoints.bind(binding(10));
        let now = Instant::now();
        assert!(endpoints.next_unidentified(now).is_none());
        endpoints.released(1);
        assert_eq!(endpoints.next_unidentified(now).map(|(slot, _)| slot), Some(2));
    }

    #[test]
    fn who_is_isolated_becomes_a_pod_in_its_place() {
        let mut endpoints = Endpoints::new(4, Vec::new());
        endpoints.bind(unknown(10));
        endpoints.get_mut(1).unwrap().stage = Stage::Attached;
        endpoints.advance(Stage::Attached, Stage::Bound);
        endpoints.bind(unknown(10));
        assert_eq!(endpoints.get(1).unwrap().stage, Stage::Attached);
        endpoints.bind(binding(10));
        assert_eq!((slots(&endpoints), endpoints.get(1).unwrap().stage), (vec![(1, 10)], Stage::Bound));
    }

    #[test]
    fn only_who_is_no_known_pod_is_isolated_without_a_plan() {
        let (mut endpoints, now) = (Endpoints::new(4, Vec::new()), Instant::now());
        endpoints.bind(binding(10));
        endpoints.bind(unknown(11));
        assert_eq!(endpoints.next_unisolated(now), None);
        for slot in [1, 2] {
            endpoints.get_mut(slot).unwrap().stage = Stage::Identified;
        }
        assert_eq!(endpoints.next_unisolated(now), Some(2));
    }
}
