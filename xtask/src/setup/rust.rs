//! What compiles Rust to BPF: a toolchain with the sources of `core`, and bpf-linker.

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::{announce, packages};
use crate::ebpf::{DISTRO, Toolchain};
use crate::workspace::{cargo, find, shell};

const BPF_LINKER: &str = "0.10.3";

/// Makes sure that some toolchain has the sources: the active one; else the distribution's, where it has them; else
/// rustup adds them to the active one.
pub(crate) fn library_sources() -> Result<()> {
    if Toolchain::active_is_complete()? {
        return Ok(());
    }
    if Toolchain::distro_is_installed() || packages::is_offered("rustc-web")? {
        packages::install(packages::DISTRO_RUST)?;
        return link();
    }
    announce("adding the library sources to the active toolchain");
    let shell = shell()?;
    let added = cmd!(shell, "rustup component add rust-src").run();
    added.context("the eBPF programs need the library sources: `rustup component add rust-src` must succeed")
}

/// Gives the distribution's toolchain a name that `cargo +NAME` knows.
fn link() -> Result<()> {
    if find("rustup").is_none() {
        return Ok(());
    }
    let shell = shell()?;
    let toolchains = cmd!(shell, "rustup toolchain list").quiet().read().context("list rustup's toolchains")?;
    if toolchains.lines().any(|line| line.split_whitespace().next() == Some(DISTRO)) {
        return Ok(());
    }
    announce("linking the distribution's Rust as rustup's toolchain `distro`");
    cmd!(shell, "rustup toolchain link {DISTRO} /usr").run().context("link the distribution's toolchain")
}

/// Installs bpf-linker where it is missing.
pub(crate) fn bpf_linker() -> Result<()> {
    if find("bpf-linker").is_some() {
        return Ok(());
    }
    announce("installing bpf-linker, which takes about a minute");
    let shell = shell()?;
    cargo(&shell, &format!("install bpf-linker --version {BPF_LINKER} --locked"))
        .run()
        .context("install bpf-linker")?;
    if find("bpf-linker").is_none() {
        bail!("cargo installed bpf-linker into a directory that is not in PATH: add it, usually ~/.cargo/bin");
    }
    Ok(())
}
