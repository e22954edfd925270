//! `cargo xtask test-kernels`: the core cases on the distribution's other kernels, booted in an emulator.

mod archive;
mod boot;
mod contents;
pub(crate) mod guest;
mod image;

use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::boot::Outcome;
use self::image::Image;
use crate::workspace::{cargo, shell};

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
const TESTS: [&[&str]; 1] = [&["--package=podgate-lab", "--test=routed"]];

/// Boots each kernel that the distribution offers and runs the tests there.
pub(crate) fn run() -> Result<()> {
    let tests = build()?;
    let mut images = Vec::new();
    for series in &SERIES {
        match Image::find(series)? {
            Some(image) => images.push((series.name, image)),
            None => println!("skipped: the package lists offer no kernel {}", series.name),
        }
    }
    ensure!(!images.is_empty(), "the package lists offer none of the kernels to test");
    let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
        let booted: Vec<_> = images.iter().map(|(_, image)| scope.spawn(|| boot::run(image, &tests))).collect();
        booted.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("the boot panicked"))).collect()
    });
    for ((name, _), outcome) in images.iter().zip(outcomes) {
        outcome.with_context(|| format!("kernel {name}"))?.print(name);
    }
    Ok(())
}

/// Builds the tests and returns the programs to run, and those that they need.
fn build() -> Result<Programs> {
    let mut programs = Programs::default();
    for test in TESTS {
        let shell = shell()?;
        let messages = cargo(&shell, "test --locked --no-run --message-format=json").args(test);
        let messages = messages.quiet().read().context("build the tests")?;
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            programs.add(&message);
        }
    }
    ensure!(programs.tests.len() == TESTS.len(), "cargo built {:?} instead of {TESTS:?}", programs.tests);
    Ok(programs)
}

/// What goes into the guest at the path where cargo built it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) tests: Vec<String>,
    pub(crate) binaries: Vec<String>,
}

impl Programs {
    /// Takes note of an executable that cargo tells of.
    fn add(&mut self, message: &Value) {
        let Some(executable) = message["executable"].as_str() else { return };
        let of_kind = |kind: &str| message["target"]["kind"][0] == kind;
        if of_kind("test") {
            self.tests.push(executable.to_owned());
        } else if of_kind("bin") {
            self.binaries.push(executable.to_owned());
        }
    }
}
