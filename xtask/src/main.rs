//! podgate's development tasks: `cargo xtask --help`.

mod architecture;
mod ebpf;
mod setup;
mod steps;
mod workspace;

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
    /// Install what building and testing need and is missing: Debian packages, library sources for eBPF, bpf-linker
    Setup,
    /// Run every check, as continuous integration does
    Test,
    #[command(flatten)]
    Step(Step),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup => setup::all(),
        Task::Test => steps::all(),
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
