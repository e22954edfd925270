//! Enforcing a pod while no agent is at work, with the programs and tables that one has left pinned.
//!
//! What can be given to a pod is what was last known for it, or isolation. The next agent finds the interface hooked as it
//! would have done itself, and takes it over as any other. The caller sees to it that neither an agent nor another run of
//! this is at work meanwhile.

mod pinned;
mod plan;

use std::collections::BTreeSet;
use std::path::Path;

use podgate_common::{Direction, EthernetSource, InterfaceSlot, Resident, ethernet_index, flags, map};
use podgate_host::netlink::ifindexes;

use crate::attach::attach_pinned;
use crate::interfaces::EntryLocation;
use crate::kept::RESIDENTS;
use crate::load::Classifier;
use crate::maps::Grace;
use crate::own::own;
use crate::pins::{Pins, set_in_force};
use crate::{Error, Identity, preflight};
use pinned::Pinned;
use plan::Plan;

/// What an agent has left.
#[derive(Debug)]
pub struct Offline {
    pins: Pins,
    pinned: Pinned,
}

/// What a pod was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// What it has already: its interface has a slot.
    Before,
    /// The policies that were last known for it.
    LastKnown,
    /// Isolation in both directions; its node reaches it.
    Nothing,
}

impl Offline {
    /// Opens what is pinned below a directory; `None`: nothing is, so no agent has been at work since the node was booted,
    /// or all was cleaned up.
    ///
    /// # Errors
    /// What is pinned is of another version, or can't be opened.
    pub fn open(bpffs: &Path) -> Result<Option<Self>, Error> {
        let Some(set) = set_in_force(bpffs) else { return Ok(None) };
        let Some(pins) = Pins::existing(bpffs)? else { return Ok(None) };
        Ok(Some(Self { pinned: Pinned::open(&set, &pins)?, pins }))
    }

    /// Enforces a pod on an interface of the calling thread's network namespace. Its frames may come from `source`. `like` is
    /// the interface that the pod had before, if that is known: the pod gets the policies in force there.
    ///
    /// # Errors
    /// There is no room, the kernel refused something, or the interface is gone. What was written does no harm.
    pub fn enforce(&self, identity: &Identity, source: EthernetSource, like: Option<u32>) -> Result<Given, Error> {
        let kernel_has_tcx = preflight::check()?;
        // What the agent has given back a moment ago may still be in use by a program.
        self.pinned.wait(&Grace::new().map_err(|source| pinned::failed("make", "GRACE", source))?)?;
        let ifindexes = ifindexes().map_err(|error| Error::Attach {
            ifindex: identity.ifindex,
            reason: format!("can't tell which interfaces there are: {error}"),
        })?;
        let given = self.enter(identity, source, like, &ifindexes)?;
        for direction in Direction::ALL {
            let classifier = Classifier::of_pod(direction);
            attach_pinned(&self.pins, self.pinned.program(direction), classifier, identity.ifindex, kernel_has_tcx)?;
        }
        Ok(given)
    }

    /// Writes what the programs must know: a record first, then the word that points at it, then that the slot is the
    /// interface's.
    fn enter(
        &self,
        identity: &Identity,
        source: EthernetSource,
        like: Option<u32>,
        ifindexes: &BTreeSet<u32>,
    ) -> Result<Given, Error> {
        let snapshot = self.pinned.snapshot(ifindexes)?;
        if snapshot.slot_of(identity.ifindex).is_some_and(|slot| slot != 0) {
            return Ok(Given::Before);
        }
        let plan = Plan::new(&snapshot, identity, like)
            .map_err(|reason| Error::Attach { ifindex: identity.ifindex, reason: reason.to_owned() })?;
        self.write(&plan, identity, source)?;
        Ok(plan.given)
    }

    fn write(&self, plan: &Plan, identity: &Identity, source: EthernetSource) -> Result<(), Error> {
        if let Some(config) = plan.config {
            self.pinned.put(map::CONFIGS, &plan.word.config(), &config)?;
        }
        for index in &plan.stale {
            self.pinned.put(map::INTERFACES, index, &InterfaceSlot::default())?;
        }
        if !plan.shared {
            self.pinned.clear_counters(plan.slot)?;
            self.pinned.put(RESIDENTS, &plan.slot, &identity.resident(Some(plan.word.generation())))?;
        }
        if !plan.shared || plan.config.is_some() {
            let reserved = Resident { last_generation: plan.word.generation(), ..Resident::default() };
            self.pinned.put(RESIDENTS, &0_u32, &reserved)?;
            self.pinned.put(map::SLOTS, &plan.slot, &plan.word)?;
        }
        if let Some(address) = identity.key4().filter(|_| !plan.shared) {
            self.pinned.put(map::ORIGINS4, &address, &plan.slot)?;
        }
        if let Some(address) = identity.key6().filter(|_| !plan.shared) {
            self.pinned.put(map::ORIGINS6, &address, &plan.slot)?;
        }
        self.write_own(plan, identity, source)?;
        match plan.place {
            EntryLocation::Array(index) => {
                let entry = InterfaceSlot::new(identity.ifindex, plan.slot);
                self.pinned.put(map::INTERFACES, &index, &entry)
            }
            EntryLocation::More => self.pinned.put(map::INTERFACES_MORE, &identity.ifindex, &plan.slot),
        }
    }

    /// Writes what the pod may speak for, and come from; the link-local addresses of its interface are known to the next agent.
    /// Policies that were last known for a pod that routes are still those of one.
    fn write_own(&self, plan: &Plan, identity: &Identity, source: EthernetSource) -> Result<(), Error> {
        let routes = plan.shared || plan.config.is_some_and(|config| config.flags & flags::ROUTES != 0);
        let own = own(plan.slot, &Identity { routes, ..identity.clone() });
        let source = if routes { EthernetSource::ANY } else { source };
        for (is_later, source) in [(true, EthernetSource::default()), (false, source)] {
            self.pinned.put(map::ETHERNET_SOURCES, &ethernet_index(plan.slot, is_later), &source)?;
        }
        if !plan.shared {
            self.pinned.disown(plan.slot, &own)?;
            self.pinned.put(map::POD_ADDRESSES, &plan.slot, &identity.addresses())?;
        }
        own.iter().try_for_each(|key| self.pinned.put(map::OWN_ADDRESSES, key, &1_u32))
    }
}
