//! Measuring: benchmarks print samples, and this makes tables of them, compares them with an earlier run's and writes them
//! into the documentation.

mod compare;
mod figures;
mod machine;
mod page;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use xshell::{Shell, cmd};

use self::compare::Comparison;
use self::figures::Run;
use self::machine::{Machine, Priority};
use crate::setup;
use crate::workspace::{cargo, root, shell};

/// What is measured, and what is done with it.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure programs and traffic only, in fewer rounds
    #[arg(long)]
    quick: bool,
    /// Measure this only
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Keep the figures of programs and traffic in this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with figures that were kept; fail where something is worse by 5 % or more and the quartiles are apart
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Measure nothing: take figures that were kept
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only", "save"])]
    from: Option<PathBuf>,
    /// Write the tables into docs/performance.md
    #[arg(long)]
    write_docs: bool,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The programs over an empty one
    Programs,
    /// Two pods, under podgate, nftables, iptables, and nothing
    Traffic,
    /// The planner on large clusters
    Planner,
    /// `check`, `matrix` and the like on large clusters
    Judges,
}

impl Part {
    const ALL: [Self; 4] = [Self::Programs, Self::Traffic, Self::Planner, Self::Judges];
    /// Those whose samples are kept, compared and documented.
    const FIGURES: [Self; 2] = [Self::Programs, Self::Traffic];

    /// What cargo is to run.
    fn bench(self) -> &'static str {
        match self {
            Self::Programs => "--package podgate-datapath --bench program",
            Self::Traffic => "--package podgate --bench network",
            Self::Planner => "--package podgate-policy --bench planner",
            Self::Judges => "--package podgate --bench judges",
        }
    }
}

impl Options {
    fn parts(&self) -> Vec<Part> {
        match (self.only.is_empty(), self.quick) {
            (false, _) => Part::ALL.into_iter().filter(|part| self.only.contains(part)).collect(),
            (true, true) => Part::FIGURES.to_vec(),
            (true, false) => Part::ALL.to_vec(),
        }
    }
}

/// Measures, and says, keeps, writes and compares what came out.
pub(crate) fn run(options: &Options) -> Result<()> {
    // Read first, so that a wrong name costs no time.
    let baseline = options.baseline.as_deref().map(Run::load).transpose()?;
    let run = match &options.from {
        Some(file) => Run::load(file)?,
        None => measure(options)?,
    };
    if run.series.is_empty() {
        return Ok(());
    }
    let text = page::of(&run);
    println!("\n{text}");
    if let Some(file) = &options.save {
        run.save(file)?;
    }
    if options.write_docs {
        let path = root().join(page::PAGE);
        let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        fs::write(&path, page::with(&page, &text)?).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(before) = baseline {
        let comparison = Comparison::of(&before, &run);
        println!("Beside the earlier run:\n\n{comparison}");
        let worse = comparison.worse();
        ensure!(worse == 0, "{worse} figures are worse than before beyond noise");
    }
    Ok(())
}

fn measure(options: &Options) -> Result<Run> {
    let parts = options.parts();
    let is_whole = Part::FIGURES.iter().all(|part| parts.contains(part));
    if options.write_docs && !is_whole {
        bail!("the page has figures of programs and traffic: `--write-docs` needs both");
    }
    let time = if options.quick { "some three minutes" } else { "some fifteen minutes" };
    println!("bench: {time} when all is built; the machine should do nothing else");
    setup::for_bench()?;
    let shell = shell()?;
    for part in &parts {
        cargo(&shell, &format!("bench --locked --no-run {}", part.bench())).run()?;
    }
    let mut run = Run { machine: Machine::here(), commit: commit(&shell), notes: Vec::new(), series: Vec::new() };
    println!("bench: {}", run.machine);
    // A benchmark that is interrupted ends with the signal that this gets too; what it leaves is then cleared up here.
    ctrlc::set_handler(|| ()).context("handle Ctrl-C")?;
    let _priority = Priority::raise();
    if options.quick {
        shell.set_var("PODGATE_BENCH_ROUNDS", "8");
        shell.set_var("PODGATE_BENCH_REPEAT", "300000");
    }
    for part in parts {
        let bench = cargo(&shell, &format!("bench --locked {}", part.bench()));
        if !Part::FIGURES.contains(&part) {
            bench.run()?;
            continue;
        }
        let output = bench.read();
        podgate_lab::sweep()?;
        run.take(&output?)?;
    }
    Ok(run)
}

/// The commit that is measured, where git says it.
fn commit(shell: &Shell) -> String {
    let git = |arguments: &[&str]| cmd!(shell, "git {arguments...}").quiet().ignore_stderr().read().ok();
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    match (git(&["rev-parse", "--short", "HEAD"]), changes.as_deref()) {
        (Some(commit), Some("")) => commit,
        (Some(commit), _) => format!("{commit}, with changes"),
        (None, _) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_leaves_out_what_is_not_kept_and_only_chooses() {
        let options = |quick, only: &[Part]| {
            let only = only.to_vec();
            Options { quick, only, save: None, baseline: None, from: None, write_docs: false }.parts()
        };
        assert_eq!(options(false, &[]), Part::ALL);
        assert_eq!(options(true, &[]), Part::FIGURES);
        assert_eq!(options(true, &[Part::Judges, Part::Programs]), [Part::Programs, Part::Judges]);
    }
}
