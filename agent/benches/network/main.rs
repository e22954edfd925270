//! What enforcement costs where traffic flows: two pods on one node, routed, under several kinds of it, measured by turns.
//!
//! Prints Markdown tables: round trips, connections and answered datagrams as ratios to no enforcement, and how long a
//! change of policy takes to be in force. Runs as root. `PODGATE_BENCH_ROUNDS` changes how long it takes.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up fails")]

mod change;
mod load;
mod world;

use std::collections::BTreeMap;

use load::Load;
use world::{Kind, World};

fn main() {
    // `cargo test --benches` runs this with `--test`: that is no time to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds = std::env::var("PODGATE_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(15);
    let worlds = Kind::ALL.map(|kind| World::new(kind).unwrap());
    traffic(&worlds, rounds);
    change::measure(20 * rounds);
}

/// Rates of every world and load, round by round.
fn traffic(worlds: &[World], rounds: usize) {
    let mut rates: BTreeMap<(usize, Load), Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for load in Load::ALL {
            for (index, world) in worlds.iter().enumerate() {
                rates.entry((index, load)).or_default().push(world.rate(load));
            }
        }
    }
    println!("| | {} |\n|---{}|", Load::ALL.map(Load::name).join(" | "), "|---".repeat(Load::ALL.len()));
    for (index, world) in worlds.iter().enumerate() {
        let cell = |load| ratios(&rates[&(0, load)], &rates[&(index, load)]);
        println!("| {} | {} |", world.kind.name(), Load::ALL.map(cell).join(" | "));
    }
    println!("\nOf one unit, microseconds over no enforcement (median): ");
    for (index, world) in worlds.iter().enumerate().skip(1) {
        let extra = |load| format!("{:.2}", extra(&rates[&(0, load)], &rates[&(index, load)]));
        println!(
            "- {}: {}",
            world.kind.name(),
            Load::ALL.map(|load| format!("{} {}", load.name(), extra(load))).join(", ")
        );
    }
}

/// The median of the rounds' ratios, with quartiles.
fn ratios(base: &[f64], rates: &[f64]) -> String {
    let [lower, median, upper] = quartiles(base.iter().zip(rates).map(|(base, rate)| rate / base).collect());
    format!("{median:.3} ({lower:.3}–{upper:.3})")
}

/// How much longer one unit takes, in microseconds.
fn extra(base: &[f64], rates: &[f64]) -> f64 {
    quartiles(base.iter().zip(rates).map(|(base, rate)| 1e6 / rate - 1e6 / base).collect())[1]
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|part| values[(values.len() - 1) * part / 4])
}
