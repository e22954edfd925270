//! What the programs cost, over an empty program: BPF_PROG_TEST_RUN in one process, cases and empty program interleaved.
//!
//! Prints lines of JSON: how many calls each program makes, and for each case nanoseconds per packet, a sample for each round. `cargo xtask bench` makes tables of
//! them. Runs as root, on one CPU. `PODGATE_BENCH_ROUNDS` and `PODGATE_BENCH_REPEAT` change how long it takes.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up fails")]

#[path = "../../tests/program/frames.rs"]
#[expect(dead_code, reason = "shared with the tests, which make more kinds of frames")]
mod frames;
#[path = "../../tests/program/inside.rs"]
#[expect(dead_code, reason = "shared with the tests, whose pods make more kinds of sockets")]
mod inside;
#[path = "../../tests/program/rig.rs"]
#[expect(dead_code, reason = "shared with the tests, which look at more than durations")]
mod rig;

mod cases;
mod churn;
#[path = "../../../policy/benches/planner/cluster.rs"]
#[expect(dead_code, reason = "shared with the planner's benchmark, which makes more kinds of changes")]
mod cluster;
mod measure;
mod pick_up;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

fn main() {
    // `cargo test --benches` runs this with `--test`: that is no time to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let others = pin().expect("a CPU to run on");
    let files = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of open files").1;
    setrlimit(Resource::RLIMIT_NOFILE, files, files).expect("root, to open as many files as may be");
    let effort = measure::Effort::wanted();
    measure::tell_calls(&rig::Rig::new(rig::Side::Web, rig::Side::Web));
    measure::measure(cases::all(effort.rounds), &effort);
    churn::measure(&effort, &others);
}

/// Keeps this process on the last CPU that it may use: the first has most of the machine's interrupts. Returns the other
/// CPUs, or the same where there is no other.
fn pin() -> nix::Result<CpuSet> {
    let this = Pid::from_raw(0);
    let mut others = sched_getaffinity(this)?;
    let mut cpus = (0..CpuSet::count()).rev().filter(|&cpu| others.is_set(cpu).unwrap_or(false));
    let (last, is_alone) = (cpus.next().ok_or(nix::Error::ENODEV)?, cpus.next().is_none());
    let mut one = CpuSet::new();
    one.set(last)?;
    sched_setaffinity(this, &one)?;
    if !is_alone {
        others.unset(last)?;
    }
    Ok(others)
}
