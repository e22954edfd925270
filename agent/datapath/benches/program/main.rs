//! What the programs cost, over an empty program: BPF_PROG_TEST_RUN in one process, cases and empty program interleaved.
//!
//! Prints lines of JSON: how many calls each program makes, and for each case nanoseconds per packet, a sample for each round. `cargo xtask bench` makes tables of
//! them. Runs as root, on one CPU. `PODGATE_BENCH_ROUNDS` and `PODGATE_BENCH_REPEAT` change how long it takes.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up fails")]

#[path = "../../tests/program/frames.rs"]
#[expect(dead_code, reason = "shared with the tests, which make more kinds of frames")]
mod frames;
#[path = "../../tests/program/rig.rs"]
#[expect(dead_code, reason = "shared with the tests, which look at more than durations")]
mod rig;

mod cases;
mod measure;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

fn main() {
    // `cargo test --benches` runs this with `--test`: that is no time to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    pin().expect("a CPU to run on");
    measure::tell_calls(&rig::Rig::new(rig::Side::Web, rig::Side::Web));
    measure::measure(cases::all(), &measure::Effort::wanted());
}

/// Keeps this process on the last CPU that it may use: the first has most of the machine's interrupts.
fn pin() -> nix::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let last = (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.ok_or(nix::Error::ENODEV)?)?;
    sched_setaffinity(this, &one)
}
