//! Which policies are behind what the kernel has counted.
//!
//! The programs count denials by slot, direction and reason, and allows by rule, and know nothing of names. What a slot's
//! counters have grown by belongs to the policies that isolated its pod meanwhile: so the counters are read when these
//! change, when the pod goes, and when somebody asks. Each packet is attributed once; those of the milliseconds between a change in
//! the kernel and the reading are put to the policies before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podgate_common::{Counter, Direction, Reason, Verdict};
use podgate_datapath::CounterKey;
use podgate_policy::cluster_policy::{Action, Tier};
use podgate_policy::evaluate::{PolicyRef, RuleRef};
use podgate_policy::model::ObjectKey;

use crate::status::{AllowStatus, AttributionStatus, ClusterRuleStatus, DenialStatus};

/// How finely is told who is behind a denial or an allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Granularity {
    /// Not at all.
    None,
    /// By the namespace.
    Namespace,
    /// By the policies.
    Policy,
    /// Allows by the rule, denials by the policies.
    Rule,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How finely.
    pub granularity: Granularity,
    /// How many series of denials, and of allows; what comes later is counted together.
    pub series: usize,
}

/// The policies that isolate a pod, by direction in the order of [`Direction::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Isolators {
    /// The pod's namespace, which is the policies'.
    pub(super) namespace: String,
    /// The names of those in force, sorted.
    pub(super) policies: [Vec<String>; 2],
}

/// What was counted, by policies.
#[derive(Debug)]
pub(super) struct Attribution {
    settings: Settings,
    /// Namespaces in which other policies may isolate pods than were told last.
    doubtful: BTreeSet<Arc<str>>,
    slots: BTreeMap<u32, Slot>,
    denials: Series<Denial>,
    /// What each rule was counted last.
    rules: BTreeMap<u32, u64>,
    allows: Series<Allow>,
    cluster_rules: Series<ClusterRule>,
}

#[derive(Debug, Default)]
struct Slot {
    isolators: Isolators,
    seen: BTreeMap<CounterKey, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Denial {
    namespace: String,
    policies: Vec<String>,
    direction: Direction,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Allow {
    namespace: String,
    policy: String,
    direction: &'static str,
    rule: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ClusterRule {
    policy: String,
    direction: &'static str,
    rule: usize,
    /// The policy's tier and the rule's action, as long as the policy is there.
    does: Option<(Tier, Action)>,
}

/// Counts by key, of which there are so many at most; the others are counted together.
#[derive(Debug)]
struct Series<K> {
    limit: usize,
    counts: BTreeMap<K, u64>,
    rest: u64,
}

impl<K: Ord> Series<K> {
    fn new(limit: usize) -> Self {
        Self { limit, counts: BTreeMap::new(), rest: 0 }
    }

    fn add(&mut self, key: K, more: u64) {
        let has_room = self.counts.len() < self.limit;
        match self.counts.get_mut(&key) {
            Some(count) => *count += more,
            None if has_room => drop(self.counts.insert(key, more)),
            None => self.rest += more,
        }
    }
}

impl Attribution {
    /// Nothing is counted yet.
    pub(super) fn new(settings: Settings) -> Self {
        let series = settings.series;
        let (denials, allows, cluster_rules) = (Series::new(series), Series::new(series), Series::new(series));
        let (doubtful, slots, rules) = Default::default();
        Self { settings, doubtful, slots, denials, rules, allows, cluster_rules }
    }

    /// Notes that other policies may isolate pods of a namespace from now on.
    pub(super) fn doubt(&mut self, namespace: &Arc<str>) {
        if self.is_wanted() && !self.doubtful.contains(namespace) {
            self.doubtful.insert(namespace.clone());
        }
    }

    /// The namespaces of which that was noted since the last call.
    pub(super) fn take_doubtful(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.doubtful)
    }

    /// Whether anything is to be attributed at all.
    pub(super) fn is_wanted(&self) -> bool {
        self.settings.granularity != Granularity::None
    }

    /// Somebody has moved into a slot, whose counters are these now.
    pub(super) fn begin(&mut self, slot: u32, counters: &BTreeMap<CounterKey, Counter>) {
        self.slots
            .entry(slot)
            .or_insert_with(|| Slot { isolators: Isolators::default(), seen: packets(slot, counters).collect() });
    }

    /// What the counters of a slot are now.
    pub(super) fn see(&mut self, slot: u32, counters: &BTreeMap<CounterKey, Counter>) {
        let Some(state) = self.slots.get_mut(&slot) else { return };
        for (key, packets) in packets(slot, counters) {
            let before = state.seen.insert(key, packets).unwrap_or(0);
            // What a rule denies is counted by the rule.
            let is_by_rule = matches!(key.reason, Reason::RuleDenied | Reason::RuleDeniedAudited);
            if packets > before && !is_by_rule {
                let by_policy = self.settings.granularity >= Granularity::Policy;
                let policies =
                    if by_policy { state.isolators.policies[key.direction as usize].clone() } else { vec![] };
                let namespace = state.isolators.namespace.clone();
                let (direction, reason) = (key.direction, key.reason);
                self.denials.add(Denial { namespace, policies, direction, reason }, packets - before);
            }
        }
    }

    /// The slots whose pod other policies isolate from now on than were told last.
    pub(super) fn changed(&self, isolators: &BTreeMap<u32, Isolators>) -> BTreeSet<u32> {
        let differs = |(slot, now): &(&u32, &Isolators)| self.slots.get(slot).is_some_and(|it| it.isolators != **now);
        isolators.iter().filter(differs).map(|(slot, _)| *slot).collect()
    }

    /// Other policies isolate the pod of a slot from now on.
    pub(super) fn isolate(&mut self, slot: u32, isolators: Isolators) {
        if let Some(state) = self.slots.get_mut(&slot) {
            state.isolators = isolators;
        }
    }

    /// Nobody is in a slot any more, whose counters are these.
    pub(super) fn end(&mut self, slot: u32, counters: &BTreeMap<CounterKey, Counter>) {
        self.see(slot, counters);
        self.slots.remove(&slot);
    }

    /// What rules are counted now; `name` finds a rule, and `does` what one of a ClusterNetworkPolicy does, of which tier.
    /// Returns those that nobody knows any more.
    pub(super) fn see_rules<'r>(
        &mut self,
        counts: &BTreeMap<u32, u64>,
        name: impl Fn(u32) -> Option<&'r RuleRef>,
        does: impl Fn(&str, &RuleRef) -> Option<(Tier, Action)>,
    ) -> Vec<u32> {
        let mut unknown = Vec::new();
        for (&id, &count) in counts {
            let more = count - self.rules.insert(id, count).unwrap_or(0).min(count);
            let Some(rule) = name(id) else {
                self.allows.rest += more;
                unknown.push(id);
                continue;
            };
            match &rule.policy {
                _ if more == 0 => {}
                PolicyRef::NetworkPolicy(key) => self.allows.add(self.settings.granularity.allow(rule, key), more),
                PolicyRef::Cluster(policy) => {
                    let (direction, does) = (rule.direction.as_str(), does(policy, rule));
                    self.cluster_rules
                        .add(ClusterRule { policy: policy.to_string(), direction, rule: rule.index, does }, more);
                }
            }
        }
        self.rules.retain(|id, _| counts.contains_key(id));
        unknown
    }

    /// What was counted so far.
    pub(super) fn status(&self) -> AttributionStatus {
        let denial = |(denial, &packets): (&Denial, &u64)| DenialStatus {
            namespace: denial.namespace.clone(),
            policies: denial.policies.clone(),
            direction: denial.direction.as_str().to_owned(),
            verdict: denial.reason.verdict().as_str().to_owned(),
            reason: denial.reason.as_str().to_owned(),
            packets,
        };
        let allow = |(allow, &flows): (&Allow, &u64)| AllowStatus {
            namespace: allow.namespace.clone(),
            policy: allow.policy.clone(),
            direction: allow.direction.to_owned(),
            rule: allow.rule,
            flows,
        };
        let cluster_rule = |(rule, &count): (&ClusterRule, &u64)| ClusterRuleStatus {
            policy: rule.policy.clone(),
            tier: rule.does.map(|(tier, _)| tier.as_str().to_owned()).unwrap_or_default(),
            action: rule.does.map(|(_, action)| action.as_str().to_owned()).unwrap_or_default(),
            direction: rule.direction.to_owned(),
            rule: rule.rule,
            count,
        };
        AttributionStatus {
            denials: self.denials.counts.iter().map(denial).collect(),
            other_denials: self.denials.rest,
            allows: self.allows.counts.iter().map(allow).collect(),
            other_allows: self.allows.rest,
            cluster_rules: self.cluster_rules.counts.iter().map(cluster_rule).collect(),
            other_cluster_rules: self.cluster_rules.rest,
        }
    }
}

impl Granularity {
    fn allow(self, rule: &RuleRef, key: &ObjectKey) -> Allow {
        let policy = if self >= Self::Policy { key.name.to_string() } else { String::new() };
        let index = (self == Self::Rule).then_some(rule.index);
        Allow { namespace: key.namespace.to_string(), policy, direction: rule.direction.as_str(), rule: index }
    }
}

/// The packets of a slot that were denied, or would have been.
fn packets(slot: u32, counters: &BTreeMap<CounterKey, Counter>) -> impl Iterator<Item = (CounterKey, u64)> {
    let first = CounterKey { slot, direction: Direction::ALL[0], reason: Reason::ALL[0] };
    let denied = |key: &CounterKey| matches!(key.reason.verdict(), Verdict::Denied | Verdict::WouldDeny);
    let of_slot = counters.range(first..).take_while(move |(key, _)| key.slot == slot);
    of_slot.filter(move |(key, _)| denied(key)).map(|(key, counter)| (*key, counter.packets))
}

#[cfg(test)]
mod tests {
    use podgate_policy::model;

    use super::*;

    const SLOT: u32 = 3;

    fn attribution(granularity: Granularity, series: usize) -> Attribution {
        Attribution::new(Settings { granularity, series })
    }

    fn counters(packets: u64) -> BTreeMap<CounterKey, Counter> {
        let key = |reason| CounterKey { slot: SLOT, direction: Direction::Ingress, reason };
        let counter = |packets| Counter { packets, bytes: 0 };
        [(key(Reason::NoRule), counter(packets)), (key(Reason::Rule), counter(100))].into()
    }

    fn by(policies: &[&str]) -> Isolators {
        let names = policies.iter().map(ToString::to_string).collect();
        Isolators { namespace: "shop".to_owned(), policies: [names, vec![]] }
    }

    /// Packets by policies.
    fn denied(attribution: &Attribution) -> Vec<(String, u64)> {
        attribution.status().denials.into_iter().map(|it| (it.policies.join(","), it.packets)).collect()
    }

    #[test]
    fn a_denial_is_put_to_the_policies_that_isolated_the_pod_then() {
        let mut attribution = attribution(Granularity::Policy, 10);
        attribution.begin(SLOT, &counters(5));
        attribution.isolate(SLOT, by(&["deny"]));
        attribution.see(SLOT, &counters(7));
        attribution.see(SLOT, &counters(8));
        assert_eq!(attribution.changed(&[(SLOT, by(&["deny", "web"]))].into()), [SLOT].into());
        attribution.isolate(SLOT, by(&["deny", "web"]));
        attribution.end(SLOT, &counters(18));
        attribution.see(SLOT, &counters(99));
        assert_eq!(denied(&attribution), [("deny".to_owned(), 3), ("deny,web".to_owned(), 10)]);
    }

    #[test]
    fn the_next_in_a_slot_begins_anew() {
        let mut attribution = attribution(Granularity::Namespace, 10);
        attribution.begin(SLOT, &counters(0));
        attribution.isolate(SLOT, by(&["deny"]));
        attribution.end(SLOT, &counters(4));
        attribution.begin(SLOT, &counters(0));
        attribution.isolate(SLOT, by(&["other"]));
        attribution.see(SLOT, &counters(1));
        assert_eq!(denied(&attribution), [(String::new(), 5)], "of the namespace");
    }

    fn no_cluster_rule(_: &str, _: &RuleRef) -> Option<(Tier, Action)> {
        None
    }

    #[test]
    fn a_rule_that_denies_is_counted_by_itself_and_not_put_to_who_isolates_the_pod() {
        let mut attribution = attribution(Granularity::Namespace, 1);
        attribution.begin(SLOT, &BTreeMap::new());
        attribution.isolate(SLOT, by(&["web"]));
        let key = CounterKey { slot: SLOT, direction: Direction::Ingress, reason: Reason::RuleDenied };
        attribution.see(SLOT, &[(key, Counter { packets: 7, bytes: 0 })].into());
        let rule = |index| RuleRef { policy: PolicyRef::Cluster("guard".into()), ..rule("", index) };
        let rules = [rule(0), rule(1)];
        let does = |_: &str, rule: &RuleRef| (rule.index == 0).then_some((Tier::Admin, Action::Deny));
        attribution.see_rules(&[(0, 7), (1, 2)].into(), |id| rules.get(id as usize), does);
        let status = attribution.status();
        let counted = ClusterRuleStatus {
            policy: "guard".to_owned(),
            tier: "Admin".to_owned(),
            action: "Deny".to_owned(),
            direction: "ingress".to_owned(),
            rule: 0,
            count: 7,
        };
        assert_eq!((status.denials, status.cluster_rules, status.other_cluster_rules), (vec![], vec![counted], 2));
    }

    fn rule(name: &str, index: usize) -> RuleRef {
        RuleRef { policy: ObjectKey::new("shop", name).into(), direction: model::Direction::Ingress, index }
    }

    #[test]
    fn what_rules_allow_is_told_as_finely_as_is_asked_for() {
        let rules = [rule("web", 0), rule("web", 1)];
        let name = |id: u32| rules.get(id as usize);
        let told = |granularity| {
            let mut attribution = attribution(granularity, 10);
            assert_eq!(attribution.see_rules(&[(0, 1), (1, 2)].into(), name, no_cluster_rule), Vec::<u32>::new());
            assert_eq!(attribution.see_rules(&[(0, 5), (1, 2), (9, 4)].into(), name, no_cluster_rule), [9]);
            let allows = attribution.status().allows.into_iter().map(|it| (it.policy, it.rule, it.flows));
            (allows.collect::<Vec<_>>(), attribution.status().other_allows)
        };
        let web = || "web".to_owned();
        assert_eq!(told(Granularity::Rule), (vec![(web(), Some(0), 5), (web(), Some(1), 2)], 4));
        assert_eq!(told(Granularity::Policy), (vec![(web(), None, 7)], 4));
        assert_eq!(told(Granularity::Namespace), (vec![(String::new(), None, 7)], 4));
    }

    #[test]
    fn series_without_room_are_counted_together() {
        let mut attribution = attribution(Granularity::Policy, 1);
        attribution.begin(SLOT, &counters(0));
        for (policy, packets) in [("a", 1), ("b", 3), ("a", 7)] {
            attribution.isolate(SLOT, by(&[policy]));
            attribution.see(SLOT, &counters(packets));
        }
        assert_eq!((denied(&attribution), attribution.status().other_denials), (vec![("a".to_owned(), 5)], 2));
    }
}
