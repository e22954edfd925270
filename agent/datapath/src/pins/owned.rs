//! That nobody else may change what is pinned: whoever renames or replaces a pin decides what is enforced.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;

/// So many directories of others are moved out of the way in all.
const ASIDE: u32 = 100;

/// Makes the directory for pins, for this user alone, or checks the one that is there. One that somebody else has made, and
/// nothing of ours is in, is moved out of the way: it must not keep the agent from starting.
pub(super) fn secure(root: &Path) -> Result<(), Error> {
    check_above(root)?;
    if let Some(found) = look(root)? {
        if is_foreign(root)? {
            move_aside(root)?;
        } else {
            check_tree(root)?;
            return close(root, &found);
        }
    }
    if let Some(above) = root.parent() {
        super::create_directory(above)?;
    }
    // Fails where somebody makes one at this moment.
    DirBuilder::new().mode(0o700).create(root).map_err(|source| failed("create", root, source))
}

/// Whether somebody else has made the directory for pins, and nothing of ours is in it.
pub(super) fn is_foreign(root: &Path) -> Result<bool, Error> {
    let Some(found) = look(root)? else { return Ok(false) };
    Ok(!is_trusted(found.uid()) && !holds_ours(root)?)
}

/// Checks the directory for pins, which is there, and all that is in it.
pub(super) fn check(root: &Path) -> Result<(), Error> {
    check_above(root)?;
    check_tree(root)
}

/// Nobody else may rename a directory above the pins, or put another in its place.
fn check_above(root: &Path) -> Result<(), Error> {
    for above in root.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let Some(found) = look(above)? else { continue };
        // In a directory with the sticky bit nobody moves or removes another's files.
        if !is_trusted(found.uid()) || (is_writable_by_others(&found) && found.mode() & 0o1000 == 0) {
            return Err(unsafe_at(above, &found));
        }
    }
    Ok(())
}

fn check_tree(path: &Path) -> Result<(), Error> {
    let Some(found) = look(path)? else { return Ok(()) };
    if !is_trusted(found.uid()) || found.is_symlink() || (found.is_dir() && is_writable_by_others(&found)) {
        return Err(unsafe_at(path, &found));
    }
    inside(path, &found)?.iter().try_for_each(|path| check_tree(path))
}

/// Whether something of ours is somewhere in a directory.
fn holds_ours(path: &Path) -> Result<bool, Error> {
    let Some(found) = look(path)? else { return Ok(false) };
    for path in inside(path, &found)? {
        if look(&path)?.is_some_and(|found| is_trusted(found.uid())) || holds_ours(&path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn move_aside(root: &Path) -> Result<(), Error> {
    let name = |number| {
        let mut name = root.as_os_str().to_owned();
        // A BPF file system has no names with dots (`bpf_lookup` of the kernel).
        name.push(format!("-foreign-{number}"));
        PathBuf::from(name)
    };
    for aside in (1..=ASIDE).map(name) {
        if look(&aside)?.is_none() {
            return fs::rename(root, &aside).map_err(|source| failed("move away", root, source));
        }
    }
    Err(failed("move away", root, io::Error::other("there are too many others: remove them")))
}

/// Lets nobody else in.
fn close(root: &Path, found: &Metadata) -> Result<(), Error> {
    if found.mode() & 0o077 == 0 || found.uid() != user() {
        return Ok(());
    }
    fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(|source| failed("close", root, source))
}

fn look(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("look at", path, source)),
    }
}

/// What is in a directory; nothing is in anything else.
fn inside(path: &Path, found: &Metadata) -> Result<Vec<PathBuf>, Error> {
    if !found.is_dir() {
        return Ok(Vec::new());
    }
    let read = || fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    read().map_err(|source| failed("read", path, source))
}

fn is_writable_by_others(found: &Metadata) -> bool {
    // A link has no permissions of its own; what it leads to is looked at where it is.
    !found.is_symlink() && found.mode() & 0o022 != 0
}

fn is_trusted(user_id: u32) -> bool {
    user_id == 0 || user_id == user()
}

fn user() -> u32 {
    // SAFETY: it takes nothing and always succeeds.
    unsafe { libc::geteuid() }
}

fn unsafe_at(path: &Path, found: &Metadata) -> Error {
    let reason = match (is_trusted(found.uid()), found.is_symlink()) {
        (false, _) => format!("belongs to user {}", found.uid()),
        (true, true) => "is a link".to_owned(),
        (true, false) => format!("has mode {:04o}", found.mode() & 0o7777),
    };
    Error::Unsafe { path: path.to_path_buf(), reason }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Pin { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// A directory that is removed when this is dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("podgate-owned-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            Self(path)
        }

        fn root(&self) -> PathBuf {
            self.0.join("podgate")
        }

        /// Makes the directory for pins with this mode; `false` where this user can't give it away.
        fn make(&self, mode: u32, owner: u32) -> bool {
            fs::create_dir(self.root()).unwrap();
            fs::set_permissions(self.root(), Permissions::from_mode(mode)).unwrap();
            owner == user() || chown(self.root(), Some(owner), None).is_ok()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const STRANGER: u32 = 65534;

    fn message(result: Result<(), Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_directory_that_is_made_or_found_is_this_users_alone() {
        let scratch = Scratch::new("own");
        secure(&scratch.root()).unwrap();
        assert_eq!(fs::metadata(scratch.root()).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(scratch.root(), Permissions::from_mode(0o755)).unwrap();
        secure(&scratch.root()).unwrap();
        assert_eq!(fs::metadata(scratch.root()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_a_stranger_made_before_is_moved_out_of_the_way() {
        let scratch = Scratch::new("stranger");
        for number in 1..=2 {
            if !scratch.make(0o777, STRANGER) {
                return;
            }
            fs::create_dir(scratch.root().join("links")).unwrap();
            chown(scratch.root().join("links"), Some(STRANGER), None).unwrap();
            secure(&scratch.root()).unwrap();
            assert_eq!(fs::metadata(scratch.root()).unwrap().uid(), user());
            let aside = scratch.0.join(format!("podgate-foreign-{number}"));
            assert!(aside.join("links").is_dir(), "{}", aside.display());
            fs::remove_dir(scratch.root()).unwrap();
        }
    }

    #[test]
    fn a_strangers_directory_with_pins_of_ours_is_named_and_left_alone() {
        let scratch = Scratch::new("mixed");
        if !scratch.make(0o755, STRANGER) {
            return;
        }
        fs::create_dir(scratch.root().join("links")).unwrap();
        let said = message(secure(&scratch.root()));
        let expected = format!("{} belongs to user {STRANGER}: ", scratch.root().display());
        assert!(said.starts_with(&expected) && scratch.root().join("links").is_dir(), "{said}");
        assert!(message(check(&scratch.root())).starts_with(&expected));
    }

    #[test]
    fn what_others_may_change_below_or_above_the_pins_is_named() {
        let scratch = Scratch::new("parts");
        secure(&scratch.root()).unwrap();
        let links = scratch.root().join("links");
        fs::create_dir(&links).unwrap();
        assert!(secure(&scratch.root()).is_ok() && check(&scratch.root()).is_ok());
        let both = || [message(secure(&scratch.root())), message(check(&scratch.root()))];
        fs::set_permissions(&links, Permissions::from_mode(0o770)).unwrap();
        assert!(both().iter().all(|said| said.starts_with(&format!("{} has mode 0770: ", links.display()))));
        fs::set_permissions(&links, Permissions::from_mode(0o700)).unwrap();
        symlink("/tmp", links.join("set")).unwrap();
        assert!(both().iter().all(|said| said.starts_with(&format!("{} is a link: ", links.join("set").display()))));
        fs::remove_file(links.join("set")).unwrap();
        fs::set_permissions(&scratch.0, Permissions::from_mode(0o777)).unwrap();
        assert!(both().iter().all(|said| said.starts_with(&format!("{} has mode 0777: ", scratch.0.display()))));
        fs::set_permissions(&scratch.0, Permissions::from_mode(0o1777)).unwrap();
        assert!(secure(&scratch.root()).is_ok() && check(&scratch.root()).is_ok(), "as in /tmp");
        if chown(&links, Some(STRANGER), None).is_ok() {
            let expected = format!("{} belongs to user {STRANGER}: ", links.display());
            assert!(both().iter().all(|said| said.starts_with(&expected)));
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_directory_is_named() {
        let scratch = Scratch::new("link");
        symlink("/sys/fs/bpf", scratch.root()).unwrap();
        assert!(message(secure(&scratch.root())).starts_with(&format!("{} is a link: ", scratch.root().display())));
    }
}
