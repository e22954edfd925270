//! The lint of the eBPF crate, which the rest of the workspace must not share a call with: features that other crates ask of
//! common dependencies would pull the standard library in.

use anyhow::{Context, Result};

use crate::setup;
use crate::workspace::{as_by_hand, shell, target};

/// Lints the eBPF programs for their own target, with the toolchain that builds them.
pub(crate) fn lint() -> Result<()> {
    let sysroot = setup::toolchain()?.compiler.sysroot;
    let shell = shell()?;
    shell.change_dir("ebpf");
    shell.set_var("RUSTC_BOOTSTRAP", "1");
    shell.set_var("CARGO_TARGET_DIR", target().join("ebpf-lint"));
    shell.set_var("CARGO", sysroot.join("bin/cargo"));
    shell.set_var("RUSTC", sysroot.join("bin/rustc"));
    let clippy = as_by_hand(shell.cmd(sysroot.join("bin/cargo-clippy")));
    clippy
        .args(["clippy", "--package", "podgate-ebpf", "--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(["--", "-D", "warnings"])
        .run()
        .context("lint the eBPF programs")
}
