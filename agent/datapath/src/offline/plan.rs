//! Which slot and record a pod gets, worked out from what the tables hold. Pure.

use std::collections::{BTreeMap, BTreeSet};

use podgate_common::{EndpointConfig, InterfaceSlot, Resident, SlotWord};
use podgate_policy::op::EndpointPolicies;

use super::Given;
use crate::Identity;
use crate::identity::compose;
use crate::interfaces::EntryLocation;

/// What the tables say of slots and interfaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// By slot.
    pub(super) words: Vec<SlotWord>,
    /// Who has which slot, as the next agent reads it; at slot 0 how far generations have come.
    pub(super) residents: Vec<Resident>,
    /// By index.
    pub(super) configs: Vec<EndpointConfig>,
    /// By ifindex modulo their number, a power of two.
    pub(super) interfaces: Vec<InterfaceSlot>,
    /// Slots by ifindex, of interfaces that are not in the array.
    pub(super) more: BTreeMap<u32, u32>,
    /// The interfaces that there are.
    pub(super) live: BTreeSet<u32>,
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) slot: u32,
    pub(super) word: SlotWord,
    /// To be written at the word's index; `None`: the pod is isolated in no direction.
    pub(super) config: Option<EndpointConfig>,
    /// Indexes at which interfaces that are gone still have the slot.
    pub(super) stale: Vec<u32>,
    pub(super) place: EntryLocation,
    pub(super) given: Given,
    /// Whether the slot is the one that all share for whom there is none. Then word and record are only written where it has
    /// not been used yet.
    pub(super) shared: bool,
}

impl Snapshot {
    /// The slot that an interface has, be it there or gone; 0: it is no pod's.
    pub(super) fn slot_of(&self, ifindex: u32) -> Option<u32> {
        let entry = self.interfaces.get(self.index_of(ifindex)).filter(|entry| entry.ifindex() == ifindex);
        entry.map(|entry| entry.slot()).or_else(|| self.more.get(&ifindex).copied())
    }

    fn index_of(&self, ifindex: u32) -> usize {
        ifindex as usize & (self.interfaces.len().saturating_sub(1))
    }

    /// The slots of the interfaces that are there.
    fn taken(&self) -> BTreeMap<u32, u32> {
        let entered = self.live.iter().filter_map(|&ifindex| Some((self.slot_of(ifindex)?, ifindex)));
        // An agent that ended while it took over from another may have noted more than it entered.
        let noted = (0..).zip(&self.residents).map(|(slot, resident)| (slot, resident.ifindex));
        entered.chain(noted.filter(|(_, ifindex)| self.live.contains(ifindex))).collect()
    }

    /// The last generation that was given out, or may have been.
    fn last_generation(&self) -> u32 {
        let reserved = self.residents.iter().map(|resident| resident.last_generation);
        self.words.iter().map(|word| word.generation()).chain(reserved).max().unwrap_or_default()
    }

    /// The record of the pod that had an interface: the inner `None` is a pod that is isolated in no direction. `None` where
    /// its slot is another's by now.
    fn record_of(&self, ifindex: u32, taken: &BTreeMap<u32, u32>) -> Option<Option<EndpointConfig>> {
        let slot = self.slot_of(ifindex).filter(|slot| *slot != 0)?;
        if taken.get(&slot).is_some_and(|holder| *holder != ifindex) {
            return None;
        }
        match self.words.get(slot as usize)?.config() {
            0 => Some(None),
            index => Some(Some(*self.configs.get(index as usize)?)),
        }
    }

    fn place_of(&self, ifindex: u32) -> EntryLocation {
        let index = self.index_of(ifindex);
        let holder = self.interfaces.get(index).map_or(0, |entry| entry.ifindex());
        let is_free = holder == 0 || holder == ifindex || !self.live.contains(&holder);
        if is_free { EntryLocation::Array(index as u32) } else { EntryLocation::More }
    }
}

impl Plan {
    /// Works out what to write for a pod, which gets the policies that are in force on the interface `like`.
    ///
    /// # Errors
    /// What has run out.
    pub(super) fn new(snapshot: &Snapshot, identity: &Identity, like: Option<u32>) -> Result<Self, &'static str> {
        let taken = snapshot.taken();
        let slots = snapshot.words.len().min(snapshot.residents.len()) as u32;
        let last = slots.saturating_sub(1);
        let generation = snapshot.last_generation().checked_add(1).ok_or("every generation is used up")?;
        let Some(slot) = (1..last).find(|slot| !taken.contains_key(slot)) else {
            return Self::without_slot(snapshot, identity, last, generation);
        };
        let former = like.and_then(|like| snapshot.record_of(like, &taken));
        let config = match former {
            Some(record) => record.map(|record| inherited(record, identity, generation)),
            None => Some(compose(identity, &EndpointPolicies::NOTHING, generation)),
        };
        let index = if config.is_some() { free_config(snapshot).ok_or("every configuration is in use")? } else { 0 };
        Ok(Self {
            slot,
            word: SlotWord::new(generation, index),
            config,
            stale: stale(snapshot, slot),
            place: snapshot.place_of(identity.ifindex),
            given: if former.is_some() { Given::LastKnown } else { Given::Nothing },
            shared: false,
        })
    }

    /// What to write where every slot is taken: the pod shares the last one, isolated.
    fn without_slot(
        snapshot: &Snapshot,
        identity: &Identity,
        slot: u32,
        generation: u32,
    ) -> Result<Self, &'static str> {
        let word = snapshot.words.get(slot as usize).copied().unwrap_or_default();
        let place = snapshot.place_of(identity.ifindex);
        let plan = Self { slot, word, config: None, stale: Vec::new(), place, given: Given::Nothing, shared: true };
        if word.config() != 0 {
            return Ok(plan);
        }
        let index = free_config(snapshot).ok_or("every configuration is in use")?;
        let config = compose(&Identity::shared(), &EndpointPolicies::NOTHING, generation);
        Ok(Self { word: SlotWord::new(generation, index), config: Some(config), ..plan })
    }
}

/// The policies and settings of a former record for an identity.
fn inherited(former: EndpointConfig, identity: &Identity, birth: u32) -> EndpointConfig {
    let own = compose(identity, &EndpointPolicies::default(), birth);
    let EndpointConfig { flags, policy, default_row, .. } = former;
    EndpointConfig { flags, policy, default_row, ..own }
}

/// A record that no slot points at.
fn free_config(snapshot: &Snapshot) -> Option<u32> {
    let used: BTreeSet<u32> = snapshot.words.iter().map(|word| word.config()).collect();
    (1..snapshot.configs.len() as u32).find(|index| !used.contains(index))
}

/// The places in the array where interfaces that are gone have a slot.
fn stale(snapshot: &Snapshot, slot: u32) -> Vec<u32> {
    let entries = (0..).zip(&snapshot.interfaces);
    entries.filter(|(_, entry)| entry.ifindex() != 0 && entry.slot() == slot).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use podgate_common::{Addr4, flags};

    use super::*;

    const ISOLATED: u32 = flags::ISOLATED_INGRESS | flags::ISOLATED_EGRESS;

    fn identity(ifindex: u32) -> Identity {
        let address4 = Some("10.0.0.9".parse().unwrap());
        Identity { ifindex, netns_id: Some(9), address4, address6: None, routes: false, keep: false }
    }

    fn record(policy: u32) -> EndpointConfig {
        let flags = flags::ISOLATED_INGRESS | flags::KEEP;
        EndpointConfig {
            flags,
            netns_id: 1,
            policy: [policy, 0],
            default_row: [3, 0],
            birth: 1,
            ..EndpointConfig::default()
        }
    }

    /// Five slots: 1 is the interface's with index 10 and isolated, 2 the one's with index 11 and open, the last is for those
    /// without one; array of eight.
    fn snapshot(live: &[u32]) -> Snapshot {
        let mut interfaces = vec![InterfaceSlot::default(); 8];
        interfaces[2] = InterfaceSlot::new(10, 1);
        interfaces[3] = InterfaceSlot::new(11, 2);
        let mut configs = vec![EndpointConfig::default(); 4];
        configs[1] = record(5);
        let mut words = vec![SlotWord::default(); 5];
        (words[1], words[2]) = (SlotWord::new(7, 1), SlotWord::new(8, 0));
        let residents = vec![Resident::default(); 5];
        Snapshot { words, residents, configs, interfaces, more: BTreeMap::new(), live: live.iter().copied().collect() }
    }

    fn own(flags: u32, policy: u32, default_row: u32) -> EndpointConfig {
        let [policies, rows] = [policy, default_row].map(|ingress| [ingress, 0]);
        let address4 = Addr4::from_octets([10, 0, 0, 9]);
        EndpointConfig {
            flags,
            netns_id: 9,
            policy: policies,
            default_row: rows,
            birth: 9,
            address4,
            ..Default::default()
        }
    }

    #[test]
    fn a_pod_that_was_never_known_is_isolated_in_a_slot_of_its_own() {
        let expected = Plan {
            slot: 3,
            word: SlotWord::new(9, 2),
            config: Some(EndpointConfig { policy: [1, 1], ..own(ISOLATED, 1, 0) }),
            stale: vec![],
            place: EntryLocation::Array(4),
            given: Given::Nothing,
            shared: false,
        };
        assert_eq!(Plan::new(&snapshot(&[10, 11, 12]), &identity(12), None), Ok(expected.clone()));
        assert_eq!(Plan::new(&snapshot(&[10, 11, 12]), &identity(12), Some(77)), Ok(expected));
    }

    #[test]
    fn a_pod_that_was_known_gets_the_policies_it_had_and_the_slot_of_what_is_gone() {
        let plan = Plan::new(&snapshot(&[11, 12]), &identity(12), Some(10)).unwrap();
        let config = own(flags::ISOLATED_INGRESS | flags::KEEP, 5, 3);
        let expected = Plan {
            slot: 1,
            word: SlotWord::new(9, 2),
            config: Some(config),
            stale: vec![2],
            place: EntryLocation::Array(4),
            given: Given::LastKnown,
            shared: false,
        };
        assert_eq!(plan, expected);
    }

    #[test]
    fn a_pod_that_was_isolated_in_no_direction_is_so_again() {
        let plan = Plan::new(&snapshot(&[10, 11, 12]), &identity(12), Some(11)).unwrap();
        assert_eq!((plan.word, plan.config, plan.given), (SlotWord::new(9, 0), None, Given::LastKnown));
    }

    #[test]
    fn a_slot_that_is_anothers_by_now_tells_nothing_of_its_former_pod() {
        let mut snapshot = snapshot(&[10, 11, 12]);
        snapshot.more.insert(20, 1);
        assert_eq!(Plan::new(&snapshot, &identity(12), Some(20)).unwrap().given, Given::Nothing);
    }

    #[test]
    fn an_interface_whose_place_is_anothers_goes_to_the_hash() {
        let place = |live: &[u32]| Plan::new(&snapshot(live), &identity(18), None).unwrap().place;
        assert_eq!(place(&[10, 11, 18]), EntryLocation::More);
        assert_eq!(place(&[11, 18]), EntryLocation::Array(2));
    }

    #[test]
    fn what_has_run_out_is_told() {
        let plan = |snapshot: &Snapshot| Plan::new(snapshot, &identity(12), None).map(|plan| plan.slot);
        let mut full = snapshot(&[10, 11, 12]);
        full.configs.truncate(2);
        assert_eq!(plan(&full), Err("every configuration is in use"));
        let mut full = snapshot(&[10, 11, 12]);
        full.residents[0].last_generation = u32::MAX;
        assert_eq!(plan(&full), Err("every generation is used up"));
    }
    /// Every slot of its own is taken: by what is entered, or by what is only noted.
    fn full() -> [Snapshot; 2] {
        let mut entered = snapshot(&[10, 11, 12, 13]);
        entered.interfaces[5] = InterfaceSlot::new(13, 3);
        let mut noted = snapshot(&[10, 11, 12, 13]);
        noted.residents[3].ifindex = 13;
        [entered, noted]
    }

    #[test]
    fn a_pod_without_a_slot_is_isolated_in_the_one_that_all_share() {
        for mut full in full() {
            let config = compose(&Identity::shared(), &EndpointPolicies::NOTHING, 9);
            let first = Plan {
                slot: 4,
                word: SlotWord::new(9, 2),
                config: Some(config),
                stale: vec![],
                place: EntryLocation::Array(4),
                given: Given::Nothing,
                shared: true,
            };
            // What was last known of the pod does not matter.
            assert_eq!(Plan::new(&full, &identity(12), Some(10)), Ok(first.clone()));
            full.words[4] = first.word;
            assert_eq!(Plan::new(&full, &identity(12), None), Ok(Plan { config: None, ..first }));
        }
    }
}
