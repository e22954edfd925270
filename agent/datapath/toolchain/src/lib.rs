//! Which compiler, LLVM and linker build podgate's eBPF programs.
//!
//! The BPF target has no prebuilt `core`, so the compiler needs the sources of the standard library. bpf-linker reads what
//! the compiler's LLVM wrote, so it must use the same LLVM. The build script of `podgate-datapath` takes what fits on this
//! machine ([`Toolchain::find`]); `cargo xtask setup` also installs it ([`choose`]). Both follow the rules of this crate.

mod compiler;
mod linker;
mod rules;
mod version;

use std::io;
use std::path::{Path, PathBuf};

pub use self::compiler::{Compiler, Origin, SOURCES};
pub use self::linker::{Linker, LinkerChoice, choose_linker, linker_for, linkers};
pub use self::rules::{Choice, Machine, OLDEST, choose, oldest};
pub use self::version::Version;

/// All that compiles Rust to BPF on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// The shared library of the compiler's LLVM.
    pub llvm: PathBuf,
    /// bpf-linker.
    pub linker: Linker,
}

impl Toolchain {
    /// What fits on this machine, without installing anything. `rustc` is the compiler in use, asked in the directory
    /// `root`, where the workspace is.
    ///
    /// # Errors
    /// One line that says what is missing, in which version, and what to do.
    pub fn find(rustc: &Path, root: &Path) -> Result<Self, String> {
        let machine = Machine::look(rustc, root);
        let missing = || format!("{}; or run `cargo xtask setup`", machine.missing());
        let Choice::Use(compiler) = choose(&machine) else { return Err(missing()) };
        let (wanted, llvm) = linker_for(compiler.llvm).zip(compiler.library.clone()).ok_or_else(missing)?;
        match choose_linker(wanted, &linkers(&tools(root))) {
            LinkerChoice::Use(linker) => Ok(Self { compiler: compiler.clone(), llvm, linker }),
            LinkerChoice::Install(why) => Err(format!(
                "the eBPF programs need bpf-linker {wanted}, which fits LLVM {} of Rust {}; {why}: `cargo install \
                 bpf-linker --version {wanted} --locked`, or run `cargo xtask setup`",
                compiler.llvm.major, compiler.version
            )),
        }
    }

    /// Makes a directory that holds nothing but a link to the compiler's LLVM. In `LD_LIBRARY_PATH` it keeps bpf-linker,
    /// which loads the first libLLVM of a directory, from loading another.
    ///
    /// # Errors
    /// When the directory or the link cannot be made.
    pub fn link_llvm(&self, directory: &Path) -> io::Result<()> {
        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        std::fs::create_dir_all(directory)?;
        let name = self.llvm.file_name().ok_or_else(|| io::Error::other("libLLVM has no name"))?;
        std::os::unix::fs::symlink(&self.llvm, directory.join(name))
    }
}

/// Where set-up installs tools of its own, beside what cargo builds, so that it changes none of the user's.
#[must_use]
pub fn tools(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root.join(target).join("tools")
}
