//! bpf-linker, in the version that reads what the compiler's LLVM wrote.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::version::Version;

/// An LLVM's major version, and the bpf-linker that is built for it. bpf-linker 0.11 no longer loads the compiler's LLVM.
const FITTING: [(u32, Version); 1] = [(22, Version::new(0, 10, 3))];

/// A bpf-linker on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

/// What to do about bpf-linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkerChoice {
    /// Take this one.
    Use(Linker),
    /// Install one, for this reason.
    Install(String),
}

/// The version of bpf-linker for an LLVM. None if there is none that was tried.
#[must_use]
pub fn linker_for(llvm: Version) -> Option<Version> {
    FITTING.iter().find(|(major, _)| *major == llvm.major).map(|(_, linker)| *linker)
}

/// Each bpf-linker that runs: that of `tools` first, then those of `PATH` and of cargo.
#[must_use]
pub fn linkers(tools: &Path) -> Vec<Linker> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let directories = env::split_paths(&path).chain(cargo.map(|cargo| cargo.join("bin")));
    [tools.join("bin")]
        .into_iter()
        .chain(directories)
        .filter_map(|directory| ask(directory.join("bpf-linker")))
        .collect()
}

fn ask(path: PathBuf) -> Option<Linker> {
    let output = Command::new(&path).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = Version::parse(text.strip_prefix("bpf-linker ")?)?;
    output.status.success().then_some(Linker { path, version })
}

/// The first that is of the wanted series. Another one is left where it is.
#[must_use]
pub fn choose_linker(wanted: Version, found: &[Linker]) -> LinkerChoice {
    let fits = |version: Version| (version.major, version.minor) == (wanted.major, wanted.minor);
    match (found.iter().find(|linker| fits(linker.version)), found.first()) {
        (Some(linker), _) => LinkerChoice::Use(linker.clone()),
        (None, Some(other)) => LinkerChoice::Install(format!("{} is {}", other.path.display(), other.version)),
        (None, None) => LinkerChoice::Install("there is none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linker(path: &str, version: Version) -> Linker {
        Linker { path: path.into(), version }
    }

    #[test]
    fn an_llvm_has_the_linker_that_reads_it() {
        let cases = [
            (Version::new(21, 1, 0), None),
            (Version::new(22, 1, 2), Some(Version::new(0, 10, 3))),
            (Version::new(22, 1, 8), Some(Version::new(0, 10, 3))),
            (Version::new(23, 1, 0), None),
        ];
        assert_eq!(cases.map(|(llvm, _)| linker_for(llvm)), cases.map(|(_, linker)| linker));
    }

    #[test]
    fn a_linker_of_the_series_is_taken_and_another_is_left_alone() {
        let wanted = Version::new(0, 10, 3);
        let old = linker("/usr/local/bin/bpf-linker", Version::new(0, 9, 15));
        let new = linker("/root/.cargo/bin/bpf-linker", Version::new(0, 13, 0));
        let fitting = linker("/opt/bin/bpf-linker", Version::new(0, 10, 4));
        let cases = [
            (vec![], LinkerChoice::Install("there is none".to_owned())),
            (vec![old.clone()], LinkerChoice::Install("/usr/local/bin/bpf-linker is 0.9.15".to_owned())),
            (vec![new.clone()], LinkerChoice::Install("/root/.cargo/bin/bpf-linker is 0.13.0".to_owned())),
            (vec![old, new, fitting.clone()], LinkerChoice::Use(fitting)),
        ];
        for (found, expected) in cases {
            assert_eq!(choose_linker(wanted, &found), expected, "{found:?}");
        }
    }
}
