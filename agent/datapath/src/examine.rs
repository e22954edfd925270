//! What of the kernel and of the pins is as podgate needs it, found out without changing anything.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use podgate_common::Direction;

use crate::attach::programs_at;
use crate::{Error, Hook, pins, preflight, sk_buff, sys};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The release of the running kernel.
    pub release: String,
    /// The capabilities that are needed and missing.
    pub missing: Vec<&'static str>,
    /// What the kernel has of BPF; an error: it lets this process use none.
    pub bpf: Result<Features, String>,
    /// Whether the directory for pins is on a BPF file system.
    pub on_bpffs: bool,
    /// Whether something is pinned there; an error: somebody else may change it.
    pub pinned: Result<bool, String>,
    /// Directories beside it with what another instance of podgate has pinned.
    pub other_pins: Vec<PathBuf>,
    /// Whether the kernel says that its clock is synchronised; `None`: it does not tell this process.
    pub clock_synchronised: Option<bool>,
}

/// What the kernel has of what podgate uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Ring buffers: needed.
    pub ring_buffers: bool,
    /// Hashes that drop what was not used for longest: needed.
    pub lru_hashes: bool,
    /// TCX links; else filters at clsact qdiscs are used.
    pub tcx: bool,
    /// The kernel's own types, which tell where fields are that the programs read.
    pub types: bool,
    /// The limit of locked memory, where maps count against it and there is one.
    pub memlock: Option<u64>,
}

/// Finds it out.
#[must_use]
pub fn examine(bpffs: &Path) -> Examined {
    let missing = preflight::missing_capabilities();
    let bpf = if missing.is_empty() {
        preflight::use_bpf().map(|()| preflight::features()).map_err(|error| error.to_string())
    } else {
        Err(format!("the process lacks {}", missing.join(", ")))
    };
    Examined {
        release: preflight::kernel_release(),
        missing,
        bpf,
        on_bpffs: pins::is_on_bpffs(bpffs),
        pinned: pins::is_pinned(bpffs).map_err(|error| error.to_string()),
        other_pins: other_pins(bpffs),
        clock_synchronised: clock_synchronised(),
    }
}

impl Features {
    /// Asks the kernel for each.
    pub(crate) fn probe(has_ring_buffers: bool, has_tcx: bool) -> Self {
        /// `BPF_MAP_TYPE_LRU_HASH`
        const LRU_HASH: u32 = 9;
        Self {
            ring_buffers: has_ring_buffers,
            lru_hashes: sys::map_create(LRU_HASH, 1, None).is_ok(),
            tcx: has_tcx,
            types: sk_buff::has_types(),
            memlock: preflight::memlock(),
        }
    }
}

/// How many of these interfaces have programs of somebody else at their TC hooks.
///
/// # Errors
/// The kernel does not tell.
pub fn interfaces_with_other_programs(bpffs: &Path, ifindexes: &[u32]) -> Result<BTreeSet<u32>, Error> {
    let ours = our_programs(bpffs);
    let mut others = BTreeSet::new();
    for (&ifindex, hook) in ifindexes.iter().flat_map(|ifindex| [(ifindex, Hook::Tcx), (ifindex, Hook::Clsact)]) {
        for direction in Direction::ALL {
            // An interface without the qdisc has no such hook, a kernel without TCX none of the other kind.
            let programs = programs_at(hook, ifindex, direction).unwrap_or_default();
            if programs.iter().any(|program| !ours.contains(program)) {
                others.insert(ifindex);
            }
        }
    }
    Ok(others)
}

/// The ids of all programs that are pinned below a directory.
fn our_programs(bpffs: &Path) -> BTreeSet<u32> {
    let paths = entries(&bpffs.join("sets")).into_iter().flat_map(|set| entries(&set.join("programs")));
    paths.filter_map(|path| sys::program_id(sys::open_pin(&path).ok()?.as_fd()).ok()).collect()
}

/// The directories beside one that hold what podgate pins.
fn other_pins(bpffs: &Path) -> Vec<PathBuf> {
    let Some(above) = bpffs.parent() else { return Vec::new() };
    let is_podgates = |path: &Path| ["sets", "kept", "links"].iter().all(|name| path.join(name).is_dir());
    let mut others = entries(above);
    others.retain(|path| path != bpffs && is_podgates(path));
    others.sort();
    others
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let read = || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().unwrap_or_default()
}

fn clock_synchronised() -> Option<bool> {
    /// What adjtimex(2) returns where the clock is not synchronised, `TIME_ERROR`.
    const UNSYNCHRONISED: i32 = 5;
    // SAFETY: all bytes zero is a valid timex, which asks for no change.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call, which fills the struct.
    match unsafe { libc::adjtimex(&raw mut timex) } {
        -1 => None,
        state => Some(state != UNSYNCHRONISED),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::create_dir_all;

    use super::*;

    #[test]
    fn what_another_instance_has_pinned_is_found_beside_ones_own() {
        let bpffs = tempfile::TempDir::new().unwrap();
        for instance in ["podgate", "second", "cilium"] {
            let directories: &[&str] = if instance == "cilium" { &["sets"] } else { &["sets", "kept", "links"] };
            directories.iter().for_each(|name| create_dir_all(bpffs.path().join(instance).join(name)).unwrap());
        }
        assert_eq!(other_pins(&bpffs.path().join("podgate")), [bpffs.path().join("second")]);
        assert_eq!(other_pins(&bpffs.path().join("second")), [bpffs.path().join("podgate")]);
    }

    #[test]
    fn a_directory_that_is_on_no_bpf_file_system_is_told_and_left_alone() {
        let directory = tempfile::TempDir::new().unwrap();
        let found = examine(&directory.path().join("podgate"));
        assert_eq!((found.on_bpffs, found.pinned, found.other_pins), (false, Ok(false), vec![]));
        assert_eq!(entries(directory.path()), Vec::<PathBuf>::new());
    }
}
