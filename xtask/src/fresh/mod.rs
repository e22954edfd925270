//! `cargo xtask test-fresh`: the README's commands on machines that have nothing but rustup's toolchain and a C compiler.
//!
//! ```text
//! debootstrap ──► NAME.base, with decoys ──► copy ──► NAME ──► mount and PID namespaces, chroot ──► part by part
//! ```
//!
//! All is below cargo's target directory. Mounts and processes are in namespaces of their own, whose first process ends
//! with this one: when it is gone, however it ended, so are they.

mod machine;
mod watch;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::machine::Machine;
use self::watch::Watched;
use crate::setup;
use crate::workspace::root;

/// Which machines, and what to run there.
#[derive(Args)]
pub(crate) struct Options {
    /// Releases of Debian; repeatable
    #[arg(long = "root", value_name = "RELEASE", value_enum, default_values = ["bookworm", "trixie"])]
    roots: Vec<Release>,
    /// What to run, in this order; repeatable. Builds take some 45 minutes of one core in a new root, `test` an hour
    /// and a half
    #[arg(long, value_name = "PART", value_enum, default_values = ["demo", "build", "again"])]
    only: Vec<Part>,
    /// Go on with the root that an earlier run left, if there is one, and leave it
    #[arg(long)]
    keep: bool,
    /// A mirror of Debian's packages [default: the one that this machine uses]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// A release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// Debian 12
    Bookworm,
    /// Debian 13
    Trixie,
}

/// Something to run on a fresh machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Set-up alone, by this very program: minutes, as nothing of podgate is built
    Setup,
    /// The README's first command
    Demo,
    /// A plain release build
    Build,
    /// The README's other command: every check, in the lab and in emulated machines too
    Test,
    /// The first command again: it neither installs nor compiles anything
    Again,
}

impl Release {
    fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// Packages that set-up must not fall for: other LLVMs, and a Rust that is too old where the release has one.
    fn decoys(self) -> &'static [&'static str] {
        match self {
            Self::Bookworm => &["libllvm14", "libllvm15", "libllvm19", "rustc-web", "cargo-web", "rust-web-src"],
            Self::Trixie => &["libllvm17t64", "libllvm18", "libllvm19"],
        }
    }
}

/// Runs the parts in each root. What was wrong with commands that succeeded is said at the end, since what comes after them may
/// take an hour.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_fresh()?;
    let mut complaints = Vec::new();
    for release in &options.roots {
        let machine = Machine::make(*release, options.mirror.as_deref(), options.keep)?;
        for part in &options.only {
            let found = part.run(&machine).with_context(|| {
                format!(
                    "{} on a fresh {}; its root is left at {}",
                    part.name(),
                    release.name(),
                    machine.path().display()
                )
            })?;
            let place = format!("{} on a fresh {}", part.name(), release.name());
            complaints.extend(found.into_iter().map(|complaint| format!("{place}: {complaint}")));
        }
        if !options.keep {
            machine.remove()?;
        }
    }
    ensure!(complaints.is_empty(), "{}", complaints.join("; "));
    Ok(())
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Demo => "demo",
            Self::Build => "build",
            Self::Test => "test",
            Self::Again => "again",
        }
    }

    /// Runs it; what was wrong with it although it succeeded.
    fn run(self, machine: &Machine) -> Result<Vec<String>> {
        println!("\n== {} on a fresh {}", self.name(), machine.release().name());
        let watched = match self {
            Self::Setup => {
                let program = std::env::current_exe().context("find the path of this program")?;
                machine.add(&program, Path::new("/usr/local/bin/xtask"))?;
                machine.run(&["/usr/local/bin/xtask", "setup"])?
            }
            Self::Demo | Self::Again => machine.run(&["cargo", "xtask", "demo"])?,
            Self::Build => machine.run(&["cargo", "build", "--release", "--locked"])?,
            Self::Test => machine.run(&["cargo", "xtask", "test"])?,
        };
        println!("== {} on a fresh {}: {watched}", self.name(), machine.release().name());
        ensure!(watched.succeeded(), "the command failed");
        if self == Self::Build {
            let podgate = root().join("target/release/podgate");
            ensure!(machine.run(&[&podgate.to_string_lossy(), "--version"])?.succeeded(), "podgate does not run");
        }
        machine.check_decoys()?;
        Ok(self.complaints(&watched))
    }

    /// What was wrong with a command that succeeded.
    fn complaints(self, watched: &Watched) -> Vec<String> {
        let mut complaints = Vec::new();
        if self != Self::Build && !watched.began_in_time() {
            complaints.push("nothing was said in the first two seconds".to_owned());
        }
        if self == Self::Setup && !watched.output().contains("setup: eBPF is built by Rust ") {
            complaints.push("set-up did not say by what eBPF is built".to_owned());
        }
        if self == Self::Again {
            let work = ["setup: installing", "setup: updating", "setup: adding", "Compiling "];
            let found = work.iter().filter(|work| watched.output().contains(**work));
            complaints.extend(found.map(|work| format!("the second time there should be no \"{work}\"")));
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_run_that_installs_or_compiles_is_complained_about() {
        let watched = |output: &str, first| Watched::of(output, Duration::from_secs(first));
        let cases = [
            (Part::Again, watched("demo: sets up\nsetup: mounting the BPF file system\n", 1), vec![]),
            (
                Part::Again,
                watched("setup: updating the package lists\n   Compiling podgate\n", 1),
                vec![
                    "the second time there should be no \"setup: updating\"",
                    "the second time there should be no \"Compiling \"",
                ],
            ),
            (Part::Demo, watched("setup: installing gcc\n   Compiling podgate\n", 1), vec![]),
            (Part::Demo, watched("at last", 3), vec!["nothing was said in the first two seconds"]),
            (Part::Build, watched("at last", 3), vec![]),
            (Part::Test, watched("test: 9 checks\nsetup: installing runc\n   Compiling podgate\n", 1), vec![]),
            (Part::Test, watched("at last", 3), vec!["nothing was said in the first two seconds"]),
            (Part::Setup, watched("setup: eBPF is built by Rust 1.96.0 of /usr", 0), vec![]),
            (Part::Setup, watched("done", 0), vec!["set-up did not say by what eBPF is built"]),
        ];
        for (part, watched, expected) in cases {
            assert_eq!(part.complaints(&watched), expected, "{part:?}");
        }
    }
}
