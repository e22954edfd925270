//! From the programs' events to flows with names, while what they name is still known.

use std::time::{SystemTime, UNIX_EPOCH};

use podgate_common::FlowEvent;
use podgate_datapath::{Lost, boot_time};
use podgate_policy::evaluate::in_force;
use podgate_policy::id::RuleId;
use podgate_policy::model::Direction;

use super::state::State;
use crate::flows::{self, Facts, Flow, Line, Part, Rule, describe};

impl State {
    /// What an event tells. `is_former`: it is about a former owner of the slot. `part`: what the packet
    /// is to its connection. `clock`: when the machine was booted, in
    /// nanoseconds since 1970.
    pub(super) fn flow(&self, event: &FlowEvent, is_former: bool, part: Part, clock: i128) -> Flow {
        let direction = if event.direction == 0 { Direction::Ingress } else { Direction::Egress };
        let tenant = self.endpoints.get(event.slot).filter(|_| !is_former).map(|endpoint| &endpoint.tenant);
        let pod = tenant.and_then(|tenant| self.cluster.pods.get(&tenant.pod()?.key));
        let policies = pod.map(|pod| in_force(&self.cluster, pod, direction).1).unwrap_or_default();
        let facts = Facts {
            time: clock + i128::from(event.time),
            node: self.node().to_owned(),
            pod: tenant.and_then(|tenant| Some(tenant.named()?.to_string())),
            policies: policies.iter().map(|policy| policy.key.to_string()).collect(),
            rule: RuleId::from_raw(event.rule).and_then(|id| self.planning.rule(id)).map(|rule| Rule {
                policy: rule.policy.to_string(),
                direction: rule.direction.to_string(),
                index: rule.index,
            }),
            part,
        };
        describe(event, facts, |address| self.names.find(address))
    }
}

/// Now, in nanoseconds since 1970.
pub fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(0))
}

/// When the machine was booted, in nanoseconds since 1970, by the clock as it is set now.
pub(super) fn boot() -> i128 {
    now() - i128::from(boot_time())
}

/// What was lost since the last look.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// As it was then; `None`: there was no look yet.
    before: Option<Lost>,
}

impl Losses {
    /// The line about what was lost since the last look, if anything was.
    pub(super) fn look(&mut self, lost: Lost, node: &str) -> Option<Line> {
        let before = self.before.replace(lost)?;
        let [denied, allowed] = [lost.denied - before.denied, lost.allowed - before.allowed];
        if denied == 0 && allowed == 0 {
            return None;
        }
        let time = flows::timestamp(now());
        Some(Line::Lost(flows::Lost { time, node: node.to_owned(), denied, allowed, unread: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_once_and_nothing_of_the_time_before() {
        let mut losses = Losses::default();
        let lost = |denied, allowed| Lost { denied, allowed, rules: 0 };
        assert_eq!(losses.look(lost(7, 1), "node-a"), None);
        let Some(Line::Lost(told)) = losses.look(lost(9, 1), "node-a") else { panic!("two denials were lost") };
        assert_eq!((told.denied, told.allowed, told.unread), (2, 0, 0));
        assert_eq!(losses.look(lost(9, 1), "node-a"), None);
    }
}
