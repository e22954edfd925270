//! What the programs of the next start go on with: flows, counters, epochs, and a table of who has which slot.
//!
//! The maps that [`map::kept`] names are pinned by name and version, and every start's programs use those that are there. Where
//! one is to have another size, its entries are carried over: once before the programs change, once after.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use podgate_common::{Resident, map};

use crate::Error;
use crate::maps::FlowMap;
use crate::pins::Pins;
use crate::sys::{self, MapSize};

/// The name under which the table of [`Resident`]s is pinned.
pub(crate) const RESIDENTS: &str = "RESIDENTS";

/// Generations are given out in stretches of this length, so that few switches write down how far they have come.
const STRETCH: u32 = 1024;

/// What outlives a start.
#[derive(Debug)]
pub(crate) struct Kept {
    residents: OwnedFd,
    /// The last generation that may be given out without another note.
    reserved: u32,
    /// Tables of another size that a former start made.
    outgrown: BTreeMap<&'static str, OwnedFd>,
}

/// What a former start has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Former {
    /// Who had a slot.
    pub(crate) residents: BTreeMap<u32, Resident>,
    /// No flow has a later generation; 0: there are none.
    pub(crate) last_generation: u32,
}

impl Kept {
    /// Makes ready for the maps to be opened or made at [`Self::paths`].
    ///
    /// # Errors
    /// A pin can't be read, made or moved.
    pub(crate) fn open(pins: &Pins, capacities: &BTreeMap<&'static str, u32>) -> Result<(Self, Former), Error> {
        let entries = capacities[map::SLOTS];
        let size = MapSize { key: 4, value: size_of::<Resident>() as u32, entries };
        let residents = match pins.open_kept(RESIDENTS).filter(|map| has_size(map.as_fd(), size)) {
            Some(map) => map,
            None => begin(pins, size)?,
        };
        let mut outgrown = BTreeMap::new();
        for name in map::kept() {
            if pins.open_kept(name).is_some_and(|map| entries_of(map.as_fd()) != Some(capacities[name])) {
                pins.outgrow(name)?;
            }
            outgrown.extend(pins.open_outgrown(name).map(|map| (name, map)));
        }
        let mut slots = vec![Resident::default(); entries as usize];
        sys::array_lookup_batch(residents.as_fd(), 0, entries, &mut slots).map_err(|error| failed("read", error))?;
        let former = Former::new(&slots);
        Ok((Self { residents, reserved: former.last_generation, outgrown }, former))
    }

    /// Where each map is pinned.
    pub(crate) fn paths(pins: &Pins) -> impl Iterator<Item = (&'static str, PathBuf)> + use<'_> {
        map::kept().map(|name| (name, pins.kept(name)))
    }

    /// Pins the table of residents if it is not pinned; whether it was not.
    ///
    /// # Errors
    /// The pin can't be made.
    pub(crate) fn pin(&self, pins: &Pins) -> Result<bool, Error> {
        pins.pin_kept(RESIDENTS, self.residents.as_fd())
    }

    /// Notes who has a slot; nobody with the default.
    ///
    /// # Errors
    /// The kernel refused the write.
    pub(crate) fn note(&self, slot: u32, resident: Resident) -> Result<(), Error> {
        sys::map_update(self.residents.as_fd(), &slot, &resident).map_err(|error| failed("write to", error))
    }

    /// Notes that generations up to this one, and some more, may be given out.
    ///
    /// # Errors
    /// The kernel refused the write.
    pub(crate) fn reserve(&mut self, generation: u32) -> Result<(), Error> {
        if generation > self.reserved {
            let last_generation = generation.saturating_add(STRETCH);
            self.note(0, Resident { last_generation, ..Resident::default() })?;
            self.reserved = last_generation;
        }
        Ok(())
    }

    /// Starts generations again: no flow is left.
    ///
    /// # Errors
    /// The kernel refused the write.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.reserved = 0;
        self.reserve(1)
    }

    /// Copies what is in tables of another size and not in those that took their place.
    ///
    /// # Errors
    /// The kernel refused something.
    pub(crate) fn carry_over(&self, tables: &[&FlowMap]) -> Result<(), Error> {
        let mut pairs = tables.iter().filter_map(|table| Some((table, self.outgrown.get(table.name)?)));
        pairs.try_for_each(|(table, outgrown)| table.copy_from(outgrown.as_fd()))
    }

    /// Removes the tables of another size, of other versions, and that are no longer shared: no program uses them any more.
    ///
    /// # Errors
    /// A pin can't be removed.
    pub(crate) fn drop_former(&mut self, pins: &Pins) -> Result<(), Error> {
        for (name, _) in std::mem::take(&mut self.outgrown) {
            pins.unpin_outgrown(name)?;
        }
        let kept = map::kept().chain([RESIDENTS]).map(str::to_lowercase).collect();
        pins.remove_others_of_this_version(&kept)?;
        pins.remove_other_versions()
    }
}

impl Former {
    fn new(slots: &[Resident]) -> Self {
        let last_generation = slots.first().map_or(0, |first| first.last_generation);
        let taken = (0..).zip(slots).filter(|(_, resident)| resident.ifindex != 0);
        Self { residents: taken.map(|(slot, resident)| (slot, *resident)).collect(), last_generation }
    }
}

/// Begins anew: flows and counters of which nobody knows whose they are are worth nothing.
fn begin(pins: &Pins, size: MapSize) -> Result<OwnedFd, Error> {
    for name in map::kept().chain([RESIDENTS]) {
        pins.unpin_kept(name)?;
        pins.unpin_outgrown(name)?;
    }
    let map = sys::map_create_sized(sys::MAP_TYPE_ARRAY, size, None).map_err(|error| failed("make", error))?;
    pins.pin_kept(RESIDENTS, map.as_fd())?;
    Ok(map)
}

fn has_size(map: BorrowedFd<'_>, size: MapSize) -> bool {
    sys::map_size(map).is_ok_and(|found| found == size)
}

fn entries_of(map: BorrowedFd<'_>) -> Option<u32> {
    sys::map_size(map).ok().map(|size| size.entries)
}

fn failed(action: &'static str, source: io::Error) -> Error {
    Error::Table { action, table: RESIDENTS, source }
}
