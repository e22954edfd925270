//! What judging a cluster from files costs: the commands at several numbers of pods of 500 workloads, each in a process
//! of its own.
//!
//! Prints a Markdown table of seconds, peak resident memory and the size of what is printed. `PODGATE_BENCH_BINARY`
//! names another build of podgate, to compare with.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up fails")]

mod cluster;

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Replicas of each workload.
const REPLICAS: [usize; 3] = [2, 10, 20];

const COMMANDS: [&[&str]; 6] = [
    &["check", "-f", "."],
    &["matrix", "-f", "."],
    &["matrix", "-f", ".", "-o", "json"],
    &["report", "-f", ".", "-o", "/dev/stdout"],
    &["diff", "-f", ".", "-f", "."],
    &["test", "expected.txt", "-f", "."],
];

/// Every pair of a namespace's pods.
const EXPECTED: &str = "- {from: {namespace: team-1}, to: {namespace: team-1}, port: 22, expect: deny}\n";

/// A command that takes longer is stopped and told so.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    // `cargo test --benches` runs this with `--test`: that is no time to measure.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let binary = env::var("PODGATE_BENCH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_podgate").to_owned());
    println!("| pods of 500 workloads | command | seconds | peak, MB | printed, MB |\n|---|---|---|---|---|");
    for replicas in REPLICAS {
        let directory = TempDir::new().unwrap();
        cluster::write(directory.path(), replicas);
        fs::write(directory.path().join("expected.txt"), EXPECTED).unwrap();
        for command in COMMANDS {
            println!("| {} | `{}` | {} |", 500 * replicas, command.join(" "), run(&binary, command, directory.path()));
        }
    }
}

/// Runs a command and tells what it took.
fn run(binary: &str, arguments: &[&str], directory: &Path) -> String {
    let start = Instant::now();
    let mut child = Command::new(binary)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(directory.join("stderr")).unwrap())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let read = thread::spawn(move || io::copy(&mut output.by_ref(), &mut io::sink()).unwrap());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(resident(child.id()));
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            return format!("more than {} | {peak} | ", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
    let elapsed = start.elapsed();
    format!("{:.2} | {peak} | {:.1}", elapsed.as_secs_f64(), read.join().unwrap() as f64 / 1e6)
}

/// The most that a process has had in memory, in megabytes, as the kernel counts it.
fn resident(process: u32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { return 0 };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    peak.unwrap_or(0) / 1000
}
