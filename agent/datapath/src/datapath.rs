//! The programs, their maps and the hooks they hang on, as one.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use log::Log;
use podgate_common::map;
use podgate_common::{Direction, InterfaceSlot, Resident, Share, SlotWord, share_index};
use podgate_host::netlink::Mac;
use podgate_policy::op::EndpointPolicies;

use crate::attach::Hooks;
use crate::frontends::Sets;
use crate::hooking::Attacher;
use crate::hz::boot_time;
use crate::identity::Identity;
use crate::interfaces::{EntryLocation, Interfaces};
use crate::kept::Kept;
use crate::load::{self, Classifier, Loaded, Programs};
use crate::maps::{Grace, Maps, clear_counters, cpus};
use crate::older::{TRUST_SECONDS, Tracked};
use crate::own::{LinkLocals, former_link_locals};
use crate::pins::Pins;
use crate::slots::{Exhausted, Identified, Slots, Switch};
use crate::sys::{self, Walk};
use crate::table::Table;
use crate::{Error, Hook, Options, preflight};

/// An endpoint that is identified later than that after a start is new, though the start has not come to its end.
const START: Duration = Duration::from_secs(60);

/// podgate's programs and tables in the kernel.
///
/// All methods act in the network namespace of the calling thread, and block: reading and writing tables for
/// microseconds to milliseconds, [`podgate_policy::op::Op::Grace`] for a grace period of the kernel, some 10 ms, and the
/// reuse of a slot too where none has passed since its release.
pub struct Datapath {
    pub(crate) maps: Maps,
    pub(crate) slots: Slots,
    pub(crate) epochs: Vec<u32>,
    pub(crate) sets: Sets,
    pub(crate) cpus: usize,
    /// The number of this set of tables, as events have it.
    pub(crate) set: u32,
    pub(crate) events: RingBuf<MapData>,
    pub(crate) messages: Option<EbpfLogger<&'static dyn Log>>,
    /// Entries of the tables that the programs write, and when they were counted.
    pub(crate) flow_counts: Option<(Instant, Vec<u64>)>,
    interfaces: Interfaces,
    grace: Grace,
    kept: Option<Kept>,
    former_link_locals: LinkLocals,
    /// When this start began, until the endpoints that were there then are attached.
    started: Option<Instant>,
    pub(crate) tracked: Tracked,
    /// Whether nothing is left of former starts.
    complete: bool,
    /// The table that is being compared with the kernel's.
    pub(crate) audited: usize,
    programs: Programs,
    hook: Hook,
    pub(crate) pins: Option<Pins>,
    pub(crate) attacher: Attacher,
}

impl fmt::Debug for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datapath").field("slots", &self.slots).field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl Datapath {
    /// Loads programs and tables of its own, beside those that a former start may have left at work on interfaces. The
    /// former keep enforcing what they were told until [`Self::attach`] takes each interface over. Flows and counters
    /// are those of the former start; [`Self::former_slots`] tells whose they are.
    ///
    /// # Errors
    /// Kernel, permissions or bpffs don't allow it; the message says what to do.
    pub fn load(options: &Options) -> Result<Self, Error> {
        let kernel_has_tcx = preflight::check()?;
        let pins = options.bpffs.as_deref().map(Pins::open).transpose()?;
        let capacities = load::capacities(&options.capacities, load::has_ipv6())?;
        let (kept, former) = pins.as_ref().map(|pins| Kept::open(pins, &capacities)).transpose()?.unzip();
        let former_link_locals =
            pins.as_ref().map_or(Ok(LinkLocals::new()), former_link_locals).unwrap_or_else(|error| {
                log::warn!("reading a former start's link-local addresses: {error}; what two pods have is nobody's");
                LinkLocals::new()
            });
        let Loaded { mut maps, programs, events, messages } = load::load(options, capacities, pins.as_ref())?;
        if let Some(pins) = &pins {
            programs.pin(pins)?;
            pins.remove_incomplete_sets()?;
        }
        kept.as_ref().map_or(Ok(()), |kept| kept.carry_over(&maps.flows()))?;
        let unreadable = |source| Error::Table { action: "make", table: "GRACE", source };
        let cpus = cpus()?;
        let former = former.unwrap_or_default();
        let hooks = Hooks::new(options.hook, kernel_has_tcx, pins.clone());
        Ok(Self {
            set: load::set(pins.as_ref()),
            slots: Slots::new(maps.capacities[map::SLOTS], maps.capacities[map::CONFIGS], former),
            epochs: maps.read_epochs()?,
            interfaces: Interfaces::new(maps.capacities[map::INTERFACES]),
            sets: Sets::default(),
            hook: hooks.hook(),
            attacher: Attacher::new(hooks, programs.clone()),
            pins,
            grace: Grace::new().map_err(unreadable)?,
            flow_counts: None,
            kept,
            former_link_locals,
            started: Some(Instant::now()),
            tracked: Tracked::default(),
            complete: false,
            audited: 0,
            maps,
            cpus,
            events,
            messages,
            programs,
        })
    }

    /// Who had which slot in a former start and is not identified yet: given the same slot, flows and counters go on.
    /// Nobody else may have the slot as long as the interface is there: a former program may count for it, until
    /// [`Self::finish_takeover`].
    #[must_use]
    pub fn former_slots(&self) -> Vec<FormerSlot> {
        let link_locals = |slot: &u32| self.former_link_locals.get(slot).cloned().unwrap_or_default();
        let former = self.slots.former().iter();
        former.map(|(slot, resident)| FormerSlot::new(*slot, resident, link_locals(slot))).collect()
    }

    /// How programs are attached: [`Hook::Tcx`] or [`Hook::Clsact`].
    #[must_use]
    pub const fn hook(&self) -> Hook {
        self.hook
    }

    /// The program that judges a direction, for test runs and measurements.
    #[must_use]
    pub fn program(&self, direction: Direction) -> BorrowedFd<'_> {
        self.programs.get(Classifier::of_pod(direction))
    }

    /// What [`Self::program`] goes on to where it is not certain itself, for test runs.
    #[must_use]
    pub fn whole_program(&self, direction: Direction) -> BorrowedFd<'_> {
        self.programs.whole(direction)
    }

    /// The program that judges what leaves by a device that is no pod's, for test runs and measurements.
    #[must_use]
    pub fn exit_program(&self) -> BorrowedFd<'_> {
        self.programs.get(Classifier::Exit)
    }

    /// The program that says whose the packets are that come out of a tunnel, for test runs and measurements.
    #[must_use]
    pub fn inner_program(&self) -> BorrowedFd<'_> {
        self.programs.get(Classifier::Inner)
    }

    /// The last slot. All that find no slot of their own share it, isolated in both directions; see [`Self::confine`]. Endpoints
    /// have those from 1 to the one before it.
    #[must_use]
    pub fn last_slot(&self) -> u32 {
        self.maps.capacities[map::SLOTS] - 1
    }

    /// Tells who the endpoint of a slot is; the first thing to do with a slot, and again when something but the
    /// interface has changed. An endpoint that has policies already keeps them, under a new generation.
    ///
    /// # Errors
    /// There is no such slot, it is another interface's, or the kernel refused a write.
    pub fn identify(&mut self, slot: u32, identity: &Identity) -> Result<(), Error> {
        let former = self.slots.endpoint(slot).ok().map(|endpoint| endpoint.identity.clone());
        let identified = self.slots.identify(slot, identity)?;
        self.set_origins(slot, former.as_ref(), Some(identity))?;
        self.own_identity(slot, former.as_ref(), Some(identity))?;
        if identified == Identified::Reused {
            self.forget_former_owner(slot)?;
        }
        if identified != Identified::Same {
            self.note(slot)?;
        }
        match identified {
            Identified::Fresh | Identified::Resumed | Identified::Reused | Identified::Same => Ok(()),
            Identified::Changed => match self.slots.endpoint(slot)?.policies {
                Some(policies) => self.switch(slot, policies),
                None => Ok(()),
            },
        }
    }

    /// The first generation of the slot's endpoint: a drop event with a lower one is about a former owner.
    #[must_use]
    pub fn birth(&self, slot: u32) -> Option<u32> {
        self.slots.endpoint(slot).ok()?.birth
    }

    /// Gives an endpoint policies: the record first, then the one word that points at it.
    pub(crate) fn switch(&mut self, slot: u32, policies: EndpointPolicies) -> Result<(), Error> {
        self.slots.endpoint(slot)?;
        let is_starting = self.started.is_some_and(|started| started.elapsed() < START);
        let isolates_first = self.slots.isolates_first(slot, &policies, is_starting);
        if isolates_first {
            self.slots.believe_until(slot, (boot_time() / 1_000_000_000 + TRUST_SECONDS) as u32);
        }
        let switch = self.prepare(slot, policies)?;
        if isolates_first && let Err(error) = self.enter_older(slot, switch.word.generation()) {
            log::warn!("{error}; connections of slot {slot} that are older than its isolation may stall");
        }
        match self.write(&switch) {
            Ok(()) => {
                let newborn = self.birth(slot).is_none();
                self.slots.commit(&switch);
                if newborn { self.note(slot) } else { Ok(()) }
            }
            Err(error) => {
                self.slots.abandon(&switch);
                Err(error)
            }
        }
    }

    /// Notes for the next start who has a slot.
    pub(crate) fn note(&self, slot: u32) -> Result<(), Error> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let resident = self.slots.endpoint(slot).map(|endpoint| Resident {
            ethernet: self.ethernet_of(slot),
            ..endpoint.identity.resident(endpoint.birth)
        });
        kept.note(slot, resident.unwrap_or_default())
    }

    /// Works out a switch, after waiting or forgetting flows where something has run out.
    fn prepare(&mut self, slot: u32, policies: EndpointPolicies) -> Result<Switch, Error> {
        loop {
            match self.slots.prepare(slot, policies) {
                Ok(switch) => return Ok(switch),
                Err(Exhausted::Configs) => self.wait()?,
                Err(Exhausted::Generations) => self.restart_generations()?,
            }
        }
    }

    fn write(&mut self, switch: &Switch) -> Result<(), Error> {
        if let Some(kept) = &mut self.kept {
            kept.reserve(switch.word.generation())?;
        }
        if let Some(config) = switch.config {
            self.maps.configs.put_one(switch.word.config(), config)?;
        }
        self.write_word(switch.slot, switch.word)
    }

    fn write_word(&mut self, slot: u32, word: SlotWord) -> Result<(), Error> {
        self.maps.slots.put_one(slot, word)
    }

    /// Waits until no program runs that has read what stands before this point.
    pub(crate) fn wait(&mut self) -> Result<(), Error> {
        self.grace.wait().map_err(|source| Error::Table {
            action: "wait for the readers of",
            table: "GRACE",
            source,
        })?;
        self.slots.end_quarantine();
        Ok(())
    }

    /// After four billion switches: forgets all flows, so that none bears a generation that is given out again.
    fn restart_generations(&mut self) -> Result<(), Error> {
        for table in self.maps.flows() {
            table.walk(Walk::Remove)?;
        }
        self.kept.as_mut().map_or(Ok(()), Kept::restart)?;
        for (slot, policies) in self.slots.restart_generations() {
            self.switch(slot, policies)?;
        }
        Ok(())
    }

    /// Clears the counters and shares of a slot's former owner, once no packet can be under way that counts for it.
    fn forget_former_owner(&mut self, slot: u32) -> Result<(), Error> {
        if self.slots.is_unsettled(slot) {
            self.wait()?;
        }
        clear_counters(self.maps.counters(), slot, self.cpus)?;
        let first = share_index(slot, Direction::Ingress, false);
        let shares: Vec<u32> = (first..share_index(slot + 1, Direction::Ingress, false)).collect();
        let cleared = sys::map_update_batch(self.maps.shares(), &shares, &vec![Share::default(); shares.len()]);
        cleared.map_err(|(_, source)| Error::Table { action: "clear", table: map::SHARES, source })?;
        self.slots.forget_retired(slot);
        Ok(())
    }

    /// Pins again what somebody has unpinned of maps and programs; whether anything was. [`Self::attach`] and
    /// [`Self::guard`] see to the links.
    ///
    /// # Errors
    /// A pin can't be made: the bpffs is gone, or something else is in the way.
    pub fn restore_pins(&mut self) -> Result<bool, Error> {
        let (Some(pins), Some(kept)) = (&self.pins, &self.kept) else { return Ok(false) };
        pins.create_directories()?;
        let pinned = self.programs.pin(pins)?;
        let noted = kept.pin(pins)?;
        if self.complete && !pins.is_complete() {
            pins.complete_set()?;
        }
        Ok(pinned || noted)
    }

    /// Tells the programs which slot an interface has; 0: it is no pod's.
    pub(crate) fn enter_interface(&mut self, ifindex: u32, slot: u32) -> Result<(), Error> {
        match self.interfaces.add(ifindex) {
            EntryLocation::Array(index) => self.maps.interfaces.put_one(index, InterfaceSlot::new(ifindex, slot)),
            EntryLocation::More => self.maps.interfaces_more.put_one(ifindex, slot),
        }
    }

    /// Tells the programs which addresses are a slot's.
    fn set_origins(&mut self, slot: u32, former: Option<&Identity>, now: Option<&Identity>) -> Result<(), Error> {
        let (former4, now4) = (former.and_then(Identity::key4), now.and_then(Identity::key4));
        let (former6, now6) = (former.and_then(Identity::key6), now.and_then(Identity::key6));
        set_origin(&mut self.maps.origins4, slot, former4, now4)?;
        set_origin(&mut self.maps.origins6, slot, former6, now6)
    }

    /// Lets the programs forget an interface.
    pub(crate) fn strike_interface(&mut self, ifindex: u32) -> Result<(), Error> {
        let struck = match self.interfaces.remove(ifindex) {
            Some(EntryLocation::Array(index)) => self.maps.interfaces.clear(&[index]),
            Some(EntryLocation::More) => self.maps.interfaces_more.delete(&[ifindex]),
            None => Ok(()),
        };
        struck.map_err(|(_, error)| error)
    }

    /// Frees a slot whose interface has no programs any more.
    pub(crate) fn vacate(&mut self, slot: u32, identity: &Identity) -> Result<(), Error> {
        self.set_origins(slot, Some(identity), None)?;
        self.disown(slot)?;
        let open = self.prepare(slot, EndpointPolicies::default())?;
        self.write_word(slot, open.word)?;
        self.slots.release(&open);
        self.note(slot)
    }

    /// Ends what [`crate::HookTask::finish_takeover`] was about.
    ///
    /// # Errors
    /// The kernel refused something; doing all of it again goes on.
    pub fn end_takeover(&mut self) -> Result<(), Error> {
        self.started = None;
        if let (Some(kept), Some(pins)) = (&mut self.kept, &self.pins) {
            kept.carry_over(&self.maps.flows())?;
            kept.drop_former(pins)?;
            pins.complete_set()?;
            self.complete = true;
        }
        self.slots.forget_former().into_iter().try_for_each(|slot| self.note(slot))
    }

    /// Entries of the two tables that lead from an interface to its slot.
    pub(crate) fn interfaces_used(&self) -> (usize, usize) {
        self.interfaces.used()
    }
}

/// A slot that somebody had in a former start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerSlot {
    /// The slot.
    pub slot: u32,
    /// The interface.
    pub ifindex: u32,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// The Ethernet addresses that were its interface's: the first, and a later one.
    pub macs: [Option<Mac>; 2],
    /// The IPv6 link-local addresses that were.
    pub link_locals: BTreeSet<Ipv6Addr>,
}

impl FormerSlot {
    fn new(slot: u32, resident: &Resident, link_locals: BTreeSet<Ipv6Addr>) -> Self {
        let addresses = [IpAddr::from(resident.address4.octets()), IpAddr::from(resident.address6.octets())];
        let addresses = addresses.into_iter().filter(|address| !address.is_unspecified()).collect();
        let macs = resident.ethernet.map(|mac| (mac != Mac::default()).then_some(mac));
        Self { slot, ifindex: resident.ifindex, addresses, macs, link_locals }
    }
}

fn set_origin<K: aya::Pod + Ord>(
    origins: &mut Table<K, u32>,
    slot: u32,
    former: Option<K>,
    now: Option<K>,
) -> Result<(), Error> {
    // Another slot may have the address by now.
    let is_its_own = |address: &K| origins.entries.get(address) == Some(&slot);
    if let Some(address) = former.filter(|_| former != now).filter(is_its_own) {
        origins.delete(&[address]).map_err(|(_, error)| error)?;
    }
    now.map_or(Ok(()), |address| origins.put_one(address, slot))
}
