//! Which slot of the datapath belongs to which pod, and how far each is.
//!
//! ```text
//! bound ──identify──► Identified ──plan──► Planned ──apply──► Applied ──attach──► Attached
//!                          └── isolate, where no pod is known ──►┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use podgate_datapath::FormerSlot;
use podgate_host::binding::PodId;
use podgate_policy::model::ObjectKey;
use podgate_policy::op::{EndpointPolicy, Op};

use super::backoff::Backoff;
use super::command::Command;
use super::tenant::{Occupant, Tenant};

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
    /// Whether the planner knows a pod in the slot.
    pub(super) planned: bool,
    /// Whether its policies isolate it: then it is attached before those that they don't.
    pub(super) isolates: bool,
    /// The last failure, while it lasts.
    pub(super) error: Option<String>,
    /// When to try again. Each endpoint has its own: one that never works must not hold up the others.
    backoff: Backoff,
}

impl Endpoint {
    fn new(tenant: Tenant) -> Self {
        let backoff = Backoff::default();
        let stage = Stage::Bound;
        Self { tenant, stage, identified: false, planned: false, isolates: false, error: None, backoff }
    }

    /// Notes who the tenant is now. A pod that becomes known has its policies before it, in place of isolation or of those of
    /// another pod; who is not known any more is to be isolated.
    fn replace(&mut self, tenant: Tenant) {
        if self.tenant.occupant != tenant.occupant && (tenant.pod().is_some() || self.tenant.pod().is_some()) {
            self.stage = Stage::Bound;
        }
        self.identified = false;
        self.tenant = tenant;
    }

    /// Whether nothing is to be done about it: the datapath knows it, its programs run, and nothing has failed.
    fn is_settled(&self) -> bool {
        self.identified && self.stage == Stage::Attached && self.error.is_none() && !self.backoff.has_failed()
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

/// Why somebody waits.
pub(super) const NO_SLOT: &str = "every slot for pods is taken";

/// A tenant without a slot.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Who waits.
    pub(super) tenant: Tenant,
    /// Whether it is isolated meanwhile.
    pub(super) confined: bool,
    /// Why not, while that lasts.
    pub(super) error: Option<String>,
    backoff: Backoff,
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
    /// The slots of all that are not settled, and of some that are, or are gone. The engine looks for work with every
    /// event, and nearly all pods are settled nearly always.
    unsettled: BTreeSet<u32>,
    /// Slots that wait to be released.
    leaving: BTreeMap<u32, Leaving>,
    /// Tenants that found no free slot, by interface.
    waiting: BTreeMap<u32, Waiting>,
    /// Interfaces that are gone and were isolated without a slot.
    freed: BTreeMap<u32, Backoff>,
    /// Slots that a former agent gave away, by interface.
    former: BTreeMap<u32, FormerSlot>,
}

impl Endpoints {
    /// Slots 1 to `limit` - 1 are free but for those that a former agent gave away.
    pub(super) fn new(limit: u32, former: Vec<FormerSlot>) -> Self {
        // A former version may have given a slot that is none any more.
        let former = former.into_iter().filter(|slot| slot.slot < limit);
        let former = former.map(|slot| (slot.ifindex, slot)).collect();
        let (by_slot, unsettled, leaving, waiting, freed) = Default::default();
        Self { limit, by_slot, unsettled, leaving, waiting, freed, former }
    }

    /// Frees the slots that a former agent gave to interfaces that are gone.
    pub(super) fn forget_former(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.former.retain(|&ifindex, _| !is_gone(ifindex));
        for ifindex in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.settle(ifindex);
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
        // What is left of a former isolation is this one's now: it must not be taken away.
        self.freed.remove(&tenant.ifindex);
        if let Some(endpoint) = self.slot_of(tenant.ifindex).and_then(|slot| self.get_mut(slot)) {
            endpoint.replace(tenant);
            return;
        }
        // What waits goes on waiting with what is known now.
        if let Some(waiting) = self.waiting.get_mut(&tenant.ifindex) {
            waiting.tenant = tenant;
            return;
        }
        match self.former_slot(&tenant).or_else(|| self.free()) {
            Some(slot) => self.occupy(slot, tenant),
            None => {
                let (ifindex, backoff) = (tenant.ifindex, Backoff::default());
                let waiting = Waiting { tenant, confined: false, error: None, backoff };
                self.waiting.insert(ifindex, waiting);
            }
        }
    }

    /// Gives whoever waits on an interface a slot, if there is one. It stays isolated until its policies are in force.
    fn settle(&mut self, ifindex: u32) {
        let Some(waiting) = self.waiting.get(&ifindex) else { return };
        let tenant = waiting.tenant.clone();
        if let Some(slot) = self.former_slot(&tenant).or_else(|| self.free()) {
            self.waiting.remove(&ifindex);
            self.occupy(slot, tenant);
        }
    }

    fn occupy(&mut self, slot: u32, tenant: Tenant) {
        self.by_slot.insert(slot, Endpoint::new(tenant));
        self.unsettled.insert(slot);
    }

    /// An interface to be isolated without a slot.
    pub(super) fn next_confine(&self, now: Instant) -> Option<u32> {
        let due = self.waiting.iter().find(|(_, waiting)| !waiting.confined && waiting.backoff.is_over(now));
        due.map(|(&ifindex, _)| ifindex)
    }

    /// An interface that is gone and was isolated without a slot.
    pub(super) fn next_unconfine(&self, now: Instant) -> Option<u32> {
        self.freed.iter().find(|(_, backoff)| backoff.is_over(now)).map(|(&ifindex, _)| ifindex)
    }

    /// Notes that an interface is isolated without a slot.
    pub(super) fn confined(&mut self, ifindex: u32) {
        if let Some(waiting) = self.waiting.get_mut(&ifindex) {
            waiting.confined = true;
            waiting.error = None;
            waiting.backoff.succeed();
        } else if self.slot_of(ifindex).is_none() {
            // It has gone meanwhile.
            self.freed.entry(ifindex).or_default();
        }
    }

    /// Notes that an interface could not be isolated.
    pub(super) fn not_confined(&mut self, ifindex: u32, error: String, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&ifindex) {
            waiting.confined = false;
            waiting.error = Some(error);
            waiting.backoff.fail(now);
        }
    }

    /// Notes that nothing is left of the isolation of an interface that is gone.
    pub(super) fn unconfined(&mut self, ifindex: u32) {
        self.freed.remove(&ifindex);
    }

    /// Notes that something is.
    pub(super) fn not_unconfined(&mut self, ifindex: u32, now: Instant) {
        if let Some(backoff) = self.freed.get_mut(&ifindex) {
            backoff.fail(now);
        }
    }

    /// Gives a pod another name; its slots, with whether the planner knows it there.
    pub(super) fn rename(&mut self, pod: &PodId, key: &ObjectKey) -> Vec<(u32, bool)> {
        let rename = |tenant: &mut Tenant| {
            let is_it = tenant.pod() == Some(pod);
            if is_it {
                tenant.occupant = Occupant::Pod(PodId { key: key.clone(), uid: pod.uid.clone() });
            }
            is_it
        };
        for waiting in self.waiting.values_mut() {
            rename(&mut waiting.tenant);
        }
        let renamed = self.by_slot.iter_mut().filter_map(|(slot, endpoint)| {
            rename(&mut endpoint.tenant).then_some((*slot, endpoint.planned && endpoint.stage > Stage::Bound))
        });
        renamed.collect()
    }

    /// Takes the slot of the pod on an interface from it: the slot, if it had one.
    pub(super) fn unbind(&mut self, ifindex: u32) -> Option<u32> {
        if self.waiting.remove(&ifindex).is_some_and(|waiting| waiting.confined) {
            self.freed.insert(ifindex, Backoff::default());
        }
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
        if let Some(&ifindex) = self.waiting.keys().next() {
            self.settle(ifindex);
        }
    }

    /// How many slots are to be released.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
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
        let mut due = self.unsettled().filter(|(_, endpoint)| !endpoint.identified && endpoint.backoff.is_over(now));
        due.find(|(_, endpoint)| !is_leaving(endpoint.tenant.ifindex))
    }

    /// An endpoint that the datapath knows and that is to be isolated, since no pod is known behind it.
    pub(super) fn next_unisolated(&self, now: Instant) -> Option<u32> {
        let mut due = self.unsettled().filter(|(_, endpoint)| endpoint.backoff.is_over(now));
        let waits = |endpoint: &Endpoint| endpoint.stage == Stage::Identified && endpoint.tenant.pod().is_none();
        due.find(|(_, endpoint)| waits(endpoint)).map(|(slot, _)| slot)
    }

    /// An endpoint whose policies are in the tables and whose programs do not run; those that are isolated come first.
    pub(super) fn next_unattached(&self, now: Instant) -> Option<u32> {
        let waits = |endpoint: &Endpoint| endpoint.stage == Stage::Applied && endpoint.backoff.is_over(now);
        let due = self.unsettled().filter(|(_, endpoint)| waits(endpoint));
        due.min_by_key(|(_, endpoint)| !endpoint.isolates).map(|(slot, _)| slot)
    }

    /// Notes which endpoints operations isolate.
    pub(super) fn switched(&mut self, command: &Command) {
        let Command::Apply { ops } = command else { return };
        for op in ops {
            if let Op::Switch { slot, policies } = op
                && let Some(endpoint) = self.by_slot.get_mut(slot)
            {
                let isolates = |policy| matches!(policy, EndpointPolicy::Isolated { .. });
                endpoint.isolates = isolates(policies.ingress) || isolates(policies.egress);
            }
        }
    }

    /// When something that failed is to be tried again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let leaving = self.leaving.values().map(|leaving| &leaving.backoff);
        let endpoints = self.unsettled().map(|(_, endpoint)| &endpoint.backoff);
        let waiting = self.waiting.values().map(|waiting| &waiting.backoff).chain(self.freed.values());
        leaving.chain(endpoints).chain(waiting).filter_map(|backoff| backoff.deadline(now)).min()
    }

    /// Moves every pod at one stage to the next.
    pub(super) fn advance(&mut self, from: Stage, to: Stage) {
        for slot in &self.unsettled {
            let pod = self.by_slot.get_mut(slot).filter(|endpoint| endpoint.tenant.pod().is_some());
            if let Some(endpoint) = pod.filter(|endpoint| endpoint.stage == from) {
                endpoint.stage = to;
            }
        }
    }

    /// Every endpoint that is not settled, with its slot, and perhaps some that are.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (u32, &Endpoint)> {
        self.unsettled.iter().filter_map(|slot| Some((*slot, self.by_slot.get(slot)?)))
    }

    /// Looks no longer at those that are settled.
    pub(super) fn forget_settled(&mut self) {
        let by_slot = &self.by_slot;
        self.unsettled.retain(|slot| by_slot.get(slot).is_some_and(|endpoint| !endpoint.is_settled()));
    }

    /// Every endpoint with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Endpoint)> {
        self.by_slot.iter().map(|(&slot, endpoint)| (slot, endpoint))
    }

    /// The endpoints behind a slot.
    pub(super) fn after(&self, slot: u32) -> impl Iterator<Item = (u32, &Endpoint)> {
        self.by_slot.range(slot + 1..).map(|(&slot, endpoint)| (slot, endpoint))
    }

    /// The endpoint in a slot.
    pub(super) fn get(&self, slot: u32) -> Option<&Endpoint> {
        self.by_slot.get(&slot)
    }

    /// The endpoint in a slot.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Endpoint> {
        // Whoever asks is about to change it.
        self.unsettled.insert(slot);
        self.by_slot.get_mut(&slot)
    }

    /// The first number that is no slot.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Tenants without a slot.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// The endpoint on an interface.
    pub(super) fn at(&self, ifindex: u32) -> Option<&Endpoint> {
        self.get(self.slot_of(ifindex)?)
    }

    /// The slot of an interface.
    pub(super) fn slot_of(&self, ifindex: u32) -> Option<u32> {
        self.iter().find(|(_, endpoint)| endpoint.tenant.ifindex == ifindex).map(|(slot, _)| slot)
    }
}

#[cfg(test)]
mod tests {
    use podgate_host::binding::Unclaimed;

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
    fn who_is_settled_is_looked_at_no_longer_until_it_changes() {
        let mut endpoints = Endpoints::new(4, Vec::new());
        let unsettled = |endpoints: &mut Endpoints| {
            endpoints.forget_settled();
            endpoints.unsettled().map(|(slot, _)| slot).collect::<Vec<_>>()
        };
        [10, 11, 12].into_iter().for_each(|ifindex| endpoints.bind(binding(ifindex)));
        assert_eq!(unsettled(&mut endpoints), [1, 2, 3]);
        for slot in [1, 2] {
            let endpoint = endpoints.get_mut(slot).unwrap();
            (endpoint.identified, endpoint.stage) = (true, Stage::Attached);
        }
        assert_eq!(unsettled(&mut endpoints), [3]);
        endpoints.get_mut(1).unwrap().fail("refused".to_owned(), Instant::now());
        assert_eq!(unsettled(&mut endpoints), [1, 3]);
        endpoints.bind(binding(11));
        endpoints.unbind(12);
        assert_eq!(unsettled(&mut endpoints), [1, 2], "the datapath is to be told of the second again");
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
        assert_eq!(endpoints.waiting().map(|waiting| waiting.tenant.ifindex).collect::<Vec<_>>(), [11]);
        assert_eq!(endpoints.unbind(10), Some(1));
        endpoints.released(1);
        assert_eq!(slots(&endpoints), [(1, 11)]);
        assert_eq!(endpoints.waiting().count(), 0);
    }

    #[test]
    fn a_pod_gets_the_slot_that_a_former_agent_gave_it_and_others_get_none_of_these_yet() {
        let former = |slot, ifindex, address: &str| FormerSlot {
            slot,
            ifindex,
            addresses: vec![address.parse().unwrap()],
            macs: [None; 2],
            link_locals: BTreeSet::new(),
        };
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
