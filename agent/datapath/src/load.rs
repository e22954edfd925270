//! Loads the embedded object: constants, capacities, maps, programs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{Map, MapData, MapError, RingBuf};
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use log::Log;
use podgate_common::map::{self, CAST, READ_AS, constant, program};
use podgate_common::{Direction, Tag, state};

use crate::kept::Kept;
use crate::maps::{Descriptors, Maps, cpus};
use crate::pins::Pins;
use crate::{Error, Options, hz, preflight, sk_buff, sys};

/// The programs, compiled by this crate's build script.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/podgate.o"));

/// Maps and programs, loaded and attached to nothing.
pub(crate) struct Loaded {
    pub(crate) maps: Maps,
    pub(crate) programs: Programs,
    pub(crate) events: RingBuf<MapData>,
    /// Where the programs' own messages are read; `None` where they write none.
    pub(crate) messages: Option<EbpfLogger<&'static dyn Log>>,
}

/// A program that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Classifier {
    /// [`program::INGRESS`]
    Ingress,
    /// [`program::EGRESS`]
    Egress,
    /// [`program::EXIT`]
    Exit,
    /// [`program::EXIT_BARE`]
    ExitBare,
    /// [`program::ENTRY`]
    Entry,
    /// [`program::INNER`]
    Inner,
    /// [`program::INNER_BARE`]
    InnerBare,
}

impl Classifier {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Ingress, Self::Egress, Self::Exit, Self::ExitBare, Self::Entry, Self::Inner, Self::InnerBare];

    /// The program that judges a direction at a pod's interface.
    pub(crate) const fn of_pod(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ingress => program::INGRESS,
            Self::Egress => program::EGRESS,
            Self::Exit => program::EXIT,
            Self::ExitBare => program::EXIT_BARE,
            Self::Entry => program::ENTRY,
            Self::Inner => program::INNER,
            Self::InnerBare => program::INNER_BARE,
        }
    }

    /// Its hook: that of the packets that go this way at a pod's interface.
    pub(crate) const fn direction(self) -> Direction {
        match self {
            Self::Ingress | Self::Exit | Self::ExitBare => Direction::Ingress,
            Self::Egress | Self::Entry | Self::Inner | Self::InnerBare => Direction::Egress,
        }
    }
}

/// The classifiers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Programs {
    /// Also holds the maps under the descriptors by which its instructions name them. Never held while a call may wait for
    /// the kernel's lock on its network configuration.
    object: Arc<Mutex<Ebpf>>,
    /// In the order of [`Classifier::ALL`].
    loaded: Arc<[OwnedFd; 7]>,
    /// What those of pods go on to, by direction.
    whole: Arc<[OwnedFd; 2]>,
}

/// Loads everything. Maps that all starts share are those that are pinned, or are pinned now.
pub(crate) fn load(
    options: &Options,
    capacities: BTreeMap<&'static str, u32>,
    pins: Option<&Pins>,
) -> Result<Loaded, Error> {
    let mut object = load_object(options, &capacities, pins)?;
    let messages = options.trace.then(|| EbpfLogger::init(&mut object)).transpose();
    let messages = messages.map_err(|error| Error::BadObject(error.to_string()))?;
    let jiffies = load_program(&mut object, program::JIFFIES)?;
    hz::confirm(jiffies.as_fd(), hz::of_this_kernel())?;
    let loaded = load_all(&mut object)?;
    let mut descriptors = descriptors(&object)?;
    let whole = load_whole(&mut object, descriptors.take(map::WHOLE)?.as_fd())?;
    let events = ring_buffer(&mut descriptors)?;
    let maps = descriptors.sort(capacities)?;
    let programs = Programs { object: Arc::new(Mutex::new(object)), loaded: Arc::new(loaded), whole: Arc::new(whole) };
    Ok(Loaded { maps, programs, events, messages })
}

fn load_all(object: &mut Ebpf) -> Result<[OwnedFd; 7], Error> {
    let [ingress, egress, exit, exit_bare, entry, inner, inner_bare] =
        Classifier::ALL.map(|classifier| load_program(object, classifier.name()));
    Ok([ingress?, egress?, exit?, exit_bare?, entry?, inner?, inner_bare?])
}

/// Loads the programs that those of pods go on to, and enters them in their map.
fn load_whole(object: &mut Ebpf, map: BorrowedFd<'_>) -> Result<[OwnedFd; 2], Error> {
    let mut load = |direction: Direction, name| {
        let program = load_program(object, name)?;
        sys::map_update(map, &(direction as u32), &program.as_raw_fd().cast_unsigned())
            .map_err(|source| Error::Table { action: "write to", table: map::WHOLE, source })?;
        Ok(program)
    };
    Ok([load(Direction::Ingress, program::WHOLE_INGRESS)?, load(Direction::Egress, program::WHOLE_EGRESS)?])
}

impl Programs {
    /// What the program of pods in a direction goes on to.
    pub(crate) fn whole(&self, direction: Direction) -> BorrowedFd<'_> {
        self.whole[direction as usize].as_fd()
    }

    /// A program.
    pub(crate) fn get(&self, classifier: Classifier) -> BorrowedFd<'_> {
        self.loaded[classifier as usize].as_fd()
    }

    /// Loads a program once more, over the same maps: a hook takes each program only once, so that moving ours ahead of
    /// others without a gap needs a second one.
    pub(crate) fn another(&self, classifier: Classifier) -> Result<OwnedFd, Error> {
        let name = classifier.name();
        let mut object = self.object();
        self::classifier(&mut object, name)?.unload().map_err(|error| refused(name, &error))?;
        load_program(&mut object, name)
    }

    /// Pins maps and programs where they are not pinned; whether any was missing.
    pub(crate) fn pin(&self, pins: &Pins) -> Result<bool, Error> {
        let object = self.object();
        let maps = object.maps().filter_map(|(name, map)| Some((name, data(map)?.fd().as_fd())));
        let classifiers = Classifier::ALL.map(|classifier| (classifier.name(), self.get(classifier)));
        pins.pin_set(maps, classifiers.into_iter())
    }

    fn object(&self) -> MutexGuard<'_, Ebpf> {
        // Whoever panicked with it changed nothing that others read.
        self.object.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the kernel has IPv6: built with it, and not booted with `ipv6.disable=1`.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// Entries of every map, with what the options change. Tables whose memory is taken at once are small for IPv6 where the
/// kernel does not have it.
///
/// # Errors
/// There is no such map, or its size is fixed.
pub(crate) fn capacities(
    changed: &BTreeMap<String, u32>,
    has_ipv6: bool,
) -> Result<BTreeMap<&'static str, u32>, Error> {
    /// Pods may still send IPv6 frames to each other.
    const WITHOUT_IPV6: u32 = 256;
    let mut capacities: BTreeMap<&'static str, u32> = map::ALL.iter().map(|map| (map.name, map.entries)).collect();
    if !has_ipv6 {
        capacities.extend([map::FLOWS6, map::FRAGMENTS6].map(|name| (name, WITHOUT_IPV6)));
    }
    for (name, &entries) in changed {
        let bad = |reason| Err(Error::BadCapacity { map: name.clone(), entries, reason });
        if map::ALL.iter().any(|map| map.name == name && map.is_fixed) {
            return bad("the programs depend on its size");
        }
        if entries == 0 {
            return bad("a table needs at least one");
        }
        match capacities.get_mut(name.as_str()) {
            Some(capacity) => *capacity = entries,
            None => return bad("there is no such table"),
        }
    }
    for (flows, pending, excess) in
        [(map::FLOWS4, map::PENDING4, map::EXCESS4), (map::FLOWS6, map::PENDING6, map::EXCESS6)]
    {
        // With those above their pods' shares, pending flows take at most half of the table.
        let most = (capacities[flows] / 4).clamp(1, state::MOST_PLACES / 2);
        let entries = capacities[pending].min(most);
        capacities.extend([(pending, entries), (excess, entries)]);
    }
    Ok(capacities)
}

fn load_object(
    options: &Options,
    capacities: &BTreeMap<&'static str, u32>,
    pins: Option<&Pins>,
) -> Result<Ebpf, Error> {
    let (hz, trace) = (hz::of_this_kernel(), u32::from(options.trace));
    let [share4, share6] = [map::PENDING4, map::PENDING6].map(|name| (capacities[name] / map::PENDING_SHARES).max(1));
    let (online_cpus, possible_cpus) = (online_cpus()?, u32::try_from(cpus()?).unwrap_or(u32::MAX));
    let [ring4, ring6] = [map::PENDING4, map::PENDING6].map(|name| ring(capacities[name], online_cpus, possible_cpus));
    let (set, fields) = (set(pins), sk_buff::fields());
    let conntrack = fields.connection.unwrap_or(0);
    let (opened_to, status) = fields.translation.map_or((0, 0), |it| (it.opened_to, it.status));
    let may_cast = u32::from(fields.cast.is_some());
    let read_as_type = fields.read_as.map_or(0, |it| it.structure);
    let [summed, sum_start, network] = fields.checksum.map(|it| [it.summed, it.start, it.network]).unwrap_or_default();
    let nets = fields.nets.map(|it| [it.socket, it.of_socket, it.device, it.of_device]);
    let [socket, socket_net, device, device_net] = nets.unwrap_or_default();
    let mut loader = EbpfLoader::new();
    loader
        .override_global(constant::HZ, &hz, true)
        .override_global(constant::EVENT_RATE, &options.event_rate, true)
        .override_global(constant::FLOW_RATE, &options.flow_rate, true)
        .override_global(constant::SET, &set, true)
        .override_global(constant::SHARE4, &share4, true)
        .override_global(constant::SHARE6, &share6, true)
        .override_global(constant::RING4, &ring4, true)
        .override_global(constant::RING6, &ring6, true)
        .override_global(constant::CONNTRACK, &conntrack, true)
        .override_global(constant::OPENED_TO, &opened_to, true)
        .override_global(constant::STATUS, &status, true)
        .override_global(constant::SUMMED, &summed, true)
        .override_global(constant::SUM_START, &sum_start, true)
        .override_global(constant::NETWORK, &network, true)
        .override_global(constant::MAY_CAST, &may_cast, true)
        .override_global(constant::SOCKET, &socket, true)
        .override_global(constant::SOCKET_NET, &socket_net, true)
        .override_global(constant::DEVICE, &device, true)
        .override_global(constant::DEVICE_NET, &device_net, true)
        .override_global(constant::READ_AS_TYPE, &read_as_type, true)
        .override_global(constant::TRACE, &trace, true);
    for (&name, &entries) in capacities {
        let entries = match name {
            map::PENDING4 => ring4 * possible_cpus,
            map::PENDING6 => ring6 * possible_cpus,
            _ => entries,
        };
        loader.map_max_entries(name, entries);
    }
    for (name, path) in pins.into_iter().flat_map(Kept::paths) {
        loader.map_pin_path(name, path);
    }
    let functions = [(CAST, fields.cast), (READ_AS, fields.read_as.map(|it| it.function))];
    let object = functions.into_iter().fold(OBJECT.to_vec(), |object, (placeholder, function)| match function {
        Some(function) => calling(object, placeholder, function),
        None => object,
    });
    loader.load(&object).map_err(|error| match error {
        EbpfError::MapError(MapError::CreateError { name, io_error }) => map_refused(name, &io_error),
        EbpfError::MapError(MapError::PinError { name, error }) => {
            Error::Refused { object: format!("map {}", name.unwrap_or_default()), reason: chain(&error) }
        }
        error => Error::BadObject(chain(&error)),
    })
}

/// How many of the places for pending flows each CPU has: a part of them, but enough for what one CPU opens in a moment.
fn ring(places: u32, online_cpus: u32, possible_cpus: u32) -> u32 {
    /// No CPU has fewer.
    const LEAST: u32 = 256;
    places.div_ceil(online_cpus).max(LEAST.min(places)).min(state::MOST_PLACES / possible_cpus)
}

/// All that packets may come by, however few this process may use.
fn online_cpus() -> Result<u32, Error> {
    let cpus = aya::util::online_cpus().map_err(|(_, source)| Error::Table {
        action: "size",
        table: map::PENDING4,
        source,
    })?;
    Ok(u32::try_from(cpus.len()).unwrap_or(u32::MAX).max(1))
}

/// The object, its calls of a placeholder made calls of the kernel's function with this number. Such a call is none that
/// the compiler or aya know of; where the loader has found no function, the kernel's verifier removes it.
fn calling(mut object: Vec<u8>, placeholder: u32, function: u32) -> Vec<u8> {
    let placeholder = (0x0085 | u64::from(placeholder) << 32).to_ne_bytes();
    let real = sk_buff::call(function).to_ne_bytes();
    for instruction in object.chunks_exact_mut(placeholder.len()).filter(|bytes| **bytes == placeholder) {
        instruction.copy_from_slice(&real);
    }
    object
}

/// The number of a set of tables, as programs and tags have it.
pub(crate) fn set(pins: Option<&Pins>) -> u32 {
    pins.map_or(0, Pins::set) % Tag::SETS
}

fn map_refused(name: String, error: &io::Error) -> Error {
    Error::Refused { object: format!("map {name}"), reason: describe(error) }
}

/// An error of bpf(2). The capabilities are there when this is asked, and bpf(2) has worked before.
fn describe(error: &io::Error) -> String {
    if error.raw_os_error() != Some(libc::EPERM) {
        return error.to_string();
    }
    match preflight::memlock() {
        Some(limit) => format!(
            "{error}: before Linux 5.11 maps count against the limit of locked memory, which is {limit} bytes: add \
             CAP_SYS_RESOURCE, by which podgate lifts it, or have the container runtime lift it (LimitMEMLOCK=infinity)"
        ),
        None => format!("{error}: a security module forbids it, see the kernel's and the audit log"),
    }
}

fn classifier<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, Error> {
    let program = object.program_mut(name).ok_or_else(|| Error::BadObject(format!("it has no program {name}")))?;
    program.try_into().map_err(|error: ProgramError| Error::BadObject(error.to_string()))
}

fn load_program(object: &mut Ebpf, name: &'static str) -> Result<OwnedFd, Error> {
    let program = classifier(object, name)?;
    load_uninterrupted(program).map_err(|error| refused(name, &error))?;
    let fd = program.fd().map_err(|error| refused(name, &error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| refused(name, &ProgramError::IOError(error)))
}

/// Loads a program, again where a signal interrupted the verifier, which then gives up with EAGAIN.
fn load_uninterrupted(program: &mut SchedClassifier) -> Result<(), ProgramError> {
    const ATTEMPTS: usize = 10;
    for _ in 1..ATTEMPTS {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
    program.load()
}

/// One line about a program that the kernel did not take; the verifier's whole log goes to the debug log.
fn refused(name: &str, error: &ProgramError) -> Error {
    let reason = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            log::debug!("verifier log of {name}:\n{log}");
            // The log ends with statistics.
            const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
            let is_verdict =
                |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|statistic| line.starts_with(statistic));
            let verdict = log.lines().map(str::trim).rfind(is_verdict);
            verdict.map_or_else(|| describe(io_error), |verdict| format!("{io_error}: {verdict}"))
        }
        error => chain(error),
    };
    Error::Refused { object: format!("program {name}"), reason }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// A map's data, of the types that podgate's maps have.
const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::PerCpuHashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// A descriptor of every map beside the one that the programs' instructions name.
fn descriptors(object: &Ebpf) -> Result<Descriptors, Error> {
    let copy = |(name, map): (&str, &Map)| {
        let fd = data(map)?.fd().as_fd().try_clone_to_owned();
        Some(fd.map(|fd| (name.to_owned(), fd)).map_err(|error| map_refused(name.to_owned(), &error)))
    };
    Ok(Descriptors(object.maps().filter_map(copy).collect::<Result<_, _>>()?))
}

fn ring_buffer(maps: &mut Descriptors) -> Result<RingBuf<MapData>, Error> {
    let fd = maps.take(map::EVENTS)?;
    let ring = MapData::from_fd(fd).and_then(|data| RingBuf::try_from(Map::RingBuf(data)));
    ring.map_err(|error| Error::Refused { object: format!("map {}", map::EVENTS), reason: chain(&error) })
}

#[cfg(test)]
mod stack;

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, entries: u32) -> Result<u32, String> {
        let capacities = capacities(&BTreeMap::from([(name.to_owned(), entries)]), true);
        capacities.map(|capacities| capacities[name]).map_err(|error| error.to_string())
    }

    #[test]
    fn capacities_of_tables_that_the_programs_depend_on_stay() {
        assert_eq!(changed("FLOWS4", 7), Ok(7));
        assert_eq!(changed("SLOTS", 7), Err("SLOTS can't have 7 entries: the programs depend on its size".to_owned()));
        assert_eq!(changed("FLOWS9", 7), Err("FLOWS9 can't have 7 entries: there is no such table".to_owned()));
        assert_eq!(changed("FLOWS4", 0), Err("FLOWS4 can't have 0 entries: a table needs at least one".to_owned()));
    }

    #[test]
    fn each_cpu_has_its_part_of_the_places_for_pending_flows_but_no_less_than_it_needs() {
        let rings = [(16_384, 2, 2), (16_384, 128, 256), (100, 128, 128), (1 << 21, 1, 256)]
            .map(|(places, online, possible)| ring(places, online, possible));
        assert_eq!(rings, [8192, 256, 100, 1 << 14]);
    }

    #[test]
    fn tables_of_ipv6_are_small_on_a_kernel_without_it() {
        let with = capacities(&BTreeMap::new(), true).unwrap();
        let mut without = capacities(&BTreeMap::new(), false).unwrap();
        let small: Vec<_> = without.extract_if(.., |name, entries| with[name] != *entries).collect();
        assert_eq!(small, [("EXCESS6", 64), ("FLOWS6", 256), ("FRAGMENTS6", 256), ("PENDING6", 64)]);
    }

    #[test]
    fn every_other_capacity_is_the_common_one() {
        let capacities = capacities(&BTreeMap::from([("FLOWS4".to_owned(), 70)]), true).unwrap();
        let changed = BTreeMap::from([(map::FLOWS4, 70), (map::PENDING4, 17), (map::EXCESS4, 17)]);
        let expected =
            map::ALL.iter().map(|map| (map.name, changed.get(map.name).copied().unwrap_or(map.entries))).collect();
        assert_eq!(capacities, expected);
    }

    #[test]
    fn an_error_and_its_causes_fit_one_line() {
        let cause = io::Error::other("no\nmemory");
        let error = MapError::CreateError { name: "SLOTS".to_owned(), io_error: cause };
        assert_eq!(chain(&error), "failed to create map `SLOTS`: no memory");
    }
}
