//! What the programs cost, over an empty program: BPF_PROG_TEST_RUN in one process, cases and empty program interleaved.
//!
//! Prints a Markdown table of medians and quartiles in nanoseconds. Runs as root. `PODGATE_BENCH_ROUNDS` and
//! `PODGATE_BENCH_REPEAT` change how long it takes.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up fails")]

#[path = "../../tests/program/frames.rs"]
#[expect(dead_code, reason = "shared with the tests, which make more kinds of frames")]
mod frames;
#[path = "../../tests/program/rig.rs"]
#[expect(dead_code, reason = "shared with the tests, which look at more than durations")]
mod rig;

mod cases;
mod measure;

fn main() {
    // `cargo test --benches` runs this with `--test`: that is no time to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("| case | median | quartiles |\n|---|---|---|");
    for case in cases::all() {
        let figure = case.measure();
        println!("| {} | {:.1} | {:.1}–{:.1} |", case.name, figure.median, figure.lower, figure.upper);
    }
}
