//! Which compiler it is to be.

use std::path::Path;

use crate::compiler::{Compiler, Origin};
use crate::linker::linker_for;
use crate::version::Version;

/// The oldest compiler that builds podgate: the `rust-version` of the workspace.
pub const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// [`OLDEST`], to compare with.
#[must_use]
pub fn oldest() -> Version {
    Version::parse(OLDEST).unwrap_or(Version::new(1, 95, 0))
}

/// What a machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The compiler in use.
    pub active: Option<Compiler>,
    /// The distribution's compiler.
    pub distribution: Option<Compiler>,
    /// The version of the compiler that the distribution's packages offer, if they can be installed.
    pub offered: Option<Version>,
    /// Whether rustup is there and may download.
    pub can_add: bool,
}

/// What to do about a compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Take this one.
    Use(&'a Compiler),
    /// Install or upgrade the distribution's to this version.
    InstallDistribution(Version),
    /// Have rustup add the sources to the one in use.
    AddSources(&'a Compiler),
    /// Say what to do: [`Machine::missing`].
    Impossible,
}

/// The compiler in use, if it has sources and an LLVM that some bpf-linker reads; the distribution's, if it has and is new
/// enough; what the distribution offers, if it is new enough; sources for the compiler in use.
#[must_use]
pub fn choose(machine: &Machine) -> Choice<'_> {
    let there = [&machine.active, &machine.distribution];
    if let Some(compiler) = there.into_iter().flatten().find(|compiler| unfit(compiler).is_none()) {
        return Choice::Use(compiler);
    }
    if let Some(offered) = machine.offered.filter(|offered| *offered >= oldest()) {
        return Choice::InstallDistribution(offered);
    }
    match &machine.active {
        Some(active) if machine.can_add && unfit(active) == Some(Unfit::NoSources) => Choice::AddSources(active),
        _ => Choice::Impossible,
    }
}

/// Why a compiler cannot build the eBPF programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    TooOld,
    OtherLlvm,
    NoLibrary,
    NoSources,
}

/// Missing sources come last, as they alone can be added.
fn unfit(compiler: &Compiler) -> Option<Unfit> {
    if compiler.version < oldest() {
        Some(Unfit::TooOld)
    } else if linker_for(compiler.llvm).is_none() {
        Some(Unfit::OtherLlvm)
    } else if compiler.library.is_none() {
        Some(Unfit::NoLibrary)
    } else if !compiler.has_sources {
        Some(Unfit::NoSources)
    } else {
        None
    }
}

impl Machine {
    /// Looks at this one. `rustc` is the compiler in use, asked in the directory `root`. Nothing is offered and nothing
    /// can be added: that is for those to say who install.
    #[must_use]
    pub fn look(rustc: &Path, root: &Path) -> Self {
        Self {
            active: Compiler::active(rustc, root),
            distribution: Compiler::distribution(),
            offered: None,
            can_add: false,
        }
    }

    /// One line: what is needed, why each compiler does not fit, and what to do.
    #[must_use]
    pub fn missing(&self) -> String {
        let there = [&self.active, &self.distribution];
        let reasons: Vec<String> = there.into_iter().flatten().filter_map(reason).collect();
        let reasons = if reasons.is_empty() { "no compiler runs".to_owned() } else { reasons.join("; ") };
        format!(
            "the eBPF programs need Rust {OLDEST} or later with LLVM 22 and the sources of the standard library; {reasons}: \
             `rustup component add rust-src`, or on Debian install rustc-web, cargo-web and rust-web-src"
        )
    }
}

fn reason(compiler: &Compiler) -> Option<String> {
    let whose = match compiler.origin {
        Origin::Active => "the active",
        Origin::Distribution => "the distribution's",
    };
    let why = match unfit(compiler)? {
        Unfit::TooOld => "is too old".to_owned(),
        Unfit::OtherLlvm => format!("has LLVM {}, for which no bpf-linker is known", compiler.llvm.major),
        Unfit::NoLibrary => format!("comes without the shared library of its LLVM {}", compiler.llvm.major),
        Unfit::NoSources => "has no sources".to_owned(),
    };
    Some(format!("{whose} {} {why}", compiler.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLVM: Version = Version::new(22, 1, 2);

    fn compiler(origin: Origin, minor: u32, llvm: u32, has_sources: bool) -> Option<Compiler> {
        Some(Compiler {
            origin,
            sysroot: "/toolchain".into(),
            version: Version::new(1, minor, 0),
            llvm: Version::new(llvm, LLVM.minor, LLVM.patch),
            has_sources,
            library: Some("/toolchain/lib/libLLVM.so".into()),
        })
    }

    fn active(minor: u32, llvm: u32, has_sources: bool) -> Option<Compiler> {
        compiler(Origin::Active, minor, llvm, has_sources)
    }

    fn distribution(minor: u32, llvm: u32, has_sources: bool) -> Option<Compiler> {
        compiler(Origin::Distribution, minor, llvm, has_sources)
    }

    #[test]
    fn the_compiler_is_chosen_by_version_sources_and_llvm() {
        let offers = |minor| Some(Version::new(1, minor, 0));
        let machine = |active, distribution, offered, can_add| Machine { active, distribution, offered, can_add };
        let cases: [(&str, Machine, &str); 14] = [
            ("the active one fits", machine(active(95, 22, true), None, offers(96), true), "active 1.95.0"),
            ("both fit", machine(active(95, 22, true), distribution(96, 22, true), None, true), "active 1.95.0"),
            (
                "no sources, the distribution's fits",
                machine(active(95, 22, false), distribution(96, 22, true), None, true),
                "distribution 1.96.0",
            ),
            (
                "another LLVM, the distribution's fits",
                machine(active(98, 23, true), distribution(96, 22, true), None, true),
                "distribution 1.96.0",
            ),
            (
                "the distribution's is old, a newer one is offered",
                machine(active(95, 22, false), distribution(85, 19, true), offers(96), true),
                "install 1.96.0",
            ),
            (
                "the distribution's has no sources yet",
                machine(active(95, 22, false), distribution(96, 22, false), offers(96), true),
                "install 1.96.0",
            ),
            (
                "none is installed, one is offered",
                machine(active(95, 22, false), None, offers(95), true),
                "install 1.95.0",
            ),
            ("what is offered is old", machine(active(95, 22, false), None, offers(85), true), "add to 1.95.0"),
            (
                "what is installed and offered is old",
                machine(active(95, 22, false), distribution(85, 19, true), offers(85), true),
                "add to 1.95.0",
            ),
            ("nothing is offered", machine(active(95, 22, false), None, None, true), "add to 1.95.0"),
            ("rustup may not download", machine(active(95, 22, false), None, offers(85), false), "impossible"),
            ("sources would not help an old one", machine(active(90, 22, false), None, None, true), "impossible"),
            (
                "sources would not help with another LLVM",
                machine(active(98, 23, false), None, None, true),
                "impossible",
            ),
            ("there is nothing", machine(None, None, None, true), "impossible"),
        ];
        for (case, machine, expected) in cases {
            let chosen = match choose(&machine) {
                Choice::Use(compiler) if compiler.origin == Origin::Active => format!("active {}", compiler.version),
                Choice::Use(compiler) => format!("distribution {}", compiler.version),
                Choice::InstallDistribution(version) => format!("install {version}"),
                Choice::AddSources(compiler) => format!("add to {}", compiler.version),
                Choice::Impossible => "impossible".to_owned(),
            };
            assert_eq!(chosen, expected, "{case}");
        }
    }

    #[test]
    fn a_compiler_whose_llvm_is_linked_into_it_does_not_fit() {
        let mut machine = Machine { active: active(95, 22, true), ..Machine::default() };
        machine.active.as_mut().expect("it is there").library = None;
        assert_eq!(choose(&machine), Choice::Impossible);
    }

    #[test]
    fn what_is_missing_is_said_in_one_line_with_the_reason_for_each_compiler() {
        let both =
            Machine { active: active(95, 22, false), distribution: distribution(85, 19, true), ..Machine::default() };
        let said = [both.missing(), Machine { active: active(98, 23, true), ..Machine::default() }.missing()];
        let reasons = [
            "; the active 1.95.0 has no sources; the distribution's 1.85.0 is too old: `rustup",
            "; the active 1.98.0 has LLVM 23, for which no bpf-linker is known: `rustup",
        ];
        for (said, reason) in said.iter().zip(reasons) {
            assert!(said.contains(reason) && !said.contains('\n'), "{said}");
        }
        assert!(Machine::default().missing().contains("; no compiler runs: `rustup"));
    }
}
