//! The ClusterNetworkPolicies that guard an endpoint in a direction: their rules in the order in which they are asked,
//! without those that never are.

use crate::cluster_policy::Tier;
use crate::compile::asks::Asks;
use crate::compile::cluster_peers::Reach;
use crate::compile::compiled::{Compiled, Served, Terms};
use crate::compile::terms::{Step, Term, Who};
use crate::model::Mode;

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Guard<'c> {
    /// Its tier.
    pub(crate) tier: Tier,
    /// Whether it is in force.
    pub(crate) mode: Mode,
    /// What it is compiled to.
    pub(crate) compiled: &'c Compiled,
    /// Its terms in the direction.
    pub(crate) terms: &'c Terms,
}

/// Their terms.
#[derive(Debug, Default)]
pub(crate) struct Guarded {
    /// Those that are the same for every endpoint.
    pub(crate) fixed: Vec<Term>,
    /// Those that follow from the names of an endpoint's ports.
    pub(crate) resolved: Vec<Term>,
    /// Whether there are more of these than were asked for.
    pub(crate) more: bool,
}

impl Guarded {
    /// Those of guards of one tier, in the order in which they are asked. At most so many follow from names of ports.
    pub(crate) fn take(&mut self, guards: &[Guard<'_>], served: &Served, most: usize, asks: &Asks) {
        let (mut before, mut ends) = (0, Ends::default());
        for guard in guards {
            let placed = |term: &Term| in_place(*term, before, guard.mode);
            if guard.mode == Mode::Enforced {
                guard.terms.ends.iter().for_each(|&(place, reach)| ends.note(before + place, reach));
            }
            let is_asked = |term: &Term| !ends.are_before(term, asks);
            self.fixed.extend(guard.terms.fixed.iter().map(placed).filter(is_asked));
            let (named, more) = guard.terms.resolve(served, most.saturating_sub(self.resolved.len()));
            self.resolved.extend(named.iter().map(placed).filter(is_asked));
            self.more |= more;
            before = before.saturating_add(guard.terms.rules);
        }
    }
}

/// A term of a policy behind whose tier's other rules it stands.
fn in_place(term: Term, before: u32, mode: Mode) -> Term {
    let step = match term.step {
        Step::Cluster { tier, place, action, .. } => Step::Cluster { tier, place: before + place, action, mode },
        Step::NetworkPolicy => Step::NetworkPolicy,
    };
    Term { step, ..term }
}

/// The first rules of a tier behind which others are not asked.
#[derive(Default)]
struct Ends {
    of_pods: Option<u32>,
    of_everybody: Option<u32>,
}

impl Ends {
    fn note(&mut self, place: u32, reach: Reach) {
        let end = match reach {
            Reach::Pods => &mut self.of_pods,
            Reach::Everybody => &mut self.of_everybody,
        };
        *end = Some(end.map_or(place, |other| other.min(place)));
    }

    /// Whether nobody whom a term is about gets as far as to it.
    fn are_before(&self, term: &Term, asks: &Asks) -> bool {
        let Step::Cluster { place, .. } = term.step else { return false };
        let is_before = |end: Option<u32>| end.is_some_and(|end| end < place);
        let of_pods = || term.ask.is_some_and(|ask| asks.get(ask).peers.iter().all(Who::is_pods));
        is_before(self.of_everybody) || (is_before(self.of_pods) && of_pods())
    }
}
