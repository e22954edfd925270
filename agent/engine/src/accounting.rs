//! Reads what the kernel has counted, where it is to be put to the policies that were in force until now.

use std::collections::BTreeMap;

use podgate_common::Counter;
use podgate_datapath::{CounterKey, Datapath, Error};
use podgate_policy::evaluate::in_force;
use podgate_policy::id::RuleId;
use podgate_policy::model::Direction;

use super::attribution::Isolators;
use super::command::{Command, Outcome};
use super::stale::Derived;
use super::state::State;

/// Takes in what a command means for the counters of its slot.
///
/// # Errors
/// The kernel refused to read.
pub(super) fn after(state: &mut State, datapath: &Datapath, command: &Command, outcome: &Outcome) -> Result<(), Error> {
    match (command, outcome) {
        (Command::Identify { slot, .. }, Outcome::Done) => {
            state.attribution.begin(*slot, &datapath.counters_of(*slot)?)
        }
        (Command::Release { slot }, Outcome::Done) => state.attribution.end(*slot, &datapath.counters_of(*slot)?),
        _ => {}
    }
    Ok(())
}

/// Takes in which policies are in force now.
///
/// # Errors
/// The kernel refused to read.
pub(super) fn reattribute(state: &mut State, datapath: &Datapath) -> Result<(), Error> {
    let mut isolators = state.isolators();
    for slot in state.attribution.changed(&isolators) {
        state.attribution.see(slot, &datapath.counters_of(slot)?);
        if let Some(isolators) = isolators.remove(&slot) {
            state.attribution.isolate(slot, isolators);
        }
    }
    see_rules(state, datapath)
}

/// Takes in all that is counted now.
///
/// # Errors
/// The kernel refused to read.
pub(super) fn see_all(
    state: &mut State,
    datapath: &Datapath,
    counters: &BTreeMap<CounterKey, Counter>,
) -> Result<(), Error> {
    let slots: Vec<u32> = state.endpoints.iter().map(|(slot, _)| slot).collect();
    slots.into_iter().for_each(|slot| state.attribution.see(slot, counters));
    see_rules(state, datapath)
}

fn see_rules(state: &mut State, datapath: &Datapath) -> Result<(), Error> {
    let (planning, attribution) = (&state.planning, &mut state.attribution);
    let unknown = attribution.see_rules(&datapath.rules()?, |rule| planning.rule(RuleId::from_raw(rule)?));
    datapath.forget_rules(&unknown)
}

impl State {
    /// Whether the policies of pods may have changed and are in force now. Says so once.
    pub(super) fn take_reattribute(&mut self) -> bool {
        self.is_up_to_date() && self.stale.take(Derived::Attribution)
    }

    /// The policies that judge the packets of each slot's pod.
    fn isolators(&self) -> BTreeMap<u32, Isolators> {
        let pods = self.endpoints.iter().filter_map(|(slot, endpoint)| Some((slot, endpoint.tenant.pod()?)));
        let isolators = pods.map(|(slot, id)| {
            let names = |direction| match self.cluster.pods.get(&id.key) {
                Some(pod) => {
                    in_force(&self.cluster, pod, direction).1.iter().map(|it| it.key.name.to_string()).collect()
                }
                None => Vec::new(),
            };
            (slot, Isolators { namespace: id.key.namespace.to_string(), policies: Direction::ALL.map(names) })
        });
        isolators.collect()
    }
}
