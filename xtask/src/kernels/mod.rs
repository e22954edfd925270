//! `cargo xtask test-kernels`: the core cases on the distribution's other kernels, booted in an emulator.

mod archive;
mod boot;
mod contents;
pub(crate) mod guest;
mod image;

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use self::boot::Outcome;
use self::image::Image;
use crate::tests::{self, Built, Program};

/// A kernel series, as podgate's documentation names it, and the pattern of its packages' names.
struct Series {
    name: &'static str,
    packages: &'static str,
}

/// The oldest is the oldest that podgate claims to run on, without TCX; the other has TCX.
const SERIES: [Series; 2] = [
    Series { name: "6.1", packages: r"^linux-image-6\.1\.0-[0-9]+-amd64$" },
    Series { name: "6.12", packages: r"^linux-image-6\.12\.[0-9]+(\+deb[0-9]+)?-amd64$" },
];

/// The tests that run on every kernel. They use nothing but the podgate binary and `ip`.
const TESTS: [(&str, &str); 2] = [("agent/lab", "routed"), ("agent", "core")];

/// Boots each kernel that the distribution offers and runs the tests there.
pub(crate) fn run() -> Result<()> {
    let programs = Programs::choose(&tests::build()?)?;
    let mut images = Vec::new();
    for series in &SERIES {
        match Image::find(series)? {
            Some(image) => images.push((series.name, image)),
            None => println!("skipped: the package lists offer no kernel {}", series.name),
        }
    }
    ensure!(!images.is_empty(), "the package lists offer none of the kernels to test");
    let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
        let booted: Vec<_> = images.iter().map(|(_, image)| scope.spawn(|| boot::run(image, &programs))).collect();
        booted.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("the boot panicked"))).collect()
    });
    for ((name, _), outcome) in images.iter().zip(outcomes) {
        outcome.with_context(|| format!("kernel {name}"))?.print(name);
    }
    Ok(())
}

/// What goes into the guest, at the path where cargo built it.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) tests: Vec<PathBuf>,
    pub(crate) podgate: PathBuf,
}

impl Programs {
    fn choose(built: &Built) -> Result<Self> {
        let is_chosen = |program: &&Program| TESTS.contains(&(program.package.as_str(), program.target.as_str()));
        let tests: Vec<PathBuf> =
            built.programs.iter().filter(is_chosen).map(|program| program.executable.clone()).collect();
        ensure!(tests.len() == TESTS.len(), "cargo built {tests:?} instead of {TESTS:?}");
        Ok(Self { tests, podgate: built.podgate.clone() })
    }
}
