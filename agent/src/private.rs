//! Directories and files that are the agent's alone, so that nobody else locks, reads or replaces them.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// A directory that its owner alone may enter.
const DIRECTORY: u32 = 0o700;

/// What group and others may do.
const OTHERS: u32 = 0o077;

/// Makes the directory of a socket where it is missing, for its owner alone. One that is there is made so too if nothing but the
/// socket and files named like it are in it.
///
/// # Errors
/// It can't be made, or somebody else may change what is in it.
pub(crate) fn directory_of(socket: &Path) -> io::Result<()> {
    let Some(directory) = socket.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(DIRECTORY).create(directory)?;
    let found = fs::metadata(directory)?;
    check_owner(directory, &found)?;
    let mode = found.permissions().mode();
    // In a directory with the sticky bit nobody moves or removes another's files.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(refused(directory, &format!("has mode {:04o}: others may put files in it", mode & 0o7777)));
    }
    if mode & OTHERS != 0 && holds_nothing_else(directory, socket)? {
        fs::set_permissions(directory, Permissions::from_mode(DIRECTORY))?;
    }
    Ok(())
}

/// Checks that a file or directory belongs to root or to the user of this process.
///
/// # Errors
/// It belongs to somebody else.
pub(crate) fn check_owner(path: &Path, found: &Metadata) -> io::Result<()> {
    if [0, user()?].contains(&found.uid()) {
        return Ok(());
    }
    Err(refused(path, &format!("belongs to user {}: remove it", found.uid())))
}

/// The user of this process.
fn user() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display()))
}

fn holds_nothing_else(directory: &Path, socket: &Path) -> io::Result<bool> {
    let stem = socket.file_stem().unwrap_or_default();
    for entry in fs::read_dir(directory)? {
        if Path::new(&entry?.file_name()).file_stem() != Some(stem) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_directory_that_is_made_is_its_owners_alone() {
        let scratch = TempDir::new().unwrap();
        let socket = scratch.path().join("run/podgate/podgate.sock");
        directory_of(&socket).unwrap();
        assert_eq!(mode(socket.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_directory_of_nothing_else_is_closed_to_others_and_a_shared_one_is_left_alone() {
        let scratch = TempDir::new().unwrap();
        let socket = scratch.path().join("run/podgate.sock");
        let directory = socket.parent().unwrap();
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("podgate.lock"), "").unwrap();
        fs::write(directory.join("other.pid"), "").unwrap();
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        directory_of(&socket).unwrap();
        assert_eq!(mode(directory), 0o755);
        fs::remove_file(directory.join("other.pid")).unwrap();
        directory_of(&socket).unwrap();
        assert_eq!(mode(directory), 0o700);
    }

    #[test]
    fn a_directory_in_which_others_may_write_is_refused_unless_they_must_leave_files_alone() {
        let scratch = TempDir::new().unwrap();
        let socket = scratch.path().join("run/podgate.sock");
        let directory = socket.parent().unwrap();
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("other"), "").unwrap();
        for (mode, taken) in [(0o777, false), (0o770, false), (0o1777, true)] {
            fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
            assert_eq!(directory_of(&socket).is_ok(), taken, "{mode:o}");
        }
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let scratch = TempDir::new().unwrap();
        let socket = scratch.path().join("run/podgate.sock");
        let directory = socket.parent().unwrap();
        fs::create_dir(directory).unwrap();
        if chown(directory, Some(65534), None).is_err() {
            return; // Only root can give something away.
        }
        let error = directory_of(&socket).unwrap_err().to_string();
        assert_eq!(error, format!("{} belongs to user 65534: remove it", directory.display()));
    }
}
