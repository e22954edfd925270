//! The toolchain for the eBPF crate, and its lint, which the rest of the workspace must not share a call with: features
//! that other crates ask of common dependencies would pull the standard library in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::workspace::{cargo, shell, target};

/// The name of the distribution's toolchain in rustup.
pub(crate) const DISTRO: &str = "distro";
const SOURCES: &str = "lib/rustlib/src/rust/library/core/Cargo.toml";

/// A toolchain that can build `core` for BPF.
pub(crate) enum Toolchain {
    /// The one in use.
    Active,
    /// The distribution's.
    Distro,
}

impl Toolchain {
    /// Whether the toolchain in use has the library sources.
    pub(crate) fn active_is_complete() -> Result<bool> {
        let shell = shell()?;
        let sysroot = cmd!(shell, "rustc --print sysroot").quiet().read().context("ask rustc for its sysroot")?;
        Ok(PathBuf::from(sysroot).join(SOURCES).exists())
    }

    /// Whether the distribution's is complete.
    pub(crate) fn distro_is_installed() -> bool {
        ["bin/cargo", "bin/rustc", SOURCES].iter().all(|file| Path::new("/usr").join(file).exists())
    }

    fn find() -> Result<Self> {
        Ok(if Self::active_is_complete()? { Self::Active } else { Self::Distro })
    }
}

/// Lints the eBPF programs for their own target.
pub(crate) fn lint() -> Result<()> {
    let shell = shell()?;
    shell.change_dir("ebpf");
    shell.set_var("RUSTC_BOOTSTRAP", "1");
    shell.set_var("CARGO_TARGET_DIR", target().join("ebpf-lint"));
    let toolchain = match Toolchain::find()? {
        Toolchain::Active => String::new(),
        Toolchain::Distro => format!("+{DISTRO} "),
    };
    let lint = "clippy --package podgate-ebpf --target bpfel-unknown-none -Z build-std=core -- -D warnings";
    cargo(&shell, &format!("{toolchain}{lint}")).run().context("lint the eBPF programs")
}
