//! Which slot is whose, under which generation and configuration. Pure: what is to be written comes out as values, and
//! is committed here once it is written.

use std::collections::{BTreeMap, BTreeSet};

use podgate_common::{EndpointConfig, Resident, SlotWord};
use podgate_policy::op::EndpointPolicies;

use crate::Error;
use crate::identity::{Identity, compose, is_open};
use crate::kept::Former;

/// The endpoints' slots, their configurations and generations.
#[derive(Debug)]
pub(crate) struct Slots {
    last: u32,
    endpoints: BTreeMap<u32, Occupied>,
    /// Released slots whose counters are not cleared yet.
    retired: BTreeSet<u32>,
    /// Those of them where a packet may be under way that is counted for the former owner.
    unsettled: BTreeSet<u32>,
    configs: Configs,
    /// `None` after the last one.
    next_generation: Option<u32>,
    /// Who had which slot in a former start, and has not come back.
    former: BTreeMap<u32, Resident>,
}

/// A slot that is somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occupied {
    pub(crate) identity: Identity,
    pub(crate) policies: Option<EndpointPolicies>,
    pub(crate) word: SlotWord,
    pub(crate) birth: Option<u32>,
    /// [`EndpointConfig::older_until`]
    older_until: u32,
}

/// What came of identifying a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identified {
    /// The slot was free and never used.
    Fresh,
    /// The owner had it in a former start: flows and counters are its own.
    Resumed,
    /// The slot was free; what its last owner left behind has to go.
    Reused,
    /// The owner is the same and so is what is known of it.
    Same,
    /// The owner is the same, but something about it has changed.
    Changed,
}

/// Writes that give a slot its policies: the record first, then the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) slot: u32,
    pub(crate) word: SlotWord,
    /// To be written at the word's index, where that is not 0.
    pub(crate) config: Option<EndpointConfig>,
    policies: EndpointPolicies,
}

/// What has to happen before a slot can be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// A grace period: every configuration is in use or was a moment ago.
    Configs,
    /// All flows must be forgotten, so that generations can start again.
    Generations,
}

impl Slots {
    /// Slots 1 to `slots` - 1 are free but for those that somebody had in a former start; record 0 is never written.
    pub(crate) fn new(slots: u32, configs: u32, former: Former) -> Self {
        let last = slots - 1;
        let begun = former.last_generation > 0;
        Self {
            last,
            endpoints: BTreeMap::new(),
            retired: (1..=last).filter(|slot| begun && !former.residents.contains_key(slot)).collect(),
            unsettled: BTreeSet::new(),
            configs: Configs::new(configs),
            next_generation: former.last_generation.checked_add(1),
            former: former.residents,
        }
    }

    /// Who had which slot in a former start, and has not come back.
    pub(crate) fn former(&self) -> &BTreeMap<u32, Resident> {
        &self.former
    }

    /// Who has not come back does not: their slots are free. Returns these.
    pub(crate) fn forget_former(&mut self) -> Vec<u32> {
        let slots: Vec<u32> = std::mem::take(&mut self.former).into_keys().collect();
        self.retired.extend(&slots);
        self.unsettled.extend(&slots);
        slots
    }

    /// Notes who an endpoint is.
    ///
    /// # Errors
    /// There is no such slot, or it belongs to another interface.
    pub(crate) fn identify(&mut self, slot: u32, identity: &Identity) -> Result<Identified, Error> {
        if slot == 0 || slot > self.last {
            return Err(Error::NoSuchSlot { slot, last: self.last });
        }
        let Some(endpoint) = self.endpoints.get_mut(&slot) else { return Ok(self.move_in(slot, identity)) };
        if endpoint.identity.ifindex != identity.ifindex {
            return Err(Error::SlotTaken { slot, ifindex: endpoint.identity.ifindex });
        }
        let same = endpoint.identity == *identity;
        endpoint.identity.clone_from(identity);
        Ok(if same { Identified::Same } else { Identified::Changed })
    }

    fn move_in(&mut self, slot: u32, identity: &Identity) -> Identified {
        let former = self.former.remove(&slot);
        let itself = former.filter(|former| identity.was(former));
        let birth = itself.map(|former| former.birth).filter(|&birth| birth > 0);
        let identity = identity.clone();
        let endpoint = Occupied { identity, policies: None, word: SlotWord::default(), birth, older_until: 0 };
        self.endpoints.insert(slot, endpoint);
        match (former, itself) {
            (Some(_), Some(_)) => Identified::Resumed,
            (Some(_), None) => {
                self.retired.insert(slot);
                self.unsettled.insert(slot);
                Identified::Reused
            }
            (None, _) if self.retired.contains(&slot) => Identified::Reused,
            (None, _) => Identified::Fresh,
        }
    }

    /// The slot's endpoint.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn endpoint(&self, slot: u32) -> Result<&Occupied, Error> {
        self.endpoints.get(&slot).ok_or(Error::Unidentified(slot))
    }

    /// The slots in use, in order.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = u32> + '_ {
        self.endpoints.keys().copied()
    }

    /// How many slots are in use, and how many records are in use or in quarantine.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.endpoints.len(), self.configs.used())
    }

    /// Whether with these policies an endpoint is isolated that may have connections: it has had policies that isolate it in
    /// no direction, or is new here and no former start had it, though it may be older than this start.
    pub(crate) fn isolates_first(&self, slot: u32, policies: &EndpointPolicies, since_start: bool) -> bool {
        let may_have = |it: &Occupied| {
            if it.policies.is_some() { it.word.config() == 0 } else { since_start && it.birth.is_none() }
        };
        !is_open(policies) && self.endpoints.get(&slot).is_some_and(may_have)
    }

    /// Sets [`EndpointConfig::older_until`] for all that is prepared from now on.
    pub(crate) fn believe_until(&mut self, slot: u32, seconds: u32) {
        if let Some(endpoint) = self.endpoints.get_mut(&slot) {
            endpoint.older_until = seconds;
        }
    }

    /// Works out the writes that give an endpoint policies. [`Self::commit`] or [`Self::abandon`] must follow.
    pub(crate) fn prepare(&mut self, slot: u32, policies: EndpointPolicies) -> Result<Switch, Exhausted> {
        let generation = self.next_generation.ok_or(Exhausted::Generations)?;
        let endpoint = self.endpoints.get(&slot);
        let config = endpoint.filter(|_| !is_open(&policies)).map(|endpoint| EndpointConfig {
            older_until: endpoint.older_until,
            ..compose(&endpoint.identity, &policies, endpoint.birth.unwrap_or(generation))
        });
        let index = if config.is_some() { self.configs.take().ok_or(Exhausted::Configs)? } else { 0 };
        self.next_generation = generation.checked_add(1);
        Ok(Switch { slot, word: SlotWord::new(generation, index), config, policies })
    }

    /// The writes are done: the former record waits for the next grace period.
    pub(crate) fn commit(&mut self, switch: &Switch) {
        if let Some(endpoint) = self.endpoints.get_mut(&switch.slot) {
            self.configs.quarantine(endpoint.word.config());
            endpoint.birth.get_or_insert(switch.word.generation());
            endpoint.word = switch.word;
            endpoint.policies = Some(switch.policies);
        }
    }

    /// The record was not pointed at; the generation is lost, which does no harm.
    pub(crate) fn abandon(&mut self, switch: &Switch) {
        self.configs.give_back(switch.word.config());
    }

    /// Frees a slot whose word has been written by an open [`Switch`].
    pub(crate) fn release(&mut self, switch: &Switch) {
        if let Some(endpoint) = self.endpoints.remove(&switch.slot) {
            self.configs.quarantine(endpoint.word.config());
            self.retired.insert(switch.slot);
            self.unsettled.insert(switch.slot);
        }
    }

    /// Whether a packet may be under way that is counted for the former owner of a slot.
    pub(crate) fn is_unsettled(&self, slot: u32) -> bool {
        self.unsettled.contains(&slot)
    }

    /// The counters of a slot's former owner are cleared.
    pub(crate) fn forget_retired(&mut self, slot: u32) {
        self.retired.remove(&slot);
    }

    /// A grace period is over: no program knows any longer of the records in quarantine, or of a former owner.
    pub(crate) fn end_quarantine(&mut self) {
        self.configs.end_quarantine();
        self.unsettled.clear();
    }

    /// All flows are forgotten: generations start again. Every endpoint with policies, which are returned, must be
    /// switched at once.
    pub(crate) fn restart_generations(&mut self) -> Vec<(u32, EndpointPolicies)> {
        self.next_generation = Some(1);
        for endpoint in self.endpoints.values_mut() {
            endpoint.birth = None;
        }
        self.endpoints.iter().filter_map(|(&slot, endpoint)| Some((slot, endpoint.policies?))).collect()
    }

    /// Makes the next generation the last one.
    #[cfg(test)]
    pub(crate) fn skip_to_last_generation(&mut self) {
        self.next_generation = Some(u32::MAX);
    }
}

/// Indexes of configuration records.
#[derive(Debug)]
struct Configs {
    free: BTreeSet<u32>,
    quarantined: Vec<u32>,
    capacity: usize,
}

impl Configs {
    fn new(capacity: u32) -> Self {
        let free: BTreeSet<_> = (1..capacity).collect();
        Self { capacity: free.len(), free, quarantined: Vec::new() }
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop_first()
    }

    fn give_back(&mut self, index: u32) {
        if index != 0 {
            self.free.insert(index);
        }
    }

    fn quarantine(&mut self, index: u32) {
        if index != 0 {
            self.quarantined.push(index);
        }
    }

    fn end_quarantine(&mut self) {
        self.free.extend(self.quarantined.drain(..));
    }

    fn used(&self) -> usize {
        self.capacity - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use podgate_common::{Addr4, flags};
    use podgate_policy::id::{PolicyId, RowId};
    use podgate_policy::op::EndpointPolicy;

    use super::*;

    fn identity(ifindex: u32) -> Identity {
        Identity { ifindex, netns_id: Some(1), address4: None, address6: None, routes: false, keep: false }
    }

    fn identity_at(ifindex: u32) -> Identity {
        Identity { address4: Some([10, 0, 0, 1].into()), ..identity(ifindex) }
    }

    fn isolated(policy: u32) -> EndpointPolicies {
        let policy = PolicyId::from_raw(policy);
        let ingress = EndpointPolicy::Isolated { policy, default_row: RowId::NONE };
        EndpointPolicies { ingress, ..EndpointPolicies::default() }
    }

    fn record(policy: u32, birth: u32) -> EndpointConfig {
        EndpointConfig {
            flags: flags::ISOLATED_INGRESS,
            netns_id: 1,
            policy: [policy, 0],
            birth,
            ..EndpointConfig::default()
        }
    }

    /// Switches, and returns what was to be written.
    fn switch(slots: &mut Slots, slot: u32, policies: EndpointPolicies) -> (SlotWord, Option<EndpointConfig>) {
        let switch = slots.prepare(slot, policies).unwrap();
        slots.commit(&switch);
        (switch.word, switch.config)
    }

    fn release(slots: &mut Slots, slot: u32) -> SlotWord {
        let switch = slots.prepare(slot, EndpointPolicies::default()).unwrap();
        slots.release(&switch);
        switch.word
    }

    #[test]
    fn every_switch_has_a_generation_and_a_record_of_its_own() {
        let mut slots = Slots::new(4, 8, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        slots.identify(2, &identity(8)).unwrap();
        let written = [(1, 10), (2, 10), (1, 11)].map(|(slot, policy)| switch(&mut slots, slot, isolated(policy)));
        assert_eq!(
            written,
            [
                (SlotWord::new(1, 1), Some(record(10, 1))),
                (SlotWord::new(2, 2), Some(record(10, 2))),
                (SlotWord::new(3, 3), Some(record(11, 1))),
            ]
        );
    }

    #[test]
    fn an_endpoint_without_isolation_needs_no_record() {
        let mut slots = Slots::new(4, 8, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        switch(&mut slots, 1, isolated(10));
        assert_eq!(switch(&mut slots, 1, EndpointPolicies::default()), (SlotWord::new(2, 0), None));
        assert_eq!(slots.used(), (1, 1), "the first record is in quarantine");
    }

    #[test]
    fn a_record_is_reused_only_after_a_grace_period() {
        let mut slots = Slots::new(2, 3, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        switch(&mut slots, 1, isolated(10));
        switch(&mut slots, 1, isolated(11));
        assert_eq!(slots.prepare(1, isolated(12)), Err(Exhausted::Configs));
        slots.end_quarantine();
        assert_eq!(switch(&mut slots, 1, isolated(12)), (SlotWord::new(3, 1), Some(record(12, 1))));
    }

    #[test]
    fn a_record_that_could_not_be_written_is_free_again() {
        let mut slots = Slots::new(2, 2, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        let failed = slots.prepare(1, isolated(10)).unwrap();
        slots.abandon(&failed);
        assert_eq!(switch(&mut slots, 1, isolated(10)), (SlotWord::new(2, 1), Some(record(10, 2))));
    }

    #[test]
    fn the_next_owner_of_a_slot_is_born_after_the_last() {
        let mut slots = Slots::new(2, 8, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        switch(&mut slots, 1, isolated(10));
        assert_eq!(release(&mut slots, 1), SlotWord::new(2, 0));
        assert_eq!(slots.identify(1, &identity(9)).unwrap(), Identified::Reused);
        assert_eq!(switch(&mut slots, 1, isolated(10)), (SlotWord::new(3, 2), Some(record(10, 3))));
    }

    #[test]
    fn one_grace_period_settles_all_released_slots() {
        let mut slots = Slots::new(4, 8, Former::default());
        for slot in [1, 2, 3] {
            slots.identify(slot, &identity(slot)).unwrap();
        }
        release(&mut slots, 1);
        release(&mut slots, 2);
        assert_eq!([1, 2, 3].map(|slot| slots.is_unsettled(slot)), [true, true, false]);
        slots.end_quarantine();
        assert_eq!([1, 2, 3].map(|slot| slots.is_unsettled(slot)), [false, false, false]);
        assert_eq!(
            slots.identify(1, &identity(9)).unwrap(),
            Identified::Reused,
            "its counters are still to be cleared"
        );
    }

    #[test]
    fn an_endpoint_that_was_open_first_is_as_old_as_its_first_switch() {
        let mut slots = Slots::new(2, 8, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        switch(&mut slots, 1, EndpointPolicies::default());
        assert_eq!(switch(&mut slots, 1, isolated(10)), (SlotWord::new(2, 1), Some(record(10, 1))));
    }

    #[test]
    fn isolation_begins_where_an_endpoint_was_open_or_is_older_than_the_start() {
        let mut slots = Slots::new(4, 8, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        let first =
            |slots: &Slots, policies| [true, false].map(|at_start| slots.isolates_first(1, &policies, at_start));
        assert_eq!(first(&slots, isolated(10)), [true, false]);
        assert_eq!(first(&slots, EndpointPolicies::default()), [false, false], "it stays open");
        switch(&mut slots, 1, isolated(10));
        assert_eq!(first(&slots, isolated(11)), [false, false], "it is isolated already");
        switch(&mut slots, 1, EndpointPolicies::default());
        assert_eq!(first(&slots, isolated(10)), [true, true], "it was open");
    }

    #[test]
    fn an_endpoint_of_a_former_start_is_not_isolated_first() {
        let former = identity_at(7).resident(Some(3));
        let mut slots = Slots::new(4, 8, Former { residents: [(1, former)].into(), last_generation: 5 });
        assert_eq!(slots.identify(1, &identity_at(7)).unwrap(), Identified::Resumed);
        assert!(!slots.isolates_first(1, &isolated(10), true));
    }

    #[test]
    fn identifying_tells_what_changed() {
        let mut slots = Slots::new(2, 8, Former::default());
        let renumbered = Identity { netns_id: Some(5), ..identity(7) };
        let seen = [identity(7), identity(7), renumbered].map(|identity| slots.identify(1, &identity).unwrap());
        assert_eq!(seen, [Identified::Fresh, Identified::Same, Identified::Changed]);
    }

    #[test]
    fn a_slot_in_use_goes_to_no_other_interface_and_slot_0_to_none() {
        let mut slots = Slots::new(2, 8, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        let errors = [1, 0, 2].map(|slot| slots.identify(slot, &identity(8)).unwrap_err().to_string());
        assert_eq!(
            errors,
            [
                "slot 1 belongs to the interface with index 7: release it first",
                "slot 0 is not between 1 and 1",
                "slot 2 is not between 1 and 1"
            ]
        );
    }

    #[test]
    fn who_comes_back_has_its_slot_its_birth_and_later_generations() {
        let resident = |ifindex| Resident {
            ifindex,
            birth: 5,
            address4: Addr4::from_octets([10, 0, 0, 1]),
            ..Resident::default()
        };
        let former =
            Former { residents: [(1, resident(7)), (2, resident(8)), (3, resident(9))].into(), last_generation: 40 };
        let mut slots = Slots::new(6, 8, former);
        let at = |ifindex| Identity { address4: Some([10, 0, 0, 1].into()), ..identity(ifindex) };
        let stranger = Identity { address4: Some([10, 0, 0, 2].into()), ..identity(8) };
        let seen =
            [(1, &at(7)), (2, &stranger), (4, &at(10))].map(|(slot, identity)| slots.identify(slot, identity).unwrap());
        assert_eq!(seen, [Identified::Resumed, Identified::Reused, Identified::Reused]);
        switch(&mut slots, 1, isolated(10));
        let born = |slots: &Slots, slot| slots.endpoint(slot).unwrap().birth;
        let words = [1, 2].map(|slot| switch(&mut slots, slot, isolated(11)).0.generation());
        assert_eq!((words, born(&slots, 1), born(&slots, 2)), ([42, 43], Some(5), Some(43)));
        assert_eq!(slots.forget_former(), [3]);
        assert_eq!(slots.identify(3, &at(9)).unwrap(), Identified::Reused);
        assert_eq!(
            [2, 3, 4].map(|slot| slots.is_unsettled(slot)),
            [true, true, false],
            "a program may count for the first two"
        );
    }

    #[test]
    fn generations_start_again_only_with_every_endpoint_born_anew() {
        let mut slots = Slots::new(3, 8, Former::default());
        slots.identify(1, &identity(7)).unwrap();
        slots.identify(2, &identity(8)).unwrap();
        slots.skip_to_last_generation();
        assert_eq!(switch(&mut slots, 1, isolated(10)).0.generation(), u32::MAX);
        assert_eq!(slots.prepare(1, isolated(11)), Err(Exhausted::Generations));
        assert_eq!(slots.restart_generations(), [(1, isolated(10))]);
        assert_eq!(switch(&mut slots, 1, isolated(10)), (SlotWord::new(1, 2), Some(record(10, 1))));
    }
}
