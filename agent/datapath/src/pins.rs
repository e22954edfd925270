//! What outlives the process: maps, programs and links below a directory on a bpffs.
//!
//! ```text
//! DIR/kept/VERSION/flows4 …             what the programs of all starts share
//! DIR/sets/N/maps/slots …               every start loads a set of its own
//! DIR/sets/N/programs/podgate_ingress …
//! DIR/sets/N/complete/                  an empty directory: this set enforces all that its start knew of
//! DIR/whole/N                           what the programs of set N go on to, as long as a hook may have one of them
//! DIR/links/IFINDEX-ingress             TCX links; a start puts its own program into the link that is there
//! DIR/filters/IFINDEX/                  an empty directory: the interface has our clsact filters
//! DIR/qdiscs/IFINDEX/                   an empty directory: we may have given it the clsact qdisc
//! ```

mod owned;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use podgate_common::{Direction, map};

use crate::{Error, sys};

/// The mount point that distributions and container runtimes use.
const SYSTEM_BPFFS: &str = "/sys/fs/bpf";
/// `f_type` of a bpffs.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// What is below the directory.
const DIRECTORIES: [&str; 6] = ["sets", "whole", "kept", "links", "filters", "qdiscs"];

/// Marks a set that enforces all that its start knew of.
const COMPLETE: &str = "complete";

/// The directory on a bpffs.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
    set: u32,
}

impl Pins {
    /// Makes the directory, and the bpffs below it where there is none and the permissions allow.
    ///
    /// # Errors
    /// Somebody else may change what is in it, among others.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        ensure_bpffs(root)?;
        owned::secure(root)?;
        let pins = Self { root: root.to_path_buf(), set: 0 };
        pins.create_directories()?;
        let former = pins.numbers("sets")?.into_iter().chain(pins.numbers("whole")?).max();
        let set = former.map_or(1, |last| last + 1);
        Ok(Self { set, ..pins })
    }

    /// Makes what is below the directory.
    pub(crate) fn create_directories(&self) -> Result<(), Error> {
        let kept = format!("kept/{}", map::KEPT_VERSION);
        let mut directories = DIRECTORIES.into_iter().chain([kept.as_str()]);
        directories.try_for_each(|directory| create_directory(&self.root.join(directory)))
    }

    /// The directory, if it is there, on a bpffs, and podgate's.
    ///
    /// # Errors
    /// Somebody else may change what is in it, among others.
    pub(crate) fn existing(root: &Path) -> Result<Option<Self>, Error> {
        if !root.is_dir() || !is_bpffs(root) {
            return Ok(None);
        }
        if owned::is_foreign(root)? {
            return Ok(None);
        }
        owned::check(root)?;
        for directory in DIRECTORIES {
            create_directory(&root.join(directory))?;
        }
        Ok(Some(Self { root: root.to_path_buf(), set: 0 }))
    }

    /// Removes everything that was pinned, and the directory unless something else is in it; whether a set was pinned.
    pub(crate) fn remove(&self) -> Result<bool, Error> {
        let had_sets = !self.numbers("sets")?.is_empty();
        for directory in DIRECTORIES {
            remove(&self.root.join(directory), |path| fs::remove_dir_all(path))?;
        }
        // The mount point of a bpffs stays, and so does a directory that others use.
        let _not_empty = fs::remove_dir(&self.root);
        Ok(had_sets)
    }

    /// The number of this start's set of maps.
    pub(crate) const fn set(&self) -> u32 {
        self.set
    }

    /// Pins the maps and programs of this start where they are not pinned; whether any was missing.
    pub(crate) fn pin_set<'a>(
        &self,
        maps: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
        programs: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
    ) -> Result<bool, Error> {
        let set = self.set_directory(self.set);
        // The names of sections (.rodata) are no names for pins.
        let maps = maps.filter(|(name, _)| !name.contains('.')).map(|(name, map)| {
            let path = if name == map::WHOLE {
                self.whole(self.set)
            } else if map::kept().any(|kept| kept == name) {
                self.kept(name)
            } else {
                set.join("maps").join(name.to_lowercase())
            };
            (path, map)
        });
        let programs = programs.map(|(name, program)| (set.join("programs").join(name), program));
        let missing: Vec<_> = maps.chain(programs).filter(|(path, _)| !path.exists()).collect();
        for (path, object) in &missing {
            path.parent().map_or(Ok(()), create_directory)?;
            pin(*object, path)?;
        }
        Ok(!missing.is_empty())
    }

    /// Removes the sets of former starts that ended before they had taken everything over. What a link or filter uses of
    /// them lives on in the kernel.
    pub(crate) fn remove_incomplete_sets(&self) -> Result<(), Error> {
        self.remove_sets(|set| !set.join(COMPLETE).is_dir())
    }

    /// Whether this start's set enforces everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.set_directory(self.set).join(COMPLETE).is_dir()
    }

    /// Notes that this start's set enforces everything, and removes the sets of former starts, whose programs no hook
    /// has any more.
    pub(crate) fn complete_set(&self) -> Result<(), Error> {
        create_directory(&self.set_directory(self.set).join(COMPLETE))?;
        self.remove_sets(|_| true)?;
        let mut former = self.numbers("whole")?.into_iter().filter(|&number| number != self.set);
        former.try_for_each(|number| remove(&self.whole(number), |path| fs::remove_file(path)))
    }

    fn remove_sets(&self, which: impl Fn(&Path) -> bool) -> Result<(), Error> {
        let others = self.numbers("sets")?.into_iter().filter(|&number| number != self.set);
        let mut paths = others.map(|number| self.set_directory(number)).filter(|path| which(path));
        paths.try_for_each(|path| remove(&path, |path| fs::remove_dir_all(path)))
    }

    fn set_directory(&self, number: u32) -> PathBuf {
        self.root.join("sets").join(number.to_string())
    }

    /// Where a map that all starts share is pinned.
    pub(crate) fn kept(&self, name: &str) -> PathBuf {
        self.kept_directory().join(name.to_lowercase())
    }

    fn kept_directory(&self) -> PathBuf {
        self.root.join("kept").join(map::KEPT_VERSION.to_string())
    }

    /// Where it is once there is another of another size.
    fn outgrown(&self, name: &str) -> PathBuf {
        self.kept(&format!("outgrown_{name}"))
    }

    /// Opens a map that all starts share.
    pub(crate) fn open_kept(&self, name: &str) -> Option<OwnedFd> {
        sys::open_pin(&self.kept(name)).ok()
    }

    /// Opens one that another has taken the place of.
    pub(crate) fn open_outgrown(&self, name: &str) -> Option<OwnedFd> {
        sys::open_pin(&self.outgrown(name)).ok()
    }

    /// Pins a map that all starts share if it is not; whether it was not.
    pub(crate) fn pin_kept(&self, name: &str, object: BorrowedFd<'_>) -> Result<bool, Error> {
        let path = self.kept(name);
        if path.exists() {
            return Ok(false);
        }
        path.parent().map_or(Ok(()), create_directory)?;
        pin(object, &path).map(|()| true)
    }

    /// Makes place for a map of another size.
    pub(crate) fn outgrow(&self, name: &str) -> Result<(), Error> {
        let path = self.outgrown(name);
        fs::rename(self.kept(name), &path).map_err(|source| Error::Pin { action: "move a pin to", path, source })
    }

    /// Removes the pin of a map that all starts share, if there is one.
    pub(crate) fn unpin_kept(&self, name: &str) -> Result<(), Error> {
        remove(&self.kept(name), |path| fs::remove_file(path))
    }

    /// Removes the pin of one that another has taken the place of, if there is one.
    pub(crate) fn unpin_outgrown(&self, name: &str) -> Result<(), Error> {
        remove(&self.outgrown(name), |path| fs::remove_file(path))
    }

    /// Removes what starts with other versions shared.
    pub(crate) fn remove_other_versions(&self) -> Result<(), Error> {
        let mut versions =
            list(&self.root.join("kept"))?.into_iter().filter(|name| *name != map::KEPT_VERSION.to_string());
        versions.try_for_each(|name| remove(&self.root.join("kept").join(name), |path| fs::remove_dir_all(path)))
    }

    /// Removes what starts of this version shared whose maps were others than these.
    pub(crate) fn remove_others_of_this_version(&self, kept: &BTreeSet<String>) -> Result<(), Error> {
        let directory = self.kept_directory();
        let mut others = list(&directory)?.into_iter().filter(|name| !kept.contains(name));
        others.try_for_each(|name| remove(&directory.join(name), |path| fs::remove_file(path)))
    }

    /// The numbers that are names in a directory.
    fn numbers(&self, directory: &str) -> Result<Vec<u32>, Error> {
        Ok(list(&self.root.join(directory))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Where the programs are pinned that those of a set go on to. Apart from the set: the kernel empties such an array
    /// once neither a pin nor a process has it (`prog_array_map_clear` of Linux), whichever program would go on to
    /// them.
    fn whole(&self, set: u32) -> PathBuf {
        self.root.join("whole").join(set.to_string())
    }

    fn link(&self, ifindex: u32, direction: Direction) -> PathBuf {
        self.root.join("links").join(format!("{ifindex}-{}", direction.as_str()))
    }

    /// Opens a map of the set in force.
    pub(crate) fn open_in_force(&self, name: &str) -> Option<OwnedFd> {
        sys::open_pin(&set_in_force(&self.root)?.join("maps").join(name.to_lowercase())).ok()
    }

    /// Opens the link of an interface that a former start left.
    pub(crate) fn open_link(&self, ifindex: u32, direction: Direction) -> Option<OwnedFd> {
        sys::open_pin(&self.link(ifindex, direction)).ok()
    }

    /// Whether the link of an interface is pinned.
    pub(crate) fn has_link(&self, ifindex: u32, direction: Direction) -> bool {
        self.link(ifindex, direction).exists()
    }

    /// Pins the link of an interface in place of what was pinned there, in one step: the process may die at any time.
    pub(crate) fn pin_link(&self, ifindex: u32, direction: Direction, link: BorrowedFd<'_>) -> Result<(), Error> {
        create_directory(&self.root.join("links"))?;
        let path = self.link(ifindex, direction);
        let new = path.with_file_name(format!("new-{ifindex}-{}", direction.as_str()));
        remove(&new, |path| fs::remove_file(path))?;
        pin(link, &new)?;
        fs::rename(&new, &path).map_err(|source| Error::Pin { action: "pin", path, source })
    }

    /// Removes the pin of an interface's link, if there is one.
    pub(crate) fn unpin_link(&self, ifindex: u32, direction: Direction) -> Result<(), Error> {
        remove(&self.link(ifindex, direction), |path| fs::remove_file(path))
    }

    /// The interfaces that have pinned links.
    pub(crate) fn linked_interfaces(&self) -> Result<Vec<u32>, Error> {
        let names = list(&self.root.join("links"))?;
        let mut interfaces: Vec<u32> = names.iter().filter_map(|name| name.split_once('-')?.0.parse().ok()).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        Ok(interfaces)
    }

    /// Whether an interface has, or had, our filters.
    pub(crate) fn is_filtered(&self, ifindex: u32) -> bool {
        self.mark("filters", ifindex).is_dir()
    }

    /// Notes that an interface has our filters, and perhaps our qdisc.
    pub(crate) fn mark_filtered(&self, ifindex: u32) -> Result<(), Error> {
        ["qdiscs", "filters"].into_iter().try_for_each(|marks| create_directory(&self.mark(marks, ifindex)))
    }

    /// Notes that an interface has our filters no longer; it may still have our qdisc.
    pub(crate) fn unmark_filtered(&self, ifindex: u32) -> Result<(), Error> {
        remove(&self.mark("filters", ifindex), |path| fs::remove_dir(path))
    }

    /// Forgets that an interface may have our qdisc.
    pub(crate) fn unmark_qdisc(&self, ifindex: u32) -> Result<(), Error> {
        remove(&self.mark("qdiscs", ifindex), |path| fs::remove_dir(path))
    }

    /// The interfaces that have, or had, our filters.
    pub(crate) fn filtered_interfaces(&self) -> Result<Vec<u32>, Error> {
        self.marked("filters")
    }

    /// The interfaces that have, or had, our filters or our qdisc.
    pub(crate) fn interfaces_with_qdisc(&self) -> Result<Vec<u32>, Error> {
        // A former version marks filters only.
        let mut interfaces = self.marked("qdiscs")?;
        interfaces.extend(self.marked("filters")?);
        interfaces.sort_unstable();
        interfaces.dedup();
        Ok(interfaces)
    }

    fn mark(&self, marks: &str, ifindex: u32) -> PathBuf {
        self.root.join(marks).join(ifindex.to_string())
    }

    /// The interfaces that have such a mark.
    fn marked(&self, marks: &str) -> Result<Vec<u32>, Error> {
        let names = list(&self.root.join(marks))?;
        let mut interfaces: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        interfaces.sort_unstable();
        Ok(interfaces)
    }
}

/// The set in force of those that are pinned below a directory: the newest that was completed, else the newest.
pub(crate) fn set_in_force(bpffs: &Path) -> Option<PathBuf> {
    let sets = bpffs.join("sets");
    let entries = fs::read_dir(&sets).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbers = entries.filter_map(|name| name.parse::<u32>().ok());
    let is_complete = |number: u32| sets.join(number.to_string()).join(COMPLETE).is_dir();
    let newest = numbers.max_by_key(|number| (is_complete(*number), *number))?;
    Some(sets.join(newest.to_string()))
}

fn create_directory(path: &Path) -> Result<(), Error> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|source| Error::Pin { action: "create", path: path.to_path_buf(), source })
}

fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    sys::pin(object, path).map_err(|source| Error::Pin { action: "pin", path: path.to_path_buf(), source })
}

/// Removes what may not be there.
fn remove(path: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<(), Error> {
    match remove(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Pin { action: "remove", path: path.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}

/// The names in a directory.
fn list(path: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    read().map_err(|source| Error::Pin { action: "read", path: path.to_path_buf(), source })
}

/// Whether something is pinned below a directory, which is not changed.
///
/// # Errors
/// Somebody else may change what is in it, among others.
pub(crate) fn is_pinned(root: &Path) -> Result<bool, Error> {
    if !root.is_dir() || !is_bpffs(root) || owned::is_foreign(root)? {
        return Ok(false);
    }
    owned::check(root)?;
    Ok(set_in_force(root).is_some())
}

/// Whether a directory is on a bpffs, or would be.
pub(crate) fn is_on_bpffs(directory: &Path) -> bool {
    is_bpffs(directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")))
}

/// Makes sure that a directory is on a bpffs: mounts one at `/sys/fs/bpf`, or at the directory itself elsewhere, where there is
/// none. That takes CAP_SYS_ADMIN.
///
/// # Errors
/// There is none, and it can't be mounted.
pub fn ensure_bpffs(directory: &Path) -> Result<(), Error> {
    if is_on_bpffs(directory) {
        return Ok(());
    }
    let mount_point = if directory.starts_with(SYSTEM_BPFFS) { Path::new(SYSTEM_BPFFS) } else { directory };
    fs::create_dir_all(mount_point).and_then(|()| mount_bpffs(mount_point)).map_err(|error| Error::NoBpffs {
        directory: directory.to_path_buf(),
        mount_point: mount_point.to_path_buf(),
        reason: format!("mounting one failed: {error}"),
    })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = c_path(path) else { return false };
    // SAFETY: all bytes zero is a valid statfs.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut stat) };
    result == 0 && stat.f_type as i64 == BPF_FS_MAGIC
}

fn mount_bpffs(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let (kind, options) = (c"bpf", c"mode=0700");
    // SAFETY: all pointers are strings that end in a zero and are valid for the call.
    let result = unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
