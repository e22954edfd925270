//! `cargo xtask image`: the container image, an OCI layout in a tar archive, without Docker.
//!
//! ```text
//! cargo build, for musl ──► binary ──┐
//! cargo-cyclonedx ────────► bill ────┼──► buildah, deploy/Containerfile ──► podgate-VERSION.tar ──► run, load
//! git, Cargo.toml ────────► labels ──┘
//! ```
//!
//! From scratch: one layer with one static binary under its two names and its bill of materials; no shell, no libraries. The
//! same commit makes the same bytes with the same buildah: times are the commit's, owners are root, order is fixed.

mod bill;
mod build;
mod buildah;
mod checkout;
mod load;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use xshell::cmd;

use self::buildah::Build;
use self::checkout::Checkout;
use self::load::Runtime;
use crate::workspace::{shell, target};

/// What to build.
#[derive(Args)]
pub(crate) struct Options {
    /// Processors to build for; repeatable
    #[arg(long, value_enum, default_values = ["x86-64", "aarch64"])]
    arch: Vec<Arch>,
    /// Where to write the image [default: image/podgate-VERSION.tar in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the image is called in a runtime that loads it
    #[arg(long, value_name = "NAME", default_value = "localhost/podgate")]
    name: String,
    /// Also unpack the image's files for this machine into a directory
    #[arg(long, value_name = "DIR")]
    unpack: Option<PathBuf>,
    /// Also load the image into what runs containers
    #[arg(long, value_enum)]
    load: Option<Runtime>,
}

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Arch {
    /// Intel and AMD
    #[value(name = "x86-64")]
    X86_64,
    /// Arm, 64 bit
    Aarch64,
}

impl Arch {
    /// Rust's name of the target: musl links statically.
    fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The image specification's name of the architecture, which is Go's.
    fn oci(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What `readelf` calls it.
    fn elf(self) -> &'static str {
        match self {
            Self::X86_64 => "X86-64",
            Self::Aarch64 => "AArch64",
        }
    }

    /// This machine's.
    fn native() -> Option<Self> {
        [Self::X86_64, Self::Aarch64].into_iter().find(|arch| arch.triple().starts_with(std::env::consts::ARCH))
    }
}

/// Builds the image, writes it, reads it back and tries it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(runtime) = options.load {
        runtime.look()?;
    }
    let name = format!("image/podgate-{}.tar", env!("CARGO_PKG_VERSION"));
    let output = options.output.clone().unwrap_or_else(|| target().join(name));
    let checkout = Checkout::look()?;
    let build = podgate(&options.arch, &options.name, &checkout)?;
    build.write(&output)?;
    println!("wrote {}", output.display());
    if let Some(native) = Arch::native().filter(|native| options.arch.contains(native)) {
        build.try_out(native, &output)?;
        if let Some(directory) = &options.unpack {
            build.unpack(native, directory)?;
        }
    }
    build.remove()?;
    options.load.map_or(Ok(()), |runtime| runtime.load(&output))
}

/// Builds podgate for processors.
fn podgate<'a>(archs: &[Arch], name: &'a str, checkout: &'a Checkout) -> Result<Build<'a>> {
    let shell = shell()?;
    let mut image = Build::new("deploy/Containerfile", name, checkout)?;
    for &arch in archs {
        build::prepare(arch)?;
        let usr = image.add_program(arch, &build::build(arch, "podgate", checkout)?)?;
        cmd!(shell, "ln --symbolic podgate {usr}/bin/podgate-cni").quiet().run()?;
        let bill = bill::of_podgate(arch.triple(), checkout)?;
        shell.write_file(usr.join("share/podgate/podgate.cdx.json"), bill).context("write the bill of materials")?;
    }
    Ok(image)
}

/// Builds the images of a suite against a cluster of machines like this one, podgate's and its own: their archives.
pub(crate) fn of_suite() -> Result<[PathBuf; 2]> {
    let arch = Arch::native().context("there is no image for this machine's processor")?;
    let [own, suite] = ["podgate", "podgate-e2e"].map(|name| target().join(format!("image/{name}.tar")));
    let checkout = Checkout::look()?;
    let image = podgate(&[arch], "localhost/podgate", &checkout)?;
    image.write(&own)?;
    image.remove()?;
    let mut image = Build::new("xtask/src/e2e/Containerfile", "localhost/podgate-e2e", &checkout)?;
    image.add_program(arch, &build::build(arch, "xtask", &checkout)?)?;
    image.write(&suite)?;
    image.remove()?;
    Ok([own, suite])
}
