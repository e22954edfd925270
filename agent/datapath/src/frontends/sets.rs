//! Which sets of backends the kernel has, and in which order they change. No kernel in here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use podgate_policy::model::Protocol;
use podgate_policy::services::Frontend;

use super::{Backends, Lead};

/// So many frontends that are gone are remembered with their backends, for the sake of flows that live on.
const GONE: usize = 1024;

/// Something to do to the kernel. In the order of a plan, a packet always finds one complete set, the old or the new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write the backends of a set that nothing names yet.
    Fill(u32),
    /// Change in one store what a frontend names; `None`: it is none any more.
    Switch(Frontend, Option<Target>),
    /// Make flows with these remote addresses be judged again.
    Raise(BTreeSet<IpAddr>),
    /// Wait until no program runs that has found a set before this point.
    Grace,
    /// Remove a set that nothing names any more.
    Empty(u32),
}

/// What a frontend names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A set.
    Set(u32),
    /// Backends that are not in the tables.
    Unknown,
}

/// The sets of the kernel.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    /// Every set that is, or may be, in the kernel.
    sets: BTreeMap<u32, Backends>,
    /// What each frontend names there.
    held: BTreeMap<Frontend, Target>,
    /// The sets that nothing names: to be removed after a grace period.
    loose: BTreeSet<u32>,
    /// The number that was given last.
    last: u32,
    /// Frontends that are none any more, with the backends that flows to them may have.
    gone: BTreeMap<Frontend, Backends>,
    /// Every address of a backend with the frontends that lead, or led, to it.
    leading: BTreeSet<(IpAddr, Frontend)>,
}

impl Sets {
    /// What makes frontends lead somewhere else: all sets are written, then the frontends switched one by one, then their
    /// flows judged again, then what is left over removed. A frontend that goes leaves its flows alone. Begins with what
    /// an earlier plan has left over that failed.
    pub(super) fn plan(&mut self, changes: &BTreeMap<Frontend, Option<Lead>>) -> Vec<Step> {
        let mut steps = sweep(&self.loose);
        let targets: Vec<_> = changes.iter().map(|(&frontend, lead)| (frontend, self.target(lead.as_ref()))).collect();
        let sets = targets.iter().filter_map(|(_, target)| set_of((*target)?));
        steps.extend(sets.map(Step::Fill));
        steps.extend(targets.iter().map(|&(frontend, target)| Step::Switch(frontend, target)));
        let mut raised: BTreeSet<IpAddr> =
            targets.iter().filter(|(_, target)| target.is_some()).map(|(frontend, _)| frontend.address).collect();
        if self.gone.len() + changes.len() > GONE {
            raised.extend(self.gone.keys().map(|frontend| frontend.address));
        }
        steps.extend((!raised.is_empty()).then_some(Step::Raise(raised)));
        let replaced = changes.keys().filter_map(|frontend| set_of(*self.held.get(frontend)?)).collect();
        steps.extend(sweep(&replaced));
        steps
    }

    fn target(&mut self, lead: Option<&Lead>) -> Option<Target> {
        Some(match lead? {
            Lead::Unknown => Target::Unknown,
            Lead::Backends(backends) => {
                let id = self.unused();
                self.sets.insert(id, backends.clone());
                self.loose.insert(id);
                Target::Set(id)
            }
        })
    }

    /// A number that no set in the kernel has.
    fn unused(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if ![0, u32::MAX].contains(&self.last) && !self.sets.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// Notes that a step is done.
    pub(super) fn done(&mut self, step: &Step) {
        match step {
            Step::Fill(_) | Step::Grace => {}
            Step::Switch(frontend, target) => self.switched(*frontend, *target),
            Step::Raise(addresses) => self.raised(addresses),
            Step::Empty(id) => {
                self.sets.remove(id);
                self.loose.remove(id);
            }
        }
    }

    fn switched(&mut self, frontend: Frontend, target: Option<Target>) {
        let former = match target {
            Some(target) => self.held.insert(frontend, target),
            None => self.held.remove(&frontend),
        };
        let former = former.and_then(set_of);
        self.loose.extend(former);
        let former = former.and_then(|id| self.sets.get(&id).cloned()).unwrap_or_default();
        if target.is_none() {
            if !former.is_empty() {
                self.gone.insert(frontend, former);
            }
            return;
        }
        self.forget(frontend, &former);
        if let Some(gone) = self.gone.remove(&frontend) {
            self.forget(frontend, &gone);
        }
        if let Some(id) = target.and_then(set_of) {
            self.loose.remove(&id);
            let backends = self.sets.get(&id).into_iter().flat_map(|backends| backends.iter());
            self.leading.extend(backends.map(|backend| (backend.ip(), frontend)));
        }
    }

    fn forget(&mut self, frontend: Frontend, backends: &Backends) {
        for backend in backends.iter() {
            self.leading.remove(&(backend.ip(), frontend));
        }
    }

    /// Notes that the flows with these remote addresses are judged again: those to a frontend that is gone as to any address.
    pub(crate) fn raised(&mut self, addresses: &BTreeSet<IpAddr>) {
        let raised: Vec<_> = self.gone.keys().filter(|gone| addresses.contains(&gone.address)).copied().collect();
        for frontend in raised {
            let backends = self.gone.remove(&frontend).unwrap_or_default();
            self.forget(frontend, &backends);
        }
    }

    /// The addresses of the frontends that lead, or led, to a backend.
    pub(crate) fn leading_to(&self, backend: IpAddr) -> impl Iterator<Item = IpAddr> + '_ {
        let first = Frontend { address: Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Tcp, port: 0 };
        let leading = self.leading.range((backend, first)..).take_while(move |(address, _)| *address == backend);
        leading.map(|(_, frontend)| frontend.address)
    }

    /// The backends of a set.
    pub(super) fn backends(&self, id: u32) -> Backends {
        self.sets.get(&id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
impl Sets {
    /// Every address of a backend with the addresses of frontends that lead, or led, to it.
    pub(super) fn clone_leading(&self) -> Vec<(IpAddr, IpAddr)> {
        self.leading.iter().map(|(backend, frontend)| (*backend, frontend.address)).collect()
    }
}

/// What removes sets.
fn sweep(sets: &BTreeSet<u32>) -> Vec<Step> {
    let wait = (!sets.is_empty()).then_some(Step::Grace);
    wait.into_iter().chain(sets.iter().copied().map(Step::Empty)).collect()
}

const fn set_of(target: Target) -> Option<u32> {
    match target {
        Target::Set(id) => Some(id),
        Target::Unknown => None,
    }
}
