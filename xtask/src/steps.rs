//! The checks of which `cargo xtask test` is made. Each is a subcommand of its own, so that continuous integration can run
//! them one by one.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Subcommand;
use xshell::Shell;

use crate::tests::Need;
use crate::workspace::{cargo, find, shell};
use crate::{architecture, ebpf, kernels, setup, tests};

/// A check.
#[derive(Subcommand, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Check the formatting
    Fmt,
    /// Lint, the eBPF programs for their own target included; warnings are errors
    Lint,
    /// Build the documentation; warnings are errors
    Doc,
    /// Check that the layers depend on each other as they should
    Architecture,
    /// Check licences and origins of dependencies, where cargo-deny is installed
    Deny,
    /// Check dependencies for known vulnerabilities; needs cargo-deny and the network, and is not part of `test`, as what
    /// it finds changes without a change here
    Advisories,
    /// Unit and property tests: they need neither root nor a special kernel
    Unit,
    /// The real eBPF programs, run by the kernel on crafted packets; needs root
    Kernel,
    /// Network namespaces with real traffic; needs root
    Lab,
    /// The core cases on other kernels in an emulator; needs root
    TestKernels(kernels::Options),
}

/// In the order in which a mistake is found soonest.
const STEPS: [Step; 9] = [
    Step::Fmt,
    Step::Lint,
    Step::Doc,
    Step::Architecture,
    Step::Deny,
    Step::Unit,
    Step::Kernel,
    Step::Lab,
    Step::TestKernels(kernels::Options::SHORT),
];

/// Sets the machine up and runs all checks, up to the first that fails.
pub(crate) fn all() -> Result<()> {
    setup::need_root("some tests need network namespaces and eBPF")?;
    setup::all()?;
    let start = Instant::now();
    for step in STEPS {
        timed(step)?;
    }
    println!("\nall checks passed in {:.0} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// Measures what docs/performance.md reports.
pub(crate) fn bench() -> Result<()> {
    setup::for_build()?;
    let shell = shell()?;
    cargo(&shell, "bench --locked --package podgate-datapath --bench program").run()?;
    cargo(&shell, "bench --locked --package podgate-policy --bench planner").run()?;
    setup::for_lab()?;
    cargo(&shell, "bench --locked --package podgate --bench network").run()?;
    Ok(())
}

/// Runs one check.
pub(crate) fn one(step: Step) -> Result<()> {
    match step {
        Step::Kernel | Step::Lab => setup::for_lab().map(drop)?,
        Step::TestKernels(_) => setup::for_kernels().map(drop)?,
        Step::Unit => setup::for_unit().map(drop)?,
        Step::Lint => setup::for_lint()?,
        Step::Doc => setup::for_build().map(drop)?,
        Step::Fmt | Step::Architecture | Step::Deny | Step::Advisories => {}
    }
    timed(step)
}

fn timed(step: Step) -> Result<()> {
    let name = step.name();
    println!("\n== {name}");
    let start = Instant::now();
    step.run().with_context(|| format!("{name} failed after {:.0} s", start.elapsed().as_secs_f32()))?;
    println!("== {name}: passed in {:.0} s", start.elapsed().as_secs_f32());
    Ok(())
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Lint => "lint",
            Self::Doc => "doc",
            Self::Architecture => "architecture",
            Self::Deny => "deny",
            Self::Advisories => "advisories",
            Self::Unit => "unit",
            Self::Kernel => "kernel",
            Self::Lab => "lab",
            Self::TestKernels(_) => "test-kernels",
        }
    }

    fn run(self) -> Result<()> {
        let shell = shell()?;
        match self {
            Self::Fmt => Ok(cargo(&shell, "fmt --all --check").run()?),
            Self::Lint => lint(&shell),
            Self::Doc => doc(&shell),
            Self::Architecture => architecture::check(),
            Self::Deny => deny(&shell),
            Self::Advisories => Ok(cargo(&shell, "deny --locked check advisories").run()?),
            Self::Unit => tests::run(Need::Nothing).and_then(|()| tests::documentation()),
            Self::Kernel => tests::run(Need::Kernel),
            Self::Lab => tests::run(Need::Namespaces),
            Self::TestKernels(options) => kernels::run(options),
        }
    }
}

fn lint(shell: &Shell) -> Result<()> {
    cargo(shell, "clippy --locked --workspace --all-targets -- -D warnings").run()?;
    ebpf::lint()
}

fn doc(shell: &Shell) -> Result<()> {
    shell.set_var("RUSTDOCFLAGS", "-D warnings");
    Ok(cargo(shell, "doc --locked --workspace --no-deps").run()?)
}

fn deny(shell: &Shell) -> Result<()> {
    if find("cargo-deny").is_none() {
        println!("skipped: cargo-deny is not installed (`cargo install cargo-deny --locked`)");
        return Ok(());
    }
    Ok(cargo(shell, "deny --locked check bans licenses sources").run()?)
}
