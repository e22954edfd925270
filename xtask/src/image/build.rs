//! The static binary.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::Arch;
use super::checkout::Checkout;
use crate::setup;
use crate::workspace::{cargo, root, shell, target};

/// Installs what building for a processor needs and is missing.
pub(crate) fn prepare(arch: Arch) -> Result<()> {
    setup::for_image()?;
    let (shell, triple) = (shell()?, arch.triple());
    let libraries = cmd!(shell, "rustc --print target-libdir --target {triple}").quiet().read().context("run rustc")?;
    if PathBuf::from(libraries).is_dir() {
        return Ok(());
    }
    if cmd!(shell, "rustup target add {triple}").run().is_err() {
        bail!(
            "Rust's standard library for {triple} is needed: `rustup target add {triple}` must succeed, or leave this --arch out"
        );
    }
    Ok(())
}

/// Builds the binary of a package; where it is.
pub(crate) fn build(arch: Arch, package: &str, checkout: &Checkout) -> Result<PathBuf> {
    let (shell, triple) = (shell()?, arch.triple());
    let variable = format!("CARGO_TARGET_{}", triple.to_uppercase().replace('-', "_"));
    shell.set_var(format!("{variable}_RUSTFLAGS"), remap());
    shell.set_var("PODGATE_BUILD", &checkout.stamp);
    if arch == Arch::Aarch64 && Arch::native() != Some(arch) {
        // Only ring has C in it, and needs nothing of the C library: the compiler for glibc will do. What is linked is
        // Rust's own musl.
        shell.set_var(format!("{variable}_LINKER"), CROSS);
        shell.set_var("CC_aarch64_unknown_linux_musl", CROSS);
    }
    let build = cargo(&shell, &format!("build --locked --release --package {package} --target {triple}"));
    build.run().with_context(|| format!("build {package} for {triple}"))?;
    Ok(target().join(triple).join("release").join(package))
}

const CROSS: &str = "aarch64-linux-gnu-gcc";

/// Keeps the paths of the machine that builds out of the binary, so that another makes the same.
fn remap() -> String {
    let home = std::env::var("CARGO_HOME").ok();
    let home = home.or_else(|| std::env::var("HOME").ok().map(|home| format!("{home}/.cargo"))).unwrap_or_default();
    format!("--remap-path-prefix={}=/podgate --remap-path-prefix={home}=/cargo", root().display())
}
