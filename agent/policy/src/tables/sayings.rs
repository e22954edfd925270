//! What a policy says to a class: all tiers, resolved for every protocol and port.

use std::collections::BTreeMap;

use crate::cluster_policy::{Action, Tier};
use crate::compile::{Atom, Fulfilled, Grant, PortRange, Rest, Spec, Step, Term};
use crate::id::RuleId;
use crate::model::{Mode, Protocol};
use crate::op::{RowHeader, Saying};
use crate::tables::rows::RowKey;

/// What a policy says to those who fulfil this.
pub(crate) fn row_key(spec: &Spec, fulfilled: &Fulfilled) -> RowKey {
    if fulfilled.each.is_empty() || spec.terms().iter().all(|term| term.step == Step::NetworkPolicy) {
        return Asked::of(spec, &fulfilled.all, &fulfilled.all).row_key();
    }
    // NetworkPolicies allow what they allow to everybody whose the address may be. What is said to somebody else by a
    // ClusterNetworkPolicy is said to each, and the worst counts.
    let keys = fulfilled.each.iter().map(|own| Asked::of(spec, own, &fulfilled.all).row_key());
    keys.reduce(|one, other| worst_rows(&one, &other)).unwrap_or_default()
}

/// The terms about a class, in the order in which they are asked.
struct Asked<'s> {
    terms: Vec<Placed<'s>>,
    rest: Rest,
}

struct Placed<'s> {
    order: Order,
    term: &'s Term,
    /// That of a named port.
    number: u16,
}

/// When a term is asked. Of NetworkPolicies' that allow the same, the one that says it of more packets comes first, then the
/// rule with the lower id: their order means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Admin(u32),
    NetworkPolicy(u8, RuleId),
    Baseline(u32),
}

impl Order {
    fn of(term: &Term) -> Self {
        match term.step {
            Step::Cluster { tier: Tier::Admin, place, .. } => Self::Admin(place),
            Step::Cluster { tier: Tier::Baseline, place, .. } => Self::Baseline(place),
            Step::NetworkPolicy => {
                let narrowness = match term.grant {
                    Grant::Any => 0,
                    Grant::Protocol(_) => 1,
                    Grant::Range(_) | Grant::Named(_) => 2,
                };
                Self::NetworkPolicy(narrowness, term.rule)
            }
        }
    }
}

impl<'s> Asked<'s> {
    /// The terms for everyone, those of ClusterNetworkPolicies for who fulfils `own`, and those of NetworkPolicies for who
    /// fulfils `common`.
    fn of(spec: &'s Spec, own: &[Atom], common: &[Atom]) -> Self {
        let placed = |term, number| Placed { order: Order::of(term), term, number };
        let mut terms: Vec<_> = spec.terms_of(None).iter().map(|term| placed(term, 0)).collect();
        let mut add = |atoms: &[Atom], is_meant: fn(Step) -> bool| {
            for atom in atoms {
                let of_ask = spec.terms_of(Some(atom.ask)).iter().filter(|term| is_meant(term.step));
                terms.extend(of_ask.map(|term| placed(term, atom.number)));
            }
        };
        add(own, |step| step != Step::NetworkPolicy);
        add(common, |step| step == Step::NetworkPolicy);
        terms.sort_by_key(|placed| placed.order);
        Self { terms, rest: spec.content.rest }
    }

    fn row_key(&self) -> RowKey {
        let portless = self.says(self.indexes(|grant| grant == Grant::Any));
        let mut key = RowKey { header: RowHeader::uniform(portless), ranges: Vec::new() };
        for protocol in Protocol::ALL {
            self.of_protocol(protocol, &mut key);
        }
        key
    }

    fn indexes(&self, is_meant: impl Fn(Grant) -> bool) -> impl Iterator<Item = usize> {
        (0..self.terms.len()).filter(move |&index| is_meant(self.terms[index].term.grant))
    }

    /// Says what is said of a protocol, in one go from the first port to the last.
    fn of_protocol(&self, protocol: Protocol, key: &mut RowKey) {
        let of_all = |grant| grant == Grant::Any || grant == Grant::Protocol(protocol);
        let default = self.says(self.indexes(of_all));
        let index = protocol as usize;
        key.header.protocols[index] = default;
        let mut ends: Vec<(u32, usize, bool)> = Vec::new();
        for (index, placed) in self.terms.iter().enumerate() {
            let (first, last) = match placed.term.grant {
                Grant::Range(range) if range.protocol == protocol => (range.first, range.last),
                Grant::Named(its) if its == protocol => (placed.number, placed.number),
                _ => continue,
            };
            ends.extend([(u32::from(first), index, true), (u32::from(last) + 1, index, false)]);
        }
        if ends.is_empty() {
            return;
        }
        ends.sort_unstable();
        // What is asked about a port, each with how often it is.
        let mut asked: BTreeMap<usize, u32> = self.indexes(of_all).map(|index| (index, 1)).collect();
        let start = key.ranges.len();
        for (&(at, index, begins), &(next, ..)) in ends.iter().zip(ends.iter().skip(1)) {
            let count = asked.entry(index).or_default();
            *count = if begins { *count + 1 } else { *count - 1 };
            if *count == 0 {
                asked.remove(&index);
            }
            if at < next
                && let (Ok(first), Ok(last)) = (u16::try_from(at), u16::try_from(next - 1))
            {
                let says = self.says(asked.keys().copied());
                push(&mut key.ranges, start, PortRange { protocol, first, last }, says, default);
            }
        }
        key.header.by_port[index] = key.ranges.len() > start;
    }

    /// What terms say together, by their indexes in order.
    fn says(&self, asked: impl Iterator<Item = usize>) -> Saying {
        let mut walk = Walk { rest: self.rest, asked: None, passed: None, network_policy: None, would: None };
        let mut terms = asked.map(|index| self.terms[index].term);
        terms.find_map(|term| walk.ask(term)).unwrap_or_else(|| walk.end())
    }
}

/// Adds what is said of ports behind those of before, unless it is what is said of all others.
fn push(ranges: &mut Vec<(PortRange, Saying)>, start: usize, range: PortRange, says: Saying, default: Saying) {
    if says == default {
        return;
    }
    if let Some((before, same)) = ranges[start..].last_mut()
        && *same == says
        && u32::from(before.last) + 1 == u32::from(range.first)
    {
        before.last = range.last;
        return;
    }
    ranges.push((range, says));
}

/// The way through the tiers for one packet.
struct Walk {
    rest: Rest,
    /// The tier of the last rule that matched.
    asked: Option<Tier>,
    /// The tier that a rule passed on.
    passed: Option<Tier>,
    /// The NetworkPolicies' rule that allows it.
    network_policy: Option<RuleId>,
    /// What in audit mode would deny it.
    would: Option<Option<RuleId>>,
}

impl Walk {
    /// Asks a rule that matches. What it decides, if it does.
    fn ask(&mut self, term: &Term) -> Option<Saying> {
        let Step::Cluster { tier, action, mode, .. } = term.step else {
            self.network_policy.get_or_insert(term.rule);
            return (self.rest == Rest::Denied).then(|| self.passes(Some(term.rule)));
        };
        if self.passed == Some(tier) {
            return None;
        }
        if tier == Tier::Baseline {
            if self.rest == Rest::Denied {
                return Some(self.end());
            }
            self.leave_network_policies();
        }
        let is_first = self.asked.replace(tier) != Some(tier);
        match (mode, action) {
            (Mode::Audited, Action::Deny) if is_first && !matches!(self.would, Some(Some(_))) => {
                self.would = Some(Some(term.rule));
                None
            }
            (Mode::Audited, _) => None,
            (Mode::Enforced, Action::Accept) => Some(self.passes(Some(term.rule))),
            (Mode::Enforced, Action::Deny) => Some(Saying::Denied(Some(term.rule))),
            (Mode::Enforced, Action::Pass) => {
                self.passed = Some(tier);
                None
            }
        }
    }

    /// What becomes of it where no rule decides.
    fn end(&mut self) -> Saying {
        self.leave_network_policies();
        match self.rest {
            Rest::Denied => Saying::Denied(None),
            Rest::WouldDeny | Rest::Undecided => self.passes(self.network_policy),
        }
    }

    /// Notes what NetworkPolicies in audit mode would do.
    fn leave_network_policies(&mut self) {
        if self.rest == Rest::WouldDeny && self.network_policy.is_none() {
            self.would.get_or_insert(None);
        }
    }

    fn passes(&self, rule: Option<RuleId>) -> Saying {
        self.would.map_or(Saying::Allowed(rule), Saying::WouldDeny)
    }
}

/// What is said to somebody who may be one or the other.
fn worst_rows(one: &RowKey, other: &RowKey) -> RowKey {
    let mut key = RowKey::default();
    key.header.portless = worst(one.header.portless, other.header.portless);
    for protocol in Protocol::ALL {
        let index = protocol as usize;
        let default = worst(one.header.protocols[index], other.header.protocols[index]);
        key.header.protocols[index] = default;
        let ranges = one.ranges.iter().chain(&other.ranges).filter(|(range, _)| range.protocol == protocol);
        let mut starts: Vec<_> =
            ranges.flat_map(|(range, _)| [u32::from(range.first), u32::from(range.last) + 1]).collect();
        starts.sort_unstable();
        starts.dedup();
        let start = key.ranges.len();
        for pair in starts.windows(2) {
            let (Ok(first), Ok(last)) = (u16::try_from(pair[0]), u16::try_from(pair[1] - 1)) else { continue };
            let says = worst(one.says(protocol, first), other.says(protocol, first));
            push(&mut key.ranges, start, PortRange { protocol, first, last }, says, default);
        }
        key.header.by_port[index] = key.ranges.len() > start;
    }
    key
}

/// A denial, else what would be one, else the first.
fn worst(one: Saying, other: Saying) -> Saying {
    let badness = |says| match says {
        Saying::Denied(_) => 2,
        Saying::WouldDeny(_) => 1,
        Saying::Allowed(_) => 0,
    };
    if badness(other) > badness(one) { other } else { one }
}
