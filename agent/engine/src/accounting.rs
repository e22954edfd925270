//! Reads what the kernel has counted, where it is to be put to the policies that were in force until now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podgate_common::Counter;
use podgate_datapath::{CounterKey, Datapath, Error};
use podgate_policy::evaluate::{RuleRef, in_force};
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

/// Takes in which policies are in force now, where they may be others than before.
///
/// # Errors
/// The kernel refused to read.
pub(super) fn reattribute(state: &mut State, datapath: &Datapath) -> Result<(), Error> {
    let doubtful = state.attribution.take_doubtful();
    let read = isolate(state, datapath, &doubtful);
    if read.is_err() {
        doubtful.iter().for_each(|namespace| state.attribution.doubt(namespace));
    }
    read?;
    see_rules(state, datapath)
}

fn isolate(state: &mut State, datapath: &Datapath, namespaces: &BTreeSet<Arc<str>>) -> Result<(), Error> {
    let mut isolators = state.isolators(namespaces);
    for slot in state.attribution.changed(&isolators) {
        state.attribution.see(slot, &datapath.counters_of(slot)?);
        if let Some(isolators) = isolators.remove(&slot) {
            state.attribution.isolate(slot, isolators);
        }
    }
    Ok(())
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
    let (planning, cluster, attribution) = (&state.planning, &state.cluster, &mut state.attribution);
    let does = |policy: &str, rule: &RuleRef| {
        let policy = cluster.cluster_policies.get(policy)?;
        Some((policy.tier, policy.rules(rule.direction).get(rule.index)?.action))
    };
    let unknown = attribution.see_rules(&datapath.rules()?, |rule| planning.rule(RuleId::from_raw(rule)?), does);
    datapath.forget_rules(&unknown)
}

impl State {
    /// Whether the policies of pods may have changed and are in force now. Says so once.
    pub(super) fn take_reattribute(&mut self) -> bool {
        self.is_up_to_date() && self.stale.take(Derived::Attribution)
    }

    /// The policies that judge the packets of each slot's pod, where that is one of these namespaces.
    pub(super) fn isolators(&self, namespaces: &BTreeSet<Arc<str>>) -> BTreeMap<u32, Isolators> {
        let pods = self.endpoints.iter().filter_map(|(slot, endpoint)| Some((slot, endpoint.tenant.pod()?)));
        let pods = pods.filter(|(_, id)| namespaces.contains(&id.key.namespace));
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::fixtures::{deny_all, host, never, pod, run, state, with_pod};
    use super::*;
    use podgate_policy::model::{Isolation, ObjectKey, Policy, Selector};
    use podgate_source::{Change, Object};

    fn deny_in(namespace: &str) -> Change {
        Change::Apply(Object::Policy(Arc::new(Policy {
            key: ObjectKey::new(namespace, "deny"),
            pod_selector: Selector::default(),
            ingress: Isolation::Restricted(vec![]),
            egress: Isolation::Unaffected,
            audit: false,
        })))
    }

    /// The slots that are looked at again after a change.
    fn looked_at(state: &mut State, change: Change) -> Vec<u32> {
        state.take_update(vec![change]);
        run(state, Instant::now(), never);
        assert!(state.take_reattribute());
        let doubtful = state.attribution.take_doubtful();
        state.isolators(&doubtful).into_keys().collect()
    }

    #[test]
    fn policies_are_attributed_anew_only_to_pods_of_their_namespace() {
        let mut state = state(8);
        state.take_view(host(&[(10, "10.0.0.1"), (11, "10.0.0.2")]));
        let other = ObjectKey::new("bank", "web");
        let web = podgate_policy::model::Pod { key: other, uid: "web".into(), ..pod("web", "10.0.0.2") };
        assert_eq!(looked_at(&mut state, with_pod(pod("api", "10.0.0.1"))), [1]);
        assert_eq!(looked_at(&mut state, with_pod(web)), [2], "nothing has changed about the first");
        assert_eq!(looked_at(&mut state, deny_all()), [1]);
        assert_eq!(looked_at(&mut state, deny_in("bank")), [2]);
        assert_eq!(looked_at(&mut state, deny_in("elsewhere")), Vec::<u32>::new());
    }
}
