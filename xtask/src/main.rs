//! podgate's development tasks: `cargo xtask --help`.

mod architecture;
mod ask;
mod bench;
mod chart;
mod demo;
#[cfg(test)]
mod documented;
mod e2e;
mod ebpf;
mod fresh;
mod image;
mod kernels;
mod report;
mod setup;
mod steps;
mod tests;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::steps::Step;

/// podgate's development tasks. Each does its own set-up.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need and is missing, and say by what eBPF is built: packages, a compiler with
    /// library sources, bpf-linker. For others than root: what building needs
    Setup,
    /// Run every check, as continuous integration does
    Test,
    /// Measure: the programs over an empty one, traffic beside nftables and iptables, the planner and the judges on large
    /// clusters. Takes a quarter of an hour when all is built, with `--quick` three minutes; for a machine at rest
    Bench(bench::Options),
    /// Kill, restart, upgrade and downgrade the agent hundreds of times under traffic. Takes half an hour
    Soak,
    /// Show enforcement at work: the three-tier example in a lab of network namespaces, policy by policy
    Demo {
        /// Leave the lab up, and print how to look around
        #[arg(long)]
        keep: bool,
        /// Use this podgate instead of building one
        #[arg(long, value_name = "FILE")]
        podgate: Option<PathBuf>,
        /// Remove what `--keep` left
        #[arg(long, conflicts_with = "keep")]
        remove: bool,
    },
    /// Run the README's first command, a release build and the first command again on minimal Debians made with
    /// debootstrap, which have rustup's toolchain, old package lists and misleading tools. Takes most of an hour each; with
    /// `--only test` all checks are run there
    TestFresh(fresh::Options),
    /// Build the container image, an OCI layout in a tar archive, for all processors; needs no Docker
    Image(image::Options),
    /// Render the chart in deploy/chart into the files that kustomize reads; they are checked in
    Manifests,
    /// Package the chart, and render it into one file, both with the name of an image
    Package(chart::Options),
    /// Try podgate on a cluster: one made with kind, or a given one
    E2e(e2e::Options),
    /// Answer on these ports of this network namespace until killed: what runs in the demo's pods
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        tcp: Vec<u16>,
        #[arg(long)]
        udp: Vec<u16>,
    },
    /// Ask an echo server, and print what is seen: what runs in the pods of `e2e`
    #[command(hide = true)]
    Ask {
        /// tcp:HOST:PORT or udp:HOST:PORT
        target: String,
    },
    /// Run the tests: what an emulated machine's kernel starts first
    #[command(hide = true)]
    Guest,
    #[command(flatten)]
    Step(Step),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup => setup::all(),
        Task::Test => steps::all(),
        Task::Bench(options) => bench::run(&options),
        Task::Soak => setup::for_lab().and_then(|_| tests::soak()),
        Task::Demo { remove: true, .. } => demo::remove(),
        Task::Demo { keep, podgate, .. } => demo::run(podgate, keep),
        Task::TestFresh(options) => fresh::run(&options),
        Task::Image(options) => image::run(&options),
        Task::Manifests => chart::manifests(),
        Task::Package(options) => chart::package(&options),
        Task::E2e(options) => e2e::run(&options),
        Task::Ask { target } => {
            return ask::run(&target).unwrap_or_else(|error| {
                eprintln!("{error:#}");
                ExitCode::from(2)
            });
        }
        Task::Serve { tcp, udp } => podgate_lab::serve_here(&tcp, &udp).map_err(Into::into),
        Task::Guest => kernels::guest::run(),
        Task::Step(step) => steps::one(step),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
