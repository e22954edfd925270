//! Ids of rules.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::evaluate::RuleRef;
use crate::id::{RuleId, Sequence};

/// Rules that are gone but whose ids still lead somewhere, since reports of what they did may still be under way.
const REMEMBERED: usize = 4096;

/// Ids of rules. A rule keeps its id as long as its policy selects a pod of this node, and gets it back if that comes
/// true again soon.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    ids: HashMap<RuleRef, RuleId>,
    rules: BTreeMap<RuleId, Held>,
    gone: VecDeque<RuleId>,
    sequence: Sequence<RuleId>,
    news: News,
}

/// Which ids lead somewhere else than before.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Ids that are new, with their rules.
    pub(crate) named: Vec<(RuleId, RuleRef)>,
    /// Ids that lead nowhere any more.
    pub(crate) forgotten: Vec<RuleId>,
}

#[derive(Debug)]
struct Held {
    rule: RuleRef,
    holders: u32,
}

impl Rules {
    /// The id of a rule, held until it is released.
    pub(crate) fn hold(&mut self, rule: RuleRef) -> RuleId {
        let id = *self.ids.entry(rule.clone()).or_insert_with(|| {
            let id = self.sequence.take();
            self.news.named.push((id, rule.clone()));
            id
        });
        self.rules.entry(id).or_insert(Held { rule, holders: 0 }).holders += 1;
        id
    }

    /// Gives back a hold. The id is remembered for a while.
    pub(crate) fn release(&mut self, id: RuleId) {
        let Some(held) = self.rules.get_mut(&id) else { return };
        held.holders -= 1;
        if held.holders == 0 {
            self.gone.push_back(id);
        }
        while self.gone.len() > REMEMBERED {
            self.forget_oldest();
        }
    }

    /// The rule with an id.
    pub(crate) fn get(&self, id: RuleId) -> Option<&RuleRef> {
        self.rules.get(&id).map(|held| &held.rule)
    }

    /// What changed since the last call.
    pub(crate) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    fn forget_oldest(&mut self) {
        let Some(id) = self.gone.pop_front() else { return };
        // An id that was held again and released again stands in the queue twice: its last place counts.
        if self.gone.contains(&id) || self.rules.get(&id).is_none_or(|held| held.holders > 0) {
            return;
        }
        if let Some(held) = self.rules.remove(&id) {
            self.ids.remove(&held.rule);
            self.news.forgotten.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, ObjectKey};

    fn rule(index: usize) -> RuleRef {
        RuleRef { policy: ObjectKey::new("a", "n").into(), direction: Direction::Ingress, index }
    }

    #[test]
    fn a_rule_that_comes_back_has_its_id_again() {
        let mut rules = Rules::default();
        let (first, second) = (rules.hold(rule(0)), rules.hold(rule(1)));
        rules.release(first);
        assert_eq!(rules.get(first), Some(&rule(0)), "events about it may still come");
        let ids = [rules.hold(rule(0)), second, rules.hold(rule(2))];
        assert_eq!(ids.map(RuleId::raw), [1, 2, 3]);
    }

    #[test]
    fn rules_that_are_gone_for_long_are_forgotten_and_held_ones_are_not() {
        let mut rules = Rules::default();
        let held = rules.hold(rule(0));
        rules.release(held);
        rules.hold(rule(0));
        let gone = rules.hold(rule(1));
        rules.release(gone);
        for index in 2..REMEMBERED + 10 {
            let id = rules.hold(rule(index));
            rules.release(id);
        }
        assert_eq!((rules.get(held), rules.get(gone)), (Some(&rule(0)), None));
        assert_eq!((rules.ids.len(), rules.rules.len()), (REMEMBERED + 1, REMEMBERED + 1));
    }
}
