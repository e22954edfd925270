//! What compiles Rust to BPF, installed where it is missing: a compiler with the sources of `core`, bpf-linker for its LLVM.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use podgate_toolchain::{Choice, Compiler, LinkerChoice, Machine, Origin, Toolchain, Version};
use xshell::cmd;

use super::{announce, apt, is_root, packages};
use crate::workspace::{cargo, find, root, shell};

/// cargo-deny, in a version that the workspace's compiler builds.
const CARGO_DENY: &str = "0.20.2";

/// The same of cargo-cyclonedx.
const CARGO_CYCLONEDX: &str = "0.5.9";

/// The compiler in use.
const ACTIVE: &str = "rustc";

/// Makes sure that the eBPF programs can be built, and says by what.
pub(crate) fn toolchain() -> Result<Toolchain> {
    let compiler = compiler()?;
    linker(&compiler)?;
    found()
}

/// What builds the eBPF programs, as the build script finds it.
pub(crate) fn found() -> Result<Toolchain> {
    Toolchain::find(Path::new(ACTIVE), root()).map_err(|missing| anyhow!(missing))
}

/// In one line, what was chosen and why.
pub(crate) fn describe(toolchain: &Toolchain) -> String {
    let Toolchain { compiler, llvm, linker } = toolchain;
    let why = match compiler.origin {
        Origin::Active => "it has the library sources",
        Origin::Distribution => "the distribution's, as the active one has no library sources or another LLVM",
    };
    format!(
        "eBPF is built by Rust {} of {} ({why}), LLVM {} of {}, bpf-linker {} of {}",
        compiler.version,
        compiler.sysroot.display(),
        compiler.llvm,
        llvm.display(),
        linker.version,
        linker.path.display()
    )
}

/// The compiler for the eBPF programs, installed or upgraded if none fits.
fn compiler() -> Result<Compiler> {
    let mut machine = Machine::look(Path::new(ACTIVE), root());
    if let Choice::Use(compiler) = podgate_toolchain::choose(&machine) {
        return Ok(compiler.clone());
    }
    if is_root() && find("apt-get").is_some() {
        machine.offered = apt::offered(packages::RUST[0], podgate_toolchain::oldest())?;
    }
    machine.can_add = find("rustup").is_some() && may_download(env::var("RUSTUP_AUTO_INSTALL").ok().as_deref());
    let outcome = match podgate_toolchain::choose(&machine) {
        Choice::Use(compiler) => return Ok(compiler.clone()),
        Choice::InstallDistribution(version) => install_distribution(&machine, version),
        Choice::AddSources(compiler) => add_sources(compiler),
        Choice::Impossible => bail!(machine.missing()),
    };
    if let Err(error) = outcome {
        announce(&format!("{error:#}"));
    }
    let machine = Machine::look(Path::new(ACTIVE), root());
    match podgate_toolchain::choose(&machine) {
        Choice::Use(compiler) => Ok(compiler.clone()),
        _ => bail!(machine.missing()),
    }
}

/// The distribution's, else rustup's sources: what is offered may not be installable beside what is there.
fn install_distribution(machine: &Machine, version: Version) -> Result<()> {
    announce(&format!("the distribution offers Rust {version} with library sources, which eBPF needs"));
    let outcome = apt::install(&packages::RUST);
    match (outcome, podgate_toolchain::choose(&Machine { offered: None, ..machine.clone() })) {
        (Err(error), Choice::AddSources(compiler)) => {
            announce(&format!("{error:#}"));
            add_sources(compiler)
        }
        (outcome, _) => outcome,
    }
}

fn add_sources(compiler: &Compiler) -> Result<()> {
    announce(&format!("adding the library sources to Rust {}", compiler.version));
    let shell = shell()?;
    cmd!(shell, "rustup component add rust-src").run().context("rustup could not add the library sources")
}

/// `RUSTUP_AUTO_INSTALL=0` is how users say that nothing is to be downloaded unasked.
fn may_download(auto_install: Option<&str>) -> bool {
    auto_install != Some("0")
}

/// Installs bpf-linker beside what cargo builds, unless one of the version that fits the compiler's LLVM is there.
fn linker(compiler: &Compiler) -> Result<()> {
    let wanted = podgate_toolchain::linker_for(compiler.llvm).context("no bpf-linker is known for this LLVM")?;
    let tools = podgate_toolchain::tools(root());
    match podgate_toolchain::choose_linker(wanted, &podgate_toolchain::linkers(&tools)) {
        LinkerChoice::Use(_) => Ok(()),
        LinkerChoice::Install(why) => {
            announce(&format!("installing bpf-linker {wanted}, which takes a few minutes ({why})"));
            install_tool("bpf-linker", &wanted.to_string())
        }
    }
}

/// cargo-deny in the pinned version, installed where another or none is there.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    cargo_tool("cargo-deny", &["--version"], CARGO_DENY)
}

/// The same of cargo-cyclonedx.
pub(crate) fn cargo_cyclonedx() -> Result<PathBuf> {
    cargo_tool("cargo-cyclonedx", &["cyclonedx", "--version"], CARGO_CYCLONEDX)
}

fn cargo_tool(name: &str, ask: &[&str], version: &str) -> Result<PathBuf> {
    let own = podgate_toolchain::tools(root()).join("bin").join(name);
    let pinned = |path: &PathBuf| -> bool {
        let said = shell().and_then(|shell| Ok(cmd!(shell, "{path} {ask...}").quiet().ignore_stderr().read()?));
        said.is_ok_and(|said| said.split_whitespace().last() == Some(version))
    };
    if let Some(found) = [Some(own.clone()), find(name)].into_iter().flatten().find(pinned) {
        return Ok(found);
    }
    announce(&format!("installing {name} {version}, which takes some minutes"));
    install_tool(name, version)?;
    Ok(own)
}

/// Builds a tool into a directory of this checkout's, so that the user's own stays as it is.
fn install_tool(name: &str, version: &str) -> Result<()> {
    let shell = shell()?;
    let tools = podgate_toolchain::tools(root());
    let install = cargo(&shell, &format!("install {name} --version {version} --locked --force --root"));
    // Cargo's bar is shown; its warning that the directory is not in PATH says nothing that matters.
    install.arg(&tools).run().with_context(|| format!("install {name} {version}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use podgate_toolchain::Linker;

    use super::*;

    #[test]
    fn nothing_is_downloaded_for_who_forbids_it() {
        let cases = [(None, true), (Some("1"), true), (Some("0"), false)];
        assert_eq!(cases.map(|(value, _)| may_download(value)), cases.map(|(_, may)| may));
    }

    #[test]
    fn what_was_chosen_is_said_in_one_line() {
        let compiler = Compiler {
            origin: Origin::Distribution,
            sysroot: "/usr".into(),
            version: Version::new(1, 96, 0),
            llvm: Version::new(22, 1, 8),
            has_sources: true,
            library: Some("/usr/lib/libLLVM.so.22.1".into()),
        };
        let linker = Linker { path: "/tools/bpf-linker".into(), version: Version::new(0, 10, 3) };
        let llvm = PathBuf::from("/usr/lib/libLLVM.so.22.1");
        assert_eq!(
            describe(&Toolchain { compiler, llvm, linker }),
            "eBPF is built by Rust 1.96.0 of /usr (the distribution's, as the active one has no library sources or another \
             LLVM), LLVM 22.1.8 of /usr/lib/libLLVM.so.22.1, bpf-linker 0.10.3 of /tools/bpf-linker"
        );
    }
}
