//! The checks of which `cargo xtask test` is made. Each is a subcommand of its own, so that continuous integration can run
//! them one by one.

use anyhow::Result;
use clap::Subcommand;
use xshell::{Shell, cmd};

use crate::report::{Report, Verdict};
use crate::tests::Need;
use crate::workspace::{cargo, shell};
use crate::{architecture, chart, ebpf, kernels, setup, tests};

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
    /// Lint the Helm chart, and check that the manifests for kustomize are what it renders
    Chart,
    /// Check licences and origins of dependencies
    Deny,
    /// Check dependencies for known vulnerabilities; needs the network, and is not part of `test`, as what it finds changes
    /// without a change here
    Advisories,
    /// Unit and property tests: they need neither root nor a special kernel
    Unit,
    /// The real eBPF programs, run by the kernel on crafted packets; needs root
    Kernel,
    /// Network namespaces with real traffic; needs root
    Lab,
    /// A core case on other kernels in an emulator, or all of them; needs root
    TestKernels(kernels::Options),
}

/// In the order in which a mistake is found soonest.
pub(crate) const STEPS: [Step; 10] = [
    Step::Fmt,
    Step::Lint,
    Step::Doc,
    Step::Architecture,
    Step::Chart,
    Step::Deny,
    Step::Unit,
    Step::Kernel,
    Step::Lab,
    Step::TestKernels(kernels::Options::SHORT),
];

/// Sets the machine up and runs all checks, up to the first that fails; says in the end how each went.
pub(crate) fn all() -> Result<()> {
    setup::need_root("some tests need network namespaces and eBPF")?;
    println!("test: {} checks, some 40 minutes on two cores in a clean clone", STEPS.len());
    setup::all()?;
    let mut report = Report::default();
    let outcome = STEPS.into_iter().try_for_each(|step| report.run(step.name(), || step.run()));
    let rest = STEPS.iter().skip(report.steps.len()).map(|step| step.name());
    println!("\n{report}{}", report.total(rest.collect()));
    outcome
}

/// Runs one check.
pub(crate) fn one(step: Step) -> Result<()> {
    match step {
        Step::Kernel | Step::Lab => setup::for_lab().map(drop)?,
        Step::TestKernels(_) => setup::for_kernels().map(drop)?,
        Step::Unit => setup::for_unit().map(drop)?,
        Step::Lint => setup::for_lint()?,
        Step::Doc => setup::for_build().map(drop)?,
        Step::Fmt | Step::Architecture | Step::Chart | Step::Deny | Step::Advisories => {}
    }
    Report::default().run(step.name(), || step.run())
}

impl Step {
    /// As it is called on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Lint => "lint",
            Self::Doc => "doc",
            Self::Architecture => "architecture",
            Self::Chart => "chart",
            Self::Deny => "deny",
            Self::Advisories => "advisories",
            Self::Unit => "unit",
            Self::Kernel => "kernel",
            Self::Lab => "lab",
            Self::TestKernels(_) => "test-kernels",
        }
    }

    fn run(self) -> Result<Verdict> {
        let shell = shell()?;
        match self {
            Self::Fmt => cargo(&shell, "fmt --all --check").run()?,
            Self::Lint => lint(&shell)?,
            Self::Doc => doc(&shell)?,
            Self::Architecture => architecture::check()?,
            Self::Chart => match setup::helm() {
                Ok(helm) => chart::check(&helm)?,
                Err(error) => {
                    eprintln!("NOT CHECKED: the chart, and the manifests against it: {error:#}");
                    return Ok(Verdict::Skipped("there is no Helm here, and it could not be had"));
                }
            },
            Self::Deny => deny(&shell, &["bans", "licenses", "sources"])?,
            Self::Advisories => deny(&shell, &["advisories"])?,
            Self::Unit => tests::run(Need::Nothing).and_then(|()| tests::documentation())?,
            Self::Kernel => tests::run(Need::Kernel)?,
            Self::Lab => tests::run(Need::Namespaces)?,
            Self::TestKernels(_) if std::env::consts::ARCH != "x86_64" => {
                return Ok(Verdict::Skipped("the kernels to boot are of x86-64, and so would be the tests"));
            }
            Self::TestKernels(_) if !kernels::are_offered() => {
                return Ok(Verdict::Skipped("this machine has no packages from Debian, whose kernels are tried"));
            }
            Self::TestKernels(options) => kernels::run(options)?,
        }
        Ok(Verdict::Passed)
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

fn deny(shell: &Shell, checks: &[&str]) -> Result<()> {
    let cargo_deny = setup::cargo_deny()?;
    Ok(cmd!(shell, "{cargo_deny} --locked check {checks...}").run()?)
}
