//! Compilers, and what they come with.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::version::Version;

/// By which the sources of the standard library are seen, below a sysroot.
pub const SOURCES: &str = "lib/rustlib/src/rust/library/core/Cargo.toml";

/// Whose compiler it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The one in use, mostly rustup's.
    Active,
    /// The distribution's.
    Distribution,
}

/// A compiler, as it is found on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Whose it is.
    pub origin: Origin,
    /// Its directory, with `bin/rustc` and `bin/cargo`.
    pub sysroot: PathBuf,
    /// Its version.
    pub version: Version,
    /// The version of its LLVM.
    pub llvm: Version,
    /// Whether it has cargo and the sources of the standard library.
    pub has_sources: bool,
    /// The shared library of its LLVM.
    pub library: Option<PathBuf>,
}

impl Compiler {
    /// The compiler in use in a directory. None if it does not run.
    #[must_use]
    pub fn active(rustc: &Path, directory: &Path) -> Option<Self> {
        Self::ask(Origin::Active, rustc, directory)
    }

    /// The distribution's. None if there is none, or if what has its place leads to rustup's.
    #[must_use]
    pub fn distribution() -> Option<Self> {
        let path = Path::new("/usr/bin/rustc");
        let compiler = Self::ask(Origin::Distribution, path, Path::new("/"))?;
        let same = compiler.sysroot.join("bin/rustc").canonicalize().ok()? == path.canonicalize().ok()?;
        same.then_some(compiler)
    }

    fn ask(origin: Origin, rustc: &Path, directory: &Path) -> Option<Self> {
        let ask = |arguments: &[&str]| {
            let output = Command::new(rustc).current_dir(directory).args(arguments).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
        let (version, llvm) = versions(&ask(&["-vV"])?)?;
        Some(Self {
            origin,
            version,
            llvm,
            has_sources: ["bin/cargo", "bin/rustc", SOURCES].iter().all(|file| sysroot.join(file).exists()),
            library: library(&sysroot, llvm),
            sysroot,
        })
    }
}

/// The versions of a compiler and of its LLVM, out of what `rustc -vV` prints.
fn versions(text: &str) -> Option<(Version, Version)> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).and_then(Version::parse);
    Some((value("release: ")?, value("LLVM version: ")?))
}

/// The shared library of an LLVM: the toolchain's own, else the distribution's.
fn library(sysroot: &Path, llvm: Version) -> Option<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let versioned = format!("/usr/lib/llvm-{}/lib", llvm.major);
    let directories = [&multiarch, "/usr/lib64", "/usr/lib", &versioned].map(PathBuf::from);
    let mut directories = [sysroot.join("lib"), sysroot.join("lib64")].into_iter().chain(directories);
    directories.find_map(|directory| library_in(&directory, llvm.major))
}

/// The first one of a directory that is a library, links followed: beside it may be a linker script of a similar name.
fn library_in(directory: &Path, major: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name()).filter(|name| major_of(name) == Some(major)).collect();
    names.sort();
    let path = names.into_iter().map(|name| directory.join(name)).find(|path| is_library(path))?;
    path.canonicalize().ok()
}

/// The LLVM that a library is of, by its name: `libLLVM.so.22.1`, `libLLVM-15.so.1`, `libLLVM.so.22.1-rust-1.95.0-stable`.
fn major_of(name: &OsStr) -> Option<u32> {
    let rest = name.to_str()?.strip_prefix("libLLVM")?;
    let rest = rest.strip_prefix('-').or_else(|| rest.strip_prefix(".so."))?;
    Some(Version::parse(rest)?.major)
}

fn is_library(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_says_its_version_and_that_of_its_llvm() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                    host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(versions(text), Some((Version::new(1, 96, 0), Version::new(22, 1, 8))));
        assert_eq!(versions("error: no default toolchain"), None);
    }

    #[test]
    fn libraries_are_told_by_their_names() {
        let cases = [
            ("libLLVM.so.22.1", Some(22)),
            ("libLLVM.so.22.1-rust-1.95.0-stable", Some(22)),
            ("libLLVM-22-rust-1.95.0-stable.so", Some(22)),
            ("libLLVM-14.0.6.so.1", Some(14)),
            ("libLLVM-15.so", Some(15)),
            ("libLLVM.so", None),
            ("libLLVMSPIRVLib.so.15", None),
            ("libLTO.so.22.1", None),
        ];
        assert_eq!(cases.map(|(name, _)| major_of(OsStr::new(name))), cases.map(|(_, major)| major));
    }

    #[test]
    fn of_several_llvms_the_compilers_is_taken_and_no_linker_script() {
        let directory = std::env::temp_dir().join(format!("podgate-toolchain-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for name in ["libLLVM.so.19.1", "libLLVM.so.22.1", "libLLVM-15.so.1"] {
            fs::write(directory.join(name), b"\x7fELF and more").unwrap();
        }
        fs::write(directory.join("libLLVM-22-rust.so"), "INPUT(libLLVM.so.22.1)").unwrap();
        std::os::unix::fs::symlink("libLLVM.so.22.1", directory.join("libLLVM-22.so")).unwrap();
        let directory = directory.canonicalize().unwrap();
        let found = [15, 19, 22, 23].map(|major| library_in(&directory, major));
        fs::remove_dir_all(&directory).unwrap();
        let path = |name: &str| Some(directory.join(name));
        assert_eq!(found, [path("libLLVM-15.so.1"), path("libLLVM.so.19.1"), path("libLLVM.so.22.1"), None]);
    }
}
