//! `cargo xtask image`: the container image, an OCI layout in a tar archive, without Docker.
//!
//! ```text
//! cargo build, for musl ──► binary ──► Layer ──┐
//! cargo metadata ─────────► SBOM ──────┘       ├──► Layout ──► podgate-VERSION.tar ──► check
//! git, Cargo.toml ────────► labels ────────────┘
//! ```
//!
//! From scratch: one layer with one static binary under its two names and its bill of materials; no shell, no libraries. The
//! same commit makes the same bytes: times are the commit's, owners are root, order is fixed.

mod build;
mod check;
mod layer;
mod layout;
mod sbom;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use self::layer::{Item, Layer};
use self::layout::{About, Layout};
use crate::workspace::target;

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

    /// This machine's.
    fn native() -> Option<Self> {
        [Self::X86_64, Self::Aarch64].into_iter().find(|arch| arch.triple().starts_with(std::env::consts::ARCH))
    }
}

/// The platform with its one layer.
pub(crate) struct Platform {
    /// The processor.
    arch: Arch,
    /// Its files.
    layer: Layer,
}

/// Builds the image, writes it, reads it back and tries it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let name = format!("image/podgate-{}.tar", env!("CARGO_PKG_VERSION"));
    let output = options.output.clone().unwrap_or_else(|| target().join(name));
    let about = About::of_checkout(&options.name, "/usr/bin/podgate")?;
    let platforms = options.arch.iter().map(|arch| podgate(*arch, about.seconds)).collect::<Result<Vec<_>>>()?;
    write(&output, &Layout::new(&about, &platforms)?.archive()?)?;
    println!("wrote {}", output.display());
    let read = check::read(&output)?;
    check::verify(&read, &about)?;
    if let Some(native) = Arch::native().filter(|native| options.arch.contains(native)) {
        check::try_out(&read, native)?;
        if let Some(directory) = &options.unpack {
            check::unpack(&read, native, directory)?;
        }
    }
    Ok(())
}

/// Builds podgate for a processor.
fn podgate(arch: Arch, seconds: u64) -> Result<Platform> {
    build::prepare(arch)?;
    let binary = fs::read(build::build(arch, "podgate")?).context("read the binary")?;
    let layer = Layer::of_podgate(&binary, &sbom::of_podgate(arch.triple())?, seconds)?;
    println!("{}: binary {}, layer {}", arch.oci(), megabytes(binary.len()), megabytes(layer.compressed.len()));
    Ok(Platform { arch, layer })
}

/// Builds the images of a suite against a cluster of machines like this one, podgate's and its own: their archives.
pub(crate) fn of_suite() -> Result<[PathBuf; 2]> {
    let arch = Arch::native().context("there is no image for this machine's processor")?;
    let [own, suite] = ["podgate", "podgate-e2e"].map(|name| target().join(format!("image/{name}.tar")));
    let about = About::of_checkout("localhost/podgate", "/usr/bin/podgate")?;
    write(&own, &Layout::new(&about, &[podgate(arch, about.seconds)?])?.archive()?)?;
    let about = About::of_checkout("localhost/podgate-e2e", "/usr/bin/xtask")?;
    let binary = fs::read(build::build(arch, "xtask")?).context("read the binary")?;
    let layer = Layer::new(&BTreeMap::from([("usr/bin/xtask", Item::Program(&binary))]), about.seconds)?;
    write(&suite, &Layout::new(&about, &[Platform { arch, layer }])?.archive()?)?;
    Ok([own, suite])
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        fs::create_dir_all(parent)?;
        fs::write(path, contents)
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
